//! What a node answers (sections 3.1 and 8), written straight into the frame. Reading it is [`incoming`](super::incoming)'s.

use std::sync::Arc;

use serde::Deserialize;

use super::attr::Attr;
use super::hello::HelloReply;
use super::op::Op;
use super::write::JsonWriter;
use crate::errno::Errno;
use crate::ids::{HandleId, Tag};
use crate::limits::{MAX_PAGE_ENTRIES, PAGE_BYTE_BUDGET};

/// A successful answer, ready to be encoded.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// To hello.
    Hello(Arc<HelloReply>),
    /// To exports.
    Exports(Arc<[Export]>),
    /// To statfs.
    Statfs(Statfs),
    /// To lookup and getattr.
    Attr(Attr),
    /// To readdirp.
    Listing(EncodedListing),
    /// To open.
    Opened(Opened),
    /// To create.
    Created {
        /// The new file.
        attr: Attr,
        /// Its handle.
        handle: HandleId,
    },
    /// To read.
    Data {
        /// The bytes.
        bytes: Vec<u8>,
        /// Fewer bytes than asked for.
        eof: bool,
    },
    /// To write: how many bytes were written.
    Written(usize),
    /// To getxattr.
    XattrValue(Vec<u8>),
    /// To listxattr.
    XattrNames(Vec<String>),
    /// To everything else.
    Done,
}

/// An export as it is announced (section 5).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Export {
    /// Its name, unique within the node.
    pub name: String,
    /// Id of its root directory.
    pub root: u64,
    /// Whether it refuses changes.
    #[serde(default)]
    pub ro: bool,
    /// The path as it was configured.
    #[serde(default)]
    pub desc: String,
    /// `linux`, `posix`, `windows`, `gdrive` or `namespace`.
    #[serde(default)]
    pub source_kind: String,
    /// Identity of the source.
    #[serde(default)]
    pub source_id: String,
    /// What it can do.
    #[serde(default)]
    pub caps: ExportCaps,
}

/// What an export can do (section 13.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ExportCaps {
    /// Changes on the disk are announced at once.
    pub native_watch: bool,
    /// Names differ by case.
    pub case_sensitive: bool,
    /// Symbolic links can be made.
    pub symlink: bool,
    /// Extended attributes work.
    pub xattr: bool,
    /// Advisory locks work.
    pub locks: bool,
    /// `statfs` works.
    pub statfs: bool,
}

/// The file system behind an export (section 8.2). Counts are in units of `frsize` bytes.
#[expect(missing_docs, reason = "the names of statvfs")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Statfs {
    pub bsize: u64,
    pub frsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub favail: u64,
    pub namemax: u64,
}

/// An opened file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Its handle.
    pub handle: HandleId,
    /// The handle can read.
    pub readable: bool,
    /// The handle can write.
    pub writable: bool,
    /// Version of the object.
    pub generation: u64,
}

/// A page of a directory, encoded entry by entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedListing {
    entries: Vec<u8>,
    count: u64,
    cookie: u64,
    eof: bool,
    dir_generation: u64,
}

/// Bytes of an entry with a name of about 25 characters.
const USUAL_ENTRY: usize = 240;

/// Collects a page within its limits in entries and bytes.
#[derive(Debug)]
pub struct ListingEncoder {
    entries: Vec<u8>,
    count: u64,
    cookie: u64,
    max: u64,
    byte_budget: usize,
}

impl ListingEncoder {
    /// A page that begins at `cookie` and takes at most `max` entries, cut to
    /// [`MAX_PAGE_ENTRIES`] and to [`PAGE_BYTE_BUDGET`] bytes.
    pub fn new(cookie: u64, max: u32) -> Self {
        Self::within(cookie, max, PAGE_BYTE_BUDGET)
    }

    /// The same in fewer bytes, for a peer that takes smaller frames.
    pub fn within(cookie: u64, max: u32, byte_budget: usize) -> Self {
        let max = max.min(MAX_PAGE_ENTRIES);
        let byte_budget = byte_budget.min(PAGE_BYTE_BUDGET);
        // Room for short names, in one piece: growing step by step leaves the allocator with pieces it keeps. What is
        // not used is never touched, and so costs no memory.
        let room = (max as usize * USUAL_ENTRY).min(byte_budget);
        Self {
            entries: Vec::with_capacity(room),
            count: 0,
            cookie,
            max: u64::from(max),
            byte_budget,
        }
    }

    /// Whether no further entry fits.
    pub fn is_full(&self) -> bool {
        self.count >= self.max || self.entries.len() >= self.byte_budget
    }

    /// Adds an entry. The caller asks [`is_full`](Self::is_full) first.
    pub fn push(&mut self, name: &str, attr: &Attr) {
        let mut w = JsonWriter(&mut self.entries);
        w.raw(if self.count == 0 {
            "{\"name\":"
        } else {
            ",{\"name\":"
        })
        .text(name)
        .raw(",\"attr\":");
        attr.encode(&mut self.entries);
        self.entries.push(b'}');
        self.count += 1;
    }

    /// Entries so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The page. `eof`: the directory was read to its end.
    pub fn finish(self, eof: bool, dir_generation: u64) -> EncodedListing {
        EncodedListing {
            entries: self.entries,
            count: self.count,
            cookie: self.cookie,
            eof,
            dir_generation,
        }
    }
}

impl EncodedListing {
    fn encode(&self, out: &mut Vec<u8>) {
        let next = self
            .cookie
            .saturating_add(self.count)
            .min(crate::limits::MAX_WIRE_INTEGER);
        let mut w = JsonWriter(out);
        w.raw("{\"ents\":[");
        w.0.extend_from_slice(&self.entries);
        w.raw("],\"next\":").int(next);
        // Without `next_cookie` the seed client takes any page for the whole directory (section 8.5); 0 says that
        // it is.
        if self.eof || next > 0 {
            w.raw(",\"next_cookie\":").int(if self.eof { 0 } else { next });
        }
        w.raw(",\"eof\":")
            .bool(self.eof)
            .raw(",\"dir_gen\":")
            .int(self.dir_generation)
            .raw("}");
    }
}

impl Reply {
    /// About how long the encoded frame will be, to allocate once.
    pub fn size_hint(&self) -> usize {
        200 + match self {
            Self::Data { bytes, .. } | Self::XattrValue(bytes) => bytes.len().div_ceil(3) * 4,
            Self::Listing(listing) => listing.entries.len(),
            Self::Exports(exports) => exports.len() * 320,
            Self::Hello(_) | Self::Statfs(_) | Self::Attr(_) | Self::Created { .. } => 320,
            Self::XattrNames(names) => names.iter().map(|name| name.len() + 8).sum(),
            Self::Opened(_) | Self::Written(_) | Self::Done => 0,
        }
    }

    /// Appends the frame's text: the answer to request `op` with `tag`.
    pub fn encode(&self, op: Op, tag: Tag, out: &mut Vec<u8>) {
        let mut w = JsonWriter(out);
        w.raw(r#"{"channel":"acheron","type":"acheron.r_fs_"#)
            .raw(op.wire());
        w.raw(r#"","tag":"#).int(tag.0).raw(r#","ok":true,"payload":"#);
        match self {
            Self::Hello(hello) => hello.encode(out),
            Self::Exports(exports) => encode_exports(exports, out),
            Self::Statfs(statfs) => statfs.encode(out),
            Self::Attr(attr) => {
                out.extend_from_slice(b"{\"attr\":");
                attr.encode(out);
                out.push(b'}');
            }
            Self::Listing(listing) => listing.encode(out),
            Self::Opened(opened) => {
                w.raw("{\"h\":")
                    .int(opened.handle.get())
                    .raw(",\"caps\":{\"rd\":")
                    .bool(opened.readable);
                w.raw(",\"wr\":")
                    .bool(opened.writable)
                    .raw("},\"gen\":")
                    .int(opened.generation)
                    .raw("}");
            }
            Self::Created { attr, handle } => {
                out.extend_from_slice(b"{\"attr\":");
                attr.encode(out);
                JsonWriter(out).raw(",\"h\":").int(handle.get()).raw("}");
            }
            Self::Data { bytes, eof } => {
                w.raw("{\"data_b64\":")
                    .base64(bytes)
                    .raw(",\"eof\":")
                    .bool(*eof)
                    .raw("}");
            }
            Self::Written(count) => {
                w.raw("{\"n\":").int(*count).raw("}");
            }
            Self::XattrValue(value) => {
                w.raw("{\"value_b64\":").base64(value).raw("}");
            }
            Self::XattrNames(names) => {
                w.raw("{\"names\":[");
                for (index, name) in names.iter().enumerate() {
                    w.raw(if index == 0 { "" } else { "," }).text(name);
                }
                w.raw("]}");
            }
            Self::Done => {
                w.raw("{}");
            }
        }
        out.push(b'}');
    }
}

fn encode_exports(exports: &[Export], out: &mut Vec<u8>) {
    let mut w = JsonWriter(out);
    w.raw("{\"exports\":[");
    for (index, export) in exports.iter().enumerate() {
        w.raw(if index == 0 { "{\"name\":" } else { ",{\"name\":" })
            .text(&export.name);
        w.raw(",\"root\":")
            .int(export.root)
            .raw(",\"ro\":")
            .bool(export.ro);
        w.raw(",\"desc\":")
            .text(&export.desc)
            .raw(",\"source_kind\":")
            .text(&export.source_kind);
        w.raw(",\"source_id\":").text(&export.source_id);
        let caps = &export.caps;
        w.raw(",\"caps\":{\"native_watch\":").bool(caps.native_watch);
        w.raw(",\"case_sensitive\":")
            .bool(caps.case_sensitive)
            .raw(",\"symlink\":")
            .bool(caps.symlink);
        w.raw(",\"xattr\":")
            .bool(caps.xattr)
            .raw(",\"locks\":")
            .bool(caps.locks);
        w.raw(",\"statfs\":").bool(caps.statfs).raw("}}");
    }
    w.raw("]}");
}

impl Statfs {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut w = JsonWriter(out);
        w.raw("{\"bsize\":")
            .int(self.bsize)
            .raw(",\"frsize\":")
            .int(self.frsize);
        w.raw(",\"blocks\":")
            .int(self.blocks)
            .raw(",\"bfree\":")
            .int(self.bfree);
        w.raw(",\"bavail\":")
            .int(self.bavail)
            .raw(",\"files\":")
            .int(self.files);
        w.raw(",\"ffree\":")
            .int(self.ffree)
            .raw(",\"favail\":")
            .int(self.favail);
        w.raw(",\"namemax\":").int(self.namemax).raw("}");
    }
}

/// Appends an error frame's text. `tag` is left out when the request could not be read that far.
pub fn encode_error(tag: Option<Tag>, errno: Errno, message: &str, out: &mut Vec<u8>) {
    let mut w = JsonWriter(out);
    w.raw(r#"{"channel":"acheron","type":"acheron.err_fs""#);
    if let Some(tag) = tag {
        w.raw(r#","tag":"#).int(tag.0);
    }
    w.raw(r#","ok":false,"error":{"errno":"#).int(errno.number());
    w.raw(r#","message":"#).text(message).raw("}}");
}

#[cfg(test)]
mod tests {
    use super::super::incoming::{Incoming, Payload, ReplyError};
    use super::*;

    fn text(op: Op, reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.encode(op, Tag(7), &mut out);
        assert!(
            out.len() <= reply.size_hint(),
            "{op}: {} bytes, hint {}",
            out.len(),
            reply.size_hint()
        );
        String::from_utf8(out).unwrap()
    }

    fn payload<'a, T>(text: &'a str, read: impl FnOnce(Payload<'a>) -> Result<T, ReplyError>) -> T {
        match Incoming::parse(text.as_bytes()).unwrap() {
            Incoming::Reply {
                tag: Tag(7), payload, ..
            } => read(payload).unwrap(),
            other => panic!("not a reply with tag 7: {other:?}"),
        }
    }

    const ATTR: Attr = Attr {
        id: 281_474_987_048_976,
        k: 1,
        m: 33188,
        n: 1,
        u: 0,
        g: 0,
        sz: 12,
        at: -5,
        mt: 1_770_000_000_000_000_000,
        ct: i64::MIN,
        generation: 1_770_000_000_000_000_000,
    };

    #[test]
    fn frames_are_the_recorded_ones() {
        assert_eq!(
            text(Op::Lookup, &Reply::Attr(ATTR)),
            concat!(
                r#"{"channel":"acheron","type":"acheron.r_fs_lookup","tag":7,"ok":true,"payload":{"attr":"#,
                r#"{"id":281474987048976,"k":1,"m":33188,"n":1,"u":0,"g":0,"sz":12,"at":-5,"#,
                r#""mt":1770000000000000000,"ct":-9223372036854775808,"gen":1770000000000000000}}}"#
            )
        );
        assert_eq!(
            text(Op::Close, &Reply::Done),
            r#"{"channel":"acheron","type":"acheron.r_fs_close","tag":7,"ok":true,"payload":{}}"#
        );
        assert_eq!(
            text(
                Op::Read,
                &Reply::Data {
                    bytes: b"ABC".to_vec(),
                    eof: true
                }
            ),
            r#"{"channel":"acheron","type":"acheron.r_fs_read","tag":7,"ok":true,"payload":{"data_b64":"QUJD","eof":true}}"#
        );
        let mut out = Vec::new();
        encode_error(None, Errno::EINVAL, "say \"what\"", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"channel":"acheron","type":"acheron.err_fs","ok":false,"error":{"errno":22,"message":"say \"what\""}}"#
        );
    }

    #[test]
    fn what_a_node_encodes_a_client_decodes() {
        assert_eq!(
            payload(&text(Op::Getattr, &Reply::Attr(ATTR)), Payload::attr),
            ATTR
        );
        let handle = HandleId::new(3).unwrap();
        let opened = Opened {
            handle,
            readable: true,
            writable: false,
            generation: 9,
        };
        assert_eq!(
            payload(&text(Op::Open, &Reply::Opened(opened)), Payload::opened),
            opened
        );
        let created = Reply::Created { attr: ATTR, handle };
        assert_eq!(
            payload(&text(Op::Create, &created), Payload::created),
            (ATTR, handle)
        );
        let data: Vec<u8> = (0..=255).collect();
        let read = Reply::Data {
            bytes: data.clone(),
            eof: false,
        };
        assert_eq!(
            payload(&text(Op::Read, &read), Payload::data),
            (data.clone(), false)
        );
        assert_eq!(payload(&text(Op::Write, &Reply::Written(5)), Payload::written), 5);
        assert_eq!(
            payload(
                &text(Op::Getxattr, &Reply::XattrValue(data.clone())),
                Payload::xattr_value
            ),
            data
        );
        let names = vec!["user.a".to_owned(), "user.\"b\"".to_owned()];
        assert_eq!(
            payload(
                &text(Op::Listxattr, &Reply::XattrNames(names.clone())),
                Payload::xattr_names
            ),
            names
        );
        let statfs = Statfs {
            bsize: 4096,
            frsize: 4096,
            blocks: 1,
            bfree: 2,
            bavail: 3,
            files: 4,
            ffree: 5,
            favail: 6,
            namemax: 255,
        };
        assert_eq!(
            payload(&text(Op::Statfs, &Reply::Statfs(statfs)), Payload::statfs),
            statfs
        );
        let caps = ExportCaps {
            native_watch: true,
            xattr: true,
            ..ExportCaps::default()
        };
        let export = Export {
            name: "odd \"name\"".into(),
            root: 5,
            ro: true,
            desc: "d".into(),
            source_kind: "linux".into(),
            source_id: "linux:x".into(),
            caps,
        };
        let exports: Arc<[Export]> = vec![export.clone(), export].into();
        assert_eq!(
            payload(
                &text(Op::Exports, &Reply::Exports(exports.clone())),
                Payload::exports
            )[..],
            exports[..]
        );
    }

    #[test]
    fn a_listing_says_where_it_goes_on_in_both_vocabularies() {
        let mut page = ListingEncoder::new(10, 2);
        assert!(!page.is_full());
        page.push("a\nb", &ATTR);
        page.push("c", &ATTR);
        assert!(page.is_full());
        let more = text(
            Op::Readdirp,
            &Reply::Listing(page.clone_for_test().finish(false, 4)),
        );
        assert!(
            more.contains(r#""next":12,"next_cookie":12,"eof":false,"dir_gen":4"#),
            "{more}"
        );
        let listing = payload(&more, Payload::listing);
        assert_eq!(
            listing
                .entries
                .iter()
                .map(|e| e.name.as_str())
                .collect::<Vec<_>>(),
            ["a\nb", "c"]
        );
        let last = text(Op::Readdirp, &Reply::Listing(page.finish(true, 4)));
        assert!(last.contains(r#""next":12,"next_cookie":0,"eof":true"#), "{last}");
        let nothing = ListingEncoder::new(0, 0);
        assert!(nothing.is_full());
        let nothing = text(Op::Readdirp, &Reply::Listing(nothing.finish(false, 4)));
        assert!(
            nothing.contains(r#""next":0,"eof":false"#),
            "not taken for the whole: {nothing}"
        );
    }

    impl ListingEncoder {
        fn clone_for_test(&self) -> Self {
            Self {
                entries: self.entries.clone(),
                ..*self
            }
        }
    }

    #[test]
    fn the_largest_page_fits_in_a_frame() {
        let mut page = ListingEncoder::new(0, MAX_PAGE_ENTRIES);
        let name = "\u{1}".repeat(255);
        while !page.is_full() {
            page.push(&name, &ATTR);
        }
        let frame = text(Op::Readdirp, &Reply::Listing(page.finish(false, u64::MAX >> 1)));
        assert!(frame.len() <= crate::limits::MAX_FRAME, "{}", frame.len());
    }
}
