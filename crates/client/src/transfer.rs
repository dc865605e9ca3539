//! Moving the contents of files, several requests at a time.
//!
//! A copy appears whole or not at all: it is written under another name beside its target, measured, and renamed.
//! A lost connection costs the requests that were outstanding, not what was copied before; a node that was restarted
//! in between costs as little, because files are opened anew by id.

mod blocks;
mod download;
mod link;
mod upload;

use spiderweb_protocol::limits::MAX_READ;

pub use self::download::{download, fetch};
pub use self::link::replace_link;
pub use self::upload::{Upload, copy_remote};

/// How often a file that changes while it is read is read again.
const READINGS: u32 = 3;

/// How much of a file is under way at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Bytes of one request, at most 1 MiB.
    pub block: u32,
    /// Requests outstanding.
    pub depth: usize,
}

impl Default for Window {
    /// Eight times 512 KiB: 4 MiB under way fill a gigabit link of 30 ms.
    fn default() -> Self {
        Self {
            block: 512 * 1024,
            depth: 8,
        }
    }
}

impl Window {
    fn block(self) -> u32 {
        self.block.clamp(1, MAX_READ)
    }
}

/// What comes before the random part of an unfinished copy's name.
const PARTIAL: &str = ".spiderweb-";
/// How such a name ends.
const PART: &str = ".part";
/// Hexadecimal digits between them.
const RANDOM: usize = 16;

/// The name a file has until it is complete: `.name.spiderweb-<random>.part`, cut to what file systems take.
pub fn partial_name(name: &str) -> String {
    const MOST: usize = 200;
    let end = (0..=name.len().min(MOST))
        .rev()
        .find(|end| name.is_char_boundary(*end))
        .unwrap_or(0);
    let name = name.get(..end).unwrap_or_default();
    let random = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
    format!(".{name}{PARTIAL}{random:0RANDOM$x}{PART}")
}

/// Whether this is the name of an unfinished copy: what [`partial_name`] makes.
pub fn is_partial_name(name: &str) -> bool {
    let random = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(PART))
        .and_then(|name| name.rsplit_once(PARTIAL))
        .map(|(_, random)| random);
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use spiderweb_protocol::EntryName;

    use super::*;

    #[test]
    fn partial_names_are_hidden_fresh_and_short_enough() {
        assert!(partial_name("a.txt").starts_with(".a.txt.spiderweb-"));
        assert_ne!(partial_name("a"), partial_name("a"));
        for name in ["x".repeat(255), "é".repeat(127), "日".repeat(85)] {
            let partial = partial_name(&name);
            assert!(
                partial.len() <= 255 && EntryName::new(&partial).is_ok(),
                "{partial}"
            );
            assert!(is_partial_name(&partial), "{partial}");
        }
    }

    #[test]
    fn names_of_others_are_no_partial_names() {
        for name in [
            "a.txt",
            ".part",
            ".a.spiderweb-.part",
            "a.spiderweb-0123456789abcdef.part",
            ".a.spiderweb-0123456789abcdeg.part",
            ".a.spiderweb-0123456789abcdef.part.txt",
            ".spiderweb-sandbox",
        ] {
            assert!(!is_partial_name(name), "{name}");
        }
    }
}
