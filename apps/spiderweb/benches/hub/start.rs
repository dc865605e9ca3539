//! From the start of the processes to the first request that a node answered through its hub.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use spiderweb_client::{Client, Options};
use spiderweb_protocol::InodeId;
use spiderweb_transport::WsUrl;
use tempfile::TempDir;

use super::Outcome;
use super::process::{Program, SOON, admin_token};

/// How often it is measured unless the command line says.
pub(super) const ROUNDS: usize = 10;

/// Between two attempts to be routed.
const PAUSE: Duration = Duration::from_millis(1);

/// The only node's id.
const FIRST_NODE: &str = "node-1";

pub(super) async fn run(rounds: usize) -> Outcome<()> {
    println!("from the start to the first routed getattr, {rounds} times, in ms");
    let (mut fresh, mut again) = (Vec::new(), Vec::new());
    let (mut joined, mut together) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let place = Place::new()?;
        fresh.push(place.both_in_one().await?);
        again.push(place.both_in_one().await?);

        let place = Place::new()?;
        let hub = Program::hub(&place.hub(), 0)?;
        let port = hub.address()?.port();
        // The first time the node pairs.
        place.node(port).await?;
        joined.push(place.node(port).await?);
        hub.stop()?;
        let begin = Instant::now();
        let hub = Program::hub(&place.hub(), port)?;
        hub.address()?;
        let came_up = begin.elapsed();
        together.push(came_up + place.node(port).await?);
        hub.stop()?;
    }
    print("node and hub in one process, nothing saved", fresh);
    print("node and hub in one process, paired before", again);
    print("node with a saved identity, its hub is up", joined);
    print("a hub, and as soon as it is up such a node", together);
    Ok(())
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    let (median, most) = (ms(times.get(times.len() / 2)), ms(times.last()));
    println!("  {what:44} median {median:6.1}  most {most:6.1}");
}

/// A folder with all that a hub and a node keep.
struct Place(TempDir);

impl Place {
    fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("work"))?;
        Ok(Self(folder))
    }

    fn hub(&self) -> PathBuf {
        self.0.path().join("hub")
    }

    fn export(&self) -> String {
        format!("work={}", self.0.path().join("work").display())
    }

    async fn both_in_one(&self) -> Outcome<Duration> {
        let (folder, export) = (self.hub().display().to_string(), self.export());
        let begin = Instant::now();
        let program = Program::node(&[
            "--hub",
            "127.0.0.1:0",
            "--hub-data-dir",
            &folder,
            "--export",
            &export,
        ])?;
        self.answered(program.address()?.port()).await?;
        let took = begin.elapsed();
        program.stop()?;
        Ok(took)
    }

    /// Starts the node of a hub that is up, and ends it when it has answered.
    async fn node(&self, port: u16) -> Outcome<Duration> {
        let (url, export) = (format!("ws://127.0.0.1:{port}/"), self.export());
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let (token, state) = (path("token"), path("node.json"));
        std::fs::write(&token, admin_token(&self.hub())?.expose())?;
        let begin = Instant::now();
        let program = Program::node(&[
            "--control-url",
            &url,
            "--control-auth-token-file",
            &token,
            "--state-file",
            &state,
            "--export",
            &export,
        ])?;
        self.answered(port).await?;
        let took = begin.elapsed();
        program.stop()?;
        Ok(took)
    }

    /// Tries until the node has answered through its hub.
    async fn answered(&self, port: u16) -> Outcome<()> {
        let url: WsUrl = format!("ws://127.0.0.1:{port}/v2/fs/node/{FIRST_NODE}").parse()?;
        let options = Options::new(url).token(Some(admin_token(&self.hub())?));
        let give_up = Instant::now() + SOON;
        let client = loop {
            match Client::connect(options.clone()).await {
                Ok(client) => break client,
                Err(error) if Instant::now() > give_up => return Err(error.into()),
                Err(_not_yet) => tokio::time::sleep(PAUSE).await,
            }
        };
        let exports = client.exports().await?;
        let root = exports.first().and_then(|export| InodeId::new(export.root));
        client.getattr(root.ok_or("no export")?).await?;
        Ok(())
    }
}
