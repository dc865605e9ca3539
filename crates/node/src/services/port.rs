//! Between the file tree of a service and the service: the same things under two names.
//!
//! `fs` and `runtime` do not know each other, so that either can be understood, and tested, alone.

use bytes::Bytes;
use spiderweb_fs::FsError;
use spiderweb_fs::namespace::{Action, Changed, Command, Done, LiveFile, PastInvoke, ServicePort};
use spiderweb_runtime::{Fault, Order, Refusal, Response, Service, Settled, Surface};

/// A service as its tree sees it.
pub(super) struct Port(pub(super) Service);

fn surface(file: LiveFile) -> Surface {
    match file {
        LiveFile::Result => Surface::Result,
        LiveFile::LastError => Surface::LastError,
        LiveFile::Status => Surface::Status,
        LiveFile::Metrics => Surface::Metrics,
        LiveFile::Config => Surface::Config,
        LiveFile::Health => Surface::Health,
    }
}

fn live_file(surface: Surface) -> LiveFile {
    match surface {
        Surface::Result => LiveFile::Result,
        Surface::LastError => LiveFile::LastError,
        Surface::Status => LiveFile::Status,
        Surface::Metrics => LiveFile::Metrics,
        Surface::Config => LiveFile::Config,
        Surface::Health => LiveFile::Health,
    }
}

/// The files that show what changed.
pub(super) fn files(changed: &[Surface]) -> Changed {
    changed.iter().copied().map(live_file).collect()
}

fn order(command: Command) -> Order {
    match command {
        Command::Invoke {
            content,
            name,
            writer,
        } => Order::Invoke {
            content,
            name,
            writer,
        },
        Command::Await => Order::Await,
        Command::Enable => Order::Enable,
        Command::Disable => Order::Disable,
        Command::Restart => Order::Restart,
        Command::Reset => Order::Reset,
        Command::Cancel(content) => Order::Cancel(content),
        Command::Configure(content) => Order::Configure(content),
    }
}

fn refusal(refusal: Refusal) -> FsError {
    match refusal {
        Refusal::Disabled => FsError::InvokeDenied,
        Refusal::CoolingDown => FsError::CoolingDown,
        // The one fault of a driver that is the payload's, as far as the client is told (section 17.2).
        Refusal::Invalid | Refusal::Driver(Fault::InvalidOutput) => FsError::InvalidPayload,
        Refusal::Incomplete => FsError::IncompletePayload,
        Refusal::QueueFull => FsError::QueueFull,
        Refusal::NoSuchInvoke => FsError::NoSuchInvoke,
        Refusal::Stopping => FsError::Stopping,
        Refusal::Driver(fault) => FsError::Driver(fault.to_string()),
    }
}

fn done(settled: Settled) -> Done {
    Done {
        result: settled.result.map_err(refusal),
        changed: files(&settled.changed),
    }
}

impl ServicePort for Port {
    fn text(&self, file: LiveFile) -> Bytes {
        self.0.text(surface(file))
    }

    fn act(&self, command: Command) -> Action {
        match self.0.act(order(command)) {
            Response::Settled(settled) => Action::Done(done(settled)),
            Response::Pending { changed, end } => Action::Begun {
                changed: files(&changed),
                end: Box::pin(async move { done(end.await) }),
            },
        }
    }

    fn past(&self) -> Vec<PastInvoke> {
        let past = self.0.past().into_iter();
        past.map(|(number, name)| PastInvoke { number, name }).collect()
    }

    fn record(&self, number: u64) -> Option<Bytes> {
        self.0.record(number)
    }
}
