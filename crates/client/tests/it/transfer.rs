//! Copies over bad connections.

use std::sync::atomic::Ordering;

use spiderweb_client::{Client, Error, Upload, View, Window, copy_remote, download, fetch, replace_link};
use spiderweb_protocol::Errno;
use tokio_util::sync::CancellationToken;

use crate::peer::{id, name};
use crate::store::{Object, ROOT, Running, Store};

const WINDOW: Window = Window {
    block: 1000,
    depth: 4,
};

fn contents(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

fn file(length: usize) -> Object {
    Object::File {
        data: contents(length),
        modified: 1,
    }
}

async fn connect(node: &Running) -> Client {
    Client::connect(node.options.clone()).await.unwrap()
}

async fn upload(client: &Client, to: &str, source: &[u8], stop: &CancellationToken) -> Result<u64, Error> {
    let upload = Upload {
        client,
        parent: id(ROOT),
        name: &name(to),
        mode: 0o644,
        window: WINDOW,
        stop,
    };
    upload.run(source, |_| {}).await
}

#[tokio::test]
async fn files_of_every_length_arrive_whole_over_connections_that_break() {
    for (cut, forgetful) in [(0, false), (5, false), (25, true)] {
        for length in [0, 1, 999, 1000, 1001, 4000, 20_500] {
            let node = Store::start().await;
            let client = connect(&node).await;
            node.store.cut_every.store(cut, Ordering::Relaxed);
            node.store.forgetful.store(forgetful, Ordering::Relaxed);
            let source = contents(length);
            let case = format!("{length} bytes, cut every {cut}, forgetful {forgetful}");

            let sent = upload(&client, "up", &source, &CancellationToken::new()).await;
            assert_eq!(sent.unwrap(), length as u64, "{case}");
            assert!(node.store.data(ROOT, "up").unwrap() == source, "{case}");
            assert_eq!(node.store.names(ROOT), ["up"], "{case}: no partial file is left");

            let up = client.lookup(id(ROOT), &name("up")).await.unwrap();
            let up = spiderweb_protocol::InodeId::new(up.id).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("down");
            let progress = &mut 0;
            let got = download(&client, up, &target, WINDOW, |bytes| *progress += bytes).await;
            assert_eq!(
                (got.unwrap(), *progress),
                (length as u64, length as u64),
                "{case}"
            );
            assert!(std::fs::read(&target).unwrap() == source, "{case}");
            assert_eq!(
                dir.path().read_dir().unwrap().count(),
                1,
                "{case}: no partial file is left"
            );

            let stop = CancellationToken::new();
            let again = Upload {
                client: &client,
                parent: id(ROOT),
                name: &name("again"),
                mode: 0o600,
                window: WINDOW,
                stop: &stop,
            };
            copy_remote(&client, up, &again, |_| {}).await.unwrap();
            assert!(node.store.data(ROOT, "again").unwrap() == source, "{case}");
            let broke = node.store.connections.load(Ordering::Relaxed) > 1;
            assert!(
                broke || length < 20_000 || cut == 0,
                "{case}: the connection never broke"
            );
        }
    }
}

#[tokio::test]
async fn nothing_stays_open() {
    let node = Store::start().await;
    let client = connect(&node).await;
    upload(&client, "a", &contents(5000), &CancellationToken::new())
        .await
        .unwrap();
    let a = spiderweb_protocol::InodeId::new(client.lookup(id(ROOT), &name("a")).await.unwrap().id).unwrap();
    let mut sink = Vec::new();
    fetch(&client, a, WINDOW, &mut sink, |_| {}).await.unwrap();
    assert_eq!((sink.len(), node.store.handles()), (5000, 0));
}

#[tokio::test]
async fn a_full_disk_keeps_the_old_file_and_leaves_nothing_behind() {
    let node = Store::start().await;
    let client = connect(&node).await;
    node.store.add(ROOT, "a", file(10));
    node.store.full_at.store(3, Ordering::Relaxed);
    let error = upload(&client, "a", &contents(9000), &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENOSPC));
    assert_eq!(node.store.names(ROOT), ["a"]);
    assert_eq!(node.store.data(ROOT, "a").unwrap(), contents(10));
    assert_eq!(node.store.handles(), 0, "an open handle would keep the space");
}

#[tokio::test]
async fn a_link_takes_the_place_of_a_file_or_leaves_it() {
    let node = Store::start().await;
    let client = connect(&node).await;
    let link = async || replace_link(&client, id(ROOT), &name("a"), "target").await;
    node.store.add(ROOT, "a", file(10));
    // The first try finds the file.
    node.store.full_at.store(2, Ordering::Relaxed);
    assert_eq!(link().await.unwrap_err().errno(), Some(Errno::ENOSPC));
    assert_eq!(node.store.data(ROOT, "a").unwrap(), contents(10));
    assert_eq!(node.store.names(ROOT), ["a"]);
    for cut in [0, 2, 3] {
        node.store.add(ROOT, "a", file(10));
        node.store.cut_every.store(cut, Ordering::Relaxed);
        link().await.unwrap();
        assert_eq!(node.store.data(ROOT, "a").unwrap(), b"target", "cut every {cut}");
        assert_eq!(node.store.names(ROOT), ["a"], "cut every {cut}");
    }
}

#[tokio::test]
async fn a_stopped_upload_leaves_nothing_behind() {
    let node = Store::start().await;
    let client = connect(&node).await;
    let stop = CancellationToken::new();
    let (endless, mut feed) = tokio::io::duplex(100);
    let name = name("a");
    let upload = Upload {
        client: &client,
        parent: id(ROOT),
        name: &name,
        mode: 0o644,
        window: WINDOW,
        stop: &stop,
    };
    let stopping = async {
        tokio::io::AsyncWriteExt::write_all(&mut feed, &[1; 5000])
            .await
            .unwrap();
        stop.cancel();
    };
    let (stopped, ()) = tokio::join!(upload.run(endless, |_| {}), stopping);
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert!(node.store.names(ROOT).is_empty());
}

#[tokio::test]
async fn a_file_that_never_holds_still_is_not_copied() {
    let node = Store::start().await;
    let client = connect(&node).await;
    let restless = node.store.add(ROOT, "a", file(3000));
    node.store.restless.store(true, Ordering::Relaxed);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a");
    let error = download(&client, id(restless), &target, WINDOW, |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Changing { attempts: 3 }), "{error}");
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);

    let stop = CancellationToken::new();
    let copy = Upload {
        client: &client,
        parent: id(ROOT),
        name: &name("b"),
        mode: 0o644,
        window: WINDOW,
        stop: &stop,
    };
    let error = copy_remote(&client, id(restless), &copy, |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Changing { attempts: 3 }), "{error}");
    assert_eq!(node.store.names(ROOT), ["a"]);
}

#[cfg(unix)]
#[tokio::test]
async fn downloads_replace_files_through_links_and_keep_permissions() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let node = Store::start().await;
    let client = connect(&node).await;
    let source = node.store.add(ROOT, "a", file(3000));
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    std::fs::write(&real, "old").unwrap();
    symlink("real", &link).unwrap();
    download(&client, id(source), &link, WINDOW, |_| {})
        .await
        .unwrap();
    assert!(link.is_symlink() && std::fs::read(&real).unwrap() == contents(3000));
    assert_eq!(real.metadata().unwrap().permissions().mode() & 0o700, 0o600);
    download(
        &client,
        id(source),
        std::path::Path::new("/dev/null"),
        WINDOW,
        |_| {},
    )
    .await
    .unwrap();
    let error = download(&client, id(source), dir.path(), WINDOW, |_| {})
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is a directory"), "{error}");
}

#[tokio::test]
async fn paths_lead_through_exports() {
    let node = Store::start().await;
    let client = connect(&node).await;
    let dir = node.store.add(
        ROOT,
        "dir",
        Object::Directory(std::collections::BTreeMap::default()),
    );
    let inner = node.store.add(dir, "f", file(7));
    let whole = View::of(&client, None).await.unwrap();
    let narrow = View::of(&client, Some("work")).await.unwrap();
    for (view, path, found) in [
        (&whole, "/work/dir/f", Some(inner)),
        (&whole, "/work/dir/../dir/./f", Some(inner)),
        (&whole, "/work/dir/", Some(dir)),
        (&whole, "/work/dir/f/", None),
        (&whole, "/work", Some(ROOT)),
        (&whole, "/dir/f", None),
        (&whole, "/work/dir/g", None),
        (&whole, "/work/dir/f/g", None),
        (&whole, "/", None),
        (&narrow, "/dir/f", Some(inner)),
        (&narrow, "/", Some(ROOT)),
        (&narrow, "/work/dir/f", None),
    ] {
        let resolved = view.resolve(&client, &path.parse().unwrap()).await;
        assert_eq!(resolved.ok().map(|found| found.id.local()), found, "{path}");
    }
    let missing = whole
        .find(&client, &"/work/dir/g".parse().unwrap())
        .await
        .unwrap();
    assert!(missing.is_none());
    let error = whole
        .find(&client, &"/work/no/g".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "/work/no: lookup: no (errno 2)");
    let error = View::of(&client, Some("play")).await.unwrap_err().to_string();
    assert_eq!(error, "the node has no export named \"play\"; it has work");
    assert!(node.url.to_string().starts_with("ws://127.0.0.1:"));
}
