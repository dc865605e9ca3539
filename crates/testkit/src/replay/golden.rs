//! Golden files: a [`Script`] as text that people read and edit.
//!
//! ```text
//! topic lookup
//! node ["--export","work=work:rw"]
//! tree file "work/hello.txt" "hello world\n"
//!
//! open "/v2/fs"
//! > hello 1 {"protocol":"unified-v2-fs","proto":2}
//! < hello 1 {"protocol":"unified-v2-fs", …}
//! > lookup 2 node=$work {"name":"hello.txt"}
//! < lookup 2 {"attr":file($hello.txt,0644,12)}
//! > lookup 3 node=$work {"name":"none"}
//! < error 3 2 "file not found"
//! ```
//!
//! One step per line. `>` is said by a client, `<` by the node, on connection 0 unless a number stands before
//! it. The values are [terms](super::term). Lines that start with `#` and empty lines are skipped; any other
//! line that is not understood is an error. `CONTRIBUTING.md` lists every
//! form.

mod message;
mod read;
mod write;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::script::{Action, Script};

/// The file name extension of golden files.
pub const EXTENSION: &str = "golden";

/// Reads a golden file.
pub fn read(path: &Path) -> Result<Script> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let script = parse(&text).with_context(|| format!("in {}", path.display()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    ensure!(
        stem == Some(&*script.topic),
        "{} is about topic {}",
        path.display(),
        script.topic
    );
    Ok(script)
}

/// Reads the text of a golden file.
pub fn parse(text: &str) -> Result<Script> {
    read::script(text)
}

/// Reads one step.
pub fn parse_action(line: &str) -> Result<Action> {
    read::action(line)
}

/// Writes a script; [`parse`] reads the same one back, line numbers aside.
pub fn print(script: &Script) -> String {
    write::script(script)
}

/// Writes one step.
pub fn print_action(action: &Action) -> String {
    write::action(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each form.
    const EVERYTHING: &str = r#"topic everything
node ["--export","a b=x"]
variable "NAME" "value"
tree file "f" "text" mode 0600 xattr "user.a" "1" xattr "user.b" "2"
tree dir "d"
tree symlink "l" "f"
tree hardlink "h" "f"

note "one of each"
open "/v2/fs"
12 open "/"
> hello 1 {"protocol":"unified-v2-fs","proto":2}
> read 2 node=5 h=$h1 {"off":0}
> close 3
> message {"type":"acheron.t_fs_hello"}
> text "{ not json"
12 > frame 3 "payload" unfinished unmasked rsv 5
12 > frame ping ""
< read 2 {"data_b64":b64("x"),"eof":true}
< error 3 2 "file not found"
< error - 22 text
< inval $f all gen
< inval $f data
< inval_dir $d
< message {"type":"acheron.err_fs"}
< frame close ""
< frame pong hex("ff")
12 < end
quiet
12 drop
http "GET / HTTP/1.1\r\n\r\n" => upgraded "key"
http "GET /x HTTP/1.1\r\n\r\n" => ended "key" error - 22 "invalid FS endpoint path"
http "POST" => refused
http "PUT" => unchecked
disk write "f" "new"
disk append "f" "more"
disk unlink "f"
disk mkdir "a/b"
disk rename "a" "b"
disk chmod "b" 0700
disk rmtree "b"
disk symlink "s" "t"
check missing "f"
check file "g" 0644 "content"
check dir "d" 0755
check symlink "s" "t"
"#;

    #[test]
    fn what_is_read_is_printed_the_same() {
        assert_eq!(print(&parse(EVERYTHING).unwrap()), EVERYTHING);
    }

    #[test]
    fn comments_and_empty_lines_are_skipped_and_counted() {
        let script = parse("# why\ntopic t\n\n# and\nopen \"/\"\n").unwrap();
        assert_eq!(script.steps[0].line, 5);
    }

    #[test]
    fn anything_else_is_an_error() {
        for line in [
            "whatever",
            "open /v2/fs",
            "> lookup",
            "> lookup x {}",
            "> lookup 1 {} {}",
            "> lookup 1 handle=5 {}",
            "< lookup 1",
            "< error 1 2",
            "< inval $f some",
            "< end now",
            "> frame 16 \"\"",
            "http \"GET\"",
            "http \"GET\" => fine",
            "disk touch \"f\"",
            "check fifo \"f\"",
            "check file \"f\" 644 \"\"",
            "5 disk unlink \"f\"",
            "drop 5",
            "topic again",
        ] {
            assert!(
                parse(&format!("topic t\nopen \"/\"\n{line}\n")).is_err(),
                "{line:?} was accepted"
            );
        }
        assert!(parse("open \"/\"\n").is_err(), "a file needs a topic");
        assert!(
            parse("topic t\nopen \"/\"\ntree dir \"late\"\n").is_err(),
            "the setup comes first"
        );
    }
}
