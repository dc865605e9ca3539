//! Whether a folder tells names apart that differ in case.
//!
//! No call says so on all systems, and on Linux it differs from directory to directory (FAT, CIFS, case folding of ext4). So
//! something that is there is looked for under its name in the other case.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Entries that are looked through for one whose name has a case.
const ENTRIES: usize = 64;

/// What the volumes of this system usually do; said when nothing in the folder, nor its own name, has a case.
const USUAL: bool = !cfg!(target_vendor = "apple");

/// Whether names in this folder that differ in case mean different entries.
pub(super) fn are_told_apart(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .take(ENTRIES)
        .find_map(|entry| are_told_apart_in(folder, entry.file_name().to_str()?))
        .or_else(|| are_told_apart_in(folder.parent()?, folder.file_name()?.to_str()?))
        .unwrap_or(USUAL)
}

/// What an entry of this name tells, if its name has a case.
fn are_told_apart_in(folder: &Path, name: &str) -> Option<bool> {
    let other = other_case(name)?;
    let entry = fs::symlink_metadata(folder.join(name)).ok()?;
    let found = fs::symlink_metadata(folder.join(other)).ok();
    Some(found.is_none_or(|found| !is_same(&entry, &found)))
}

/// Two links to one file would look the same; who makes those in both cases is told the wrong thing.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// A name with the case of its letters swapped. Letters beyond ASCII are left alone: volumes differ in what they take for
/// the same.
fn other_case(name: &str) -> Option<String> {
    let swap = |letter: char| {
        if letter.is_ascii_lowercase() {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        }
    };
    let other: String = name.chars().map(swap).collect();
    (other != name).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_case_of_a_name() {
        for (name, other) in [
            ("Notes.txt", Some("nOTES.TXT")),
            ("Ä1", None),
            ("Äb", Some("ÄB")),
            ("2026-11", None),
        ] {
            assert_eq!(other_case(name).as_deref(), other, "{name}");
        }
    }

    /// A folder in which one entry is found under another name as well stands for a volume that folds case.
    #[test]
    fn what_is_found_under_the_other_case_is_the_same() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("2026");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("11"), "no case").unwrap();
        assert_eq!(are_told_apart_in(place.path(), "2026"), None);
        assert_eq!(are_told_apart(&folder), USUAL, "nothing tells");

        fs::write(folder.join("note"), "one").unwrap();
        if !cfg!(target_vendor = "apple") {
            assert!(are_told_apart(&folder));
            fs::write(folder.join("NOTE"), "another").unwrap();
            assert!(are_told_apart(&folder), "both are there");
            fs::remove_file(folder.join("NOTE")).unwrap();
            fs::hard_link(folder.join("note"), folder.join("NOTE")).unwrap();
            assert!(!are_told_apart(&folder));
        }
    }
}
