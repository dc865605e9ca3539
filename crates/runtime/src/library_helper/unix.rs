//! The link to the node, and what is left of a library's processes.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, kill_current_process_group, waitid};

use super::{Arguments, Function, HelperError};
use crate::helper::HELPER_FAILED;
use crate::library::link::{Answer, Greeting, read_question, write_answer};

/// Invokes on demand, over the link that is this process's standard input.
pub(crate) fn serve(args: impl Iterator<Item = OsString>) -> ExitCode {
    match serve_link(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(HELPER_FAILED),
    }
}

fn serve_link(args: impl Iterator<Item = OsString>) -> Result<(), HelperError> {
    let arguments = Arguments::parse(args)?;
    let mut link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?).map_err(io::Error::from)?;
    let watched = link.try_clone()?;
    thread::spawn(move || end_with(&watched));
    let loaded = Function::load(&arguments.library, &arguments.symbol);
    let greeting = match &loaded {
        Ok(_) => Greeting::Ready,
        Err(HelperError::MissingSymbol) => Greeting::MissingSymbol,
        Err(_) => Greeting::NotFound,
    };
    link.write_all(&[greeting.byte()])?;
    let function = loaded?;
    while let Some(payload) = read_question(&mut link)? {
        let answer = function.call(&payload).unwrap_or_else(|error| Answer {
            code: HELPER_FAILED,
            has_children: false,
            out: Vec::new(),
            err: error.message().into_bytes(),
        });
        write_answer(&mut link, &answer)?;
    }
    Ok(())
}

/// Ends this process and its children when the node closes the link or dies.
fn end_with(link: &UnixStream) {
    loop {
        let mut descriptors = [PollFd::new(link, PollFlags::empty())];
        if poll(&mut descriptors, None).is_ok() {
            // Not an orderly exit: that would wait for what the library is doing.
            let _ = kill_current_process_group(Signal::KILL);
            return;
        }
    }
}

/// Whether the library left processes behind.
pub(super) fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::All, options).is_ok()
}
