//! Limits that come with a process on POSIX systems.

use std::io;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use spiderweb_node::Limits;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// While the result lives, a file over the process's size limit is an error of the write, not the end of the node.
pub(crate) fn survive_file_size_limit() -> io::Result<Signals> {
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))
}

/// Asks for as many descriptors as the system allows, and shares out what there is: half for handles, a quarter for
/// connections, the rest for requests under way and the node itself.
pub(crate) fn fit_into_descriptor_limit(limits: &mut Limits) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let available = current.map_or(usize::MAX, |number| usize::try_from(number).unwrap_or(usize::MAX));
    limits.handles = limits.handles.min(available / 2);
    limits.connections = limits.connections.min(available / 4);
}
