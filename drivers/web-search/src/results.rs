//! What a reply says.

use serde::Serialize;
use serde_json::Value;

/// One thing that was found.
#[derive(Serialize, Debug, PartialEq, Eq)]
pub(crate) struct SearchResult<'a> {
    title: &'a str,
    url: &'a str,
    snippet: &'a str,
    source: &'a str,
}

/// Reads at most `most` results: the abstract, then related topics; the plain answer if there is neither. A reply that
/// is not an object has none.
pub(crate) fn read(reply: &Value, most: usize) -> Vec<SearchResult<'_>> {
    let mut results = Vec::new();
    if let (Some(text), Some(url)) = (words(reply, "AbstractText"), words(reply, "AbstractURL")) {
        results.push(SearchResult {
            title: words(reply, "Heading").unwrap_or(text),
            url,
            snippet: text,
            source: "duckduckgo.abstract",
        });
    }
    add_topics(reply.get("RelatedTopics"), most, &mut results);
    if let (true, Some(answer)) = (results.is_empty(), words(reply, "Answer")) {
        results.push(SearchResult {
            title: answer,
            url: "https://duckduckgo.com",
            snippet: answer,
            source: words(reply, "AnswerType").unwrap_or("duckduckgo.answer"),
        });
    }
    results
}

/// Adds topics in their order. A group has `Topics` of its own; what is neither group nor topic is passed over.
fn add_topics<'a>(topics: Option<&'a Value>, most: usize, results: &mut Vec<SearchResult<'a>>) {
    for topic in topics.and_then(Value::as_array).into_iter().flatten() {
        if results.len() >= most {
            return;
        }
        if topic.get("Topics").is_some() {
            add_topics(topic.get("Topics"), most, results);
        } else if let (Some(text), Some(url)) = (words(topic, "Text"), words(topic, "FirstURL")) {
            results.push(SearchResult {
                title: text,
                url,
                snippet: text,
                source: "duckduckgo.related",
            });
        }
    }
}

/// A member that is a string and not empty.
fn words<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty())
}
