//! Everything a file operation can fail with, and what the peer sees of it.

use std::io;

use spiderweb_protocol::Errno;

/// Why a file operation failed. The text is what the peer reads (section 9 of the contract).
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// No such id, name or object.
    #[error("file not found")]
    NotFound,
    /// Refused by the system, or a link leads outside the export.
    #[error("access denied")]
    AccessDenied,
    /// The name exists, or a directory that is not empty is in the way of a rename.
    #[error("path exists")]
    Exists,
    /// The ends of a rename lie in different exports.
    #[error("cross-export rename is not supported")]
    CrossExport,
    /// The ends of a rename lie in different file systems of one export.
    #[error("rename crosses file systems")]
    CrossDevice,
    /// A parent is no directory.
    #[error("not a directory")]
    NotADirectory,
    /// A file was to be listed.
    #[error("node is not a directory")]
    NodeNotADirectory,
    /// A directory where a file is needed.
    #[error("is a directory")]
    IsADirectory,
    /// Refused by the system as nonsense, such as a directory moved into itself.
    #[error("invalid argument")]
    InvalidArgument,
    /// A name or link target over the system's limit.
    #[error("name too long")]
    NameTooLong,
    /// The file system is full or a quota used up.
    #[error("no space left")]
    NoSpace,
    /// The export refuses changes.
    #[error("export is read-only")]
    ExportReadOnly,
    /// The file system refuses changes.
    #[error("read-only filesystem")]
    ReadOnly,
    /// The length of an attribute's name is out of range.
    #[error("range error")]
    Range,
    /// The file system cannot do this.
    #[error("operation not supported")]
    Unsupported,
    /// The source cannot do this at all.
    #[error("source adapter operation not yet implemented")]
    NotImplemented,
    /// A directory to be removed has entries.
    #[error("directory not empty")]
    NotEmpty,
    /// No such extended attribute.
    #[error("no data")]
    NoData,
    /// Too many symbolic links on the way.
    #[error("too many levels of symbolic links")]
    LinkLoop,
    /// A file would grow over the system's limit.
    #[error("file too large")]
    FileTooLarge,
    /// An extended attribute's value is over the system's limit.
    #[error("attribute value too large")]
    ValueTooLarge,
    /// A FIFO, socket or device.
    #[error("not a regular file or directory")]
    NotAFile,
    /// The object is in use by the system, such as a mount point.
    #[error("resource busy")]
    Busy,
    /// A running program cannot be written.
    #[error("text file busy")]
    ProgramRunning,
    /// The node or the system has no more open files to give.
    #[error("too many open files")]
    TooManyOpen,
    /// No such handle.
    #[error("unknown handle")]
    UnknownHandle,
    /// The handle was not opened for reading.
    #[error("handle not readable")]
    NotReadable,
    /// The handle was not opened for writing.
    #[error("handle not writable")]
    NotWritable,
    /// File data that is no base64.
    #[error("invalid base64 payload")]
    InvalidBase64,
    /// More file data in one request than allowed.
    #[error("WRITE exceeds max_write")]
    WriteTooLarge,
    /// A lock is held elsewhere.
    #[error("would block")]
    WouldBlock,
    /// A word that is no lock kind.
    #[error("invalid lock kind")]
    InvalidLockKind,
    /// The operation would have to wait and was asked not to. Never reaches a peer.
    #[error("the operation would have to wait")]
    NotNow,
    /// A service that is disabled.
    #[error("service invoke denied")]
    InvokeDenied,
    /// A service that pauses after a failure.
    #[error("service invoke cooling down")]
    CoolingDown,
    /// A payload or configuration that is no acceptable JSON object.
    #[error("service invoke payload invalid")]
    InvalidPayload,
    /// A payload that ends in the middle of an object: the rest may still come.
    #[error("service invoke payload invalid")]
    IncompletePayload,
    /// A driver that could not be run, under the original's name for the reason.
    #[error("{0}")]
    Driver(String),
    /// More invokes wait for a service than it may keep waiting.
    #[error("service is busy: too many invokes wait already")]
    QueueFull,
    /// An invoke to be cancelled that neither runs nor waits.
    #[error("no such invoke")]
    NoSuchInvoke,
    /// One of the files by which a service is controlled was to be removed or moved.
    #[error("control files cannot be removed or renamed")]
    ControlFile,
    /// The node stops before the request could be carried out.
    #[error("the node is stopping")]
    Stopping,
    /// A real failure of the disk or the machine.
    #[error("input/output error: {0}")]
    Io(#[source] io::Error),
}

impl FsError {
    /// The number the peer sees. 5, 9, 11 and 110 make original clients reconnect, so nothing ordinary uses
    /// them for an operation that clients repeat (section 14.3).
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotFound | Self::NoSuchInvoke => Errno::ENOENT,
            Self::AccessDenied => Errno::EACCES,
            Self::Exists => Errno::EEXIST,
            Self::CrossExport | Self::CrossDevice => Errno::EXDEV,
            Self::NotADirectory | Self::NodeNotADirectory => Errno::ENOTDIR,
            Self::IsADirectory => Errno::EISDIR,
            Self::InvalidArgument
            | Self::NameTooLong
            | Self::InvalidBase64
            | Self::WriteTooLarge
            | Self::InvalidLockKind
            | Self::InvalidPayload
            | Self::IncompletePayload => Errno::EINVAL,
            Self::InvokeDenied | Self::ControlFile => Errno::EPERM,
            Self::NoSpace => Errno::ENOSPC,
            Self::ExportReadOnly | Self::ReadOnly => Errno::EROFS,
            Self::Range => Errno::ERANGE,
            Self::Unsupported | Self::NotImplemented => Errno::ENOSYS,
            Self::NotEmpty => Errno::ENOTEMPTY,
            Self::NoData => Errno::ENODATA,
            Self::LinkLoop => Errno::ELOOP,
            Self::FileTooLarge => Errno::EFBIG,
            Self::ValueTooLarge => Errno::E2BIG,
            Self::NotAFile => Errno::ENXIO,
            Self::Busy | Self::QueueFull => Errno::EBUSY,
            Self::ProgramRunning => Errno::ETXTBSY,
            Self::TooManyOpen => Errno::EMFILE,
            Self::UnknownHandle | Self::NotReadable | Self::NotWritable => Errno::EBADF,
            Self::WouldBlock | Self::NotNow | Self::CoolingDown => Errno::EAGAIN,
            Self::Io(_) | Self::Driver(_) | Self::Stopping => Errno::EIO,
        }
    }
}

#[cfg(unix)]
impl From<rustix::io::Errno> for FsError {
    fn from(errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno as E;
        match errno {
            E::NOENT | E::STALE => Self::NotFound,
            E::ACCESS | E::PERM => Self::AccessDenied,
            E::EXIST => Self::Exists,
            E::XDEV => Self::CrossDevice,
            E::NOTDIR => Self::NotADirectory,
            E::ISDIR => Self::IsADirectory,
            E::INVAL | E::ILSEQ => Self::InvalidArgument,
            E::NAMETOOLONG => Self::NameTooLong,
            E::NOSPC | E::DQUOT | E::MLINK => Self::NoSpace,
            E::ROFS => Self::ReadOnly,
            E::RANGE => Self::Range,
            E::OPNOTSUPP | E::NOSYS => Self::Unsupported,
            E::NOTEMPTY => Self::NotEmpty,
            #[cfg(target_os = "linux")]
            E::NODATA => Self::NoData,
            E::LOOP => Self::LinkLoop,
            E::FBIG | E::OVERFLOW => Self::FileTooLarge,
            E::TOOBIG => Self::ValueTooLarge,
            E::NXIO | E::NODEV => Self::NotAFile,
            E::BUSY => Self::Busy,
            E::TXTBSY => Self::ProgramRunning,
            E::MFILE | E::NFILE => Self::TooManyOpen,
            other => Self::Io(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_failures_keep_a_client_connected() {
        let repeated = [Errno::EIO, Errno::EBADF, Errno::EAGAIN, Errno::ETIMEDOUT];
        for ordinary in [
            FsError::NotFound,
            FsError::AccessDenied,
            FsError::NotADirectory,
            FsError::IsADirectory,
            FsError::LinkLoop,
            FsError::NotAFile,
            FsError::NoData,
            FsError::TooManyOpen,
            FsError::Busy,
        ] {
            assert!(!repeated.contains(&ordinary.errno()), "{ordinary}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_systems_numbers_become_the_wires() {
        use rustix::io::Errno as E;
        for (system, number, words) in [
            (E::NOENT, 2, "file not found"),
            (E::ACCESS, 13, "access denied"),
            (E::PERM, 13, "access denied"),
            (E::NOTEMPTY, 39, "directory not empty"),
            (E::LOOP, 40, "too many levels of symbolic links"),
            (E::NAMETOOLONG, 22, "name too long"),
            (E::FBIG, 27, "file too large"),
            (E::TOOBIG, 7, "attribute value too large"),
            (E::NXIO, 6, "not a regular file or directory"),
            (E::DQUOT, 28, "no space left"),
            (E::MFILE, 24, "too many open files"),
        ] {
            let error = FsError::from(system);
            assert_eq!(
                (error.errno().number(), error.to_string().as_str()),
                (number, words),
                "{system:?}"
            );
        }
        assert_eq!(FsError::from(E::IO).errno(), Errno::EIO);
    }
}
