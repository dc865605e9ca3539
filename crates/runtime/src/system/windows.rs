//! Windows.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::windows::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncRead;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use crate::process::Launch;
pub(crate) use crate::process::start;

const ERROR_TOO_MANY_OPEN_FILES: i32 = 4;
const ERROR_BAD_EXE_FORMAT: i32 = 193;
const ERROR_EXE_MACHINE_TYPE_MISMATCH: i32 = 216;

/// How long the last words of a process that ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// A pipe. It cannot be asked what is in it now: reading it waits, on a thread of the pool.
pub(crate) trait Pipe: AsyncRead + Unpin {}

impl<T: AsyncRead + Unpin> Pipe for T {}

/// Nothing can be read without waiting.
#[expect(clippy::unnecessary_wraps, reason = "it may fail on other systems")]
pub(crate) fn read_at_once(_pipe: &impl Pipe, _bytes: &mut Vec<u8>) -> io::Result<Option<usize>> {
    Ok(None)
}

/// Nothing can be written without waiting.
#[expect(clippy::unnecessary_wraps, reason = "it may fail on other systems")]
pub(crate) fn write_at_once(pipe: ChildStdin, payload: &mut Bytes) -> io::Result<Option<ChildStdin>> {
    Ok(payload.has_remaining().then_some(pipe))
}

#[expect(clippy::unnecessary_wraps, reason = "it may fail on other systems")]
pub(crate) fn stdout(pipe: ChildStdout) -> io::Result<ChildStdout> {
    Ok(pipe)
}

#[expect(clippy::unnecessary_wraps, reason = "it may fail on other systems")]
pub(crate) fn stderr(pipe: ChildStderr) -> io::Result<ChildStderr> {
    Ok(pipe)
}

/// Reads what a process that ended has left in its pipe. Somebody it left behind may hold it open; then a thread
/// waits for that, and nobody waits for the thread.
pub(crate) fn read_left_over(pipe: ChildStderr, text: &mut [u8]) -> io::Result<usize> {
    let mut pipe = File::from(pipe.into_owned_handle()?);
    let (sender, receiver) = mpsc::channel();
    let mut room = vec![0; text.len()];
    thread::spawn(move || {
        let read = pipe.read(&mut room).unwrap_or(0);
        room.truncate(read);
        // Whoever has stopped waiting does not want it.
        let _ = sender.send(room);
    });
    let read = receiver.recv_timeout(LAST_WORDS).unwrap_or_default();
    if let Some(text) = text.get_mut(..read.len()) {
        text.copy_from_slice(&read);
    }
    Ok(read.len())
}

/// The number is not to be had by safe means; time and length tell files apart.
pub(crate) const fn file_number(_metadata: &Metadata) -> u64 {
    0
}

/// Whether the system holds a file for no program.
pub(crate) fn is_no_program(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(ERROR_BAD_EXE_FORMAT | ERROR_EXE_MACHINE_TYPE_MISMATCH)
    )
}

/// Whether this process has as many files open as it may.
pub(crate) fn is_process_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_TOO_MANY_OPEN_FILES)
}

/// There is no such limit.
pub(crate) const fn is_system_full(_error: &io::Error) -> bool {
    false
}

/// Whether a path is a bare name, which is searched.
pub(crate) fn is_bare(path: &Path) -> bool {
    let mut bytes = path.as_os_str().as_encoded_bytes().iter();
    !bytes.any(|byte| matches!(byte, b'/' | b'\\' | b':'))
}

/// The files that a program's path in a folder of `PATH` may mean: with `.exe`, if it says nothing else.
pub(crate) fn program_files(program: PathBuf) -> Vec<PathBuf> {
    if program.extension().is_some() {
        return vec![program];
    }
    vec![program.with_extension("exe"), program]
}

/// What a path that is no bare name means.
pub(crate) fn program_at(program: &Path) -> PathBuf {
    let mut files = program_files(program.to_owned()).into_iter();
    let found = files.find(|file| file.is_file());
    found.unwrap_or_else(|| program.to_owned())
}

/// The system says so when it is to run it.
#[expect(clippy::unnecessary_wraps, reason = "it may fail on other systems")]
pub(crate) const fn may_run(_program: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether a variable's name begins like this, in any case.
pub(crate) fn variable_begins_with(name: &OsStr, prefix: &str) -> bool {
    let begin = name.as_encoded_bytes().get(..prefix.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Whether two names mean one variable.
pub(crate) fn is_variable(name: &OsStr, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// Tells a program its arguments, each as one word. Only `cmd /C` with one command gets that as it is: the shell has
/// rules of its own for quotes, and `/S` tells it that the outermost ones are ours.
pub(crate) fn add_arguments(command: &mut Command, launch: &Launch) {
    let is_shell = launch
        .program
        .file_stem()
        .is_some_and(|name| name.eq_ignore_ascii_case("cmd"));
    match launch.args.as_slice() {
        [option, line] if is_shell && option.eq_ignore_ascii_case("/c") => {
            let mut quoted = std::ffi::OsString::from("\"");
            quoted.push(line);
            quoted.push("\"");
            command.args(["/D", "/S", "/C"]).raw_arg(quoted);
        }
        args => {
            command.args(args);
        }
    }
}
