//! File operations over a raw peer, one method each.
//!
//! A refusal is a value, because tests compare it. A connection that breaks is a failed test: every method panics
//! when the node hangs up, says nothing for [`PATIENCE`] or answers something else than what was asked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::raw_peer::{Message, PATIENCE, PeerError, RawPeer};

/// What a node answers instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The number.
    pub errno: i64,
    /// The words.
    pub message: String,
}

/// A result or a refusal.
pub type Answer<T> = Result<T, Refusal>;

/// One page of a directory.
#[derive(Debug, Clone)]
pub struct Page {
    /// Names and attributes, in the order of the page.
    pub entries: Vec<(String, Value)>,
    /// Cookie of the page that follows.
    pub next: u64,
    /// The same as clients look for it: 0 at the end.
    pub next_cookie: u64,
    /// Whether the directory ended.
    pub eof: bool,
}

/// A peer past its hello, with the roots of the exports at hand.
#[derive(Debug)]
pub struct FilePeer {
    /// The connection, for what this type does not offer.
    pub raw: RawPeer,
    roots: Vec<u64>,
    last_tag: u32,
}

impl FilePeer {
    /// Connects, says hello and asks for the exports.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, json!({}))
    }

    /// The same with these members added to the hello's payload.
    #[track_caller]
    pub fn connect_with(addr: SocketAddr, hello: Value) -> Self {
        let raw = RawPeer::hello_with(addr, hello).expect("a node that welcomes its clients");
        let mut peer = Self {
            raw,
            roots: Vec::new(),
            // Tags of `RawPeer::request` count up from 1; these stay apart from them.
            last_tag: 1 << 16,
        };
        let exports = peer.ask("exports", json!({})).expect("exports cannot fail");
        let exports = exports["exports"].as_array().expect("a list of exports");
        peer.roots = exports.iter().map(|export| number(&export["root"])).collect();
        peer
    }

    /// Id of the first export's root.
    pub fn root(&self) -> u64 {
        self.root_of(0)
    }

    /// Id of an export's root, by its position.
    pub fn root_of(&self, export: usize) -> u64 {
        self.roots[export]
    }

    /// Sends a request and does not wait; returns its tag. `members` are those of the envelope.
    #[track_caller]
    pub fn send(&mut self, op: &str, mut members: Value) -> u32 {
        self.last_tag += 1;
        members["channel"] = json!("acheron");
        members["type"] = json!(format!("acheron.t_fs_{op}"));
        members["tag"] = json!(self.last_tag);
        self.raw.send_json(&members).expect("a node that takes requests");
        self.last_tag
    }

    /// The next answer, whichever request it belongs to, or `None` when none came in time.
    #[track_caller]
    pub fn next_answer(&mut self, within: Duration) -> Option<(u32, Answer<Value>)> {
        match self.raw.reply(within) {
            Ok(reply) => Some(opened(reply)),
            Err(PeerError::Timeout(_)) => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// The answer to the request with this tag, which must be the next.
    #[track_caller]
    pub fn answer(&mut self, tag: u32) -> Answer<Value> {
        let (answered, answer) = self
            .next_answer(PATIENCE)
            .expect("an answer before patience runs out");
        assert_eq!(answered, tag, "another request's answer: {answer:?}");
        answer
    }

    /// Sends a request and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self, op: &str, members: Value) -> Answer<Value> {
        let tag = self.send(op, members);
        self.answer(tag)
    }

    /// Attributes of an id.
    #[track_caller]
    pub fn getattr(&mut self, node: u64) -> Answer<Value> {
        Ok(self.ask("getattr", json!({"node": node}))?["attr"].take())
    }

    /// Attributes of what a name leads to.
    #[track_caller]
    pub fn lookup(&mut self, parent: u64, name: &str) -> Answer<Value> {
        let members = json!({"node": parent, "payload": {"name": name}});
        Ok(self.ask("lookup", members)?["attr"].take())
    }

    /// Id of what a path below `from` leads to, which must exist; the empty path is `from`.
    #[track_caller]
    pub fn find(&mut self, from: u64, path: &str) -> u64 {
        let mut at = from;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let attr = self.lookup(at, name);
            at = number(&attr.unwrap_or_else(|refusal| panic!("`{name}` of `{path}`: {refusal:?}"))["id"]);
        }
        at
    }

    /// A page of a directory.
    #[track_caller]
    pub fn list(&mut self, dir: u64, cookie: u64, max: u32) -> Answer<Page> {
        let members = json!({"node": dir, "payload": {"cookie": cookie, "max": max}});
        let mut page = self.ask("readdirp", members)?;
        let entries = page["ents"].as_array_mut().expect("a list of entries");
        Ok(Page {
            entries: entries
                .iter_mut()
                .map(|entry| (text(&entry["name"]), entry["attr"].take()))
                .collect(),
            next: number(&page["next"]),
            next_cookie: number(&page["next_cookie"]),
            eof: page["eof"].as_bool().expect("eof"),
        })
    }

    /// Every name in a directory but `.` and `..`, in the order told, read in pages of `max`.
    #[track_caller]
    pub fn names(&mut self, dir: u64, max: u32) -> Vec<String> {
        let mut names = Vec::new();
        let mut cookie = 0;
        loop {
            let page = self
                .list(dir, cookie, max)
                .expect("a directory that can be listed");
            assert_eq!(
                page.next,
                cookie + page.entries.len() as u64,
                "cookies are ordinals"
            );
            names.extend(page.entries.into_iter().map(|(name, _)| name));
            if page.next_cookie == 0 {
                assert!(page.eof, "an end that is none");
                break;
            }
            assert!(
                !page.eof && page.next_cookie == page.next,
                "a page that contradicts itself"
            );
            cookie = page.next;
        }
        assert_eq!(names.get(..2), Some(&[".".to_owned(), "..".to_owned()][..]));
        names.split_off(2)
    }

    /// Opens an id; the handle.
    #[track_caller]
    pub fn open(&mut self, node: u64, flags: u32) -> Answer<u64> {
        let members = json!({"node": node, "payload": {"flags": flags}});
        Ok(number(&self.ask("open", members)?["h"]))
    }

    /// Makes a file; its id and a handle that reads and writes.
    #[track_caller]
    pub fn create(&mut self, parent: u64, name: &str) -> Answer<(u64, u64)> {
        let created = self.ask("create", json!({"node": parent, "payload": {"name": name}}))?;
        Ok((number(&created["attr"]["id"]), number(&created["h"])))
    }

    /// Bytes of an open file, and whether it ended.
    #[track_caller]
    pub fn read(&mut self, handle: u64, offset: u64, len: u32) -> Answer<(Vec<u8>, bool)> {
        let members = json!({"h": handle, "payload": {"off": offset, "len": len}});
        let data = self.ask("read", members)?;
        let bytes = base64_simd::STANDARD
            .decode_to_vec(data["data_b64"].as_str().expect("data"))
            .expect("valid base64");
        Ok((bytes, data["eof"].as_bool().expect("eof")))
    }

    /// Writes bytes to an open file; how many.
    #[track_caller]
    pub fn write(&mut self, handle: u64, offset: u64, data: &[u8]) -> Answer<u64> {
        Ok(number(&self.ask("write", writing(handle, offset, data))?["n"]))
    }

    /// Closes a handle.
    #[track_caller]
    pub fn close(&mut self, handle: u64) -> Answer<()> {
        self.ask("close", json!({"h": handle})).map(drop)
    }

    /// Asks for a lock.
    #[track_caller]
    pub fn lock(&mut self, handle: u64, kind: &str, wait: bool) -> Answer<()> {
        self.ask("lock", locking(handle, kind, wait)).map(drop)
    }

    /// Makes a directory.
    #[track_caller]
    pub fn mkdir(&mut self, parent: u64, name: &str) -> Answer<()> {
        self.in_directory("mkdir", parent, name)
    }

    /// Removes a directory.
    #[track_caller]
    pub fn rmdir(&mut self, parent: u64, name: &str) -> Answer<()> {
        self.in_directory("rmdir", parent, name)
    }

    /// Removes a file or link.
    #[track_caller]
    pub fn unlink(&mut self, parent: u64, name: &str) -> Answer<()> {
        self.in_directory("unlink", parent, name)
    }

    #[track_caller]
    fn in_directory(&mut self, op: &str, parent: u64, name: &str) -> Answer<()> {
        self.ask(op, json!({"node": parent, "payload": {"name": name}}))
            .map(drop)
    }

    /// Makes a symbolic link.
    #[track_caller]
    pub fn symlink(&mut self, parent: u64, name: &str, target: &str) -> Answer<()> {
        let payload = json!({"name": name, "target": target});
        self.ask("symlink", json!({"node": parent, "payload": payload}))
            .map(drop)
    }

    /// Moves an entry.
    #[track_caller]
    pub fn rename(&mut self, from: (u64, &str), to: (u64, &str)) -> Answer<()> {
        let payload = json!({"old_parent": from.0, "old_name": from.1, "new_parent": to.0, "new_name": to.1});
        self.ask("rename", json!({"payload": payload})).map(drop)
    }

    /// Cuts or extends a file.
    #[track_caller]
    pub fn truncate(&mut self, node: u64, size: u64) -> Answer<()> {
        self.ask("truncate", json!({"node": node, "payload": {"sz": size}}))
            .map(drop)
    }

    /// Sets an extended attribute.
    #[track_caller]
    pub fn set_xattr(&mut self, node: u64, name: &str, value: &[u8]) -> Answer<()> {
        let value = base64_simd::STANDARD.encode_to_string(value);
        let payload = json!({"name": name, "value_b64": value});
        self.ask("setxattr", json!({"node": node, "payload": payload}))
            .map(drop)
    }

    /// Makes a file with this content; its id.
    #[track_caller]
    pub fn put(&mut self, parent: u64, name: &str, content: &[u8]) -> Answer<u64> {
        let (id, handle) = self.create(parent, name)?;
        self.write(handle, 0, content)?;
        self.close(handle)?;
        Ok(id)
    }

    /// The whole content of a file of at most 1 MiB.
    #[track_caller]
    pub fn content(&mut self, node: u64) -> Answer<Vec<u8>> {
        let handle = self.open(node, 0)?;
        let content = self.read(handle, 0, 1 << 20);
        self.close(handle)?;
        Ok(content?.0)
    }

    /// Events in the order they came, up to and with the first that `last` accepts.
    #[track_caller]
    pub fn events_until(&mut self, mut last: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.raw.take_event(|_| true).unwrap_or_else(|| {
                let left = deadline.saturating_duration_since(Instant::now());
                match self.raw.message(left) {
                    Ok(Message::Event(event)) => event,
                    other => panic!("{other:?} after the events {events:#?}"),
                }
            });
            let done = last(&event);
            events.push(event);
            if done {
                return events;
            }
        }
    }

    /// Proves that the node serves this session and forgets what it told about so far.
    #[track_caller]
    pub fn forget_events(&mut self) {
        self.getattr(self.root()).expect("a root");
        self.raw.forget_events();
    }
}

/// The envelope's members of a write.
pub fn writing(handle: u64, offset: u64, data: &[u8]) -> Value {
    let data = base64_simd::STANDARD.encode_to_string(data);
    json!({"h": handle, "payload": {"off": offset, "data_b64": data}})
}

/// The envelope's members of a lock request.
pub fn locking(handle: u64, kind: &str, wait: bool) -> Value {
    json!({"h": handle, "payload": {"kind": kind, "wait": wait}})
}

/// The id an event is about.
pub fn subject(event: &Value) -> u64 {
    let payload = &event["payload"];
    number(payload.get("dir").unwrap_or(&payload["node"]))
}

/// A number that must be one.
#[track_caller]
pub fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} instead of a number"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn opened(mut reply: Value) -> (u32, Answer<Value>) {
    let tag = u32::try_from(number(&reply["tag"])).expect("a tag of 32 bits");
    let answer = if reply["ok"] == true {
        Ok(reply["payload"].take())
    } else {
        Err(Refusal {
            errno: reply["error"]["errno"].as_i64().expect("an errno"),
            message: text(&reply["error"]["message"]),
        })
    };
    (tag, answer)
}
