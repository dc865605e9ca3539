//! A service as a command calls it: how long to wait for it, and what came of it in words.

use std::time::Duration;

use serde::Deserialize;
use spiderweb_client::{Outcome, Place, Service};
use spiderweb_protocol::Errno;
use spiderweb_protocol::fs::Export;
use tokio_util::sync::CancellationToken;

use crate::failure::{Doing as _, Failure};
use crate::global::{Global, maybe_path};
use crate::output::shown;
use crate::remote::Reach;

/// Time beyond the service's own limit: for the way there, and for starting and killing the driver. A node runs one
/// invoke of a service after the other, and who stands in a longer queue than that asks for more with `--timeout`.
const MARGIN: Duration = Duration::from_secs(15);
/// A service's limit when it does not say.
const UNSAID_LIMIT: Duration = Duration::from_secs(30);

/// What `health.json` says, as far as commands need it.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(crate) struct Health {
    pub(crate) state: String,
    pub(crate) runtime: String,
    timeout_ms: u64,
    pub(crate) invokes_total: u64,
    pub(crate) failures_total: u64,
}

impl Health {
    /// Reads the file; one that says something else is a service that says nothing.
    pub(crate) fn parse(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_default()
    }

    /// Longest time an invoke may take.
    fn limit(&self) -> Duration {
        match self.timeout_ms {
            0 => UNSAID_LIMIT,
            milliseconds => Duration::from_millis(milliseconds),
        }
    }
}

/// Whether an export is a service, and no folder.
pub(crate) fn is_service(export: &Export) -> bool {
    export.source_kind == "namespace"
}

/// A service that is about to be invoked.
pub(crate) struct Called {
    service: Service,
    /// The path of its export.
    path: String,
    /// Longest time an invoke may take there.
    limit: Duration,
}

impl Called {
    /// Finds the service of this name, or the one whose path this is.
    pub(crate) async fn find(reach: &mut Reach, name: &str) -> Result<Self, Failure> {
        let (remote, service) = if name.starts_with('/') {
            let path = maybe_path(name)?;
            let remote = reach.to(&path).await?;
            let Place::Inside { export, names: [] } = remote.view.place(&path)? else {
                return Err(Failure::message(format!("{} is no service", shown(name, true)))
                    .hint("a service is a whole export, as `spiderweb services` lists them"));
            };
            let service = Service::of(&remote.client, export)?;
            (remote.clone(), service)
        } else {
            let remote = reach.only(None).await?;
            let service = Service::find(&remote.client, &remote.view, name)?;
            (remote, service)
        };
        let mut exports = remote.view.exports().iter();
        let export = exports.find(|export| export.name == service.name());
        let path = export.and_then(|export| remote.view.root_path(export));
        let path = path.map_or_else(|| format!("/{}", service.name()), |path| path.to_string());
        let health = match service.read("health.json").await {
            Err(error) if error.errno() == Some(Errno::ENOENT) && !export.is_some_and(is_service) => {
                return Err(
                    Failure::message(format!("{} is a folder, not a service", shown(name, true)))
                        .hint("`spiderweb services` lists the services of a node"),
                );
            }
            read => read,
        };
        let health = health.doing("read", &format!("{path}/health.json"))?;
        let limit = Health::parse(&health).limit();
        Ok(Self { service, path, limit })
    }

    /// The service's export.
    pub(crate) fn name(&self) -> &str {
        self.service.name()
    }

    /// Invokes and waits: for as long as `--timeout` says, or as the service itself allows.
    pub(crate) async fn invoke(
        &self,
        payload: &[u8],
        global: &Global,
        stop: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let patience = match global.timeout {
            Some(timeout) => timeout.saturating_add(MARGIN),
            None => self.limit.saturating_add(MARGIN),
        };
        let outcome = self.service.invoke(payload, patience, stop).await;
        outcome.doing("invoke", &self.name())
    }

    /// A failure in words, if the outcome is one.
    pub(crate) fn judge(&self, outcome: &Outcome) -> Result<(), Failure> {
        let name = shown(self.name(), true);
        let status = &outcome.status;
        let path = shown(&self.path, true);
        let enabling = format!("`echo 1 | spiderweb put --in-place - {path}/control/enable` enables it");
        if let Some(refusal) = &outcome.refusal {
            let said = shown(&refusal.message, true);
            return Err(match refusal.errno {
                Errno::EPERM if status.state == "offline" => {
                    Failure::message(format!("the service {name} is disabled")).hint(enabling)
                }
                Errno::EPERM => Failure::message(format!("the node may not run the driver of {name}")),
                Errno::EAGAIN => {
                    let failure =
                        Failure::message(format!("the service {name} is cooling down after a failure"));
                    match status.retry_after_ms {
                        Some(rest) => failure.hint(format!("try again in {}", seconds(rest))),
                        None => failure,
                    }
                }
                Errno::EINVAL => Failure::message(format!("the service {name} refuses the payload: {said}"))
                    .hint("it must be one JSON object in which no name comes twice"),
                Errno::EIO => Failure::message(format!("the driver of {name} could not be run: {said}")),
                _ => Failure::message(format!("the service {name} cannot be invoked: {said}")),
            });
        }
        let failed = match status.exit_code {
            Some(-1) | None => format!("the driver of {name} failed: it crashed or was killed"),
            Some(code) => format!("the driver of {name} failed with exit code {code}"),
        };
        match status.state.as_str() {
            "ok" => Ok(()),
            "error" => Err(Failure::message(failed)),
            "timeout" => {
                let limit = self.limit.as_millis().try_into().unwrap_or(u64::MAX);
                let limit = seconds(limit);
                Err(Failure::message(format!(
                    "the driver of {name} did not finish within {limit}"
                )))
            }
            "offline" => {
                let failure = Failure::message(format!(
                    "{failed}; the service is disabled now, after too many failures"
                ));
                Err(failure.hint(enabling))
            }
            state => Err(Failure::message(format!(
                "what came of the invoke of {name} is not known: its state is {:?}; somebody else may be using it",
                shown(state, true)
            ))),
        }
    }
}

/// Milliseconds as seconds, for people.
fn seconds(milliseconds: u64) -> String {
    format!("{} s", milliseconds as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use spiderweb_client::Status;

    use super::*;

    #[test]
    fn limits_come_from_the_service() {
        for (text, limit) in [
            (r#"{"timeout_ms":15000}"#, 15),
            (r#"{"timeout_ms":0}"#, 30),
            ("{}", 30),
            ("no health", 30),
        ] {
            assert_eq!(
                Health::parse(text.as_bytes()).limit(),
                Duration::from_secs(limit),
                "{text}"
            );
        }
    }

    #[test]
    fn times_are_short() {
        for (milliseconds, text) in [(1470, "1.47 s"), (500, "0.5 s"), (30_000, "30 s")] {
            assert_eq!(seconds(milliseconds), text);
        }
    }

    #[test]
    fn statuses_are_read() {
        let status = Status::parse(br#"{"state":"timeout","exit_code":-1}"#);
        assert_eq!((status.state.as_str(), status.exit_code), ("timeout", Some(-1)));
    }
}
