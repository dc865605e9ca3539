//! POSIX.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{
    Child, ChildStderr as StdStderr, ChildStdin as StdStdin, ChildStdout as StdStdout, Command,
};

use bytes::{Buf as _, Bytes};
use rustix::fs::Access;
use rustix::io::Errno;
use tokio::io::AsyncRead;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use crate::process::Launch;

/// A pipe that can be asked what is in it now.
pub(crate) trait Pipe: AsyncRead + AsFd + Unpin {}

impl<T: AsyncRead + AsFd + Unpin> Pipe for T {}

/// Reads into the room there is, without waiting. `None`: nothing is there now.
pub(crate) fn read_at_once(pipe: &impl Pipe, bytes: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        match rustix::io::read(pipe, rustix::buffer::spare_capacity(bytes)) {
            Ok(read) => return Ok(Some(read)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes what fits into the pipe at once: for most payloads that is everything, and nothing is left to do. Gives the
/// pipe back if there is.
pub(crate) fn write_at_once(pipe: StdStdin, payload: &mut Bytes) -> io::Result<Option<ChildStdin>> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    while payload.has_remaining() {
        match rustix::io::write(&pipe, payload) {
            Ok(written) => payload.advance(written),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            // The driver wants none of it.
            Err(_) => payload.clear(),
        }
    }
    payload
        .has_remaining()
        .then(|| ChildStdin::from_std(pipe))
        .transpose()
}

pub(crate) fn stdout(pipe: StdStdout) -> io::Result<ChildStdout> {
    ChildStdout::from_std(pipe)
}

pub(crate) fn stderr(pipe: StdStderr) -> io::Result<ChildStderr> {
    ChildStderr::from_std(pipe)
}

/// Reads what a process that ended has left in its pipe. Somebody it left behind may hold it open.
pub(crate) fn read_left_over(mut pipe: StdStderr, text: &mut [u8]) -> io::Result<usize> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    pipe.read(text)
}

/// Tells a file from others that had its name.
pub(crate) fn file_number(metadata: &Metadata) -> u64 {
    metadata.ino()
}

/// Whether the system holds a file for no program.
pub(crate) fn is_no_program(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
}

/// Whether this process has as many files open as it may.
pub(crate) fn is_process_full(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::MFILE)
}

/// Whether the whole system has.
pub(crate) fn is_system_full(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NFILE)
}

/// Whether a path is a bare name, which is searched.
pub(crate) fn is_bare(path: &Path) -> bool {
    !path.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// The files that a program's path in a folder of `PATH` may mean.
pub(crate) fn program_files(program: PathBuf) -> [PathBuf; 1] {
    [program]
}

/// What a path that is no bare name means.
pub(crate) fn program_at(program: &Path) -> PathBuf {
    program.to_owned()
}

/// Whether this process may run a file.
pub(crate) fn may_run(program: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(program, Access::EXEC_OK)?)
}

/// Whether a variable's name begins like this.
pub(crate) fn variable_begins_with(name: &OsStr, prefix: &str) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_bytes())
}

/// Whether two names mean one variable.
pub(crate) fn is_variable(name: &OsStr, other: &str) -> bool {
    name == other
}

/// Tells a program its arguments and the name it was called by, and has it lead a group of its own.
pub(crate) fn add_arguments(command: &mut Command, launch: &Launch) {
    command.arg0(&launch.program).args(&launch.args).process_group(0);
}

pub(crate) fn start(mut command: Command) -> io::Result<Child> {
    command.spawn()
}
