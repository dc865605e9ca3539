//! Names that Windows refuses, changes, interprets or confuses, against everything that takes a name.
//!
//! Whatever a name is, it has one of four fates, and never another effect: nothing appears outside of the export, and
//! nothing inside it under another name than the one that was asked for.

#![cfg(windows)]
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::windows::ffi::OsStringExt as _;
use std::path::Path;
use std::process::Command;

use spiderweb_fs::{FsError, LocalSource, Patience, Source};
use spiderweb_protocol::fs::{ListingEncoder, Op, OpenFlags, Reply};
use spiderweb_protocol::{EntryName, InodeId, Tag};

const BLOCKING: Patience = Patience::Blocking;
/// A file that is there before and after everything.
const WITNESS: &str = "witness.txt";
/// A file that is renamed.
const PLAIN: &str = "plain";
/// Fewest names that make a corpus.
const FEWEST: usize = 300;

/// What becomes of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// The protocol has no such name: requests with it are refused before they come here.
    Unsayable,
    /// There is nothing of that name, and nothing can get it.
    Refused,
    /// The system has no name of that length.
    TooLong,
    /// It is taken as it is.
    Literal,
    /// It is the witness, in other letters.
    Witness,
}

/// Wine keeps files in folders of Linux, where a name has at most 255 bytes; Windows counts 255 UTF-16 units.
fn is_beyond_wine(name: &str) -> bool {
    std::env::var_os("WINELOADER").is_some() && name.len() > 255
}

/// Every name once.
fn corpus() -> Vec<(String, Fate)> {
    let mut names = Vec::new();
    let mut add = |fate, name: String| names.push((name, fate));

    let mut devices: Vec<String> = ["con", "prn", "aux", "nul", "conin$", "conout$"]
        .map(str::to_owned)
        .into();
    for port in ["com", "lpt"] {
        devices.extend("0123456789¹²³".chars().map(|digit| format!("{port}{digit}")));
    }
    for device in &devices {
        let upper = device.to_uppercase();
        for name in [
            device.clone(),
            upper.clone(),
            format!("{device}.txt"),
            format!("{upper}.tar.gz"),
            format!("{device} .txt"),
            format!("{device}."),
            format!("{upper} "),
            format!("{device}:"),
            format!("{device}:.txt"),
        ] {
            add(Fate::Refused, name);
        }
        // Only the whole stem is the device.
        for name in [
            format!("x{device}"),
            format!("{device}x"),
            format!("{device}-.txt"),
            format!("x.{device}"),
            format!(".{device}"),
        ] {
            add(Fate::Literal, name);
        }
    }
    let forbidden = "<>:\"|?*".chars().chain('\u{1}'..'\u{20}');
    for char in forbidden {
        for name in [
            format!("{char}"),
            format!("a{char}"),
            format!("{char}a"),
            format!("a{char}b"),
        ] {
            add(Fate::Refused, name);
        }
    }
    for separator in ["/", "\\", "\0"] {
        for name in ["", "a", "..", "C:", "a..", "witness.txt"] {
            add(Fate::Unsayable, format!("{name}{separator}"));
            add(Fate::Unsayable, format!("{separator}{name}x"));
            add(Fate::Unsayable, format!("{name}{separator}x"));
        }
    }
    for name in [
        "",
        ".",
        "..",
        r"\\?\C:\x",
        r"\\.\pipe\x",
        r"\\server\share",
        r"\??\C:\x",
        "//server/share",
        r"..\..\x",
        r"x\..\..\y",
        r"C:\x",
        r"\\?\UNC\server\share",
        r"a\ud800",
        r"..\",
        r"CON\x",
    ] {
        add(Fate::Unsayable, name.to_owned());
    }
    for name in [
        "witness.txt::$DATA",
        "witness.txt:stream",
        "witness.txt:stream:$DATA",
        "::$DATA",
        ":stream",
        "a::$DATA",
        "a:$I30:$INDEX_ALLOCATION",
        "..::$INDEX_ALLOCATION",
        "C:",
        "C:x",
        "c:",
        "Z:",
        "Z:witness.txt",
        "C:..",
        "witness.txt.",
        "witness.txt ",
        "witness.txt..",
        "witness.txt. ",
        "witness.txt .",
        "witness.*",
        "witness.tx?",
        "*",
        "?",
        "\"witness.txt\"",
        "witness.txt<",
        "a.",
        "a..",
        "a ",
        "a  ",
        "a. ",
        "a .",
        " ",
        "  ",
        "...",
        "....",
        ". ",
        " .",
        ".. ",
        " ..",
        ". .",
        ".. .",
        "... ",
        ".\u{20}\u{20}.",
        "a.b.",
        "a.b ",
    ] {
        add(Fate::Refused, name.to_owned());
    }
    for name in ["WITNESS.TXT", "Witness.txt", "witness.TXT", "wItNeSs.TxT"] {
        add(Fate::Witness, name.to_owned());
    }
    for name in [
        // Characters that shells, other systems and programs interpret, and Windows does not.
        "a b",
        " a",
        "  a",
        ".a",
        "..a",
        "...a",
        "a.b.c",
        "a~",
        "~",
        "~1",
        "a~1",
        "PROGRA~1",
        "WITNES~2.TXT",
        "a;b",
        "a,b",
        "a=b",
        "a+b",
        "[a]",
        "{a}",
        "a&b",
        "a%b",
        "%PATH%",
        "%2e%2e",
        "%00",
        "%5c",
        "!a",
        "@a",
        "#a",
        "$a",
        "$MFT",
        "$DATA",
        "^a",
        "`a",
        "'a'",
        "(a)",
        "-a",
        "--help",
        "_",
        "con1",
        "com",
        "com10",
        "lpt",
        "console",
        "nul1",
        "clock$",
        "desktop.ini",
        "thumbs.db",
        "autorun.inf",
        // Look-alikes of devices, separators, dots and blanks.
        "COM①",
        "COM４",
        "ＣＯＮ",
        "соn",
        "nul\u{200b}",
        "nul\u{301}",
        "a\u{a0}",
        "a\u{2024}",
        "a\u{ff0e}",
        "a\u{2026}",
        "a\u{3000}",
        "a\u{2009}",
        "a\u{ff0f}b",
        "a\u{2215}b",
        "a\u{29f5}b",
        "a\u{ff3c}b",
        "C\u{ff1a}",
        "C\u{a789}x",
        "a\u{ff0a}",
        "a\u{ff1f}",
        "a\u{201d}",
        "wi\u{2060}tness.txt",
        "wіtness.txt",
        // Characters with two forms, none, many, or a direction.
        "é",
        "e\u{301}",
        "Å",
        "\u{212b}",
        "ß",
        "ẞ",
        "ı",
        "İ",
        "ſ",
        "ﬁ",
        "\u{202e}txt.exe",
        "\u{feff}a",
        "日本語",
        "ไทย",
        "עברית",
        "😀",
        "👨\u{200d}👩\u{200d}👧",
        "𝔘𝔫𝔦",
        "\u{10ffff}",
        "\u{7f}",
        "\u{80}",
        "\u{85}",
        "a\u{2028}b",
        "\u{e000}",
        "\u{f02a}",
        "\u{f03a}",
        "\u{f05c}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{fdd0}",
        "%ED%A0%80",
        "&#xd800;",
        "u+d800",
    ] {
        add(Fate::Literal, name.to_owned());
    }
    for (unit, fits) in [("a", 255), ("é", 255), ("日", 255), ("😀", 127)] {
        add(Fate::Literal, unit.repeat(fits / 3));
        add(Fate::Literal, unit.repeat(fits));
        add(Fate::TooLong, unit.repeat(fits + 1));
        add(Fate::TooLong, unit.repeat(10 * fits));
    }
    add(Fate::TooLong, "a".repeat(32_767));
    names
}

/// An export in a folder of its own.
struct Bench {
    outer: tempfile::TempDir,
    source: LocalSource,
}

impl Bench {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("outside"), "outside").unwrap();
        let export = outer.path().join("export");
        fs::create_dir(&export).unwrap();
        fs::write(export.join(WITNESS), "witness").unwrap();
        fs::write(export.join(PLAIN), "plain").unwrap();
        let source = LocalSource::open(&export, 0).unwrap();
        Self { outer, source }
    }

    fn lookup(&self, name: &EntryName) -> Result<InodeId, FsError> {
        let attr = self.source.lookup(self.source.root(), name, BLOCKING)?;
        Ok(InodeId::new(attr.id).unwrap())
    }

    fn create(&self, name: &EntryName) -> Result<(), FsError> {
        let opened = self
            .source
            .create(self.source.root(), name, 0o644, OpenFlags::READ);
        opened.map(drop)
    }

    fn mkdir(&self, name: &EntryName) -> Result<(), FsError> {
        self.source.mkdir(self.source.root(), name).map(drop)
    }

    fn rename(&self, old: &EntryName, new: &EntryName) -> Result<(), FsError> {
        let root = self.source.root();
        self.source.rename(root, old, root, new).map(drop)
    }

    /// What is there, as clients and as other programs see it, and that there is nothing else anywhere.
    fn holds(&self, expected: &[&str], after: &str) {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(entries(&self.outer.path().join("export")), expected, "{after}");
        assert_eq!(self.listed(), expected, "{after}");
        let outside = ["export", "outside"].map(str::to_owned).into();
        assert_eq!(entries(self.outer.path()), outside, "{after}");
        let witness = fs::read(self.outer.path().join("export").join(WITNESS)).unwrap();
        assert_eq!(witness, b"witness", "{after}");
    }

    fn listed(&self) -> BTreeSet<String> {
        let mut page = ListingEncoder::new(0, 1000);
        let (eof, generation) = self.source.list(self.source.root(), 0, &mut page).unwrap();
        assert!(eof);
        let mut frame = Vec::new();
        Reply::Listing(page.finish(eof, generation)).encode(Op::Readdirp, Tag(1), &mut frame);
        let frame: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        let entries = frame["payload"]["ents"].as_array().unwrap().iter();
        let names = entries.map(|entry| entry["name"].as_str().unwrap().to_owned());
        names.filter(|name| name != "." && name != "..").collect()
    }
}

fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

fn name(text: &str) -> EntryName {
    EntryName::new(text).unwrap()
}

fn is_refused(outcome: &Result<(), FsError>) -> bool {
    matches!(outcome, Err(FsError::InvalidArgument | FsError::NotFound))
}

#[test]
fn every_odd_name_is_taken_as_it_is_or_not_at_all() {
    let corpus = corpus();
    let different: BTreeSet<&str> = corpus.iter().map(|(name, _)| name.as_str()).collect();
    assert!(different.len() >= FEWEST, "{}", different.len());
    let mut counts = [
        Fate::Unsayable,
        Fate::Refused,
        Fate::TooLong,
        Fate::Literal,
        Fate::Witness,
    ]
    .map(|fate| (fate, 0));
    let mut beyond_wine = 0;
    let bench = Bench::new();
    for (text, fate) in &corpus {
        let (_, count) = counts.iter_mut().find(|(counted, _)| counted == fate).unwrap();
        *count += 1;
        let after = format!("after {:?}, which is {fate:?}", shortened(text));
        let Ok(odd) = EntryName::new(text) else {
            assert_eq!(*fate, Fate::Unsayable, "{after}");
            continue;
        };
        match fate {
            Fate::Unsayable => panic!("{after}: it was taken"),
            Fate::Refused => refused(&bench, &odd, &after),
            Fate::TooLong => too_long(&bench, &odd, &after),
            Fate::Literal if is_beyond_wine(text) => beyond_wine += 1,
            Fate::Literal => literal(&bench, &odd, &after),
            Fate::Witness => witness(&bench, &odd, &after),
        }
        bench.holds(&[PLAIN, WITNESS], &after);
    }
    println!(
        "{} names: {counts:?}, of which {beyond_wine} are too long for Wine",
        different.len()
    );
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn refused(bench: &Bench, odd: &EntryName, after: &str) {
    let found = bench.lookup(odd);
    assert!(matches!(found, Err(FsError::NotFound)), "{after}: {found:?}");
    let source = bench.rename(odd, &name("other"));
    assert!(matches!(source, Err(FsError::NotFound)), "{after}: {source:?}");
    for outcome in [
        bench.create(odd),
        bench.mkdir(odd),
        bench.rename(&name(PLAIN), odd),
        bench.source.unlink(bench.source.root(), odd).map(drop),
        bench.source.rmdir(bench.source.root(), odd).map(drop),
    ] {
        assert!(is_refused(&outcome), "{after}: {outcome:?}");
    }
}

fn too_long(bench: &Bench, odd: &EntryName, after: &str) {
    for outcome in [
        bench.lookup(odd).map(drop),
        bench.create(odd),
        bench.mkdir(odd),
        bench.rename(odd, &name("other")),
        bench.rename(&name(PLAIN), odd),
    ] {
        assert!(
            matches!(outcome, Err(FsError::NameTooLong)),
            "{after}: {outcome:?}"
        );
    }
}

fn literal(bench: &Bench, odd: &EntryName, after: &str) {
    let root = bench.source.root();
    let found = bench.lookup(odd);
    assert!(matches!(found, Err(FsError::NotFound)), "{after}: {found:?}");
    bench
        .create(odd)
        .unwrap_or_else(|error| panic!("{after}: create: {error:?}"));
    bench.holds(&[odd.as_str(), PLAIN, WITNESS], after);
    bench
        .lookup(odd)
        .unwrap_or_else(|error| panic!("{after}: lookup: {error:?}"));
    let again = bench.create(odd);
    assert!(matches!(again, Err(FsError::Exists)), "{after}: {again:?}");
    bench
        .rename(odd, &name("other"))
        .unwrap_or_else(|error| panic!("{after}: rename from it: {error:?}"));
    bench.holds(&["other", PLAIN, WITNESS], after);
    bench
        .rename(&name("other"), odd)
        .unwrap_or_else(|error| panic!("{after}: rename to it: {error:?}"));
    bench.holds(&[odd.as_str(), PLAIN, WITNESS], after);
    bench
        .source
        .unlink(root, odd)
        .unwrap_or_else(|error| panic!("{after}: unlink: {error:?}"));
    bench
        .mkdir(odd)
        .unwrap_or_else(|error| panic!("{after}: mkdir: {error:?}"));
    bench.holds(&[odd.as_str(), PLAIN, WITNESS], after);
    bench
        .source
        .rmdir(root, odd)
        .unwrap_or_else(|error| panic!("{after}: rmdir: {error:?}"));
}

fn witness(bench: &Bench, odd: &EntryName, after: &str) {
    assert_eq!(
        bench.lookup(odd).unwrap(),
        bench.lookup(&name(WITNESS)).unwrap(),
        "{after}"
    );
    for outcome in [bench.create(odd), bench.mkdir(odd)] {
        assert!(matches!(outcome, Err(FsError::Exists)), "{after}: {outcome:?}");
    }
}

/// The names are equal to those who compare more than the system does.
#[test]
fn names_that_only_others_take_for_equal_are_two_files() {
    let bench = Bench::new();
    for (one, two) in [
        ("straße", "strasse"),
        ("\u{17f}", "s"),
        ("ı", "i"),
        ("\u{fb01}", "fi"),
        ("\u{212a}", "k"),
        ("é", "e\u{301}"),
        ("ŉ", "ʼn"),
    ] {
        let export = bench.outer.path().join("export");
        fs::write(export.join(one), "1").unwrap();
        fs::write(export.join(two), "22").unwrap();
        if entries(&export).len() == 3 {
            // This system takes them for equal.
            fs::remove_file(export.join(one)).unwrap();
            println!("{one} is {two} here");
            continue;
        }
        let size = |id| bench.source.getattr(id, BLOCKING).unwrap().sz;
        let (first, second) = (
            bench.lookup(&name(one)).unwrap(),
            bench.lookup(&name(two)).unwrap(),
        );
        assert_ne!(first, second, "{one} {two}");
        assert_eq!((size(first), size(second)), (1, 2), "{one} {two}");
        bench.source.unlink(bench.source.root(), &name(one)).unwrap();
        assert_eq!(size(second), 2, "{one} {two}");
        assert!(bench.source.getattr(first, BLOCKING).is_err(), "{one} {two}");
        bench.source.unlink(bench.source.root(), &name(two)).unwrap();
    }
    bench.holds(&[PLAIN, WITNESS], "after all");
}

/// Programs of the past see a second, short name, which no listing shows.
#[test]
fn short_names_of_files_do_not_exist() {
    const LONG: &str = "A long name with blanks.text";
    let bench = Bench::new();
    let export = bench.outer.path().join("export");
    fs::write(export.join(LONG), "long").unwrap();
    let Some(short) = short_name(&export) else {
        eprintln!("files have no short names here");
        return;
    };
    assert_eq!(fs::read(export.join(&short)).unwrap(), b"long", "{short}");
    let after = format!("after {short}");
    refused(&bench, &name(&short), &after);
    bench.holds(&[LONG, PLAIN, WITNESS], &after);
    assert_eq!(fs::read(export.join(LONG)).unwrap(), b"long");
}

/// The short name of the only file that has one.
fn short_name(folder: &Path) -> Option<String> {
    let listing = Command::new("cmd")
        .args(["/D", "/C", "dir", "/X"])
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&listing.stdout).into_owned();
    let mut words = text.split_whitespace();
    words.find(|word| word.contains('~')).map(str::to_owned)
}

/// They are no text, so they cannot be said.
#[test]
fn names_that_are_no_text_stay_unseen() {
    let bench = Bench::new();
    let export = bench.outer.path().join("export");
    for units in [&[0xd800][..], &[0x61, 0xdfff], &[0xdc00, 0xd800], &[0xd83d, 0x61]] {
        let odd = export.join(OsString::from_wide(units));
        if let Err(error) = fs::write(&odd, "odd") {
            eprintln!("no such name can be made here: {units:x?}: {error}");
            continue;
        }
        assert_eq!(bench.listed().len(), 2, "{units:x?}");
        let lossy = name("\u{fffd}");
        let found = bench.lookup(&lossy);
        assert!(matches!(found, Err(FsError::NotFound)), "{units:x?}: {found:?}");
        fs::remove_file(&odd).unwrap();
    }
    bench.holds(&[PLAIN, WITNESS], "after all");
}
