//! Golden files of services: a [`Script`] as text that people read and edit.
//!
//! ```text
//! service failing
//! node ["--service-manifest","service.json"]
//! place file service.json 0644 {"service_id":"v-fail","kind":"test","runtime":{…}}
//! place file drivers/fail.sh 0755 "#!/bin/sh\nexit 3\n"
//! export {"name":"svc-v-fail",…}
//! root 136098659427149
//! file /status.json {"state":"idle"}
//! …
//!
//! > write /control/invoke.json truncate {"a":1}
//! ! inval /control/invoke.json data +1
//! ! inval /status.json data +1
//! < ok {"n":7}
//! look
//! = /last_error.txt "driver exploded\n"
//! ~ /health.json {"state":"degraded","last_started_ms":@,"last_duration_ms":#}
//! ```
//!
//! One thing per line: `>` a client does, `!` is an event before the reply, `<` is the reply. After `look` stands
//! what changed since the look before: `=` a whole file, `~` members of the object in one, `gone` a file that is no
//! more. `@` and `#` stand for [numbers of the moment](super::volatile). Lines that start with `# ` and empty lines
//! are skipped; any other line that is not understood is an error.

mod read;
mod write;

use anyhow::Result;

use super::script::Script;

/// Reads the text of a golden file.
pub fn parse(text: &str) -> Result<Script> {
    read::script(text)
}

/// Writes a script; [`parse`] reads the same one back, line numbers aside.
pub fn print(script: &Script) -> String {
    write::script(script)
}

/// Writes one step, for messages.
pub(super) fn print_action(action: &super::script::Action) -> String {
    write::action(action)
}

pub(super) use self::read::{arguments, placed};
pub(super) use self::write::{print_arguments, print_placed};

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each form.
    const EVERYTHING: &str = r##"service everything
node ["--service-manifest","service.json"]
place file service.json 0644 {"service_id":"s"}
place file drivers/a.sh 0755 "#!/bin/sh\ncat\n"
place module a.wasm "(module)"
export {"name":"svc-s"}
root 77
file /README.md "Hello.\n"
file /status.json {"state":"idle"}

note "one of each"
wait cooldown
> write /control/invoke.json truncate {"a":1}
! inval /control/invoke.json data +2
! inval /new all
! inval_dir /control/
< ok {"n":7}
look
= /status.json {"state":"ok"}
~ /health.json {"a":1,"b_ms":@}
gone /control/x
> write /config.json keep flags 1 at 5 "x"
< error 22 "service invoke payload invalid"
> truncate /config.json {"sz":1}
> rename - {"old_name":"a","old_parent":"id of /"}
< page [".","a b"] 2 more
< page [] 2 end
look
"##;

    #[test]
    fn what_is_read_is_printed_the_same() {
        assert_eq!(print(&parse(EVERYTHING).unwrap()), EVERYTHING);
    }

    #[test]
    fn anything_else_is_an_error() {
        for line in [
            "whatever",
            "> write",
            "> write /a",
            "> write /a slowly {}",
            "> truncate /a",
            "! inval /a data 1",
            "! came /a",
            "< ok",
            "< error 5",
            "< page [] 2",
            "= /a {}",
            "look here",
            "wait",
            "service again",
            "file /late {}",
        ] {
            let text = format!("service t\nnode []\nexport {{}}\nroot 1\nnote \"x\"\n{line}\n");
            assert!(parse(&text).is_err(), "{line:?} was accepted");
        }
        assert!(parse("service t\nexport {}\n").is_err(), "a root is missing");
    }
}
