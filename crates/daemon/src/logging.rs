//! Log lines as operators of the original know them: `info: …`, `warning: …`, `error: …` on stderr, without
//! timestamps, which the service manager adds. In a file, where nobody adds them, a line begins with the time.

use std::fmt;
use std::fs::File;
use std::io::IsTerminal as _;
use std::sync::Mutex;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::registry::LookupSpan;

/// Variable that chooses what is logged, such as `debug`, or `spiderweb_node=trace` for one crate; `info` without it.
const VARIABLE: &str = "SPIDERWEB_LOG";

/// Sends log lines to stderr from now on.
pub fn start() {
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(Lines { are_dated: false })
        .init();
}

/// Sends log lines to this file from now on, each with its time.
pub fn start_in(file: File) {
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .event_format(Lines { are_dated: true })
        .init();
}

fn filter() -> EnvFilter {
    EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"))
}

struct Lines {
    are_dated: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        if self.are_dated {
            SystemTime.format_time(&mut writer)?;
            write!(writer, " ")?;
        }
        write!(writer, "{level}: ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
