//! The folder of a service, which other users can neither read nor prepare for it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use windows_permissions::LocalBox;
use windows_permissions::constants::{SeObjectType, SecurityInformation};
use windows_permissions::structures::SecurityDescriptor;
use windows_permissions::wrappers::SetNamedSecurityInfo;

use super::Home;

/// Owned by administrators; nothing is inherited from the folder above, where every user may make files. Administrators,
/// the system and the account of the service may do everything.
const LIST: &str = "O:BAD:P(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;FA;;;LS)";

/// A log that is larger when the service starts is set aside.
const LARGEST_LOG: u64 = 8 * 1024 * 1024;

/// Makes the folder and that of all services, or takes them over.
pub(super) fn prepare(home: &Home) -> io::Result<()> {
    fs::create_dir_all(home.path())?;
    for folder in home.path().parent().into_iter().chain([home.path()]) {
        guard(folder)?;
    }
    Ok(())
}

fn guard(folder: &Path) -> io::Result<()> {
    let list: LocalBox<SecurityDescriptor> = LIST.parse()?;
    SetNamedSecurityInfo(
        folder,
        SeObjectType::SE_FILE_OBJECT,
        SecurityInformation::Owner | SecurityInformation::Dacl | SecurityInformation::ProtectedDacl,
        list.owner(),
        None,
        list.dacl(),
        None,
    )
}

/// Opens the log for lines at its end.
pub(super) fn log(home: &Home) -> io::Result<File> {
    let path = home.log();
    if fs::metadata(&path).is_ok_and(|log| log.len() > LARGEST_LOG) {
        fs::rename(&path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
