//! The folder of a service, which other users can neither read nor prepare for it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use windows_permissions::constants::{SeObjectType, SecurityInformation};
use windows_permissions::structures::SecurityDescriptor;
use windows_permissions::wrappers::{GetSecurityInfo, SetSecurityInfo};
use windows_permissions::{LocalBox, Sid};

use super::Home;

/// Owned by administrators; nothing is inherited from the folder above, where every user may make files. Administrators,
/// the system and the account of the service may do everything.
const LIST: &str = "O:BAD:P(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;FA;;;LS)";

/// A log that is larger when the service starts is set aside.
const LARGEST_LOG: u64 = 8 * 1024 * 1024;

/// The account that owns what was prepared.
const ADMINISTRATORS: &str = "S-1-5-32-544";

const READ_CONTROL: u32 = 0x0002_0000;
const WRITE_DAC: u32 = 0x0004_0000;
const WRITE_OWNER: u32 = 0x0008_0000;
const FILE_LIST_DIRECTORY: u32 = 0x1;
const FILE_SHARE_READ_WRITE: u32 = 0x3;
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;

/// Makes the folder and that of all services, or takes over what an earlier service left. Anybody may have made them
/// before, as a link to elsewhere or with files inside; those are refused.
pub(super) fn prepare(home: &Home) -> io::Result<()> {
    for folder in home.path().parent().into_iter().chain([home.path()]) {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => guard(folder, true)?,
            Err(error) => return Err(error),
            Ok(()) => guard(folder, false)?,
        }
    }
    Ok(())
}

fn guard(folder: &Path, is_old: bool) -> io::Result<()> {
    // What is held, and not shared for deleting, stays what it is while it is looked at and changed.
    let mut held = OpenOptions::new()
        .access_mode(FILE_LIST_DIRECTORY | READ_CONTROL | WRITE_DAC | WRITE_OWNER)
        .share_mode(FILE_SHARE_READ_WRITE)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
        .open(folder)?;
    let found = held.metadata()?;
    if !found.is_dir() || found.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(strange(folder, "is no folder but a file or a link"));
    }
    let was_ours = is_ours(&held)?;
    let list: LocalBox<SecurityDescriptor> = LIST.parse()?;
    SetSecurityInfo(
        &mut held,
        SeObjectType::SE_FILE_OBJECT,
        SecurityInformation::Owner | SecurityInformation::Dacl | SecurityInformation::ProtectedDacl,
        list.owner(),
        None,
        list.dacl(),
        None,
    )?;
    // From here on nobody else puts anything in. A volume that keeps no owners (FAT) tells nothing.
    if is_old && !was_ours && is_ours(&held)? && fs::read_dir(folder)?.next().is_some() {
        return Err(strange(
            folder,
            "is there already, did not belong to the administrators, and has files in it",
        ));
    }
    Ok(())
}

/// Whether administrators own an open folder.
fn is_ours(folder: &File) -> io::Result<bool> {
    let administrators: LocalBox<Sid> = ADMINISTRATORS.parse()?;
    let found = GetSecurityInfo(folder, SeObjectType::SE_FILE_OBJECT, SecurityInformation::Owner)?;
    Ok(found.owner() == Some(&*administrators))
}

fn strange(folder: &Path, what: &str) -> io::Error {
    let folder = folder.display();
    io::Error::other(format!(
        "{folder} {what}; look at it, and remove it or choose another name"
    ))
}

/// Opens the log for lines at its end.
pub(super) fn log(home: &Home) -> io::Result<File> {
    let path = home.log();
    if fs::metadata(&path).is_ok_and(|log| log.len() > LARGEST_LOG) {
        fs::rename(&path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
