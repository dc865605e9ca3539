//! `spiderweb services`

use clap::Args;
use serde::Serialize;
use spiderweb_client::{Error, Place, RemotePath, Service};
use spiderweb_protocol::fs::Export;

use crate::called::{Health, is_service};
use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::remote::{Reach, Remote};

#[derive(Serialize, Debug, PartialEq, Eq)]
struct ServiceJson {
    service: String,
    export: String,
    /// `online`, `degraded`, `offline`, or `unknown` when the service does not say.
    state: String,
    runtime: String,
    invokes: u64,
    failures: u64,
    /// The last line of the last error; empty when the last invoke was fine.
    last_error: String,
}

impl ServiceJson {
    fn new(export: &str, health: &[u8], last_error: &[u8]) -> Self {
        let health = Health::parse(health);
        let last_error = String::from_utf8_lossy(last_error);
        let or_unknown = |word: String| {
            if word.is_empty() {
                "unknown".to_owned()
            } else {
                word
            }
        };
        Self {
            service: export.strip_prefix("svc-").unwrap_or(export).to_owned(),
            export: export.to_owned(),
            state: or_unknown(health.state),
            runtime: or_unknown(health.runtime),
            invokes: health.invokes_total,
            failures: health.failures_total,
            last_error: last_error
                .trim_end()
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// List the services of a node, how they are, and what went wrong last.
///
/// JSON: an array of {service, export, state, runtime, invokes, failures, last_error}.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "this is help text")]
pub(crate) struct Services {
    /// One export, as in /svc-echo-main; behind a hub, a node or an export on it, as in /nodes/edge.
    #[arg(value_name = "PATH", value_parser = remote_path)]
    path: Option<RemotePath>,
}

impl Services {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let remote = reach.only(self.path.as_ref()).await?;
        let mut exports = remote.exports_at(self.path.as_ref())?;
        if let Some(path) = &self.path
            && let Place::Inside { export, .. } = remote.view.place(path)?
            && !is_service(export)
        {
            return Err(Failure::message(format!("{path} is a folder, not a service"))
                .hint("without a path, `spiderweb services` lists those of the node"));
        }
        exports.retain(is_service);
        show(context, &remote, &exports).await
    }
}

async fn show(context: &mut Context, remote: &Remote, exports: &[Export]) -> Result<(), Failure> {
    let mut services = Vec::new();
    for export in exports {
        let service = Service::of(&remote.client, export)?;
        let health = said(&service, "health.json").await?;
        let last_error = said(&service, "last_error.txt").await?;
        services.push(ServiceJson::new(&export.name, &health, &last_error));
    }
    let out = &mut context.out;
    if out.is_json() {
        return out.json(&services);
    }
    if services.is_empty() {
        return Ok(());
    }
    let mut rows =
        vec![["Service", "State", "Runtime", "Invokes", "Failures", "Last error"].map(str::to_owned)];
    rows.extend(services.iter().map(|service| {
        [
            out.name(&service.service),
            out.name(&service.state),
            out.name(&service.runtime),
            service.invokes.to_string(),
            service.failures.to_string(),
            out.name(&service.last_error),
        ]
    }));
    let width = |column: fn(&[String; 6]) -> &str| {
        let widths = rows.iter().map(|row| column(row).chars().count());
        widths.max().unwrap_or(0)
    };
    let [service, state, runtime] = [
        width(|[a, ..]| a),
        width(|[_, b, ..]| b),
        width(|[_, _, c, ..]| c),
    ];
    for [a, b, c, invokes, failures, error] in &rows {
        let line = format!("{a:service$}  {b:state$}  {c:runtime$}  {invokes:>8}  {failures:>8}  {error}");
        out.line(line.trim_end())?;
    }
    Ok(())
}

/// A file of the service; nothing when the node refuses to show it, which is the service's own trouble.
async fn said(service: &Service, file: &str) -> Result<Vec<u8>, Failure> {
    match service.read(file).await {
        Err(error) if error.errno().is_some() || matches!(error, Error::TooLong { .. }) => Ok(Vec::new()),
        read => read.doing("read", &format!("/{}/{file}", service.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_the_files_say() {
        let health =
            br#"{"state":"degraded","runtime":"wasm","invokes_total":7,"failures_total":2,"other":[]}"#;
        let row = ServiceJson::new("svc-echo-main", health, b"first\nlast line \n\n");
        assert_eq!(row.service, "echo-main");
        assert_eq!((row.state.as_str(), row.runtime.as_str()), ("degraded", "wasm"));
        assert_eq!(
            (row.invokes, row.failures, row.last_error.as_str()),
            (7, 2, "last line")
        );
    }

    #[test]
    fn a_service_that_says_nothing_is_listed_all_the_same() {
        let row = ServiceJson::new("terminal-1", b"", b"\xff");
        assert_eq!(row.service, "terminal-1");
        assert_eq!(
            (row.state.as_str(), row.last_error.as_str()),
            ("unknown", "\u{fffd}")
        );
    }
}
