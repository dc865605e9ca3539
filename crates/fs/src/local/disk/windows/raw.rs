//! What the system says of an object, and the parts of it.

use std::fs::File;
use std::os::windows::fs::MetadataExt as _;

use crate::FsError;
use crate::local::attr::Kind;

const FILE_ATTRIBUTE_READONLY: u32 = 0x1;
const FILE_ATTRIBUTE_DIRECTORY: u32 = 0x10;
const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// From 1601 to 1970, in the system's units of 100 ns.
const EPOCH: i128 = 116_444_736_000_000_000;

/// What is known of an object.
#[derive(Clone, Copy, Debug)]
pub(in crate::local) struct Stat {
    attributes: u32,
    is_link: bool,
    volume: u64,
    index: u64,
    links: u64,
    size: u64,
    created: u64,
    accessed: u64,
    written: u64,
}

impl Stat {
    pub(super) fn of(file: &File) -> Result<Self, FsError> {
        let metadata = file.metadata()?;
        let information = winapi_util::file::information(file)?;
        Ok(Self {
            attributes: metadata.file_attributes(),
            is_link: metadata.file_type().is_symlink(),
            volume: information.volume_serial_number(),
            index: information.file_index(),
            links: information.number_of_links(),
            size: metadata.len(),
            created: metadata.creation_time(),
            accessed: metadata.last_access_time(),
            written: metadata.last_write_time(),
        })
    }

    /// The same for every name of an object, and for no other object.
    pub(super) fn object(&self) -> (u64, u64) {
        (self.volume, self.index)
    }
}

fn nanoseconds(time: u64) -> i64 {
    let since_epoch = (i128::from(time) - EPOCH) * 100;
    since_epoch.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

pub(in crate::local) fn modified(stat: &Stat) -> i64 {
    nanoseconds(stat.written)
}

/// The time of the last change of anything is not to be had by safe means; a file is not older than itself.
pub(in crate::local) fn changed(stat: &Stat) -> i64 {
    nanoseconds(stat.written.max(stat.created))
}

pub(in crate::local) fn accessed(stat: &Stat) -> i64 {
    nanoseconds(stat.accessed)
}

pub(in crate::local) fn device(stat: &Stat) -> u64 {
    stat.volume
}

pub(in crate::local) fn inode(stat: &Stat) -> u64 {
    stat.index
}

pub(in crate::local) fn links(stat: &Stat) -> u64 {
    stat.links
}

/// Who may do what is said by lists that have no such form: a mode says what an object is, and whether it is
/// read-only.
pub(in crate::local) fn mode(stat: &Stat) -> u32 {
    match kind(stat) {
        Kind::Directory => DIRECTORY | 0o777,
        _ if stat.attributes & FILE_ATTRIBUTE_READONLY != 0 => REGULAR | 0o444,
        _ => REGULAR | 0o666,
    }
}

pub(in crate::local) fn size(stat: &Stat) -> u64 {
    stat.size
}

pub(in crate::local) fn kind(stat: &Stat) -> Kind {
    if stat.is_link {
        Kind::Link
    } else if stat.attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        Kind::Special
    } else if stat.attributes & FILE_ATTRIBUTE_DIRECTORY != 0 {
        Kind::Directory
    } else {
        Kind::File
    }
}
