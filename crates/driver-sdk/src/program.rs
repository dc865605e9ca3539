//! A driver as a program: payload on standard input, result on standard output (section 9.4).
//!
//! Exit code 0 means that standard output is the result. Any other means that standard error, one line, says why not.
//! A WASI command is the same thing.

use std::fmt::{self, Display};
use std::io::{self, Read, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::answer::answer_json;
use crate::error::DriverError;

/// Largest payload a program reads, in bytes (section 15).
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// Why there is no payload.
#[derive(Debug)]
pub enum ReadError {
    /// It is longer than [`MAX_PAYLOAD`].
    TooBig,
    /// Standard input failed.
    Io(io::Error),
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooBig => f.write_str("error: FileTooBig"),
            Self::Io(error) => write!(f, "cannot read the invoke payload: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Answers the payload on standard input. What it returns is to be returned from `main`.
pub fn serve(driver: impl FnOnce(Value) -> Result<Value, DriverError>) -> ExitCode {
    serve_bytes(|payload| answer_json(payload, driver))
}

/// The same for a driver that reads the payload as bytes, which come untrimmed and unchecked.
pub fn serve_bytes(driver: impl FnOnce(&[u8]) -> Result<Vec<u8>, DriverError>) -> ExitCode {
    ExitCode::from(answer(
        io::stdin().lock(),
        io::stdout().lock(),
        io::stderr().lock(),
        driver,
    ))
}

/// Reads the payload from standard input to its end.
///
/// # Errors
///
/// [`ReadError::TooBig`] beyond [`MAX_PAYLOAD`] bytes, without waiting for the end.
pub fn read_payload() -> Result<Vec<u8>, ReadError> {
    read(io::stdin().lock())
}

fn read(input: impl Read) -> Result<Vec<u8>, ReadError> {
    let mut payload = Vec::new();
    input
        .take(MAX_PAYLOAD as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(ReadError::Io)?;
    if payload.len() > MAX_PAYLOAD {
        return Err(ReadError::TooBig);
    }
    Ok(payload)
}

/// The whole life of the program, with its exit code.
fn answer(
    input: impl Read,
    mut output: impl Write,
    mut errors: impl Write,
    driver: impl FnOnce(&[u8]) -> Result<Vec<u8>, DriverError>,
) -> u8 {
    let answered = read(input)
        .map_err(|error| DriverError::new(1, error.to_string()))
        .and_then(|payload| driver(&payload))
        .and_then(|result| {
            output
                .write_all(&result)
                .and_then(|()| output.flush())
                .map_err(|error| DriverError::new(1, format!("cannot write the result: {error}")))
        });
    match answered {
        Ok(()) => 0,
        Err(error) => {
            // Nobody is left to be told; the exit code still counts.
            let _ = writeln!(errors, "{error}");
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(
        input: &[u8],
        driver: impl FnOnce(&[u8]) -> Result<Vec<u8>, DriverError>,
    ) -> (u8, Vec<u8>, String) {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let code = answer(input, &mut output, &mut errors, driver);
        (code, output, String::from_utf8(errors).unwrap())
    }

    #[test]
    fn the_outcome_is_exit_code_and_the_two_streams() {
        let ok = answered(b"{}", |payload| Ok(payload.to_vec()));
        assert_eq!(ok, (0, b"{}".to_vec(), String::new()));
        let failed = answered(b"{}", |_| Err(DriverError::new(7, "no")));
        assert_eq!(failed, (7, Vec::new(), "no\n".to_owned()));
    }

    #[test]
    fn a_payload_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
        let count = |payload: &[u8]| Ok(payload.len().to_string().into_bytes());
        let mut payload = vec![b'x'; MAX_PAYLOAD];
        assert_eq!(answered(&payload, count), (0, b"1048576".to_vec(), String::new()));
        payload.push(b'x');
        assert_eq!(
            answered(&payload, count),
            (1, Vec::new(), "error: FileTooBig\n".to_owned())
        );
    }

    #[test]
    fn an_endless_input_is_not_waited_for() {
        let code = answer(io::repeat(b'x'), io::sink(), io::sink(), |_| Ok(Vec::new()));
        assert_eq!(code, 1);
    }

    #[test]
    fn a_result_that_nobody_reads_is_a_failure() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut errors = Vec::new();
        let code = answer(&b"{}"[..], Closed, &mut errors, |_| Ok(b"{}".to_vec()));
        assert_eq!(code, 1);
        assert!(errors.starts_with(b"cannot write the result"), "{errors:?}");
    }
}
