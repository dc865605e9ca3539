//! Any sequence of operations, by several clients, answers like a file tree in memory and leaves the folder like it.
//!
//! Clients name objects by ids they learnt, not by paths, so that ids have to stay right whatever is moved or
//! removed around them. What fails is shrunk to a list of operations that reads like a recipe; recipes that failed
//! once are kept in `model.regressions` and tried first.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};
use spiderweb_node::{DiskWork, ExportConfig, Limits, Node, NodeConfig, ServicesConfig};
use spiderweb_testkit::Refusal;
use spiderweb_testkit::file_peer::{FilePeer, number, writing};
use spiderweb_testkit::model::{self, Model, Object, Outcome, ROOT};
use spiderweb_testkit::raw_peer::PATIENCE;
use tokio::runtime::Runtime;

/// Few names, so that operations meet.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const TARGETS: [&str; 8] = ["a", "b", "a/b", "../c", "./c/d", "../b/a", "..", "d"];
const CLIENTS: usize = 3;

/// Which of the ids, or handles, seen so far; counted from the latest.
type Recent = usize;

/// One step. Ids and handles are chosen among those that were learnt, dead ones included.
#[derive(Clone, Debug)]
enum Op {
    Lookup {
        parent: Recent,
        name: &'static str,
    },
    Getattr {
        id: Recent,
    },
    List {
        id: Recent,
        max: u32,
    },
    Create {
        parent: Recent,
        name: &'static str,
    },
    Mkdir {
        parent: Recent,
        name: &'static str,
    },
    Symlink {
        parent: Recent,
        name: &'static str,
        target: &'static str,
    },
    Unlink {
        parent: Recent,
        name: &'static str,
    },
    Rmdir {
        parent: Recent,
        name: &'static str,
    },
    Rename {
        from: Recent,
        old: &'static str,
        to: Recent,
        new: &'static str,
    },
    Truncate {
        id: Recent,
        size: u16,
    },
    Open {
        id: Recent,
        flags: u32,
    },
    Read {
        handle: Recent,
        offset: u16,
        len: u16,
    },
    Write {
        handle: Recent,
        offset: u16,
        text: String,
    },
    Close {
        handle: Recent,
    },
    SetAttribute {
        id: Recent,
        value: String,
    },
    Attribute {
        id: Recent,
    },
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn recent() -> impl Strategy<Value = Recent> {
    // Zero is the root: most things happen there.
    prop_oneof![2 => Just(0), 5 => 1_usize..12]
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop::sample::select(vec![0, 1, 2, 512, 513, 514]);
    let offset = || prop_oneof![Just(0_u16), 0_u16..40];
    prop_oneof![
        4 => (recent(), name()).prop_map(|(parent, name)| Op::Lookup { parent, name }),
        2 => recent().prop_map(|id| Op::Getattr { id }),
        2 => (recent(), 1_u32..6).prop_map(|(id, max)| Op::List { id, max }),
        4 => (recent(), name()).prop_map(|(parent, name)| Op::Create { parent, name }),
        5 => (recent(), name()).prop_map(|(parent, name)| Op::Mkdir { parent, name }),
        3 => (recent(), name(), prop::sample::select(&TARGETS[..]))
            .prop_map(|(parent, name, target)| Op::Symlink { parent, name, target }),
        2 => (recent(), name()).prop_map(|(parent, name)| Op::Unlink { parent, name }),
        2 => (recent(), name()).prop_map(|(parent, name)| Op::Rmdir { parent, name }),
        5 => (recent(), name(), recent(), name()).prop_map(|(from, old, to, new)| Op::Rename { from, old, to, new }),
        1 => (recent(), offset()).prop_map(|(id, size)| Op::Truncate { id, size }),
        3 => (recent(), flags).prop_map(|(id, flags)| Op::Open { id, flags }),
        2 => (recent(), offset(), 0_u16..40).prop_map(|(handle, offset, len)| Op::Read { handle, offset, len }),
        3 => (recent(), offset(), "[a-z]{0,12}")
            .prop_map(|(handle, offset, text)| Op::Write { handle, offset, text }),
        1 => recent().prop_map(|handle| Op::Close { handle }),
        1 => (recent(), "[a-z]{0,6}").prop_map(|(id, value)| Op::SetAttribute { id, value }),
        1 => recent().prop_map(|id| Op::Attribute { id }),
    ]
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Runs `test` against a node that serves `folder`.
fn with_node(folder: &Path, test: impl FnOnce(SocketAddr)) {
    let config = NodeConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        control: None,
        exports: vec![ExportConfig {
            name: "work".to_owned(),
            path: folder.to_owned(),
            description: "work".to_owned(),
            read_only: false,
        }],
        default_export: false,
        node_name: "test".to_owned(),
        services: ServicesConfig::default(),
        token: None,
        limits: Limits::default(),
        disk_work: DiskWork::default(),
    };
    let node = RUNTIME.block_on(Node::start(config)).unwrap();
    test(node.address().unwrap());
    assert!(RUNTIME.block_on(node.stop(Duration::from_secs(20))));
}

/// A folder behind a node, and the model it must agree with.
struct World {
    peers: Vec<FilePeer>,
    model: Model,
    /// Ids in the order they were first seen, with what they mean now: file systems use numbers again.
    ids: Vec<u64>,
    meaning: BTreeMap<u64, Object>,
    /// Handles by their number in the model.
    handles: Vec<(u64, usize)>,
    has_attributes: bool,
}

impl World {
    fn new(addr: SocketAddr) -> Self {
        let mut peers: Vec<FilePeer> = (0..CLIENTS).map(|_| FilePeer::connect(addr)).collect();
        let root = peers[0].root();
        let has_attributes = peers[0].set_xattr(root, "user.probe", b"").is_ok();
        Self {
            peers,
            model: Model::default(),
            ids: vec![root],
            meaning: BTreeMap::from([(root, ROOT)]),
            handles: Vec::new(),
            has_attributes,
        }
    }

    fn learn(&mut self, id: u64, object: Object) {
        if self.meaning.insert(id, object).is_none() {
            self.ids.push(id);
        }
    }

    fn id(&self, recent: Recent) -> (u64, Object) {
        let id = match recent.checked_sub(1) {
            None => self.ids[0],
            Some(back) => self.ids[self.ids.len() - 1 - back % self.ids.len()],
        };
        (id, self.meaning[&id])
    }

    fn handle(&self, recent: Recent) -> (u64, usize) {
        match self.handles.len() {
            0 => (1, usize::MAX),
            count => self.handles[count - 1 - recent % count],
        }
    }

    fn step(&mut self, client: usize, op: &Op) {
        match op {
            Op::Lookup { parent, name } => self.lookup(client, *parent, name),
            Op::Getattr { id } => {
                let (id, object) = self.id(*id);
                let told = self.peers[client].getattr(id);
                let told = agree(self.model.getattr(object), told);
                if let Some((expected, attr)) = told {
                    check_attributes(&expected, &attr);
                    assert_eq!(attr["id"], id);
                }
            }
            Op::List { id, max } => self.list(client, *id, *max),
            Op::Create { parent, name } => {
                let (id, object) = self.id(*parent);
                let told = self.peers[client].create(id, name);
                if let Some(((object, handle), (id, number))) = agree(self.model.create(object, name), told) {
                    self.learn(id, object);
                    self.handles.push((number, handle));
                }
            }
            Op::Mkdir { parent, name } => {
                let (id, object) = self.id(*parent);
                let told = self.peers[client].mkdir(id, name);
                if let Some((made, ())) = agree(self.model.mkdir(object, name), told) {
                    let id = self.peers[client].find(id, name);
                    self.learn(id, made);
                }
            }
            Op::Symlink { parent, name, target } => {
                let (id, object) = self.id(*parent);
                let told = self.peers[client].symlink(id, name, target);
                agree(self.model.symlink(object, name, target), told);
            }
            Op::Unlink { parent, name } => {
                let (id, object) = self.id(*parent);
                let told = self.peers[client].unlink(id, name);
                agree(self.model.unlink(object, name), told);
            }
            Op::Rmdir { parent, name } => {
                let (id, object) = self.id(*parent);
                let told = self.peers[client].rmdir(id, name);
                agree(self.model.rmdir(object, name), told);
            }
            Op::Rename { from, old, to, new } => {
                let (from, to) = (self.id(*from), self.id(*to));
                let told = self.peers[client].rename((from.0, old), (to.0, new));
                agree(self.model.rename((from.1, old), (to.1, new)), told);
            }
            Op::Truncate { id, size } => {
                let (id, object) = self.id(*id);
                let told = self.peers[client].truncate(id, u64::from(*size));
                agree(self.model.truncate(object, usize::from(*size)), told);
            }
            Op::Open { id, flags } => {
                let (id, object) = self.id(*id);
                let told = self.peers[client].open(id, *flags);
                if let Some((handle, number)) = agree(self.model.open(object, *flags), told) {
                    self.handles.push((number, handle));
                }
            }
            Op::Read { handle, offset, len } => {
                let (number, handle) = self.handle(*handle);
                let told = self.peers[client].read(number, u64::from(*offset), u32::from(*len));
                let expected = self.model.read(handle, usize::from(*offset), usize::from(*len));
                if let Some((expected, (data, eof))) = agree(expected, told) {
                    assert_eq!(
                        data.escape_ascii().to_string(),
                        expected.escape_ascii().to_string()
                    );
                    assert_eq!(eof, data.len() < usize::from(*len));
                }
            }
            Op::Write { handle, offset, text } => {
                let (number, handle) = self.handle(*handle);
                let told = self.peers[client].write(number, u64::from(*offset), text.as_bytes());
                let expected = self.model.write(handle, usize::from(*offset), text.as_bytes());
                if let Some(((), count)) = agree(expected, told) {
                    assert_eq!(count, text.len() as u64);
                }
            }
            Op::Close { handle } => {
                let (number, handle) = self.handle(*handle);
                let told = self.peers[client].close(number);
                agree(self.model.close(handle), told);
            }
            Op::SetAttribute { id, value } if self.has_attributes => {
                let (id, object) = self.id(*id);
                let told = self.peers[client].set_xattr(id, "user.test", value.as_bytes());
                agree(
                    self.model.set_attribute(object, "user.test", value.as_bytes()),
                    told,
                );
            }
            Op::Attribute { id } if self.has_attributes => {
                let (id, object) = self.id(*id);
                let question = json!({"node": id, "payload": {"name": "user.test"}});
                let told = self.peers[client].ask("getxattr", question);
                if let Some((expected, told)) = agree(self.model.attribute(object, "user.test"), told) {
                    let expected = base64_simd::STANDARD.encode_to_string(expected);
                    assert_eq!(told["value_b64"], expected);
                }
            }
            Op::SetAttribute { .. } | Op::Attribute { .. } => {}
        }
    }

    fn lookup(&mut self, client: usize, parent: Recent, name: &str) {
        let (id, object) = self.id(parent);
        let told = self.peers[client].lookup(id, name);
        if let Some((object, attr)) = agree(self.model.lookup(object, name), told) {
            check_attributes(&self.model.getattr(object).unwrap(), &attr);
            self.learn(number(&attr["id"]), object);
        }
    }

    fn list(&mut self, client: usize, id: Recent, max: u32) {
        let (id, object) = self.id(id);
        let first = self.peers[client].list(id, 0, max);
        let Some((expected, _)) = agree(self.model.list(object), first) else {
            return;
        };
        let mut names = self.peers[client].names(id, max);
        names.sort();
        assert_eq!(names, expected.keys().cloned().collect::<Vec<_>>());
        let page = self.peers[client].list(id, 2, 1_000).unwrap();
        for (name, attr) in page.entries {
            check_attributes(&self.model.getattr(expected[&name]).unwrap(), &attr);
            self.learn(number(&attr["id"]), expected[&name]);
        }
    }
}

/// Both agree that it worked, and how; or that it did not, and why.
#[track_caller]
fn agree<A: Debug, B: Debug>(expected: Outcome<A>, told: Result<B, Refusal>) -> Option<(A, B)> {
    /// A link that leads outside may also be called dangling: whether there is anything is nobody's business.
    const OUTSIDE: [i64; 2] = [13, 2];
    match (expected, told) {
        (Ok(expected), Ok(told)) => Some((expected, told)),
        (Err(13), Err(refusal)) if OUTSIDE.contains(&refusal.errno) => None,
        (Err(expected), Err(refusal)) if expected == refusal.errno => None,
        (expected, told) => panic!("the model says {expected:?}, the node {told:?}"),
    }
}

#[track_caller]
fn check_attributes(expected: &model::Attributes, attr: &Value) {
    assert_eq!(attr["k"], if expected.directory { 2 } else { 1 }, "{attr}");
    if !expected.directory {
        assert_eq!(
            (&attr["sz"], &attr["n"]),
            (&json!(expected.size), &json!(1)),
            "{attr}"
        );
    }
}

/// A request that needs no id from an answer before it: in a client's own folder, and on its own open file.
fn homely() -> impl Strategy<Value = Op> {
    prop_oneof![
        name().prop_map(|name| Op::Lookup { parent: 0, name }),
        Just(Op::Getattr { id: 1 }),
        (100_u32..200).prop_map(|max| Op::List { id: 0, max }),
        name().prop_map(|name| Op::Mkdir { parent: 0, name }),
        (name(), prop::sample::select(&TARGETS[..3])).prop_map(|(name, target)| Op::Symlink {
            parent: 0,
            name,
            target
        }),
        name().prop_map(|name| Op::Unlink { parent: 0, name }),
        name().prop_map(|name| Op::Rmdir { parent: 0, name }),
        (name(), name()).prop_map(|(old, new)| Op::Rename {
            from: 0,
            old,
            to: 0,
            new
        }),
        (0_u16..40).prop_map(|size| Op::Truncate { id: 1, size }),
        (0_u16..40, 0_u16..40).prop_map(|(offset, len)| Op::Read {
            handle: 0,
            offset,
            len
        }),
        (0_u16..40, "[a-z]{0,12}").prop_map(|(offset, text)| Op::Write {
            handle: 0,
            offset,
            text
        }),
    ]
}

/// A client's folder with an open file, in both worlds.
struct Home {
    peer: FilePeer,
    folder: (u64, Object),
    file: (u64, Object),
    handle: (u64, usize),
}

impl Home {
    fn new(addr: SocketAddr, model: &mut Model, name: &str) -> Self {
        let mut peer = FilePeer::connect(addr);
        let root = peer.root();
        peer.mkdir(root, name).unwrap();
        let folder = (peer.find(root, name), model.mkdir(ROOT, name).unwrap());
        let (id, number) = peer.create(folder.0, "file").unwrap();
        let (object, handle) = model.create(folder.1, "file").unwrap();
        Self {
            peer,
            folder,
            file: (id, object),
            handle: (number, handle),
        }
    }

    /// Sends a request without waiting.
    fn send(&mut self, op: &Op) -> u32 {
        let (folder, file, handle) = (self.folder.0, self.file.0, self.handle.0);
        let (op, members) = match op {
            Op::Lookup { name, .. } => ("lookup", json!({"node": folder, "payload": {"name": name}})),
            Op::Getattr { .. } => ("getattr", json!({"node": file})),
            Op::List { max, .. } => ("readdirp", json!({"node": folder, "payload": {"max": max}})),
            Op::Mkdir { name, .. } => ("mkdir", json!({"node": folder, "payload": {"name": name}})),
            Op::Symlink { name, target, .. } => (
                "symlink",
                json!({"node": folder, "payload": {"name": name, "target": target}}),
            ),
            Op::Unlink { name, .. } => ("unlink", json!({"node": folder, "payload": {"name": name}})),
            Op::Rmdir { name, .. } => ("rmdir", json!({"node": folder, "payload": {"name": name}})),
            Op::Rename { old, new, .. } => (
                "rename",
                json!({"payload": {"old_parent": folder, "old_name": old, "new_parent": folder, "new_name": new}}),
            ),
            Op::Truncate { size, .. } => ("truncate", json!({"node": file, "payload": {"sz": size}})),
            Op::Read { offset, len, .. } => (
                "read",
                json!({"h": handle, "payload": {"off": offset, "len": len}}),
            ),
            Op::Write { offset, text, .. } => ("write", writing(handle, u64::from(*offset), text.as_bytes())),
            other => unreachable!("{other:?} needs an answer first"),
        };
        self.peer.send(op, members)
    }

    /// Compares an answer with what the model says when the request is carried out in its turn.
    fn check(&self, model: &mut Model, op: &Op, told: Result<Value, Refusal>) {
        let folder = self.folder.1;
        match op {
            Op::Lookup { name, .. } => {
                if let Some((object, told)) = agree(model.lookup(folder, name), told) {
                    check_attributes(&model.getattr(object).unwrap(), &told["attr"]);
                }
            }
            Op::Getattr { .. } => {
                if let Some((expected, told)) = agree(model.getattr(self.file.1), told) {
                    check_attributes(&expected, &told["attr"]);
                }
            }
            Op::List { .. } => {
                let (expected, told) = agree(model.list(folder), told).unwrap();
                let names = told["ents"].as_array().unwrap().iter().skip(2);
                let mut names: Vec<&str> = names.map(|entry| entry["name"].as_str().unwrap()).collect();
                names.sort_unstable();
                assert_eq!(names, expected.keys().collect::<Vec<_>>());
            }
            Op::Mkdir { name, .. } => drop(agree(model.mkdir(folder, name), told)),
            Op::Symlink { name, target, .. } => drop(agree(model.symlink(folder, name, target), told)),
            Op::Unlink { name, .. } => drop(agree(model.unlink(folder, name), told)),
            Op::Rmdir { name, .. } => drop(agree(model.rmdir(folder, name), told)),
            Op::Rename { old, new, .. } => drop(agree(model.rename((folder, old), (folder, new)), told)),
            Op::Truncate { size, .. } => drop(agree(model.truncate(self.file.1, usize::from(*size)), told)),
            Op::Read { offset, len, .. } => {
                let expected = model.read(self.handle.1, usize::from(*offset), usize::from(*len));
                let (expected, told) = agree(expected, told).unwrap();
                assert_eq!(told["data_b64"], base64_simd::STANDARD.encode_to_string(expected));
            }
            Op::Write { offset, text, .. } => {
                agree(
                    model.write(self.handle.1, usize::from(*offset), text.as_bytes()),
                    told,
                );
            }
            other => unreachable!("{other:?} was not sent"),
        }
    }
}

/// `PROPTEST_CASES` asks for more, on a machine with time.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/model.regressions",
        ))),
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn a_folder_answers_like_a_tree_in_memory(ops in prop::collection::vec((0..CLIENTS, op()), 1..70)) {
        let folder = tempfile::tempdir().unwrap();
        with_node(folder.path(), |addr| {
            let mut world = World::new(addr);
            for (client, op) in &ops {
                world.step(*client, op);
            }
            assert_eq!(model::disk(folder.path()), world.model.tree());
        });
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn requests_sent_without_waiting_answer_as_if_they_came_one_by_one(
        ops in prop::collection::vec(prop::collection::vec(homely(), 1..60), CLIENTS)
    ) {
        let folder = tempfile::tempdir().unwrap();
        with_node(folder.path(), |addr| {
            let mut model = Model::default();
            let mut homes: Vec<Home> = (0..CLIENTS)
                .map(|client| Home::new(addr, &mut model, &format!("home-{client}")))
                .collect();
            let tags: Vec<Vec<u32>> =
                homes.iter_mut().zip(&ops).map(|(home, ops)| ops.iter().map(|op| home.send(op)).collect()).collect();
            for ((home, ops), tags) in homes.iter_mut().zip(&ops).zip(&tags) {
                let mut answers = BTreeMap::new();
                while answers.len() < tags.len() {
                    let (tag, answer) = home.peer.next_answer(PATIENCE).expect("an answer to every request");
                    assert!(answers.insert(tag, answer).is_none(), "two answers to {tag}");
                }
                for (op, tag) in ops.iter().zip(tags) {
                    home.check(&mut model, op, answers.remove(tag).expect("an answer"));
                }
            }
            assert_eq!(model::disk(folder.path()), model.tree());
        });
    }
}
