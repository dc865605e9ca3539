//! What a terminal says of a command that was run (section 14.2).

use std::fmt::Write as _;

/// How a command ended, with what it wrote.
#[derive(Debug)]
pub(super) struct Report<'a> {
    state: &'static str,
    exit_code: i32,
    stdout: &'a [u8],
    stderr: &'a [u8],
}

impl<'a> Report<'a> {
    pub(super) const fn exited(code: i32, stdout: &'a [u8], stderr: &'a [u8]) -> Self {
        Self {
            state: "exited",
            exit_code: code,
            stdout,
            stderr,
        }
    }

    /// A signal ended it.
    pub(super) const fn terminated(stdout: &'a [u8], stderr: &'a [u8]) -> Self {
        Self {
            state: "terminated",
            exit_code: -1,
            stdout,
            stderr,
        }
    }

    /// The time that the request gave it was over.
    pub(super) const fn timed_out(stdout: &'a [u8], stderr: &'a [u8]) -> Self {
        Self {
            state: "timeout",
            exit_code: -1,
            stdout,
            stderr,
        }
    }

    /// It could not be started, or wrote too much.
    pub(super) const fn launch_failed(fault: &'a str) -> Self {
        Self {
            state: "launch_failed",
            exit_code: -1,
            stdout: b"",
            stderr: fault.as_bytes(),
        }
    }

    /// The result as JSON. Bytes that are no UTF-8 are replaced.
    pub(super) fn render(&self, terminal_id: &str) -> String {
        let mut json = String::with_capacity(160 + self.stdout.len() + self.stderr.len());
        json.push_str(r#"{"service":"terminal","terminal_id":""#);
        escape(&mut json, terminal_id.as_bytes());
        let ok = self.state == "exited" && self.exit_code == 0;
        // Writing to a string cannot fail.
        let _ = write!(
            json,
            r#"","operation":"exec","ok":{ok},"state":"{}","exit_code":{},"stdout":""#,
            self.state, self.exit_code
        );
        escape(&mut json, self.stdout);
        json.push_str(r#"","stderr":""#);
        escape(&mut json, self.stderr);
        json.push_str(r#""}"#);
        json
    }
}

/// Escapes as the original does: three short forms, `\u00xx` for the other control characters.
fn escape(json: &mut String, bytes: &[u8]) {
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            _ => json.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_escaped_and_mended() {
        let report = Report::exited(0, b"a\"\\\n\r\t\x08\x1b\x7f\xff\xc3\xa9", b"");
        assert_eq!(
            report.render("1"),
            "{\"service\":\"terminal\",\"terminal_id\":\"1\",\"operation\":\"exec\",\"ok\":true,\
             \"state\":\"exited\",\"exit_code\":0,\
             \"stdout\":\"a\\\"\\\\\\n\\r\\t\\u0008\\u001b\u{7f}\u{fffd}\u{e9}\",\"stderr\":\"\"}"
        );
    }

    #[test]
    fn only_code_zero_is_ok() {
        for (report, expected) in [
            (
                Report::exited(3, b"", b""),
                r#""ok":false,"state":"exited","exit_code":3,"#,
            ),
            (
                Report::terminated(b"", b""),
                r#""ok":false,"state":"terminated","exit_code":-1,"#,
            ),
            (
                Report::timed_out(b"", b""),
                r#""ok":false,"state":"timeout","exit_code":-1,"#,
            ),
            (
                Report::launch_failed("FileNotFound"),
                r#""ok":false,"state":"launch_failed","exit_code":-1,"stdout":"","stderr":"FileNotFound""#,
            ),
        ] {
            let json = report.render("1");
            assert!(json.contains(expected), "{json}");
        }
    }
}
