//! The program against a local server that plays replies of the search engine.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod server;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use server::{Play, Server};

/// Largest reply.
const MAX_REPLY: usize = 2 * 1024 * 1024;

fn command(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spiderweb-web-search-driver"));
    for proxy in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        command.env_remove(proxy).env_remove(proxy.to_lowercase());
    }
    command
        .env("SPIDERWEB_WEB_SEARCH_URL", url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(mut command: Command, stdin: &str) -> Output {
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // A driver that has read enough closes its end.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    child.wait_with_output().unwrap()
}

/// What the driver prints when the server answers `play`, without the time.
fn answered(play: Play, stdin: &str) -> (Value, Vec<String>) {
    let server = Server::start(play);
    let output = run(command(&server.url("/")), stdin);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let time = answer.as_object_mut().unwrap().remove("fetched_at_ms").unwrap();
    assert!(time.as_u64().unwrap() > 1_600_000_000_000);
    (answer, server.requests())
}

fn answer(query: &str, results: &[[&str; 4]]) -> Value {
    let results: Vec<_> = results
        .iter()
        .map(|[title, url, snippet, source]| {
            json!({"title": title, "url": url, "snippet": snippet, "source": source})
        })
        .collect();
    json!({
        "ok": true, "driver": "spiderweb-web-search-driver", "provider": "duckduckgo_instant_answer",
        "query": query, "result_count": results.len(), "results": results,
    })
}

fn failed(output: &Output, message: &str) {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("{message}\n"));
    assert!(output.stdout.is_empty());
}

const ANSWER: &str = r#"{"AbstractText":"","Answer":"42","AnswerType":"calc","RelatedTopics":[]}"#;

fn the_answer() -> Value {
    answer("q", &[["42", "https://duckduckgo.com", "42", "calc"]])
}

const TOPICS: &str = r#"{"Abstract":"x","AbstractText":"Zig is a language.",
    "AbstractURL":"https://en.wikipedia.org/wiki/Zig","Heading":"Zig (programming \"language\")","Answer":"",
    "AnswerType":"","RelatedTopics":[
        {"Text":"Topic one","FirstURL":"https://duckduckgo.com/one","Result":"<a>"},
        {"Name":"Group","Topics":[
            {"Text":"Nested é\n","FirstURL":"https://duckduckgo.com/n1"},
            {"Text":"","FirstURL":"https://x"},{"Text":"no url"}]},
        "junk",{"Text":5,"FirstURL":"https://y"},{"Text":"Last","FirstURL":"https://duckduckgo.com/last"}]}"#;

#[test]
fn the_question_and_the_headers_are_those_of_the_contract() {
    let (_, requests) = answered(
        Play::ok(TOPICS),
        r#"{"query":"zig lang: a&b/é~","max_results":99,"region":" us-en ","safesearch":"-1"}"#,
    );
    let [request] = requests.try_into().unwrap();
    let mut lines = request.lines();
    assert_eq!(
        lines.next(),
        Some(
            "GET /?format=json&no_html=1&no_redirect=1&skip_disambig=1\
             &q=zig%20lang%3A%20a%26b%2F%C3%A9~&kl=us-en&kp=-1 HTTP/1.1"
        )
    );
    for header in [
        "accept: application/json",
        "user-agent: spiderweb-web-search-driver/1",
        "accept-encoding: gzip, deflate",
    ] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
    }
}

#[test]
fn results_come_from_the_abstract_then_the_topics_then_the_answer() {
    let zig = [
        [
            "Zig (programming \"language\")",
            "https://en.wikipedia.org/wiki/Zig",
            "Zig is a language.",
            "duckduckgo.abstract",
        ],
        [
            "Topic one",
            "https://duckduckgo.com/one",
            "Topic one",
            "duckduckgo.related",
        ],
        [
            "Nested é\n",
            "https://duckduckgo.com/n1",
            "Nested é\n",
            "duckduckgo.related",
        ],
        [
            "Last",
            "https://duckduckgo.com/last",
            "Last",
            "duckduckgo.related",
        ],
    ];
    for (reply, stdin, expected) in [
        (TOPICS, r#"{"query":"zig"}"#, answer("zig", &zig)),
        (
            TOPICS,
            r#"{"query":" zig ","max_results":2}"#,
            answer("zig", &zig[..2]),
        ),
        (
            TOPICS,
            r#"{"query":"zig","max_results":1}"#,
            answer("zig", &zig[..1]),
        ),
        (ANSWER, r#"{"query":"q\"\n"}"#, {
            answer("q\"", &[["42", "https://duckduckgo.com", "42", "calc"]])
        }),
        (
            r#"{"Answer":"42","AnswerType":""}"#,
            r#"{"query":"q"}"#,
            answer(
                "q",
                &[["42", "https://duckduckgo.com", "42", "duckduckgo.answer"]],
            ),
        ),
        (
            r#"{"AbstractText":"only text","AbstractURL":"https://u","Heading":"","RelatedTopics":{},"Answer":"z"}"#,
            r#"{"query":"q"}"#,
            answer(
                "q",
                &[["only text", "https://u", "only text", "duckduckgo.abstract"]],
            ),
        ),
        ("[1]", r#"{"query":"q"}"#, answer("q", &[])),
        ("{}", r#"{"query":"q"}"#, answer("q", &[])),
    ] {
        assert_eq!(answered(Play::ok(reply), stdin).0, expected, "{reply} {stdin}");
    }
}

#[test]
fn at_most_twelve_results_come_whatever_is_asked() {
    let topics: Vec<_> = (0..20)
        .map(|number| json!({"Text": format!("t{number}"), "FirstURL": "https://t"}))
        .collect();
    let reply = json!({ "RelatedTopics": topics }).to_string();
    for (stdin, count) in [(r#"{"query":"q","max_results":50}"#, 12), (r#"{"query":"q"}"#, 5)] {
        assert_eq!(answered(Play::ok(&reply), stdin).0["result_count"], count);
    }
}

#[test]
fn compressed_replies_are_read() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(ANSWER.as_bytes()).unwrap();
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(ANSWER.as_bytes()).unwrap();
    for (coding, body) in [
        ("gzip", gzip.finish().unwrap()),
        ("deflate", deflate.finish().unwrap()),
    ] {
        let play = Play::Reply {
            status: "200 OK",
            headers: format!("content-encoding: {coding}\r\n"),
            body,
        };
        assert_eq!(answered(play, r#"{"query":"q"}"#).0, the_answer(), "{coding}");
    }
}

#[test]
fn chunked_replies_are_read() {
    assert_eq!(
        answered(Play::Chunked(ANSWER.into()), r#"{"query":"q"}"#).0,
        the_answer()
    );
}

#[test]
fn four_redirects_are_followed_and_no_fifth() {
    let (found, requests) = answered(Play::Redirects(4, ANSWER.into()), r#"{"query":"q"}"#);
    assert_eq!((found, requests.len()), (the_answer(), 5));
    let server = Server::start(Play::Redirects(5, ANSWER.into()));
    failed(
        &run(command(&server.url("/")), r#"{"query":"q"}"#),
        "web search request failed",
    );
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_busy_server_is_asked_again_for_a_while() {
    let (found, requests) = answered(Play::Accepted(2, ANSWER.into()), r#"{"query":"q"}"#);
    assert_eq!((found, requests.len()), (the_answer(), 3));
    let server = Server::start(Play::Accepted(100, ANSWER.into()));
    failed(
        &run(command(&server.url("/")), r#"{"query":"q"}"#),
        "web search request failed",
    );
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn replies_of_no_use_are_failures() {
    let status = |status| Play::Reply {
        status,
        headers: String::new(),
        body: ANSWER.into(),
    };
    let coded = |coding: &str| Play::Reply {
        status: "200 OK",
        headers: format!("content-encoding: {coding}\r\n"),
        body: ANSWER.into(),
    };
    for (play, message) in [
        (status("500 Internal Server Error"), "web search request failed"),
        (status("204 No Content"), "web search request failed"),
        (status("404 Not Found"), "web search request failed"),
        (coded("gzip"), "web search request failed"),
        (coded("klingon"), "web search request failed"),
        (Play::HangsUp, "web search request failed"),
        (Play::ok("nope"), "search response parsing failed"),
        (Play::ok("{\"a\":1} x"), "search response parsing failed"),
        (Play::ok(""), "search response parsing failed"),
    ] {
        let server = Server::start(play);
        failed(&run(command(&server.url("/")), r#"{"query":"q"}"#), message);
    }
}

#[test]
fn a_reply_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let sized = |size: usize| format!("{ANSWER}{}", " ".repeat(size - ANSWER.len()));
    assert_eq!(
        answered(Play::ok(&sized(MAX_REPLY)), r#"{"query":"q"}"#).0,
        the_answer()
    );
    let server = Server::start(Play::ok(&sized(MAX_REPLY + 1)));
    failed(
        &run(command(&server.url("/")), r#"{"query":"q"}"#),
        "web search request failed",
    );
}

#[test]
fn a_small_reply_that_unpacks_to_gigabytes_is_cut_off() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    for _ in 0..64 {
        bomb.write_all(&vec![b' '; 1024 * 1024]).unwrap();
    }
    let server = Server::start(Play::Reply {
        status: "200 OK",
        headers: "content-encoding: gzip\r\n".to_owned(),
        body: bomb.finish().unwrap(),
    });
    failed(
        &run(command(&server.url("/")), r#"{"query":"q"}"#),
        "web search request failed",
    );
}

#[test]
fn payloads_that_ask_nothing_are_refused_before_any_request() {
    let server = Server::start(Play::ok(ANSWER));
    for stdin in [
        "",
        "{}",
        r#"{"query":""}"#,
        r#"{"query":"  "}"#,
        r#"{"query":5}"#,
        "[]",
        r#"["zig"]"#,
        "nope",
        r#"{"query":"x","max_results":0}"#,
        r#"{"query":"x","max_results":-1}"#,
        r#"{"query":"x","max_results":"3"}"#,
        r#"{"query":"x","max_results":2.0}"#,
        r#"{"query":"x","max_results":null}"#,
        r#"{"query":"x","region":5}"#,
        r#"{"query":"x","safesearch":1}"#,
        r#"{"query":"x","region":null}"#,
        r#"{"query":"x","query":"y"}"#,
    ] {
        failed(
            &run(command(&server.url("/")), stdin),
            "invoke payload must be a JSON object with non-empty string field: query",
        );
    }
    let long = format!("{{\"query\":\"{}\"}}", "x".repeat(1024 * 1024));
    failed(
        &run(command(&server.url("/")), &long),
        "failed reading invoke payload",
    );
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn a_server_that_is_not_there_or_no_address_is_a_failure() {
    // Nobody listens on a port that was just given back.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    failed(
        &run(command(&format!("http://{gone}/")), r#"{"query":"q"}"#),
        "web search request failed",
    );
    failed(
        &run(command("no address"), r#"{"query":"q"}"#),
        "failed building search URL",
    );
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let proxy = Server::start(Play::HangsUp);
    let mut command = command("http://search.invalid/");
    command.env("ALL_PROXY", proxy.url("/"));
    failed(&run(command, r#"{"query":"q"}"#), "web search request failed");
    let requests = proxy.requests();
    assert!(
        requests.iter().any(|request| request.contains("search.invalid")),
        "{requests:?}"
    );
}
