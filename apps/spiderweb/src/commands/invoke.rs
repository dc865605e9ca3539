//! `spiderweb invoke`

use clap::Args;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use spiderweb_client::Outcome;
use tokio::io::AsyncReadExt as _;

use crate::called::Called;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::complain;
use crate::remote::Reach;

/// Run a service and print its result.
///
/// Waits until the driver is done, for as long as --timeout says or the service allows. The result goes to standard
/// output as it is; what the driver says when it fails goes to standard error.
///
/// JSON: {status, result, error}.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 the driver failed or was not run, 2 wrong usage, 130 interrupted."
)]
pub(crate) struct Invoke {
    /// The service: its id, such as echo-main, or its export, such as svc-echo-main, or the path of either, such as
    /// /nodes/edge/echo-main.
    #[arg(value_name = "SERVICE")]
    service: String,

    /// A JSON object, `@FILE` to read one from a file, or `-` to read it from standard input.
    #[arg(value_name = "JSON|@FILE|-", default_value = "{}")]
    payload: String,
}

#[derive(Serialize)]
struct InvokeJson<'a> {
    status: &'a Map<String, Value>,
    result: Option<Value>,
    error: String,
}

impl Invoke {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let payload = self.payload().await?;
        let mut reach = Reach::open(&context.global).await?;
        let called = Called::find(&mut reach, &self.service).await?;
        let outcome = called.invoke(&payload, &context.global, &context.stop).await?;
        let judged = called.judge(&outcome);
        if context.out.is_json() {
            context.out.json(&invoke_json(&outcome))?;
        } else if let Some(result) = &outcome.result {
            context.out.bytes(result)?;
        } else if outcome.refusal.is_none() {
            complain(&outcome.error);
        }
        judged
    }

    /// The payload, checked as far as the node will.
    async fn payload(&self) -> Result<Vec<u8>, Failure> {
        let payload = match (self.payload.as_str(), self.payload.strip_prefix('@')) {
            ("-", _) => {
                let mut payload = Vec::new();
                let read = tokio::io::stdin().read_to_end(&mut payload).await;
                read.map_err(|error| Failure::local("cannot read standard input", error))?;
                payload
            }
            (_, Some(path)) => tokio::fs::read(path)
                .await
                .map_err(|error| Failure::local(format!("cannot read {path}"), error))?,
            (json, None) => json.into(),
        };
        check(&payload).map_err(|reason| {
            Failure::Usage(format!(
                "the payload must be one JSON object, such as '{{\"message\":\"hello\"}}': {reason}"
            ))
        })?;
        Ok(payload)
    }
}

fn check(payload: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    let is_object = text.trim_ascii_start().starts_with('{');
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) if is_object => Ok(()),
        Ok(_) => Err("it is JSON, but no object".to_owned()),
        // What the parser expected instead would not help somebody who meant no JSON.
        Err(_) if !is_object => Err("it is no JSON".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A result that is JSON is printed as what it is, any other as a string.
fn invoke_json(outcome: &Outcome) -> InvokeJson<'_> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let result = outcome.result.as_ref();
    let error = match &outcome.refusal {
        Some(refusal) => refusal.message.clone(),
        None => text(&outcome.error),
    };
    InvokeJson {
        status: &outcome.status.members,
        result: result.map(|result| serde_json::from_slice(result).unwrap_or_else(|_| text(result).into())),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_object_is_a_payload() {
        for (payload, is_one) in [
            (&b"{}"[..], true),
            (b" {\"a\":[1]}\n", true),
            (b"", false),
            (b"[]", false),
            (b"5", false),
            (b"{\"a\":1", false),
            (b"{} {}", false),
            (b"{\"a\":\"\xff\"}", false),
        ] {
            assert_eq!(check(payload).is_ok(), is_one, "{}", payload.escape_ascii());
        }
    }
}
