//! Error numbers as they travel: Linux values on every platform (section 9).

use std::fmt;

/// An error number of the wire. Always a Linux value, whatever system the node runs on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $number:literal, $doc:literal;)*) => {
        impl Errno {
            $(#[doc = $doc] pub const $name: Self = Self($number);)*

            /// The symbolic name, for logs and for people; `None` for a number outside the table.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such file, name or id.";
    EIO = 5, "A real input/output failure. Clients reconnect when they see it, so nothing ordinary uses it.";
    ENXIO = 6, "A FIFO, socket or device, which a node does not open.";
    EBADF = 9, "Unknown handle, or not opened for this.";
    EAGAIN = 11, "A lock is held elsewhere.";
    ENOMEM = 12, "The node's machine is out of memory.";
    EACCES = 13, "Refused by the system, or outside the export.";
    EBUSY = 16, "In use, such as a mount point.";
    EEXIST = 17, "The name exists.";
    EXDEV = 18, "Source and target lie in different exports or file systems.";
    ENODEV = 19, "No such device.";
    ENOTDIR = 20, "Not a directory.";
    EISDIR = 21, "Is a directory.";
    EINVAL = 22, "A malformed request or argument.";
    ENFILE = 23, "The machine's file table is full.";
    EMFILE = 24, "Too many open handles.";
    ETXTBSY = 26, "A running program.";
    EFBIG = 27, "File too large.";
    ENOSPC = 28, "No space left.";
    EROFS = 30, "The export or file system is read-only.";
    EMLINK = 31, "Too many links.";
    ERANGE = 34, "An extended attribute's name or size is out of range.";
    ENAMETOOLONG = 36, "Name too long; the wire uses 22 for it.";
    ENOSYS = 38, "The source cannot do this.";
    ENOTEMPTY = 39, "Directory not empty.";
    ELOOP = 40, "Too many symbolic links.";
    ENODATA = 61, "No such extended attribute.";
    E2BIG = 7, "An extended attribute value over the system's limit.";
    EDQUOT = 122, "Disk quota exceeded.";
    ESTALE = 116, "The object behind an id is gone.";
    ETIMEDOUT = 110, "The other end did not answer in time.";
}

impl Errno {
    /// An errno as received from a peer; numbers outside the table are kept.
    pub const fn from_wire(number: i32) -> Self {
        Self(number)
    }

    /// The number on the wire.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}
