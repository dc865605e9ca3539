//! Searches the web for instant answers (section 15.4).
//!
//! One request, no key: the payload's `query` goes to the instant answers of duckduckgo.com, and what comes back becomes
//! a short list of results. Proxies of the environment are honoured; `SPIDERWEB_WEB_SEARCH_URL` names another server.
//!
//! ```text
//! payload.rs  what is asked, and the address it is asked at
//! fetch.rs    the request, under one deadline
//! results.rs  what the reply says
//! ```
#![forbid(unsafe_code)]

mod fetch;
mod payload;
mod results;

use std::fmt::{self, Display};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use payload::Payload;
use results::SearchResult;

/// Where instant answers come from.
const SERVER: &str = "https://api.duckduckgo.com/";
/// Names another server.
const SERVER_VARIABLE: &str = "SPIDERWEB_WEB_SEARCH_URL";
/// Time for everything, so that the driver tells what went wrong before the manifest's 20 seconds end it.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Exit code of every failure.
const FAILED: u8 = 2;

/// Why there is no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failure {
    Reading,
    Payload,
    Url,
    Request,
    Parsing,
    Rendering,
    Writing,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reading => "failed reading invoke payload",
            Self::Payload => "invoke payload must be a JSON object with non-empty string field: query",
            Self::Url => "failed building search URL",
            Self::Request => "web search request failed",
            Self::Parsing => "search response parsing failed",
            Self::Rendering => "failed rendering search results",
            Self::Writing => "failed writing result",
        })
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    driver: &'static str,
    provider: &'static str,
    query: &'a str,
    result_count: usize,
    fetched_at_ms: u64,
    results: Vec<SearchResult<'a>>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told; the exit code still counts.
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(FAILED)
        }
    }
}

fn run() -> Result<(), Failure> {
    let payload = spiderweb_driver_sdk::read_payload().map_err(|_| Failure::Reading)?;
    let server = std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| SERVER.to_owned());
    let answer = search(&payload, &server, TIMEOUT)?;
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&answer).and_then(|()| stdout.flush());
    written.map_err(|_| Failure::Writing)
}

fn search(payload: &[u8], server: &str, timeout: Duration) -> Result<Vec<u8>, Failure> {
    let payload = Payload::read(payload).ok_or(Failure::Payload)?;
    let url = payload.url(server).ok_or(Failure::Url)?;
    let reply = fetch::fetch(&url, timeout).ok_or(Failure::Request)?;
    let reply = serde_json::from_slice(&reply).map_err(|_| Failure::Parsing)?;
    let results = results::read(&reply, payload.most_results());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let answer = Answer {
        ok: true,
        driver: "spiderweb-web-search-driver",
        provider: "duckduckgo_instant_answer",
        query: payload.query(),
        result_count: results.len(),
        fetched_at_ms: now.map_or(0, |time| time.as_millis() as u64),
        results,
    };
    serde_json::to_vec(&answer).map_err(|_| Failure::Rendering)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        // Connections are taken by the system, and nobody reads them.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}/", silent.local_addr().unwrap());
        let begun = Instant::now();
        let answer = search(br#"{"query":"q"}"#, &server, Duration::from_millis(300));
        assert_eq!(answer, Err(Failure::Request));
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
