//! How soon a hub and its nodes are there: after their start, and after the hub's restart.
//!
//! ```sh
//! cargo build --release -p spiderweb-hub-app -p spiderweb-fs-node
//! cargo bench -p spiderweb --bench hub -- start [ROUNDS]
//! cargo bench -p spiderweb --bench hub -- reconnect [NODES]
//! ```
//!
//! The hubs are the program `spiderweb-hub` in processes of their own; so is the node of the first one. The many nodes of
//! the second live in this process.

mod process;
mod reconnect;
mod start;

use std::error::Error;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    // Cargo says `--bench` as well.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let what = words.next();
    let count = words.next().map(|word| word.parse()).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match what.as_deref() {
        None => {
            runtime.block_on(start::run(start::ROUNDS))?;
            runtime.block_on(reconnect::run(reconnect::NODES))
        }
        Some("start") => runtime.block_on(start::run(count.unwrap_or(start::ROUNDS))),
        Some("reconnect") => runtime.block_on(reconnect::run(count.unwrap_or(reconnect::NODES))),
        Some(other) => Err(format!("{other}: say `start` or `reconnect`").into()),
    }
}
