//! Directory listings, page by page (section 8.5).
//!
//! A cookie is the number of visible entries before a page, `.` and `..` counted. A page that continues where
//! another ended takes over its open directory stream, so reading a large directory costs one pass; any other
//! cookie starts a new pass and skips. Nothing of a directory is kept in memory but a few open streams.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use spiderweb_protocol::EntryName;
use spiderweb_protocol::fs::{Attr, ListingEncoder};

use super::attr::{self, Kind, Object};
use super::disk::{self, Entries};
use super::{Directory, LocalSource, RESERVED_NAME};
use crate::{FsError, Patience};

/// Streams kept for pages to come; each is one descriptor and a buffer of 32 KiB.
const MOST_STREAMS: usize = 32;

/// The listings of one source.
#[derive(Default)]
pub(super) struct Pages {
    /// Directories in the middle of being read, oldest first.
    streams: Mutex<VecDeque<Stream>>,
    /// Whether the log knows that entries are missing.
    complained: AtomicBool,
}

struct Stream {
    directory: Object,
    /// Entries before the stream's position.
    position: u64,
    entries: Entries,
    /// An entry that was read and did not fit.
    waiting: Option<Entry>,
}

struct Entry {
    name: EntryName,
    kind: Option<Kind>,
}

impl Pages {
    /// Fills a page from entry number `cookie` on; says whether the directory ended.
    pub(super) fn fill(
        &self,
        source: &LocalSource,
        directory: &Directory,
        cookie: u64,
        page: &mut ListingEncoder,
    ) -> Result<bool, FsError> {
        if page.is_full() {
            return Ok(false);
        }
        if cookie < 2 {
            source.push_dots(directory, cookie, page)?;
            if cookie + page.count() < 2 {
                return Ok(false);
            }
        }
        let object = attr::object(&directory.stat);
        let mut stream = match self.take(object, cookie) {
            Some(stream) => stream,
            None => Stream::open(directory, object)?,
        };
        while stream.position < cookie {
            let Some(entry) = stream.next()? else {
                return Ok(true);
            };
            if source.is_visible(directory, &entry)? {
                stream.position += 1;
            }
        }
        loop {
            let Some(entry) = stream.next()? else {
                return Ok(true);
            };
            if page.is_full() {
                stream.waiting = Some(entry);
                // Entries that follow may all be invisible, but finding that out is the next page's work.
                if !source.is_visible_next(directory, &mut stream)? {
                    return Ok(true);
                }
                self.keep(stream);
                return Ok(false);
            }
            if source.push_entry(directory, &entry, page)? {
                stream.position += 1;
            }
        }
    }

    fn streams(&self) -> MutexGuard<'_, VecDeque<Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to show of an entry; `None` when it vanished, dangles, leads outside or cannot be examined.
    /// `directory` asks for the state of the directory itself.
    ///
    /// # Errors
    ///
    /// The node has no descriptors left, or it is the directory that fails: what is missing then is no entry.
    fn admit<T>(
        &self,
        name: &EntryName,
        examined: Result<T, FsError>,
        directory: impl FnOnce() -> Result<(), FsError>,
    ) -> Result<Option<T>, FsError> {
        match examined {
            Ok(value) => Ok(Some(value)),
            Err(FsError::TooManyOpen) => Err(FsError::TooManyOpen),
            Err(FsError::Io(error)) => {
                // On a disk that is gone every entry fails, and nothing must look like an empty directory.
                directory()?;
                if self.complained.swap(true, Ordering::Relaxed) {
                    tracing::debug!(name = name.as_str(), %error, "left out of a listing");
                } else {
                    tracing::warn!(
                        name = name.as_str(),
                        %error,
                        "an entry cannot be examined and is left out of listings; further ones are logged as debug"
                    );
                }
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    fn take(&self, directory: Object, position: u64) -> Option<Stream> {
        let mut streams = self.streams();
        let at = streams
            .iter()
            .position(|s| s.directory == directory && s.position == position)?;
        // The beginning is always read anew.
        if position <= 2 { None } else { streams.remove(at) }
    }

    fn keep(&self, stream: Stream) {
        let mut streams = self.streams();
        let same = |s: &Stream| s.directory == stream.directory && s.position == stream.position;
        streams.retain(|s| !same(s));
        if streams.len() >= MOST_STREAMS {
            streams.pop_front();
        }
        streams.push_back(stream);
    }
}

impl Stream {
    fn open(directory: &Directory, object: Object) -> Result<Self, FsError> {
        Ok(Self {
            directory: object,
            position: 2,
            entries: Entries::open(&directory.file)?,
            waiting: None,
        })
    }

    /// The next entry whose name could be visible.
    fn next(&mut self) -> Result<Option<Entry>, FsError> {
        if let Some(entry) = self.waiting.take() {
            return Ok(Some(entry));
        }
        while let Some(entry) = self.entries.next() {
            let entry = entry?;
            // Names that are not UTF-8 cannot be said on the wire and stay out, as do `.` and `..`.
            let Some(name) = entry.name else {
                continue;
            };
            if name.as_str() != RESERVED_NAME {
                return Ok(Some(Entry {
                    name,
                    kind: entry.kind,
                }));
            }
        }
        Ok(None)
    }
}

impl LocalSource {
    fn push_dots(
        &self,
        directory: &Directory,
        cookie: u64,
        page: &mut ListingEncoder,
    ) -> Result<(), FsError> {
        if cookie == 0 {
            page.push(".", &self.shared.attr(directory.index, &directory.stat)?);
        }
        if page.is_full() {
            return Ok(());
        }
        let parent = self.shared.inodes().parent(directory.index);
        let stat = self.shared.at(parent, Patience::Blocking, |place| {
            let file = self
                .shared
                .root
                .open_at(&place.path, disk::LOOK, Patience::Blocking)?;
            disk::stat(&file)
        })?;
        page.push("..", &self.shared.attr(parent, &stat)?);
        Ok(())
    }

    /// Whether an entry is shown: by the same rule as in a page, or cookies would count other entries.
    fn is_visible(&self, directory: &Directory, entry: &Entry) -> Result<bool, FsError> {
        let examined = match entry.kind {
            Some(Kind::Link) | None => self.entry(directory, entry).map(drop),
            _ => disk::stat_entry(&directory.file, entry.name.as_str()).map(drop),
        };
        Ok(self.admit(directory, entry, examined)?.is_some())
    }

    /// Whether the stream has an entry left that is shown; it becomes the one that waits.
    fn is_visible_next(&self, directory: &Directory, stream: &mut Stream) -> Result<bool, FsError> {
        while let Some(entry) = stream.next()? {
            if self.is_visible(directory, &entry)? {
                stream.waiting = Some(entry);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn entry(&self, directory: &Directory, entry: &Entry) -> Result<Attr, FsError> {
        let stat = disk::stat_entry(&directory.file, entry.name.as_str())?;
        self.entry_attr(directory, &entry.name, &stat)
    }

    fn admit<T>(
        &self,
        directory: &Directory,
        entry: &Entry,
        examined: Result<T, FsError>,
    ) -> Result<Option<T>, FsError> {
        let state = || disk::stat(&directory.file).map(drop);
        self.pages.admit(&entry.name, examined, state)
    }

    /// Adds an entry, if there is anything to show of it.
    fn push_entry(
        &self,
        directory: &Directory,
        entry: &Entry,
        page: &mut ListingEncoder,
    ) -> Result<bool, FsError> {
        let attr = self.admit(directory, entry, self.entry(directory, entry))?;
        if let Some(attr) = &attr {
            page.push(entry.name.as_str(), attr);
        }
        Ok(attr.is_some())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn an_entry_that_cannot_be_examined_is_left_out_and_fails_no_page() {
        let pages = Pages::default();
        let name = EntryName::new("f").unwrap();
        let fails = |entry: Errno, directory: Result<(), Errno>| {
            let examined = Err::<(), _>(FsError::from(entry));
            let admitted = pages.admit(&name, examined, || Ok(directory?));
            admitted.map(|shown| assert!(shown.is_none())).is_err()
        };
        for errno in [
            Errno::IO,
            Errno::NOTCONN,
            Errno::HOSTDOWN,
            Errno::STALE,
            Errno::TIMEDOUT,
            Errno::NOENT,
            Errno::ACCESS,
            Errno::LOOP,
        ] {
            assert!(!fails(errno, Ok(())), "{errno:?}");
        }
        assert!(fails(Errno::MFILE, Ok(())) && fails(Errno::NFILE, Ok(())));
        assert!(fails(Errno::IO, Err(Errno::IO)), "the directory itself is gone");
        assert_eq!(pages.admit(&name, Ok(1), || Ok(())).unwrap(), Some(1));
    }
}
