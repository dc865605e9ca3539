//! Names that mean what they say, and when two mean the same.

use std::ffi::OsStr;
use std::path::Path;

use spiderweb_protocol::EntryName;

use crate::local::LONGEST_NAME;

/// The form of a name in which all that mean the same entry are equal.
///
/// The system compares character by character, so that `ß` is not `SS`, and leaves alone what is no letter's usual small
/// form, such as the long `ſ`. Which those are differs a little between versions. Two names of one entry may keep
/// different forms, since what is found there counts; but those of two entries must not have the same.
pub(in crate::local) fn folded(name: &str) -> String {
    let upper = |small: char| {
        let mut upper = small.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(large), None) if small <= '\u{ffff}' && large.to_lowercase().eq([small]) => large,
            _ => small,
        }
    };
    name.chars().map(upper).collect()
}

/// The limit counts what the system's strings are made of.
pub(in crate::local) fn is_too_long(name: &str) -> bool {
    name.encode_utf16().count() > LONGEST_NAME
}

/// Whether a name means an entry of that name and nothing else.
pub(in crate::local) fn is_literal(name: &str) -> bool {
    EntryName::new(name).is_ok_and(|name| name.is_literal_on_windows())
}

/// Whether a name is the second one, such as `PROGRA~1`, that the system keeps for an entry of a longer name. No listing
/// shows it, and whoever changed an entry by it would change one that was not named.
pub(super) fn is_short_name(path: &Path, name: &str) -> bool {
    name.contains('~')
        && path.canonicalize().is_ok_and(|path| {
            let found = path.file_name().and_then(OsStr::to_str);
            found.is_none_or(|found| folded(found) != folded(name))
        })
}
