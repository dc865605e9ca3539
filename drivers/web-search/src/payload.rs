//! What is asked.

use std::fmt::Write as _;

use serde::Deserialize;
use ureq::http::Uri;

const DEFAULT_RESULTS: i64 = 5;
const MOST_RESULTS: usize = 12;

/// A payload that was checked. Members that are not named here do not matter; `null` is no string and no number.
#[derive(Deserialize)]
pub(crate) struct Payload {
    query: String,
    #[serde(default = "default_results")]
    max_results: i64,
    #[serde(default)]
    region: String,
    #[serde(default)]
    safesearch: String,
}

fn default_results() -> i64 {
    DEFAULT_RESULTS
}

impl Payload {
    /// Reads a payload; `None` when it is not what this driver takes.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        // An array of the right values would do for serde.
        let object = spiderweb_driver_sdk::trim(payload);
        if !object.starts_with(b"{") {
            return None;
        }
        let payload: Self = serde_json::from_slice(object).ok()?;
        (!payload.query().is_empty() && payload.max_results >= 1).then_some(payload)
    }

    /// What to look for.
    pub(crate) fn query(&self) -> &str {
        trim(&self.query)
    }

    pub(crate) fn most_results(&self) -> usize {
        usize::try_from(self.max_results).map_or(MOST_RESULTS, |most| most.min(MOST_RESULTS))
    }

    /// The address to ask; `None` when `server` is no HTTP address.
    pub(crate) fn url(&self, server: &str) -> Option<String> {
        let address: Uri = server.parse().ok()?;
        let is_http = matches!(address.scheme_str(), Some("http" | "https"));
        if !is_http || address.query().is_some() {
            return None;
        }
        let parameters = [
            ("q", self.query()),
            ("kl", trim(&self.region)),
            ("kp", trim(&self.safesearch)),
        ];
        let mut url = format!("{server}?format=json&no_html=1&no_redirect=1&skip_disambig=1");
        for (name, value) in parameters {
            if !value.is_empty() {
                let _ = write!(url, "&{name}={}", percent_encoded(value));
            }
        }
        Some(url)
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_carries_the_question() {
        for (payload, rest) in [
            (r#"{"query":" zig "}"#, "&q=zig"),
            (
                r#"{"query":"zig lang: a&b/é~","region":" us-en ","safesearch":"-1"}"#,
                "&q=zig%20lang%3A%20a%26b%2F%C3%A9~&kl=us-en&kp=-1",
            ),
            (r#"{"query":"q\"\n","region":" "}"#, "&q=q%22"),
        ] {
            let payload = Payload::read(payload.as_bytes()).unwrap();
            let base = "https://api.duckduckgo.com/?format=json&no_html=1&no_redirect=1&skip_disambig=1";
            assert_eq!(
                payload.url("https://api.duckduckgo.com/").unwrap(),
                format!("{base}{rest}")
            );
            for server in ["", "no address", "ftp://host/", "/path", "http://host/?a=b"] {
                assert_eq!(payload.url(server), None, "{server}");
            }
        }
    }

    #[test]
    fn results_are_one_to_twelve() {
        for (most, results) in [
            ("1", 1),
            ("2", 2),
            ("12", 12),
            ("13", 12),
            ("9223372036854775807", 12),
        ] {
            let payload = format!(r#"{{"query":"q","max_results":{most}}}"#);
            assert_eq!(Payload::read(payload.as_bytes()).unwrap().most_results(), results);
        }
        assert_eq!(Payload::read(br#"{"query":"q"}"#).unwrap().most_results(), 5);
    }
}
