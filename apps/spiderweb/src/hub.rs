//! The hub a command talks to, from the command line: where it is, and the tokens to show there.

use std::path::Path;

use serde::Deserialize;
use spiderweb_client::{Control, ControlOptions, Routing};
use spiderweb_protocol::Secret;
use spiderweb_transport::WsUrl;

use crate::failure::Failure;
use crate::global::{Global, variable};

/// The variable with the bearer token.
pub(crate) const TOKEN: &str = "SPIDERWEB_HUB_TOKEN";
/// The variable with the operator token.
pub(crate) const OPERATOR_TOKEN: &str = "SPIDERWEB_OPERATOR_TOKEN";

/// How to reach the hub.
pub(crate) fn options(global: &Global, url: &WsUrl) -> Result<ControlOptions, Failure> {
    let options = ControlOptions {
        token: token(global.hub_token_file.as_deref(), global.hub_token_file_by, TOKEN)?,
        operator: token(global.operator_token_file.as_deref(), None, OPERATOR_TOKEN)?,
        ..ControlOptions::new(url.clone())
    };
    Ok(match global.timeout {
        Some(timeout) => ControlOptions { timeout, ..options },
        None => options,
    })
}

/// What connections to nodes behind it are like.
pub(crate) fn routing(global: &Global, subscribe: bool) -> Routing {
    Routing {
        subscribe,
        timeout: global.timeout,
        export: global.export.clone(),
    }
}

/// A control connection, for commands about the hub itself.
pub(crate) async fn control(global: &Global) -> Result<Control, Failure> {
    let Some(url) = &global.hub else {
        return Err(Failure::Usage(
            "say which hub: --hub ws://HOST:PORT/ or SPIDERWEB_HUB".to_owned(),
        ));
    };
    Ok(Control::connect(options(global, url)?).await?)
}

/// The token in a file, which the variable `by` may have named, or, without one, in the variable `name`.
fn token(file: Option<&Path>, by: Option<&str>, name: &str) -> Result<Option<Secret>, Failure> {
    let Some(path) = file else {
        let token = variable(name).unwrap_or_default();
        let token = token.to_str().map(str::trim);
        let token = token.ok_or_else(|| Failure::Usage(format!("the value of {name} is not UTF-8")))?;
        return Ok((!token.is_empty()).then(|| Secret::new(token)));
    };
    let file = match by {
        Some(by) => format!("the token file {}, which {by} names,", path.display()),
        None => format!("the token file {}", path.display()),
    };
    let cannot = || format!("cannot read {}", file.trim_end_matches(','));
    let text = std::fs::read_to_string(path).map_err(|error| Failure::local(cannot(), error))?;
    match in_file(&text) {
        Ok(token) => Ok(Some(token)),
        Err(reason) => Err(Failure::message(format!("{file} {reason}"))
            .hint("it holds one token, or is a hub's auth_tokens.json")),
    }
}

/// The members of a hub's `auth_tokens.json` that a client can use.
#[derive(Deserialize)]
struct Tokens {
    admin_token: Option<String>,
    user_token: Option<String>,
}

/// The token in a file's text: the only word, or what a hub calls its admin's token, or else its user's.
fn in_file(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim();
    let token = if text.starts_with('{') {
        let tokens: Tokens = serde_json::from_str(text).map_err(|_| "is no JSON with tokens")?;
        let known = [tokens.admin_token, tokens.user_token].into_iter().flatten();
        let mut known = known.filter(|token| !token.is_empty());
        known.next().ok_or("has neither admin_token nor user_token")?
    } else {
        text.to_owned()
    };
    match token.as_str() {
        "" => Err("is empty"),
        token if token.contains(char::is_whitespace) => Err("holds more than one word"),
        token => Ok(Secret::new(token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_token_or_those_of_a_hub() {
        for (text, token) in [
            (" t0ken\n", Ok("t0ken")),
            (r#"{"schema":3,"admin_token":"a","user_token":"u"}"#, Ok("a")),
            (r#"{"admin_token":"","user_token":"u"}"#, Ok("u")),
            (
                r#"{"node_token":"n"}"#,
                Err("has neither admin_token nor user_token"),
            ),
            ("{", Err("is no JSON with tokens")),
            ("", Err("is empty")),
            ("two words", Err("holds more than one word")),
        ] {
            let found = in_file(text);
            assert_eq!(
                found.as_ref().map(Secret::expose),
                token.as_ref().copied(),
                "{text}"
            );
        }
    }
}
