//! A projected tree over a port that only takes notes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail; its helpers are outside of test functions"
)]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use spiderweb_fs::namespace::{
    Action, Changed, Command, Done, Identity, LiveFile, Namespace, PastInvoke, ServicePort, Texts,
};
use spiderweb_fs::{Aftermath, Effect, FsError, OpenFile, Patience, Source as _};
use spiderweb_protocol::fs::{Attr, Change, Event, ListingEncoder, OpenFlags, Reply};
use spiderweb_protocol::strict::JsonFaultKind;
use spiderweb_protocol::{EntryName, InodeId, Tag, canonical};

/// Answers every invoke at its end with the same changes, and remembers what it was told.
#[derive(Default)]
struct Notes {
    commands: Mutex<Vec<String>>,
    status: Mutex<&'static str>,
    past: Mutex<Vec<PastInvoke>>,
}

impl ServicePort for Notes {
    fn text(&self, file: LiveFile) -> Bytes {
        match file {
            LiveFile::Config => Bytes::from_static(b"{\"accepted\":1}"),
            LiveFile::Status => Bytes::from_static(self.status.lock().unwrap().as_bytes()),
            _ => Bytes::from(format!("{file:?}")),
        }
    }

    fn act(&self, command: Command) -> Action {
        let (word, action) = match command {
            Command::Invoke { content, name, .. } => {
                let text = String::from_utf8_lossy(&content).into_owned();
                let word = format!("invoke {} {text}", name.as_deref().unwrap_or("-"));
                let fault = canonical::check_object(&content).err();
                if let Some(fault) = fault {
                    let refused = Done {
                        result: Err(match fault.kind {
                            JsonFaultKind::UnexpectedEnd => FsError::IncompletePayload,
                            _ => FsError::InvalidPayload,
                        }),
                        changed: Changed::new(),
                    };
                    (word, Action::Done(refused))
                } else {
                    let done = Done {
                        result: Ok(()),
                        changed: Changed::from_slice(&[LiveFile::Result, LiveFile::Status]),
                    };
                    let end = Box::pin(std::future::ready(done));
                    let changed = Changed::from_slice(&[LiveFile::Status]);
                    (word, Action::Begun { changed, end })
                }
            }
            Command::Configure(content) if content.starts_with(b"{") => {
                let done = Done {
                    result: Ok(()),
                    changed: Changed::from_slice(&[LiveFile::Config, LiveFile::Health]),
                };
                ("configure".to_owned(), Action::Done(done))
            }
            Command::Configure(_) => {
                let refused = Done {
                    result: Err(FsError::InvalidPayload),
                    changed: Changed::new(),
                };
                ("bad configuration".to_owned(), Action::Done(refused))
            }
            other => {
                let done = Done {
                    result: Ok(()),
                    changed: Changed::from_slice(&[LiveFile::Health]),
                };
                (format!("{other:?}"), Action::Done(done))
            }
        };
        self.commands.lock().unwrap().push(word);
        action
    }

    fn past(&self) -> Vec<PastInvoke> {
        self.past.lock().unwrap().clone()
    }

    fn record(&self, number: u64) -> Option<Bytes> {
        let past = self.past.lock().unwrap();
        past.iter()
            .find(|invoke| invoke.number == number)
            .map(|invoke| Bytes::from(format!("record of {}", invoke.name)))
    }
}

struct Scene {
    notes: Arc<Notes>,
    tree: Namespace,
}

impl Scene {
    fn new() -> Self {
        let notes = Arc::new(Notes::default());
        let texts = Texts {
            readme: Bytes::from_static(b"read me"),
            schema: Bytes::from_static(b"{}"),
            template: Bytes::from_static(b"{}"),
            host: Bytes::from_static(b"{}"),
        };
        let identity = Identity::Service("v-echo".to_owned());
        let tree = Namespace::new(identity, 14, texts, notes.clone()).unwrap();
        Self { notes, tree }
    }

    fn find(&self, path: &str) -> Result<Attr, FsError> {
        let mut attr = self.tree.getattr(self.tree.root(), Patience::Immediate)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let parent = InodeId::new(attr.id).unwrap();
            attr = self
                .tree
                .lookup(parent, &EntryName::new(name).unwrap(), Patience::Immediate)?;
        }
        Ok(attr)
    }

    fn id(&self, path: &str) -> InodeId {
        InodeId::new(self.find(path).unwrap().id).unwrap()
    }

    fn open(&self, path: &str) -> Box<dyn OpenFile> {
        let opened = self
            .tree
            .open(self.id(path), OpenFlags::READ_WRITE, Patience::Immediate);
        opened.unwrap().file
    }

    fn read(&self, path: &str) -> String {
        let opened = self
            .tree
            .open(self.id(path), OpenFlags::READ, Patience::Immediate);
        let chunk = opened.unwrap().file.read(0, 4096, Patience::Immediate).unwrap();
        assert!(chunk.eof);
        String::from_utf8(chunk.bytes).unwrap()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let mut page = ListingEncoder::new(0, 100);
        let (eof, generation) = self.tree.list(self.id(path), 0, &mut page).unwrap();
        assert!(eof);
        let mut text = Vec::new();
        Reply::Listing(page.finish(eof, generation)).encode(
            spiderweb_protocol::fs::Op::Readdirp,
            Tag(1),
            &mut text,
        );
        let reply: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let entries = reply["payload"]["ents"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.commands.lock().unwrap())
    }
}

fn name(name: &str) -> EntryName {
    EntryName::new(name).unwrap()
}

/// What came of a write, its end included.
fn settle(aftermath: Aftermath) -> (Result<(), FsError>, Vec<Event>) {
    match aftermath {
        Aftermath::Nothing => panic!("a namespace says what everybody is told"),
        Aftermath::Over(Effect { result, events }) => (result, events.to_vec()),
        Aftermath::Pending { events, mut end } => {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match end.as_mut().poll(&mut context) {
                std::task::Poll::Ready(effect) => (effect.result, [events, effect.events].concat()),
                std::task::Poll::Pending => panic!("the notes answer at once"),
            }
        }
    }
}

fn write(file: &dyn OpenFile, offset: u64, data: &str) -> Result<(), FsError> {
    settle(file.write(offset, data.as_bytes()).unwrap()).0
}

#[test]
fn ids_modes_and_order_are_those_of_the_contract() {
    let scene = Scene::new();
    assert_eq!(scene.tree.root().local(), 204_492_391_159_338, "recorded");
    assert_eq!(
        scene.names("/").join(" "),
        ". .. HOST.json README.md SCHEMA.json TEMPLATE.json config.json control health.json last_error.txt \
         metrics.json result.json schema.json status.json template.json"
    );
    assert_eq!(
        scene.names("/control").join(" "),
        ". .. disable enable invoke.json reset restart"
    );
    for (path, number, mode) in [
        ("/README.md", 2, 0o100_444),
        ("/template.json", 6, 0o100_444),
        ("/config.json", 12, 0o100_644),
        ("/control", 14, 0o040_755),
        ("/control/invoke.json", 15, 0o100_644),
        ("/control/restart", 19, 0o100_644),
    ] {
        let attr = scene.find(path).unwrap();
        assert_eq!((attr.id, attr.m), ((15 << 48) + number, mode), "{path}");
        assert_eq!(attr.generation, attr.id, "{path}");
    }
    let root = scene.find("/").unwrap();
    assert_eq!((root.m, root.n, root.k), (0o040_555, 2, 2));
    assert_eq!(scene.find("/README.md").unwrap().sz, 7);
    assert_eq!(scene.read("/config.json"), "{\"accepted\":1}");
    let terminal = Namespace::new(
        Identity::Terminal("1".to_owned()),
        0,
        Texts {
            readme: Bytes::new(),
            schema: Bytes::new(),
            template: Bytes::new(),
            host: Bytes::new(),
        },
        scene.notes.clone(),
    );
    assert_eq!(terminal.unwrap().source_id("terminal-1"), "service:terminal-1");
}

#[test]
fn a_write_is_stored_and_then_acts_on_the_whole_content() {
    let scene = Scene::new();
    let invoke = scene.open("/control/invoke.json");
    assert!(matches!(
        write(&*invoke, 0, "{\"a\":"),
        Err(FsError::IncompletePayload)
    ));
    let (result, events) = settle(invoke.write(5, b"1}").unwrap());
    result.unwrap();
    let id = |number: u64| (15 << 48) + number;
    let told: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Inode {
                id,
                change: Change::Data,
                generation,
            } => (id.get(), generation.unwrap() - id.get()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(id(15), 2), (id(10), 1), (id(8), 1), (id(10), 2)]);
    assert_eq!(scene.told(), ["invoke - {\"a\":", "invoke - {\"a\":1}"]);

    write(&*invoke, 7, " \n").unwrap();
    assert_eq!(
        scene.told(),
        Vec::<String>::new(),
        "white space behind what ran runs nothing"
    );
    write(&*invoke, 0, "").unwrap();
    assert_eq!(
        scene.told(),
        ["invoke - {\"a\":1} \n"],
        "a write of nothing repeats"
    );
    scene.tree.truncate(scene.id("/control/invoke.json"), 1).unwrap();
    assert_eq!(scene.told(), Vec::<String>::new());
    write(&*invoke, 1, "}").unwrap();
    assert_eq!(scene.told(), ["invoke - {}"], "what ran before was cut away");

    for control in ["enable", "disable", "restart", "reset"] {
        write(&*scene.open(&format!("/control/{control}")), 0, "anything").unwrap();
    }
    assert_eq!(
        scene.told().join(" ").to_lowercase(),
        "enable disable restart reset"
    );
    write(&*scene.open("/control/cancel"), 0, "7").unwrap();
    assert_eq!(scene.told(), ["Cancel(b\"7\")"]);
}

/// As a shell redirects through a mount: no `truncate` of its own, only the bit.
#[test]
fn opening_with_the_truncate_bit_empties_a_file_and_runs_nothing() {
    let scene = Scene::new();
    let redirect = |path: &str, text: &str| {
        let flags = OpenFlags(OpenFlags::WRITE.0 | OpenFlags::TRUNCATE);
        let opened = scene.tree.open(scene.id(path), flags, Patience::Immediate);
        let opened = opened.unwrap();
        assert!(opened.truncated && opened.attr.sz == 0, "{path}");
        write(&*opened.file, 0, text)
    };
    redirect("/control/invoke.json", r#"{"query":"a long one"}"#).unwrap();
    redirect("/control/invoke.json", r#"{"q":2}"#).unwrap();
    redirect("/config.json", r#"{"enabled":true}"#).unwrap();
    redirect("/config.json", "{}").unwrap();
    let told = [
        r#"invoke - {"query":"a long one"}"#,
        r#"invoke - {"q":2}"#,
        "configure",
        "configure",
    ];
    assert_eq!(scene.told(), told);

    let reading = OpenFlags(OpenFlags::TRUNCATE);
    let invoke = scene.id("/control/invoke.json");
    let opened = scene.tree.open(invoke, reading, Patience::Immediate).unwrap();
    assert!(
        !opened.truncated && opened.attr.sz == 7,
        "only together with writing"
    );
}

#[test]
fn handles_on_a_removed_service_are_not_known() {
    let scene = Scene::new();
    let invoke = scene.open("/control/invoke.json");
    scene.tree.retire();
    assert!(matches!(invoke.write(0, b"{}"), Err(FsError::UnknownHandle)));
    let read = invoke.read(0, 10, Patience::Immediate);
    assert!(matches!(read, Err(FsError::UnknownHandle)));
    assert!(scene.told().is_empty());
}

#[test]
fn a_large_payload_may_come_in_pieces() {
    let scene = Scene::new();
    let invoke = scene.open("/control/invoke.json");
    let payload = format!("{{\"text\":\"{}\"}}\n", "x}".repeat(10_000));
    let pieces = payload.as_bytes().chunks(4096);
    let last = pieces.len() - 1;
    for (number, piece) in pieces.enumerate() {
        let (result, _) = settle(invoke.write(number as u64 * 4096, piece).unwrap());
        result.unwrap_or_else(|error| panic!("piece {number} of {last}: {error}"));
    }
    let told = scene.told();
    assert_eq!(told.last().unwrap(), &format!("invoke - {payload}"));
    assert!(
        told.iter()
            .all(|word| word.starts_with("invoke") || word == "Await"),
        "every piece asks whether it would be refused: {told:?}"
    );
}

#[test]
fn a_large_write_that_nothing_could_complete_is_refused() {
    let long = "b".repeat(5000);
    for text in [
        format!("{{\"a\":1}} garbage{long}"),
        format!("{{bad{long}"),
        format!("{{\"a\":1}}{{\"b\":2}} {long}"),
        format!("{{\"a\":\"\u{1}{long}"),
        format!("{{\"a\":1,\"a\":\"{long}"),
    ] {
        let scene = Scene::new();
        let answer = write(&*scene.open("/control/invoke.json"), 0, &text);
        let begin = text.get(..12).unwrap();
        assert!(
            matches!(answer, Err(FsError::InvalidPayload)),
            "{begin}: {answer:?}"
        );
        let kept = scene.find("/control/invoke.json").unwrap().sz;
        assert_eq!(kept, text.len() as u64, "it is stored all the same");
    }
    // A piece may end anywhere, also inside a character.
    let payload = format!("{{\"a\":\"{long}é\"}}");
    for length in [5000, payload.find('é').unwrap() + 1] {
        let scene = Scene::new();
        let invoke = scene.open("/control/invoke.json");
        let (first, second) = payload.as_bytes().split_at(length);
        settle(invoke.write(0, first).unwrap()).0.unwrap();
        settle(invoke.write(length as u64, second).unwrap()).0.unwrap();
        assert_eq!(scene.told().last().unwrap(), &format!("invoke - {payload}"));
    }
}

#[test]
fn only_what_begins_like_an_object_is_a_piece_of_one() {
    let scene = Scene::new();
    let invoke = scene.open("/control/invoke.json");
    let array = format!("[\"{}\"", "x".repeat(10_000));
    let answer = write(&*invoke, 0, &array);
    assert!(matches!(answer, Err(FsError::IncompletePayload)), "{answer:?}");
}

#[test]
fn payloads_that_nobody_tidied_up_make_room() {
    let scene = Scene::new();
    let control = scene.id("/control");
    let create = |entry: &str| scene.tree.create(control, &name(entry), 0o644, OpenFlags::WRITE);
    let kept = create("invoke.kept.json").unwrap();
    for number in 0..500 {
        create(&format!("invoke.left-{number}.json")).unwrap();
    }
    assert!(scene.find("/control/invoke.kept.json").is_ok(), "it is open");
    assert!(scene.find("/control/invoke.left-0.json").is_err());
    assert!(scene.find("/control/invoke.left-499.json").is_ok());
    drop(kept);
    // Neither files nor bytes of others take the room of the fixed files.
    let large = "x".repeat(1 << 20);
    for number in 0..40 {
        let file = create(&format!("invoke.large-{number}.json")).unwrap().file;
        for piece in 0..4_u64 {
            let _ = file.write(piece << 20, large.as_bytes()).unwrap();
        }
    }
    let invoke = scene.open("/control/invoke.json");
    let _ = invoke.write(3 << 20, large.as_bytes()).unwrap();
}

#[test]
fn a_rejected_configuration_leaves_the_text_in_force() {
    let scene = Scene::new();
    let config = scene.open("/config.json");
    scene.tree.truncate(scene.id("/config.json"), 0).unwrap();
    assert_eq!(
        scene.read("/config.json"),
        "",
        "what was written is seen until it counts"
    );
    assert!(matches!(write(&*config, 0, "nope"), Err(FsError::InvalidPayload)));
    assert_eq!(scene.read("/config.json"), "{\"accepted\":1}");
    write(&*config, 0, "{}").unwrap();
    assert_eq!(scene.told(), ["bad configuration", "configure"]);
}

#[test]
fn clients_keep_files_below_control_and_nothing_else() {
    let scene = Scene::new();
    let (root, control) = (scene.tree.root(), scene.id("/control"));
    let create = |parent, entry: &str| scene.tree.create(parent, &name(entry), 0o644, OpenFlags::WRITE);
    assert!(matches!(create(root, "x"), Err(FsError::ExportReadOnly)));
    assert!(matches!(
        create(scene.id("/config.json"), "x"),
        Err(FsError::NodeNotADirectory)
    ));
    assert!(matches!(create(control, "reset"), Err(FsError::Exists)));
    assert!(matches!(create(control, "cancel"), Err(FsError::Exists)));
    write(&*create(control, "note.txt").unwrap().file, 0, "mine").unwrap();
    assert_eq!(scene.told(), Vec::<String>::new());
    assert_eq!(scene.read("/control/note.txt"), "mine");

    scene.tree.mkdir(control, &name("d")).unwrap();
    create(scene.id("/control/d"), "inner").unwrap();
    assert!(matches!(
        scene.tree.rmdir(control, &name("d")),
        Err(FsError::NotEmpty)
    ));
    assert!(matches!(
        scene.tree.unlink(control, &name("d")),
        Err(FsError::IsADirectory)
    ));
    assert!(matches!(
        scene.tree.rmdir(control, &name("note.txt")),
        Err(FsError::NotADirectory)
    ));
    let into_itself = scene
        .tree
        .rename(control, &name("d"), scene.id("/control/d"), &name("e"));
    assert!(matches!(into_itself, Err(FsError::InvalidArgument)));
    scene.tree.unlink(scene.id("/control/d"), &name("inner")).unwrap();
    scene.tree.rmdir(control, &name("d")).unwrap();

    for fixed in ["invoke.json", "reset", "enable", "disable", "restart", "cancel"] {
        assert!(
            matches!(
                scene.tree.unlink(control, &name(fixed)),
                Err(FsError::ControlFile)
            ),
            "{fixed}"
        );
        let moved = scene.tree.rename(control, &name(fixed), control, &name("other"));
        assert!(matches!(moved, Err(FsError::ControlFile)), "{fixed}");
    }
    let onto = scene
        .tree
        .rename(control, &name("note.txt"), control, &name("reset"));
    assert!(matches!(onto, Err(FsError::Exists)));
}

#[test]
fn names_are_as_long_as_those_of_files() {
    let scene = Scene::new();
    let (root, control) = (scene.tree.root(), scene.id("/control"));
    let (long, too_long) = (name(&"n".repeat(255)), name(&"n".repeat(256)));
    let create = |parent, entry: &EntryName| scene.tree.create(parent, entry, 0o644, OpenFlags::WRITE);
    assert!(matches!(create(control, &too_long), Err(FsError::NameTooLong)));
    assert!(matches!(
        scene.tree.mkdir(control, &too_long),
        Err(FsError::NameTooLong)
    ));
    create(control, &long).unwrap();
    for (old, new) in [(&long, &too_long), (&too_long, &long)] {
        let moved = scene.tree.rename(control, old, control, new);
        assert!(matches!(moved, Err(FsError::NameTooLong)), "{old:?}");
    }
    // Where nothing may be made at all, that is said first.
    assert!(matches!(create(root, &too_long), Err(FsError::ExportReadOnly)));
    assert_eq!(scene.names("/control").len(), 2 + 5 + 1);
    // The name of an invoke is shorter still; what is longer is a file like any other.
    for (length, runs) in [(64, true), (65, false)] {
        let entry = name(&format!("invoke.{}.json", "n".repeat(length)));
        write(&*create(control, &entry).unwrap().file, 0, "{}").unwrap();
        assert_eq!(!scene.told().is_empty(), runs, "{length}");
    }
}

#[test]
fn an_editor_may_replace_the_payload_by_a_new_file() {
    let scene = Scene::new();
    let control = scene.id("/control");
    let draft = scene
        .tree
        .create(control, &name("invoke.json.tmp"), 0o600, OpenFlags::WRITE);
    write(&*draft.unwrap().file, 0, "{\"edited\":1}").unwrap();
    assert_eq!(scene.told(), Vec::<String>::new());
    let (id, aftermath) = scene
        .tree
        .rename(control, &name("invoke.json.tmp"), control, &name("invoke.json"))
        .unwrap();
    let (result, events) = settle(aftermath);
    result.unwrap();
    assert_eq!(id, scene.id("/control/invoke.json"));
    assert!(matches!(events[0], Event::Directory { id } if id == control));
    assert_eq!(scene.told(), ["invoke - {\"edited\":1}"]);
    assert_eq!(scene.read("/control/invoke.json"), "{\"edited\":1}");
    assert!(matches!(
        scene.find("/control/invoke.json.tmp"),
        Err(FsError::NotFound)
    ));
}

#[test]
fn an_invoke_with_a_name_leaves_a_record_under_it() {
    let scene = Scene::new();
    let control = scene.id("/control");
    let mine = scene
        .tree
        .create(control, &name("invoke.mine-1.json"), 0o644, OpenFlags::WRITE);
    write(&*mine.unwrap().file, 0, "{}").unwrap();
    assert_eq!(scene.told(), ["invoke mine-1 {}"]);
    scene
        .notes
        .past
        .lock()
        .unwrap()
        .extend(
            [(3, "mine-1"), (4, "4"), (5, "mine-1")].map(|(number, name)| PastInvoke {
                number,
                name: name.into(),
            }),
        );
    assert_eq!(scene.names("/history").join(" "), ". .. 4.json mine-1.json");
    assert_eq!(scene.read("/history/mine-1.json"), "record of mine-1");
    let newest = scene.find("/history/mine-1.json").unwrap();
    assert_eq!(newest.id & 0xff, 5, "of one name, the newest counts");
    let writing = scene.tree.open(
        InodeId::new(newest.id).unwrap(),
        OpenFlags::READ_WRITE,
        Patience::Immediate,
    );
    assert!(matches!(writing, Err(FsError::ExportReadOnly)));
    scene.notes.past.lock().unwrap().clear();
    assert!(matches!(
        scene.find("/history/mine-1.json"),
        Err(FsError::NotFound)
    ));
    scene.tree.unlink(control, &name("invoke.mine-1.json")).unwrap();
}

#[test]
fn what_clients_store_is_bounded() {
    let scene = Scene::new();
    let control = scene.id("/control");
    let invoke = scene.id("/control/invoke.json");
    assert!(matches!(
        scene.tree.truncate(invoke, 1 << 40),
        Err(FsError::NoSpace)
    ));
    let far = scene.open("/control/invoke.json").write(1 << 40, b"x");
    assert!(matches!(far, Err(FsError::NoSpace)));
    let beyond = scene.open("/control/invoke.json").write(u64::MAX, b"xx");
    assert!(matches!(beyond, Err(FsError::FileTooLarge)));
    let full = (0..1000)
        .map(|number| scene.tree.mkdir(control, &name(&format!("d{number}"))))
        .find_map(Result::err);
    assert!(matches!(full, Some(FsError::NoSpace)));
}

#[test]
fn a_long_text_is_read_as_it_was_at_its_beginning() {
    let scene = Scene::new();
    *scene.notes.status.lock().unwrap() = "first text";
    let opened = scene
        .tree
        .open(scene.id("/status.json"), OpenFlags::READ, Patience::Immediate)
        .unwrap();
    let read = |offset, len| opened.file.read(offset, len, Patience::Immediate).unwrap();
    assert_eq!((read(0, 5).bytes, read(0, 5).eof), (b"first".to_vec(), false));
    *scene.notes.status.lock().unwrap() = "another";
    assert_eq!(read(5, 100).bytes, b" text");
    assert_eq!(read(0, 100).bytes, b"another");
    assert!(read(1_000, 5).eof);
}

#[test]
fn new_texts_are_told_of_where_they_differ() {
    let scene = Scene::new();
    let texts = Texts {
        readme: Bytes::from_static(b"read me again"),
        schema: Bytes::from_static(b"{\"new\":1}"),
        template: Bytes::from_static(b"{}"),
        host: Bytes::from_static(b"{}"),
    };
    let events = scene.tree.set_texts(texts);
    assert_eq!(
        events.len(),
        3,
        "README.md and the schema under both of its names"
    );
    assert_eq!(scene.read("/schema.json"), "{\"new\":1}");
    assert_eq!(scene.find("/README.md").unwrap().generation, (15 << 48) + 3);
}
