//! One GET request under one deadline.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

/// Longest reply, decoded.
const MAX_REPLY: usize = 2 * 1024 * 1024;
/// Redirects followed.
const REDIRECTS: u32 = 4;
/// How often a server is asked again that says "accepted" instead of answering: it does so when it is busy.
const RETRIES: u32 = 2;
/// Pause before asking again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Fetches what is there; `None` when nothing of use comes within the time.
pub(crate) fn fetch(url: &str, timeout: Duration) -> Option<Vec<u8>> {
    let deadline = Instant::now() + timeout;
    for attempt in 0..=RETRIES {
        if attempt > 0 {
            std::thread::sleep(RETRY_PAUSE);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        let response = ask(url, left).ok()?;
        match response.status() {
            StatusCode::OK => return decoded(response).ok(),
            StatusCode::ACCEPTED => {}
            _ => return None,
        }
    }
    None
}

fn ask(url: &str, timeout: Duration) -> Result<Response<ureq::Body>, ureq::Error> {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(REDIRECTS)
        // A question that was asked in secret stays so.
        .https_only(url.starts_with("https:"))
        .http_status_as_error(false)
        .build();
    Agent::new_with_config(config)
        .get(url)
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "gzip, deflate")
        .header(header::USER_AGENT, "spiderweb-web-search-driver/1")
        .call()
}

fn decoded(response: Response<ureq::Body>) -> io::Result<Vec<u8>> {
    let coding = response.headers().get(header::CONTENT_ENCODING);
    let coding = coding.map(|coding| coding.as_bytes().to_ascii_lowercase());
    let body = response.into_body().into_reader();
    match coding.as_deref() {
        None | Some(b"" | b"identity") => bounded(body),
        Some(b"gzip" | b"x-gzip") => bounded(MultiGzDecoder::new(body)),
        Some(b"deflate") => bounded(ZlibDecoder::new(body)),
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn bounded(body: impl Read) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    body.take(MAX_REPLY as u64 + 1).read_to_end(&mut reply)?;
    if reply.len() > MAX_REPLY {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(reply)
}
