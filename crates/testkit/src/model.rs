//! A reference file tree: what a folder must look like, and answer, after any sequence of operations.
//!
//! It is as simple as the promise itself: objects in a list, directories that name them, links that are walked.
//! Errors are the numbers of the contract, in the order in which a node has to check them. Whatever a real folder
//! adds (times, modes, inode numbers that are used again) it knows nothing of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// An errno of the contract.
pub type Number = i64;

/// What an operation answers.
pub type Outcome<T> = Result<T, Number>;

const NOT_FOUND: Number = 2;
const BAD_HANDLE: Number = 9;
const OUTSIDE: Number = 13;
const EXISTS: Number = 17;
const NOT_A_DIRECTORY: Number = 20;
const IS_A_DIRECTORY: Number = 21;
const INVALID: Number = 22;
const NOT_EMPTY: Number = 39;
const LOOP: Number = 40;
const NO_DATA: Number = 61;

/// Links followed before it is a loop.
const MOST_LINKS: u32 = 40;

/// An object of the tree, for as long as the model lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Object(usize);

/// The directory a model starts with.
pub const ROOT: Object = Object(0);

#[derive(Debug)]
enum Body {
    File(Vec<u8>),
    Directory(BTreeMap<String, Object>),
    Link(String),
}

#[derive(Debug)]
struct Node {
    body: Body,
    /// Where it is; `None` once it is removed. The root is its own parent.
    parent: Option<Object>,
    attributes: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Handle {
    object: Object,
    readable: bool,
    writable: bool,
}

/// What `getattr` tells as far as a model knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Whether it is a directory.
    pub directory: bool,
    /// Size of a file, 0 for a directory.
    pub size: u64,
}

/// A file tree in memory.
#[derive(Debug)]
pub struct Model {
    nodes: Vec<Node>,
    handles: Vec<Option<Handle>>,
}

impl Default for Model {
    fn default() -> Self {
        let root = Node {
            body: Body::Directory(BTreeMap::new()),
            parent: Some(ROOT),
            attributes: BTreeMap::new(),
        };
        Self {
            nodes: vec![root],
            handles: Vec::new(),
        }
    }
}

impl Model {
    fn alive(&self, object: Object) -> Outcome<&Node> {
        let node = &self.nodes[object.0];
        if node.parent.is_some() {
            Ok(node)
        } else {
            Err(NOT_FOUND)
        }
    }

    fn entries(&self, directory: Object) -> Outcome<&BTreeMap<String, Object>> {
        match &self.alive(directory)?.body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(NOT_A_DIRECTORY),
        }
    }

    fn entries_mut(&mut self, directory: Object) -> &mut BTreeMap<String, Object> {
        match &mut self.nodes[directory.0].body {
            Body::Directory(entries) => entries,
            _ => unreachable!("checked by the caller"),
        }
    }

    fn is_directory(&self, object: Object) -> bool {
        matches!(self.nodes[object.0].body, Body::Directory(_))
    }

    fn is_empty(&self, object: Object) -> bool {
        matches!(&self.nodes[object.0].body, Body::Directory(entries) if entries.is_empty())
    }

    fn add(&mut self, parent: Object, name: &str, body: Body) -> Outcome<Object> {
        if self.entries(parent)?.contains_key(name) {
            return Err(EXISTS);
        }
        let object = Object(self.nodes.len());
        self.nodes.push(Node {
            body,
            parent: Some(parent),
            attributes: BTreeMap::new(),
        });
        self.entries_mut(parent).insert(name.to_owned(), object);
        Ok(object)
    }

    fn remove(&mut self, parent: Object, name: &str) {
        if let Some(object) = self.entries_mut(parent).remove(name) {
            self.nodes[object.0].parent = None;
        }
    }

    /// Whether an id still means something.
    pub fn is_alive(&self, object: Object) -> bool {
        self.nodes[object.0].parent.is_some()
    }

    /// Kind and size.
    pub fn getattr(&self, object: Object) -> Outcome<Attributes> {
        Ok(match &self.alive(object)?.body {
            Body::File(content) => Attributes {
                directory: false,
                size: content.len() as u64,
            },
            _ => Attributes {
                directory: true,
                size: 0,
            },
        })
    }

    /// What a name leads to, links followed. Outside is 13, which a node may also answer with 2.
    pub fn lookup(&self, parent: Object, name: &str) -> Outcome<Object> {
        self.entries(parent)?;
        let mut links = MOST_LINKS;
        self.walk(parent, name, &mut links)
    }

    fn walk(&self, from: Object, path: &str, links: &mut u32) -> Outcome<Object> {
        let mut at = from;
        for component in path.split('/') {
            let entries = self.entries(at)?;
            at = match component {
                "." => at,
                ".." if at == ROOT => return Err(OUTSIDE),
                ".." => self.alive(at)?.parent.ok_or(NOT_FOUND)?,
                name => {
                    let object = *entries.get(name).ok_or(NOT_FOUND)?;
                    match &self.nodes[object.0].body {
                        Body::Link(target) => {
                            *links = links.checked_sub(1).ok_or(LOOP)?;
                            self.walk(at, target, links)?
                        }
                        _ => object,
                    }
                }
            };
        }
        Ok(at)
    }

    /// The names a listing shows, and what they lead to.
    pub fn list(&self, directory: Object) -> Outcome<BTreeMap<String, Object>> {
        let entries = self.entries(directory)?;
        let shown = entries.keys().filter_map(|name| {
            let object = self.lookup(directory, name).ok()?;
            Some((name.clone(), object))
        });
        Ok(shown.collect())
    }

    /// Makes a file and opens it; the file and the handle's number.
    pub fn create(&mut self, parent: Object, name: &str) -> Outcome<(Object, usize)> {
        let object = self.add(parent, name, Body::File(Vec::new()))?;
        Ok((object, self.handle(object, true, true)))
    }

    fn handle(&mut self, object: Object, readable: bool, writable: bool) -> usize {
        self.handles.push(Some(Handle {
            object,
            readable,
            writable,
        }));
        self.handles.len() - 1
    }

    /// Makes a directory.
    pub fn mkdir(&mut self, parent: Object, name: &str) -> Outcome<Object> {
        self.add(parent, name, Body::Directory(BTreeMap::new()))
    }

    /// Makes a link.
    pub fn symlink(&mut self, parent: Object, name: &str, target: &str) -> Outcome<()> {
        self.add(parent, name, Body::Link(target.to_owned())).map(drop)
    }

    /// Removes a file or link.
    pub fn unlink(&mut self, parent: Object, name: &str) -> Outcome<()> {
        let object = *self.entries(parent)?.get(name).ok_or(NOT_FOUND)?;
        if self.is_directory(object) {
            return Err(IS_A_DIRECTORY);
        }
        self.remove(parent, name);
        Ok(())
    }

    /// Removes an empty directory.
    pub fn rmdir(&mut self, parent: Object, name: &str) -> Outcome<()> {
        let object = *self.entries(parent)?.get(name).ok_or(NOT_FOUND)?;
        if !self.is_directory(object) {
            return Err(NOT_A_DIRECTORY);
        }
        if !self.is_empty(object) {
            return Err(NOT_EMPTY);
        }
        self.remove(parent, name);
        Ok(())
    }

    /// Whether `object` is `ancestor` or below it.
    fn is_within(&self, object: Object, ancestor: Object) -> bool {
        let mut at = object;
        loop {
            if at == ancestor {
                return true;
            }
            match self.nodes[at.0].parent {
                Some(parent) if at != ROOT => at = parent,
                _ => return false,
            }
        }
    }

    /// Moves an entry.
    pub fn rename(&mut self, from: (Object, &str), to: (Object, &str)) -> Outcome<()> {
        self.entries(from.0)?;
        self.entries(to.0)?;
        let object = *self.entries(from.0)?.get(from.1).ok_or(NOT_FOUND)?;
        let replaced = self.entries(to.0)?.get(to.1).copied();
        let is_directory = self.is_directory(object);
        if is_directory && self.is_within(to.0, object) {
            return Err(INVALID);
        }
        match replaced {
            Some(same) if same == object => return Ok(()),
            // Onto a directory that holds the source somewhere below, and so is not empty.
            Some(above) if self.is_directory(above) && self.is_within(from.0, above) => return Err(EXISTS),
            Some(other) => match (is_directory, self.is_directory(other)) {
                (true, false) => return Err(NOT_A_DIRECTORY),
                (false, true) => return Err(IS_A_DIRECTORY),
                (true, true) if !self.is_empty(other) => return Err(EXISTS),
                _ => self.remove(to.0, to.1),
            },
            None => {}
        }
        self.entries_mut(from.0).remove(from.1);
        self.entries_mut(to.0).insert(to.1.to_owned(), object);
        self.nodes[object.0].parent = Some(to.0);
        Ok(())
    }

    fn content(&mut self, object: Object) -> Outcome<&mut Vec<u8>> {
        match &mut self.nodes[object.0].body {
            Body::File(content) => Ok(content),
            _ => Err(IS_A_DIRECTORY),
        }
    }

    /// Cuts or extends a file.
    pub fn truncate(&mut self, object: Object, size: usize) -> Outcome<()> {
        self.alive(object)?;
        self.content(object)?.resize(size, 0);
        Ok(())
    }

    /// Opens; the handle's number.
    pub fn open(&mut self, object: Object, flags: u32) -> Outcome<usize> {
        let writable = matches!(flags & 3, 1 | 2);
        self.alive(object)?;
        if writable {
            let content = self.content(object)?;
            if flags & 512 != 0 {
                content.clear();
            }
        }
        Ok(self.handle(object, flags & 3 != 1, writable))
    }

    fn open_handle(&self, handle: usize) -> Outcome<Handle> {
        self.handles.get(handle).copied().flatten().ok_or(BAD_HANDLE)
    }

    /// Bytes of an open file.
    pub fn read(&mut self, handle: usize, offset: usize, len: usize) -> Outcome<Vec<u8>> {
        let handle = self.open_handle(handle)?;
        if !handle.readable {
            return Err(BAD_HANDLE);
        }
        let content = self.content(handle.object)?;
        let end = content.len().min(offset + len);
        Ok(content.get(offset..end).unwrap_or_default().to_vec())
    }

    /// Writes to an open file.
    pub fn write(&mut self, handle: usize, offset: usize, data: &[u8]) -> Outcome<()> {
        let handle = self.open_handle(handle)?;
        if !handle.writable {
            return Err(BAD_HANDLE);
        }
        let content = self.content(handle.object)?;
        if !data.is_empty() {
            content.resize(content.len().max(offset + data.len()), 0);
            content[offset..offset + data.len()].copy_from_slice(data);
        }
        Ok(())
    }

    /// Closes a handle.
    pub fn close(&mut self, handle: usize) -> Outcome<()> {
        self.open_handle(handle)?;
        self.handles[handle] = None;
        Ok(())
    }

    /// Sets an extended attribute.
    pub fn set_attribute(&mut self, object: Object, name: &str, value: &[u8]) -> Outcome<()> {
        self.alive(object)?;
        self.nodes[object.0]
            .attributes
            .insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// The value of an extended attribute.
    pub fn attribute(&self, object: Object, name: &str) -> Outcome<Vec<u8>> {
        self.alive(object)?.attributes.get(name).cloned().ok_or(NO_DATA)
    }

    /// Every path with what is there, for comparison with [`disk`].
    pub fn tree(&self) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        self.describe(ROOT, "", &mut tree);
        tree
    }

    fn describe(&self, directory: Object, path: &str, tree: &mut BTreeMap<String, String>) {
        let Body::Directory(entries) = &self.nodes[directory.0].body else {
            return;
        };
        for (name, object) in entries {
            let path = format!("{path}/{name}");
            match &self.nodes[object.0].body {
                Body::File(content) => tree.insert(path, file(content)),
                Body::Link(target) => tree.insert(path, format!("link to {target}")),
                Body::Directory(_) => {
                    self.describe(*object, &path, tree);
                    tree.insert(path, "directory".to_owned())
                }
            };
        }
    }
}

/// Every path below a real folder with what is there.
pub fn disk(folder: &Path) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    describe_disk(folder, "", &mut tree);
    tree
}

fn describe_disk(folder: &Path, path: &str, tree: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let entry = entry.expect("an entry");
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().expect("a kind");
        let what = if kind.is_dir() {
            describe_disk(&entry.path(), &path, tree);
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!(
                "link to {}",
                fs::read_link(entry.path()).expect("a target").display()
            )
        } else {
            file(&fs::read(entry.path()).expect("a file that can be read"))
        };
        tree.insert(path, what);
    }
}

fn file(content: &[u8]) -> String {
    format!("file of {} bytes: {}", content.len(), content.escape_ascii())
}
