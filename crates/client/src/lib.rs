//! A client of the Acheron file protocol.
//!
//! From the bottom up:
//!
//! ```text
//! Glance     what a received frame is and which request it answers, without parsing all of it
//! pipeline   one connection: many requests outstanding, matched by tag
//! session    a connection that is redialled when it is lost, and what to repeat on the new one
//! Client     typed calls, one for each operation of the protocol
//! OpenFile   a handle that is opened anew when the node forgot it
//! View, Walk, Upload, download, remove_tree
//!            paths, exports, listings, copies: what a person means by a file
//! Service    invokes: a payload is written, and what came of it is read
//! Control    the hub's side: nodes, invites, requests to join, projects, catalog changes
//! Hub        nodes by id or name, and a routed client of each
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), spiderweb_client::Error> {
//! use spiderweb_client::{Client, Options, View};
//!
//! let client = Client::connect(Options::new("ws://127.0.0.1:18891/v2/fs".parse()?)).await?;
//! let view = View::of(&client, None).await?;
//! let found = view.resolve(&client, &"/work/notes.txt".parse()?).await?;
//! println!("{} bytes", found.attr.sz);
//! # Ok(())
//! # }
//! ```
//!
//! # After a lost connection
//!
//! A request whose answer did not come because the link broke is sent again on a new connection, with the same
//! handle: nodes keep handles of lost connections for two minutes. What the node answers to the repetition is then
//! read with care, because the first sending may have been carried out:
//!
//! | request | answer to the repetition | means |
//! |---|---|---|
//! | lookup, getattr, readdirp, open, read, lock, truncate, statfs, exports, reading xattrs, writes at an offset | any | itself: doing these twice is doing them once |
//! | close | 9 unknown handle | done |
//! | unlink, rmdir | 2 no such name | done |
//! | removexattr | 61 no such attribute | done |
//! | mkdir | 17 exists, and a lookup finds a directory | done |
//! | rename | 2 no such name, and a lookup finds the new name | done |
//! | setxattr, create only | 17 exists, and the value is the one that was to be set | done |
//! | create, symlink | 17 exists | [`Error::Uncertain`]: made by us or by somebody else |
//!
//! A write that runs a driver ([`Client::write_once`]) is never sent twice: it is [`Error::Lost`] with the link.
//!
//! A hub that has no tunnel to the node is like a link that is lost: what it answers for the node is not believed, and the
//! request is sent again until the tunnel is back.
//!
//! Looking *after* the repetition instead of before leaves no gap between the look and the act. Only requests that
//! were handed to the link are treated this way; one that never left is simply sent.
#![forbid(unsafe_code)]

mod client;
mod control;
mod error;
mod file;
mod glance;
mod hub;
mod path;
mod pipeline;
mod recovery;
mod remove;
mod service;
mod session;
mod transfer;
mod tree;
mod view;

pub use client::Client;
pub use control::{CatalogChange, CatalogEvent, Control, ControlError, ControlOptions, ServiceMark};
pub use error::{Error, LinkError};
pub use file::OpenFile;
pub use glance::Glance;
pub use hub::{Hub, HubPlace, KnownNode, NodeError, Routed, Routing};
pub use path::{PathError, RemotePath};
pub use pipeline::{Notice, PipelineOptions};
pub use remove::remove_tree;
pub use service::{Outcome, Refusal, Service, Status};
pub use session::{News, Options};
pub use transfer::{
    Upload, Window, copy_remote, download, fetch, is_partial_name, partial_name, replace_link,
};
pub use tree::{Pages, Step, Walk, list};
pub use view::{Found, Place, View};
