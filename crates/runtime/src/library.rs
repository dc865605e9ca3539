//! The parent half of the library runtime: a dynamic library in a process of its own.
//!
//! A library may crash or hang, so it never enters the node. A helper ([`run_helper`](crate::run_helper)) loads it once
//! and is asked again for every invoke; one helper serves one invoke at a time, and more are started when more run at
//! once. A helper is kept only after an invoke that went well in every respect: after a failure that the library
//! reports, a crash, a timeout, a cancellation, too much output, or processes left behind it is killed like any driver,
//! and the next invoke gets a new one: what the library remembers may be what made it fail. So does an invoke after the
//! library's file changed.
//!
//! With [`LibrarySpec::fresh`] every invoke gets a process of its own, for libraries that cannot be called twice; on
//! Windows it always does.

pub(crate) mod link;
#[cfg(unix)]
mod warm;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::driver::{BoxFuture, Driver, Fault, Invoke, Outcome};
use crate::helper::{CHECK, HelperCommand, INVOKE, INVOKE_SYMBOL, LIBRARY_PATH, SERVE};
#[cfg(unix)]
use crate::library::warm::Pool;
use crate::process::{Group, InvokeId, Launch, LeaderEnd, Patience, ProcessDriver, look_within};
use crate::spec::{LibrarySpec, Surroundings};
use crate::stamp::Stamp;
use crate::system::{self, is_bare};

/// Whether this program can open libraries. One that is linked statically has no loader.
pub(crate) const CAN_OPEN: bool = !cfg!(all(target_env = "musl", target_feature = "crt-static"));

/// Time a library has to load when it is only looked at.
const VERIFY_PATIENCE: Duration = Duration::from_secs(10);
const VERIFY_PAUSE: Duration = Duration::from_millis(2);

/// Calls a function of a library for each invoke (section 16).
#[derive(Debug)]
pub struct LibraryDriver {
    helper: HelperCommand,
    library: PathBuf,
    symbol: String,
    mode: Mode,
    /// The file that was last found to have the symbol.
    verified: Mutex<Option<Stamp>>,
}

#[derive(Debug)]
enum Mode {
    #[cfg(unix)]
    Warm(Arc<Pool>),
    Fresh(Arc<ProcessDriver>),
}

impl LibraryDriver {
    /// A driver that runs this library in helpers.
    pub fn new(helper: HelperCommand, spec: LibrarySpec) -> io::Result<Self> {
        let library = locate(&spec.library)?;
        let is_fresh = spec.fresh || cfg!(not(unix));
        let first = if is_fresh { INVOKE } else { SERVE };
        let launch = launch(&helper, first, &library, &spec.symbol, spec.surroundings);
        #[cfg(not(unix))]
        let mode = Mode::Fresh(Arc::new(ProcessDriver::from_launch(launch)));
        #[cfg(unix)]
        let mode = if is_fresh {
            Mode::Fresh(Arc::new(ProcessDriver::from_launch(launch)))
        } else {
            Mode::Warm(Arc::new(Pool::new(launch, library.clone())))
        };
        Ok(Self {
            helper,
            library,
            symbol: spec.symbol,
            mode,
            verified: Mutex::default(),
        })
    }
}

impl LibraryDriver {
    async fn run_fresh(self: &Arc<Self>, process: &Arc<ProcessDriver>, mut invoke: Invoke) -> Outcome {
        let deadline = tokio::time::Instant::now() + invoke.timeout;
        let check = Arc::clone(self);
        let stop = CancellationToken::new();
        let _stop_when_dropped = stop.clone().drop_guard();
        // A helper can only say in words that it has no library.
        let look = move || check.check_while(&|| !stop.is_cancelled());
        if let Err(ended) = look_within(look, deadline, &invoke.cancel).await {
            return Outcome {
                ended,
                stdout: Vec::new(),
                stderr: Vec::new(),
            };
        }
        invoke.timeout = deadline.saturating_duration_since(tokio::time::Instant::now());
        Arc::clone(process).run(invoke).await
    }

    /// Looks at the library if it is not known to be good, while somebody wants to know. Blocks.
    fn check_while(&self, is_wanted: &dyn Fn() -> bool) -> Result<(), Fault> {
        let stamp = stamp_of(&self.library)?;
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_none() || *verified != stamp {
            verify_while(&self.helper, &self.library, &self.symbol, is_wanted)?;
            *verified = stamp;
        }
        Ok(())
    }
}

impl Driver for LibraryDriver {
    fn run(self: Arc<Self>, invoke: Invoke) -> BoxFuture<Outcome> {
        Box::pin(async move {
            match &self.mode {
                #[cfg(unix)]
                Mode::Warm(pool) => Arc::clone(pool).run(invoke).await,
                Mode::Fresh(process) => self.run_fresh(process, invoke).await,
            }
        })
    }

    fn check(&self) -> Result<(), Fault> {
        self.check_while(&|| true)
    }
}

/// Whether a library can be loaded and has the symbol, as a helper finds it. Blocks for up to ten seconds.
pub fn verify(helper: &HelperCommand, library: &Path, symbol: &str) -> Result<(), Fault> {
    verify_while(helper, library, symbol, &|| true)
}

fn verify_while(
    helper: &HelperCommand,
    library: &Path,
    symbol: &str,
    is_wanted: &dyn Fn() -> bool,
) -> Result<(), Fault> {
    if !CAN_OPEN {
        return Err(Fault::Unsupported);
    }
    let library = locate(library)?;
    let stamp = stamp_of(&library)?;
    let mut launch = launch(helper, INVOKE, &library, symbol, Surroundings::default());
    launch.args.push(CHECK.into());
    let mut patience = Patience::default();
    let mut child = loop {
        match (launch.spawn(&InvokeId::new(), Stdio::null()), patience.pause()) {
            (Err(Fault::FileBusy), Some(pause)) => thread::sleep(pause),
            (started, _) => break started?,
        }
    };
    let group = Group::of(&child);
    let patience = Instant::now() + VERIFY_PATIENCE;
    let end = loop {
        match group.leader_end() {
            Some(end) => break end,
            None if Instant::now() > patience || !is_wanted() => {
                return Err(Fault::Io(io::ErrorKind::TimedOut.into()));
            }
            None => thread::sleep(VERIFY_PAUSE),
        }
    };
    if end == LeaderEnd::Exited(0) {
        return Ok(());
    }
    let mut message = [0; 256];
    let stderr = child.stderr.take();
    let read = stderr.map_or(Ok(0), |stderr| system::read_left_over(stderr, &mut message));
    let message = message.get(..read.unwrap_or(0)).unwrap_or_default();
    if message.ends_with(b": MissingSymbol\n") {
        Err(Fault::MissingSymbol)
    } else if stamp.is_some() {
        // The file is there, and still the loader will not have it.
        Err(Fault::InvalidExecutable)
    } else {
        Err(Fault::NotFound)
    }
}

/// A path starts from the node's working directory; a bare name is left to the system's loader.
fn locate(library: &Path) -> io::Result<PathBuf> {
    if is_bare(library) {
        return Ok(library.to_owned());
    }
    std::path::absolute(library)
}

fn launch(
    helper: &HelperCommand,
    first: &str,
    library: &Path,
    symbol: &str,
    surroundings: Surroundings,
) -> Launch {
    let mut args: Vec<OsString> = vec![first.into(), LIBRARY_PATH.into(), library.into()];
    if symbol != LibrarySpec::DEFAULT_SYMBOL {
        args.extend([INVOKE_SYMBOL.into(), symbol.into()]);
    }
    Launch {
        program: helper.program.clone(),
        args,
        surroundings,
    }
}

/// The library's file as it is now. None for a bare name, whose file only the loader knows.
fn stamp_of(library: &Path) -> Result<Option<Stamp>, Fault> {
    if is_bare(library) {
        return Ok(None);
    }
    Stamp::of(library).map(Some)
}
