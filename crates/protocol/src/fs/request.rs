//! The arguments of each request, and what is wrong with bad ones (section 8).

use std::borrow::Cow;

use bytes::Bytes;

use super::Op;
use crate::base64::Base64Text;
use crate::envelope::Envelope;
use crate::ids::{HandleId, InodeId};
use crate::json::Json;
use crate::limits;
use crate::name::EntryName;

/// A request other than hello, its arguments checked as far as that is possible without a file system.
#[expect(
    missing_docs,
    reason = "the fields carry the wire's own names; section 8 describes each"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Exports,
    Statfs {
        id: InodeId,
    },
    Getattr {
        id: InodeId,
    },
    Lookup {
        parent: InodeId,
        name: EntryName,
    },
    Readdirp {
        dir: InodeId,
        cookie: u64,
        max: u32,
    },
    Symlink {
        parent: InodeId,
        name: EntryName,
        target: Box<str>,
    },
    Setxattr {
        id: InodeId,
        name: Box<str>,
        value: Base64Text,
        flags: XattrFlags,
    },
    Getxattr {
        id: InodeId,
        name: Box<str>,
    },
    Listxattr {
        id: InodeId,
    },
    Removexattr {
        id: InodeId,
        name: Box<str>,
    },
    Open {
        id: InodeId,
        flags: OpenFlags,
    },
    Read {
        handle: HandleId,
        offset: u64,
        len: u32,
    },
    Write {
        handle: HandleId,
        offset: u64,
        data: Base64Text,
    },
    Close {
        handle: HandleId,
    },
    Lock {
        handle: HandleId,
        kind: LockKind,
        wait: bool,
    },
    Create {
        parent: InodeId,
        name: EntryName,
        mode: u32,
        flags: OpenFlags,
    },
    Truncate {
        id: InodeId,
        size: u64,
    },
    Unlink {
        parent: InodeId,
        name: EntryName,
    },
    Mkdir {
        parent: InodeId,
        name: EntryName,
    },
    Rmdir {
        parent: InodeId,
        name: EntryName,
    },
    Rename {
        old_parent: InodeId,
        old_name: EntryName,
        new_parent: InodeId,
        new_name: EntryName,
    },
}

/// Why arguments are refused: errno 22 with these words, the connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// The payload is no object.
    #[error("InvalidPayload")]
    Payload,
    /// `node` is missing.
    #[error("{} requires node", .0.upper())]
    Node(Op),
    /// `h` is missing.
    #[error("{} requires h", .0.upper())]
    Handle(Op),
    /// A text argument is missing or no text.
    #[error("{} requires a.{}", .0.upper(), .1)]
    Text(Op, &'static str),
    /// A number is not in 0 … 2^32−1.
    #[error("{0} must be u32")]
    U32(&'static str),
    /// A number is not in 0 … 2^63−1.
    #[error("{0} must be u64")]
    U64(&'static str),
    /// No `true` or `false`.
    #[error("{0} must be bool")]
    Bool(&'static str),
    /// A name that cannot be an entry's.
    #[error("invalid child name")]
    Name,
    /// The same in `rename`.
    #[error("invalid rename child name")]
    RenameName,
    /// Text that the system cannot take because it contains NUL.
    #[error("invalid argument")]
    Nul,
}

/// What `open` and `create` ask for, as Linux numbers them (section 8.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// Open for reading.
    pub const READ: Self = Self(0);
    /// Open for writing.
    pub const WRITE: Self = Self(1);
    /// Open for both.
    pub const READ_WRITE: Self = Self(2);
    /// Cut the file to nothing when opening for writing.
    pub const TRUNCATE: u32 = 512;

    /// Whether the handle can read: everything but 1.
    pub const fn reads(self) -> bool {
        self.0 & 3 != 1
    }

    /// Whether the handle can write: 1 and 2.
    pub const fn writes(self) -> bool {
        matches!(self.0 & 3, 1 | 2)
    }

    /// Whether the file is cut to nothing; only together with writing.
    pub const fn truncates(self) -> bool {
        self.writes() && self.0 & Self::TRUNCATE != 0
    }
}

/// How `setxattr` treats an existing attribute; Linux numbers on every platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XattrFlags(pub u32);

/// What `lock` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockKind {
    /// Share with other shared holders.
    Shared,
    /// Exclude everyone else.
    Exclusive,
    /// Give the lock back.
    Unlock,
    /// A word that is none of these; refused after the handle was checked (section 8.10).
    Unknown,
}

impl LockKind {
    fn from_wire(word: &str) -> Self {
        match word {
            "shared" => Self::Shared,
            "exclusive" => Self::Exclusive,
            "unlock" => Self::Unlock,
            _ => Self::Unknown,
        }
    }

    pub(super) const fn wire(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
            Self::Unlock => "unlock",
            Self::Unknown => "unknown",
        }
    }
}

/// The payload's members while they are taken apart.
struct Arguments<'e> {
    op: Op,
    envelope: &'e Envelope<'e>,
    members: &'e [(Cow<'e, str>, Json<'e>)],
}

impl<'e> Arguments<'e> {
    fn member(&self, name: &str) -> Option<&'e Json<'e>> {
        self.members
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    fn node(&self) -> Result<InodeId, ArgumentError> {
        self.envelope.node.ok_or(ArgumentError::Node(self.op))
    }

    fn handle(&self) -> Result<HandleId, ArgumentError> {
        self.envelope.handle.ok_or(ArgumentError::Handle(self.op))
    }

    fn text(&self, name: &'static str) -> Result<&'e Cow<'e, str>, ArgumentError> {
        match self.member(name) {
            Some(Json::Text(text)) => Ok(text),
            _ => Err(ArgumentError::Text(self.op, name)),
        }
    }

    /// Text for the system, which ends at NUL.
    fn system_text(&self, name: &'static str) -> Result<Box<str>, ArgumentError> {
        let text = self.text(name)?;
        if text.contains('\0') {
            Err(ArgumentError::Nul)
        } else {
            Ok(text.as_ref().into())
        }
    }

    /// Base64 as a slice of the frame, unless the text had escapes.
    fn base64(&self, name: &'static str, frame: &Bytes) -> Result<Base64Text, ArgumentError> {
        Ok(Base64Text::new(match self.text(name)? {
            Cow::Borrowed(text) => frame.slice_ref(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text.clone()),
        }))
    }

    fn u64(&self, name: &'static str, default: u64) -> Result<u64, ArgumentError> {
        self.member(name).map_or(Ok(default), |value| {
            value.as_unsigned().ok_or(ArgumentError::U64(name))
        })
    }

    fn u32(&self, name: &'static str, default: u32) -> Result<u32, ArgumentError> {
        self.member(name).map_or(Ok(default), |value| {
            value
                .as_unsigned()
                .and_then(|number| u32::try_from(number).ok())
                .ok_or(ArgumentError::U32(name))
        })
    }

    /// `u64`/`u32` under the name that later documents of the protocol use, if the first is absent (section 17).
    fn u64_or(&self, name: &'static str, synonym: &'static str, default: u64) -> Result<u64, ArgumentError> {
        if self.member(name).is_some() {
            self.u64(name, default)
        } else {
            self.u64(synonym, default)
        }
    }

    fn u32_or(&self, name: &'static str, synonym: &'static str, default: u32) -> Result<u32, ArgumentError> {
        if self.member(name).is_some() {
            self.u32(name, default)
        } else {
            self.u32(synonym, default)
        }
    }

    fn bool(&self, name: &'static str, default: bool) -> Result<bool, ArgumentError> {
        match self.member(name) {
            None => Ok(default),
            Some(Json::Bool(value)) => Ok(*value),
            Some(_) => Err(ArgumentError::Bool(name)),
        }
    }

    /// An id inside the payload; 0, which no file has, when absent.
    fn id(&self, name: &'static str) -> Result<InodeId, ArgumentError> {
        InodeId::new(self.u64(name, 0)?).ok_or(ArgumentError::U64(name))
    }
}

fn entry(name: &str) -> Result<EntryName, ArgumentError> {
    EntryName::new(name).map_err(|_| ArgumentError::Name)
}

impl Request {
    /// Takes the arguments of `op` out of an envelope, in the order of section 8: node or handle, texts and
    /// numbers, then names. `frame` is the text the envelope was parsed from; large arguments stay slices of it.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] with the words for the peer. `hello` has no place here and counts as a bad payload.
    pub fn from_envelope(op: Op, envelope: &Envelope<'_>, frame: &Bytes) -> Result<Self, ArgumentError> {
        let members = envelope.arguments().ok_or(ArgumentError::Payload)?;
        let a = Arguments {
            op,
            envelope,
            members,
        };
        Ok(match op {
            Op::Hello => return Err(ArgumentError::Payload),
            Op::Exports => Self::Exports,
            Op::Statfs => Self::Statfs { id: a.node()? },
            Op::Getattr => Self::Getattr { id: a.node()? },
            Op::Lookup => Self::Lookup {
                parent: a.node()?,
                name: entry(a.text("name")?)?,
            },
            Op::Readdirp => Self::Readdirp {
                dir: a.node()?,
                cookie: a.u64("cookie", 0)?,
                max: a.u32_or("max", "count", limits::DEFAULT_PAGE_ENTRIES)?,
            },
            Op::Symlink => {
                let (parent, name, target) = (a.node()?, a.text("name")?, a.text("target")?);
                let name = entry(name)?;
                if target.contains('\0') {
                    return Err(ArgumentError::Nul);
                }
                Self::Symlink {
                    parent,
                    name,
                    target: target.as_ref().into(),
                }
            }
            Op::Setxattr => Self::Setxattr {
                id: a.node()?,
                name: a.system_text("name")?,
                value: a.base64("value_b64", frame)?,
                flags: XattrFlags(a.u32("flags", 0)?),
            },
            Op::Getxattr => Self::Getxattr {
                id: a.node()?,
                name: a.system_text("name")?,
            },
            Op::Listxattr => Self::Listxattr { id: a.node()? },
            Op::Removexattr => Self::Removexattr {
                id: a.node()?,
                name: a.system_text("name")?,
            },
            Op::Open => Self::Open {
                id: a.node()?,
                flags: OpenFlags(a.u32("flags", 0)?),
            },
            Op::Read => Self::Read {
                handle: a.handle()?,
                offset: a.u64_or("off", "offset", 0)?,
                len: a.u32_or("len", "count", limits::DEFAULT_READ)?,
            },
            Op::Write => {
                let (handle, offset) = (a.handle()?, a.u64_or("off", "offset", 0)?);
                Self::Write {
                    handle,
                    offset,
                    data: a.base64("data_b64", frame)?,
                }
            }
            Op::Close => Self::Close { handle: a.handle()? },
            Op::Lock => Self::Lock {
                handle: a.handle()?,
                kind: LockKind::from_wire(a.text("kind")?),
                wait: a.bool("wait", true)?,
            },
            Op::Create => {
                let (parent, name) = (a.node()?, a.text("name")?);
                let (mode, flags) = (a.u32("mode", 0o100_644)?, a.u32("flags", 2)?);
                Self::Create {
                    parent,
                    name: entry(name)?,
                    mode,
                    flags: OpenFlags(flags),
                }
            }
            Op::Truncate => Self::Truncate {
                id: a.node()?,
                size: a.u64("sz", 0)?,
            },
            Op::Unlink => Self::Unlink {
                parent: a.node()?,
                name: entry(a.text("name")?)?,
            },
            Op::Mkdir => Self::Mkdir {
                parent: a.node()?,
                name: entry(a.text("name")?)?,
            },
            Op::Rmdir => Self::Rmdir {
                parent: a.node()?,
                name: entry(a.text("name")?)?,
            },
            Op::Rename => {
                let (old_parent, old_name) = (a.id("old_parent")?, a.text("old_name")?);
                let (new_parent, new_name) = (a.id("new_parent")?, a.text("new_name")?);
                let name = |text: &str| EntryName::new(text).map_err(|_| ArgumentError::RenameName);
                Self::Rename {
                    old_parent,
                    old_name: name(old_name)?,
                    new_parent,
                    new_name: name(new_name)?,
                }
            }
        })
    }

    /// Which of the 22 this is.
    pub const fn op(&self) -> Op {
        match self {
            Self::Exports => Op::Exports,
            Self::Statfs { .. } => Op::Statfs,
            Self::Getattr { .. } => Op::Getattr,
            Self::Lookup { .. } => Op::Lookup,
            Self::Readdirp { .. } => Op::Readdirp,
            Self::Symlink { .. } => Op::Symlink,
            Self::Setxattr { .. } => Op::Setxattr,
            Self::Getxattr { .. } => Op::Getxattr,
            Self::Listxattr { .. } => Op::Listxattr,
            Self::Removexattr { .. } => Op::Removexattr,
            Self::Open { .. } => Op::Open,
            Self::Read { .. } => Op::Read,
            Self::Write { .. } => Op::Write,
            Self::Close { .. } => Op::Close,
            Self::Lock { .. } => Op::Lock,
            Self::Create { .. } => Op::Create,
            Self::Truncate { .. } => Op::Truncate,
            Self::Unlink { .. } => Op::Unlink,
            Self::Mkdir { .. } => Op::Mkdir,
            Self::Rmdir { .. } => Op::Rmdir,
            Self::Rename { .. } => Op::Rename,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::MessageKind;
    use crate::ids::Tag;

    fn decode(text: &str) -> Result<Request, ArgumentError> {
        let frame = Bytes::from(text.to_owned());
        let envelope = Envelope::parse(&frame).unwrap();
        let MessageKind::Request(op) = envelope.kind else {
            panic!("{text} is no request")
        };
        Request::from_envelope(op, &envelope, &frame)
    }

    fn fault(op: &str, members: &str) -> String {
        let text = format!(r#"{{"channel":"acheron","type":"acheron.t_fs_{op}"{members}}}"#);
        decode(&text).unwrap_err().to_string()
    }

    #[test]
    fn faults_have_the_contracts_words_and_order() {
        for (op, members, words) in [
            ("getattr", r#","payload":{"node":5}"#, "GETATTR requires node"),
            ("exports", r#","payload":null"#, "InvalidPayload"),
            ("lookup", r#","payload":{"name":"x"}"#, "LOOKUP requires node"),
            ("lookup", r#","node":5"#, "LOOKUP requires a.name"),
            (
                "lookup",
                r#","node":5,"payload":{"name":["a"]}"#,
                "LOOKUP requires a.name",
            ),
            (
                "lookup",
                r#","node":5,"payload":{"name":"a/b"}"#,
                "invalid child name",
            ),
            (
                "readdirp",
                r#","node":5,"payload":{"cookie":-1,"max":"x"}"#,
                "cookie must be u64",
            ),
            (
                "readdirp",
                r#","node":5,"payload":{"cookie":1e400}"#,
                "cookie must be u64",
            ),
            (
                "readdirp",
                r#","node":5,"payload":{"max":1.5}"#,
                "max must be u32",
            ),
            (
                "open",
                r#","node":5,"payload":{"flags":4294967296}"#,
                "flags must be u32",
            ),
            ("read", r#","payload":{}"#, "READ requires h"),
            ("read", r#","h":1,"payload":{"off":null}"#, "off must be u64"),
            ("read", r#","h":1,"payload":{"len":-1}"#, "len must be u32"),
            (
                "write",
                r#","h":1,"payload":{"off":0,"data":"raw"}"#,
                "WRITE requires a.data_b64",
            ),
            ("lock", r#","h":1,"payload":{"kind":1}"#, "LOCK requires a.kind"),
            (
                "lock",
                r#","h":1,"payload":{"kind":"bogus","wait":0}"#,
                "wait must be bool",
            ),
            (
                "create",
                r#","node":5,"payload":{"name":"a/b","mode":-1}"#,
                "mode must be u32",
            ),
            (
                "create",
                r#","node":5,"payload":{"name":"a/b","flags":"2"}"#,
                "flags must be u32",
            ),
            (
                "create",
                r#","node":5,"payload":{"name":""}"#,
                "invalid child name",
            ),
            (
                "symlink",
                r#","node":5,"payload":{"name":"x"}"#,
                "SYMLINK requires a.target",
            ),
            ("truncate", r#","node":5,"payload":{"sz":"1"}"#, "sz must be u64"),
            (
                "rename",
                r#","payload":{"old_parent":"x"}"#,
                "old_parent must be u64",
            ),
            (
                "rename",
                r#","payload":{"new_parent":-1}"#,
                "RENAME requires a.old_name",
            ),
            (
                "rename",
                r#","payload":{"old_name":"a","new_parent":-1}"#,
                "new_parent must be u64",
            ),
            (
                "rename",
                r#","payload":{"old_name":"..","new_name":"b"}"#,
                "invalid rename child name",
            ),
            (
                "setxattr",
                r#","node":5,"payload":{"name":"user.a","value_b64":5}"#,
                "SETXATTR requires a.value_b64",
            ),
        ] {
            assert_eq!(fault(op, members), words, "{op} {members}");
        }
    }

    #[test]
    fn defaults_and_synonyms() {
        let handle = HandleId::new(1).unwrap();
        for (members, offset, len) in [
            (r#""payload":{}"#, 0, 65536),
            (r#""payload":{"off":2.0,"len":1e1}"#, 2, 10),
            (r#""payload":{"offset":7,"count":9}"#, 7, 9),
            (r#""payload":{"off":1,"offset":7}"#, 1, 65536),
        ] {
            let text = format!(r#"{{"channel":"acheron","type":"acheron.t_fs_read","h":1,{members}}}"#);
            assert_eq!(
                decode(&text).unwrap(),
                Request::Read { handle, offset, len },
                "{members}"
            );
        }
    }

    #[test]
    fn file_data_stays_a_slice_of_the_frame() {
        let frame = Bytes::from_static(
            br#"{"channel":"acheron","type":"acheron.t_fs_write","h":1,"payload":{"data_b64":"QUJD"}}"#,
        );
        let envelope = Envelope::parse(&frame).unwrap();
        let Ok(Request::Write { data, .. }) = Request::from_envelope(Op::Write, &envelope, &frame) else {
            panic!("not a write")
        };
        assert!(frame.as_ptr_range().contains(&data.as_bytes().as_ptr()));
        assert_eq!(data.decode().unwrap(), b"ABC");
    }

    fn id() -> impl Strategy<Value = InodeId> {
        (0..=limits::MAX_WIRE_INTEGER).prop_map(|number| InodeId::new(number).unwrap())
    }

    fn handle() -> impl Strategy<Value = HandleId> {
        (0..=limits::MAX_WIRE_INTEGER).prop_map(|number| HandleId::new(number).unwrap())
    }

    fn name() -> impl Strategy<Value = EntryName> {
        any::<String>().prop_filter_map("not a name", |text| EntryName::new(&text).ok())
    }

    fn text() -> impl Strategy<Value = Box<str>> {
        any::<String>().prop_map(|text| text.replace('\0', "0").into())
    }

    fn offset() -> impl Strategy<Value = u64> {
        0..=limits::MAX_WIRE_INTEGER
    }

    fn request() -> impl Strategy<Value = Request> {
        let data = proptest::collection::vec(any::<u8>(), 0..100).prop_map(|data| Base64Text::encode(&data));
        let value = data.clone();
        let kind = prop_oneof![
            Just(LockKind::Shared),
            Just(LockKind::Exclusive),
            Just(LockKind::Unlock)
        ];
        prop_oneof![
            Just(Request::Exports),
            id().prop_map(|id| Request::Statfs { id }),
            id().prop_map(|id| Request::Getattr { id }),
            (id(), name()).prop_map(|(parent, name)| Request::Lookup { parent, name }),
            (id(), offset(), any::<u32>()).prop_map(|(dir, cookie, max)| Request::Readdirp {
                dir,
                cookie,
                max
            }),
            (id(), name(), text()).prop_map(|(parent, name, target)| Request::Symlink {
                parent,
                name,
                target
            }),
            (id(), text(), value, any::<u32>()).prop_map(|(id, name, value, flags)| Request::Setxattr {
                id,
                name,
                value,
                flags: XattrFlags(flags)
            }),
            (id(), text()).prop_map(|(id, name)| Request::Getxattr { id, name }),
            id().prop_map(|id| Request::Listxattr { id }),
            (id(), text()).prop_map(|(id, name)| Request::Removexattr { id, name }),
            (id(), any::<u32>()).prop_map(|(id, flags)| Request::Open {
                id,
                flags: OpenFlags(flags)
            }),
            (handle(), offset(), any::<u32>()).prop_map(|(handle, offset, len)| Request::Read {
                handle,
                offset,
                len
            }),
            (handle(), offset(), data).prop_map(|(handle, offset, data)| Request::Write {
                handle,
                offset,
                data
            }),
            handle().prop_map(|handle| Request::Close { handle }),
            (handle(), kind, any::<bool>()).prop_map(|(handle, kind, wait)| Request::Lock {
                handle,
                kind,
                wait
            }),
            (id(), name(), any::<u32>(), any::<u32>()).prop_map(|(parent, name, mode, flags)| {
                Request::Create {
                    parent,
                    name,
                    mode,
                    flags: OpenFlags(flags),
                }
            }),
            (id(), offset()).prop_map(|(id, size)| Request::Truncate { id, size }),
            (id(), name()).prop_map(|(parent, name)| Request::Unlink { parent, name }),
            (id(), name()).prop_map(|(parent, name)| Request::Mkdir { parent, name }),
            (id(), name()).prop_map(|(parent, name)| Request::Rmdir { parent, name }),
            (id(), name(), id(), name()).prop_map(|(old_parent, old_name, new_parent, new_name)| {
                Request::Rename {
                    old_parent,
                    old_name,
                    new_parent,
                    new_name,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_a_client_encodes_a_node_decodes(request in request(), tag in any::<u32>()) {
            let mut out = Vec::new();
            request.encode(Tag(tag), &mut out);
            let frame = Bytes::from(out);
            let envelope = Envelope::parse(&frame).unwrap();
            prop_assert_eq!(envelope.tag, Some(Tag(tag)));
            let MessageKind::Request(op) = envelope.kind else { panic!("no request") };
            prop_assert_eq!(Request::from_envelope(op, &envelope, &frame).unwrap(), request);
        }

        #[test]
        fn no_text_panics(text in any::<Vec<u8>>(), cut in any::<proptest::sample::Index>(), request in request()) {
            let _ = Envelope::parse(&text);
            let mut out = Vec::new();
            request.encode(Tag(1), &mut out);
            out.truncate(cut.index(out.len()));
            prop_assert!(Envelope::parse(&out).is_err());
        }
    }
}
