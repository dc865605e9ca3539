//! The child half of the library runtime: loads a library and calls its function (section 16).
//!
//! This is the only place that runs foreign code in a process of ours, and that process does nothing else. It may
//! crash or hang; the node watches.
//!
//! A helper that serves takes the node's link off its standard input before the library is loaded, so that nothing
//! the library reads or prints can get into it. When the link is closed, which the system does even for a node that
//! was killed, the helper ends with all its children, also in the middle of a call.
#![expect(
    unsafe_code,
    reason = "calling into a library that the manifest names is the purpose of this module"
)]

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::ffi::{OsStr, OsString, c_int, c_void};
use std::io::{self, Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::ptr;

use libloading::Library;
use spiderweb_protocol::limits::MAX_DRIVER_OUTPUT;

use crate::helper::{CHECK, HELPER_FAILED, INVOKE_SYMBOL, LIBRARY_PATH};
use crate::library::CAN_OPEN;
use crate::library::link::{Answer, CAPACITY};
use crate::spec::LibrarySpec;

#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;

pub(crate) use self::system::serve;

/// The function of section 16: payload, output buffer, error buffer; lengths and capacities in bytes.
type InvokeJson =
    unsafe extern "C" fn(*const u8, usize, *mut u8, usize, *mut usize, *mut u8, usize, *mut usize) -> c_int;

unsafe extern "C" {
    /// Writes out what C code has printed and not yet written.
    safe fn fflush(stream: *mut c_void) -> c_int;
}

/// Why a helper could not do its work; the original's names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum HelperError {
    #[error("InvalidArguments")]
    Arguments,
    #[error("FileNotFound")]
    NotFound,
    #[error("MissingSymbol")]
    MissingSymbol,
    #[error("FileTooBig")]
    PayloadTooLong,
    #[error("InvalidPayload")]
    LengthAboveCapacity,
    #[error("InputOutput")]
    Io,
    #[error(
        "UnsupportedPlatform: {} cannot be opened, because this program is linked statically; a driver of type \
         native_proc or wasm works, and so does the dynamically linked program",
        .0.display()
    )]
    Static(OsString),
}

impl HelperError {
    fn message(&self) -> String {
        format!("internal inproc invoke failed: {self}\n")
    }
}

impl From<io::Error> for HelperError {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

/// One invoke: payload on standard input, both buffers on the standard outputs, the return value as exit code.
pub(crate) fn invoke(args: impl Iterator<Item = OsString>) -> ExitCode {
    invoke_once(args).unwrap_or_else(|error| {
        // A closed pipe is the reader's choice, here and below.
        let _ = io::stderr().write_all(error.message().as_bytes());
        ExitCode::from(HELPER_FAILED)
    })
}

fn invoke_once(args: impl Iterator<Item = OsString>) -> Result<ExitCode, HelperError> {
    let arguments = Arguments::parse(args)?;
    let function = Function::load(&arguments.library, &arguments.symbol)?;
    if arguments.is_check {
        return Ok(ExitCode::SUCCESS);
    }
    let mut payload = Vec::new();
    io::stdin()
        .take(MAX_DRIVER_OUTPUT as u64 + 1)
        .read_to_end(&mut payload)?;
    let answer = function.call(&payload)?;
    let _ = io::stdout()
        .write_all(&answer.out)
        .and_then(|()| io::stdout().flush());
    let _ = io::stderr().write_all(&answer.err);
    Ok(ExitCode::from(answer.code))
}

/// What a helper is told to do.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    library: OsString,
    symbol: String,
    is_check: bool,
}

impl Arguments {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, HelperError> {
        let mut library = None;
        let mut symbol = None;
        let mut is_check = false;
        while let Some(option) = args.next() {
            match option.to_str() {
                Some(LIBRARY_PATH) if library.is_none() => {
                    library = args.next().filter(|path| !path.is_empty());
                }
                Some(INVOKE_SYMBOL) => symbol = args.next().and_then(|name| name.into_string().ok()),
                Some(CHECK) => is_check = true,
                _ => return Err(HelperError::Arguments),
            }
        }
        Ok(Self {
            library: library.ok_or(HelperError::Arguments)?,
            symbol: symbol.unwrap_or_else(|| LibrarySpec::DEFAULT_SYMBOL.to_owned()),
            is_check,
        })
    }
}

/// A library's function.
struct Function(InvokeJson);

impl Function {
    fn load(library: &OsStr, symbol: &str) -> Result<Self, HelperError> {
        if !CAN_OPEN {
            return Err(HelperError::Static(library.to_owned()));
        }
        // SAFETY: loading runs the library's initialisers. The manifest asks for that, and this process exists to
        // bear the consequences.
        let library = unsafe { Library::new(library) }.map_err(|_| HelperError::NotFound)?;
        // Never unloaded: threads of the library may be running in it.
        let library = ManuallyDrop::new(library);
        // SAFETY: the type is the one that section 16 demands of the symbol; a library that breaks this contract
        // harms this process alone. The address stays valid because the library is never unloaded.
        let invoke = unsafe { library.get::<InvokeJson>(symbol) }.map_err(|_| HelperError::MissingSymbol)?;
        Ok(Self(*invoke))
    }

    /// Calls the function once, unless the payload is longer than section 16 allows. Whatever the function printed
    /// itself is written out when this returns.
    fn call(&self, payload: &[u8]) -> Result<Answer, HelperError> {
        if payload.len() > MAX_DRIVER_OUTPUT {
            return Err(HelperError::PayloadTooLong);
        }
        let mut out = vec![0; CAPACITY];
        let mut err = vec![0; CAPACITY];
        let (mut out_length, mut err_length) = (0, 0);
        // SAFETY: every pointer leads to memory of the length that is given with it, which outlives the call and
        // is not used by anybody else during it. What the function does beyond that is its own responsibility, in
        // a process of its own.
        let value = unsafe {
            (self.0)(
                payload.as_ptr(),
                payload.len(),
                out.as_mut_ptr(),
                out.len(),
                &raw mut out_length,
                err.as_mut_ptr(),
                err.len(),
                &raw mut err_length,
            )
        };
        // Null stands for every stream.
        let _ = fflush(ptr::null_mut());
        if out_length > CAPACITY || err_length > CAPACITY {
            return Err(HelperError::LengthAboveCapacity);
        }
        out.truncate(out_length);
        err.truncate(err_length);
        Ok(Answer {
            code: u8::try_from(value).unwrap_or(u8::MAX),
            has_children: system::has_children(),
            out,
            err,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_path_and_what_is_optional() {
        let parsed = |args: &[&str]| Arguments::parse(args.iter().map(OsString::from));
        let expected = |symbol: &str, is_check| {
            Ok(Arguments {
                library: "l.so".into(),
                symbol: symbol.to_owned(),
                is_check,
            })
        };
        let default = LibrarySpec::DEFAULT_SYMBOL;
        assert_eq!(parsed(&["--library-path", "l.so"]), expected(default, false));
        assert_eq!(
            parsed(&["--library-path", "l.so", "--check"]),
            expected(default, true)
        );
        assert_eq!(
            parsed(&["--invoke-symbol", "f", "--library-path", "l.so"]),
            expected("f", false)
        );
        for wrong in [
            &[][..],
            &["--library-path"],
            &["--library-path", ""],
            &["l.so"],
            &["--invoke-symbol", "f"],
        ] {
            assert_eq!(parsed(wrong), Err(HelperError::Arguments), "{wrong:?}");
        }
    }
}
