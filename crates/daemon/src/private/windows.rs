//! By the file's access list.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use windows_permissions::LocalBox;
use windows_permissions::constants::{SeObjectType, SecurityInformation};
use windows_permissions::structures::SecurityDescriptor;
use windows_permissions::wrappers::SetSecurityInfo;

/// Nothing is inherited from the folder (`P`); whoever owns the file may do everything, and nobody else is named.
const OWNER_ONLY: &str = "D:P(A;;FA;;;OW)";

const GENERIC_WRITE: u32 = 0x4000_0000;
const WRITE_DAC: u32 = 0x0004_0000;

/// The file is empty until its list is in force, and nobody else has it open: it is not shared before that.
pub(super) fn create_new(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let list: LocalBox<SecurityDescriptor> = OWNER_ONLY.parse()?;
    let mut file = options
        .access_mode(GENERIC_WRITE | WRITE_DAC)
        .share_mode(0)
        .open(path)?;
    SetSecurityInfo(
        &mut file,
        SeObjectType::SE_FILE_OBJECT,
        SecurityInformation::Dacl | SecurityInformation::ProtectedDacl,
        None,
        None,
        list.dacl(),
        None,
    )?;
    Ok(file)
}

pub(super) fn append(path: &Path) -> io::Result<File> {
    match super::create_new(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    OpenOptions::new().append(true).open(path)
}

/// Copying by the system would give the copy the rights of its folder.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut copied = super::create_new(to)?;
    io::copy(&mut File::open(from)?, &mut copied).map(drop)
}
