//! What a client reads: answers, refusals and news of a node (sections 3.1, 10, 14.2).
//!
//! Decoding is `serde`'s, and lenient: additional members are ignored, as original clients do.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::attr::Attr;
use super::event::{Change, Event};
use super::hello::HelloReply;
use super::op::Op;
use super::reply::{Export, Opened, Statfs};
use crate::base64;
use crate::errno::Errno;
use crate::ids::{HandleId, InodeId, Tag};

/// An error a node answered with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message} (errno {})", .errno.number())]
pub struct WireError {
    /// The number.
    pub errno: Errno,
    /// The node's words.
    pub message: String,
}

/// A frame from a node.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// An answer; its payload is decoded by the method for the request that was asked.
    Reply {
        /// Which request it answers.
        op: Op,
        /// The request's tag.
        tag: Tag,
        /// The undecoded payload.
        payload: Payload<'a>,
    },
    /// A refusal; without a tag it concerns the connection.
    Error {
        /// The request's tag.
        tag: Option<Tag>,
        /// What the node says.
        error: WireError,
    },
    /// News.
    Event(Event),
}

/// The payload of a reply.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a>(&'a str);

/// A frame or payload that is not what the contract says (section 14.2).
#[derive(Debug, thiserror::Error)]
#[error("the node sent an answer that does not follow the protocol: {0}")]
pub struct ReplyError(Cow<'static, str>);

impl From<serde_json::Error> for ReplyError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// A page of a directory, decoded.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Listing {
    /// The entries; `.` and `..` come first in a first page.
    #[serde(rename = "ents")]
    pub entries: Vec<ListingEntry>,
    /// Cookie of the next page.
    pub next: u64,
    /// This was the last page.
    pub eof: bool,
    /// Version of the directory.
    #[serde(rename = "dir_gen", default)]
    pub dir_generation: u64,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ListingEntry {
    /// Its name.
    pub name: String,
    /// The attributes of what it names.
    pub attr: Attr,
}

impl<'a> Incoming<'a> {
    /// Reads a frame from a node.
    pub fn parse(frame: &'a [u8]) -> Result<Self, ReplyError> {
        #[derive(Deserialize)]
        struct Frame<'f> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'f, str>,
            tag: Option<u32>,
            #[serde(borrow)]
            payload: Option<&'f RawValue>,
            error: Option<WireFault>,
        }
        #[derive(Deserialize)]
        struct WireFault {
            #[serde(alias = "no")]
            errno: i32,
            #[serde(alias = "msg")]
            message: String,
        }
        let text = simdutf8::basic::from_utf8(frame).map_err(|_| ReplyError("not UTF-8".into()))?;
        let frame: Frame<'a> = serde_json::from_str(text)?;
        let tag = frame.tag.map(Tag);
        let payload = Payload(frame.payload.map_or("{}", RawValue::get));
        match frame.kind.strip_prefix("acheron.") {
            Some("err_fs") => {
                let fault = frame.error.ok_or(ReplyError("an error without `error`".into()))?;
                let error = WireError {
                    errno: Errno::from_wire(fault.errno),
                    message: fault.message,
                };
                Ok(Self::Error { tag, error })
            }
            Some("e_fs_inval") => Ok(Self::Event(payload.inode_event()?)),
            Some("e_fs_inval_dir") => Ok(Self::Event(payload.directory_event()?)),
            Some(reply) => {
                let op = reply.strip_prefix("r_fs_").and_then(Op::from_wire);
                let op = op.ok_or_else(|| ReplyError(format!("unknown type {}", frame.kind).into()))?;
                let tag = tag.ok_or(ReplyError("a reply without tag".into()))?;
                Ok(Self::Reply { op, tag, payload })
            }
            None => Err(ReplyError(format!("unknown type {}", frame.kind).into())),
        }
    }
}

impl Payload<'_> {
    fn decode<T: DeserializeOwned>(self) -> Result<T, ReplyError> {
        Ok(serde_json::from_str(self.0)?)
    }

    fn inode_event(self) -> Result<Event, ReplyError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            node: u64,
            what: Cow<'a, str>,
            #[serde(rename = "gen")]
            generation: Option<u64>,
        }
        let wire: Wire<'_> = serde_json::from_str(self.0)?;
        let change = match &*wire.what {
            "attr" => Change::Attr,
            "data" => Change::Data,
            "all" => Change::All,
            other => return Err(ReplyError(format!("unknown change {other}").into())),
        };
        let id = InodeId::new(wire.node).ok_or(ReplyError("an id out of range".into()))?;
        Ok(Event::Inode {
            id,
            change,
            generation: wire.generation,
        })
    }

    fn directory_event(self) -> Result<Event, ReplyError> {
        #[derive(Deserialize)]
        struct Wire {
            dir: u64,
        }
        let wire: Wire = self.decode()?;
        let id = InodeId::new(wire.dir).ok_or(ReplyError("an id out of range".into()))?;
        Ok(Event::Directory { id })
    }

    /// The answer to hello.
    pub fn hello(self) -> Result<HelloReply, ReplyError> {
        Ok(HelloReply::decode(self.0)?)
    }

    /// The answer to exports.
    pub fn exports(self) -> Result<Vec<Export>, ReplyError> {
        #[derive(Deserialize)]
        struct Wire {
            exports: Vec<Export>,
        }
        Ok(self.decode::<Wire>()?.exports)
    }

    /// The answer to statfs.
    pub fn statfs(self) -> Result<Statfs, ReplyError> {
        self.decode()
    }

    /// The answer to lookup and getattr.
    pub fn attr(self) -> Result<Attr, ReplyError> {
        #[derive(Deserialize)]
        struct Wire {
            attr: Attr,
        }
        Ok(self.decode::<Wire>()?.attr)
    }

    /// The answer to readdirp.
    pub fn listing(self) -> Result<Listing, ReplyError> {
        self.decode()
    }

    /// The answer to open.
    pub fn opened(self) -> Result<Opened, ReplyError> {
        #[derive(Deserialize)]
        struct Wire {
            h: u64,
            caps: Caps,
            #[serde(rename = "gen", default)]
            generation: u64,
        }
        #[derive(Deserialize)]
        struct Caps {
            rd: bool,
            wr: bool,
        }
        let wire: Wire = self.decode()?;
        Ok(Opened {
            handle: handle(wire.h)?,
            readable: wire.caps.rd,
            writable: wire.caps.wr,
            generation: wire.generation,
        })
    }

    /// The answer to create.
    pub fn created(self) -> Result<(Attr, HandleId), ReplyError> {
        #[derive(Deserialize)]
        struct Wire {
            attr: Attr,
            h: u64,
        }
        let wire: Wire = self.decode()?;
        Ok((wire.attr, handle(wire.h)?))
    }

    /// The answer to read: the bytes, and whether the file ended.
    pub fn data(self) -> Result<(Vec<u8>, bool), ReplyError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            data_b64: Cow<'a, str>,
            eof: bool,
        }
        let wire: Wire<'_> = serde_json::from_str(self.0)?;
        Ok((bytes(&wire.data_b64)?, wire.eof))
    }

    /// The answer to write: how many bytes.
    pub fn written(self) -> Result<u64, ReplyError> {
        #[derive(Deserialize)]
        struct Wire {
            n: u64,
        }
        Ok(self.decode::<Wire>()?.n)
    }

    /// The answer to getxattr.
    pub fn xattr_value(self) -> Result<Vec<u8>, ReplyError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            value_b64: Cow<'a, str>,
        }
        let wire: Wire<'_> = serde_json::from_str(self.0)?;
        bytes(&wire.value_b64)
    }

    /// The answer to listxattr.
    pub fn xattr_names(self) -> Result<Vec<String>, ReplyError> {
        #[derive(Deserialize)]
        struct Wire {
            names: Vec<String>,
        }
        Ok(self.decode::<Wire>()?.names)
    }
}

fn handle(number: u64) -> Result<HandleId, ReplyError> {
    HandleId::new(number).ok_or(ReplyError("a handle out of range".into()))
}

fn bytes(text: &str) -> Result<Vec<u8>, ReplyError> {
    base64::decode(text.as_bytes()).map_err(|error| ReplyError(error.to_string().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back() {
        let id = InodeId::new(77).unwrap();
        for event in [
            Event::Directory { id },
            Event::Inode {
                id,
                change: Change::Attr,
                generation: None,
            },
            Event::Inode {
                id,
                change: Change::All,
                generation: Some(3),
            },
        ] {
            let mut out = Vec::new();
            event.encode(&mut out);
            assert!(matches!(Incoming::parse(&out).unwrap(), Incoming::Event(same) if same == event));
        }
    }

    #[test]
    fn frames_that_break_the_contract_are_refused() {
        for text in [
            "",
            "{}",
            r#"{"type":"control.ping"}"#,
            r#"{"type":"acheron.r_fs_nope","tag":1}"#,
            r#"{"type":"acheron.r_fs_lookup"}"#,
            r#"{"type":"acheron.err_fs","tag":1}"#,
            r#"{"type":"acheron.e_fs_inval","payload":{"node":-1,"what":"all"}}"#,
            r#"{"type":"acheron.e_fs_inval","payload":{"node":1,"what":"most"}}"#,
        ] {
            assert!(Incoming::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
