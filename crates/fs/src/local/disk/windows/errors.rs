//! The system's numbers as failures of file operations.

use std::io;

use crate::FsError;

impl From<io::Error> for FsError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            // No such file, path, name, device or share; or one that is being removed.
            Some(2 | 3 | 53 | 67 | 123 | 161 | 303) => Self::NotFound,
            Some(4) => Self::TooManyOpen,
            // Also what cannot be reached through a link.
            Some(5 | 65 | 1920) => Self::AccessDenied,
            Some(17) => Self::CrossDevice,
            Some(19) => Self::ReadOnly,
            // Somebody has it open and does not share it, or has locked a part of it.
            Some(32 | 33 | 170) => Self::Busy,
            Some(39 | 112 | 1295) => Self::NoSpace,
            Some(1 | 50) => Self::Unsupported,
            Some(80 | 183) => Self::Exists,
            Some(87) => Self::InvalidArgument,
            Some(145) => Self::NotEmpty,
            Some(206) => Self::NameTooLong,
            Some(223) => Self::FileTooLarge,
            Some(267) => Self::NotADirectory,
            Some(1921) => Self::LinkLoop,
            _ => match error.kind() {
                io::ErrorKind::NotFound => Self::NotFound,
                io::ErrorKind::PermissionDenied => Self::AccessDenied,
                io::ErrorKind::AlreadyExists => Self::Exists,
                _ => Self::Io(error),
            },
        }
    }
}
