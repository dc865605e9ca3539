//! Listings, walks and removals.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use spiderweb_client::{Client, RemotePath, Walk, list, remove_tree};

use crate::peer::{id, name};
use crate::store::{Object, ROOT, Running, Store};

fn directory() -> Object {
    Object::Directory(BTreeMap::new())
}

fn file() -> Object {
    Object::File {
        data: vec![1],
        modified: 0,
    }
}

async fn connect(node: &Running) -> Client {
    Client::connect(node.options.clone()).await.unwrap()
}

async fn walk(client: &Client, levels: usize) -> Vec<String> {
    let mut walk = Walk::of(client, "/w".parse().unwrap(), id(ROOT)).levels(levels);
    let mut paths = Vec::new();
    while let Some(step) = walk.next().await {
        paths.push(step.unwrap().path.to_string());
    }
    paths.sort();
    paths
}

#[tokio::test]
async fn listings_of_many_pages_are_complete() {
    let node = Store::start().await;
    let client = connect(&node).await;
    for number in 0..95 {
        node.store.add(ROOT, &format!("{number:03}"), file());
    }
    for page in [1, 2, 3, 10, 97, 1000] {
        node.store.page.store(page, Ordering::Relaxed);
        let names: Vec<_> = list(&client, id(ROOT))
            .await
            .unwrap()
            .into_iter()
            .map(|e| e.name)
            .collect();
        let expected: Vec<_> = (0..95).map(|number| format!("{number:03}")).collect();
        assert_eq!(names, expected, "pages of {page}");
    }
}

#[tokio::test]
async fn a_page_without_entries_that_is_not_the_last_ends_the_listing() {
    let node = Store::start().await;
    let client = connect(&node).await;
    node.store.add(ROOT, "a", file());
    node.store.page.store(0, Ordering::Relaxed);
    assert!(list(&client, id(ROOT)).await.unwrap().is_empty());
}

#[tokio::test]
async fn walks_end_although_links_lead_back() {
    let node = Store::start().await;
    let client = connect(&node).await;
    let a = node.store.add(ROOT, "a", directory());
    let b = node.store.add(a, "b", directory());
    node.store.add(b, "f", file());
    node.store.link(b, "up", a);
    node.store.link(a, "self", a);
    node.store.link(b, "top", ROOT);
    assert_eq!(
        walk(&client, usize::MAX).await,
        [
            "/w/a",
            "/w/a/b",
            "/w/a/b/f",
            "/w/a/b/top",
            "/w/a/b/up",
            "/w/a/self"
        ]
    );
    assert_eq!(walk(&client, 1).await, ["/w/a"]);
    assert_eq!(walk(&client, 2).await, ["/w/a", "/w/a/b", "/w/a/self"]);
}

#[tokio::test]
async fn removing_a_tree_removes_links_and_not_what_they_lead_to() {
    for cut in [0, 9] {
        let node = Store::start().await;
        let client = connect(&node).await;
        let kept = node.store.add(ROOT, "kept", directory());
        node.store.add(kept, "f", file());
        let doomed = node.store.add(ROOT, "doomed", directory());
        let mut deep = doomed;
        for number in 0..10 {
            node.store.add(deep, &format!("f{number}"), file());
            node.store.link(deep, "outside", kept);
            deep = node.store.add(deep, "deeper", directory());
        }
        node.store.cut_every.store(cut, Ordering::Relaxed);
        let path: RemotePath = "/work/doomed".parse().unwrap();
        remove_tree(&client, id(ROOT), &name("doomed"), &path)
            .await
            .unwrap();
        assert_eq!(node.store.names(ROOT), ["kept"], "cut every {cut}");
        assert_eq!(node.store.names(kept), ["f"], "cut every {cut}");
    }
}

#[tokio::test]
async fn many_files_are_removed_with_many_requests_outstanding() {
    let node = Store::start().await;
    let client = connect(&node).await;
    let dir = node.store.add(ROOT, "dir", directory());
    for number in 0..500 {
        node.store.add(dir, &format!("{number}"), file());
    }
    let path: RemotePath = "/work/dir".parse().unwrap();
    remove_tree(&client, id(ROOT), &name("dir"), &path).await.unwrap();
    assert!(node.store.names(ROOT).is_empty());
    let requests = node.store.requests.load(Ordering::Relaxed);
    assert!(
        requests < 510,
        "one request per file and a few for the directory: {requests}"
    );
}
