//! Many nodes, and a hub that goes away and comes back.
//!
//! The hub is a process with its database on the disk. The nodes are real ones in this process, with nothing to serve:
//! they pair by invite, keep their leases, publish and hold their tunnels over sockets, with the delays that the node's
//! program has. Their state files lie in memory where that is possible, because a thousand nodes do not share a disk. How
//! many tunnels stand, the hub says.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use spiderweb_client::{Control, ControlOptions};
use spiderweb_node::{
    ControlConfig, Dialer, Disclosure, DiskWork, Invites, Limits, Node, NodeConfig, PairMode, ServicesConfig,
    TokenSource, WsUrl,
};
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::{CreateInvite, NodeName};
use tempfile::TempDir;

use super::Outcome;
use super::process::{Program, admin_token, tunnels};

/// Nodes unless the command line says.
pub(super) const NODES: usize = 1000;

/// Nodes that are started at a time.
const STARTS: usize = 50;

/// How long the hub is away: short, and longer than all nodes wait before they try for the first time.
const AWAY: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(20)];

/// Between two looks at how many are back.
const LOOK: Duration = Duration::from_millis(25);

/// Time for all to come back, and some.
const LONGEST: Duration = Duration::from_secs(180);

/// How long memory is left to settle.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) async fn run(count: usize) -> Outcome<()> {
    println!("{count} nodes and a hub that is started again");
    let (folder, homes) = (tempfile::tempdir()?, homes()?);
    let mut hub = Program::hub(folder.path(), 0)?;
    let address = hub.address()?;
    let invite = invite(address, folder.path(), count).await?;
    let empty = hub.memory()?;

    let begin = Instant::now();
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(Node::start(config(number, address, &invite, homes.path())?).await?);
        if number % STARTS == STARTS - 1 {
            wait_for(address, number + 1).await?;
        }
    }
    wait_for(address, count).await?;
    println!(
        "  paired and there after {:.1} s; the hub used {:.2} s of a processor",
        begin.elapsed().as_secs_f64(),
        hub.processor()?
    );
    tokio::time::sleep(SETTLE).await;
    let full = hub.memory()?;
    print_memory("memory of the hub", empty, full, count);

    for (away, crashes) in AWAY.into_iter().zip([false, true]) {
        if crashes {
            hub.crash()?;
        } else {
            hub.stop()?;
        }
        tokio::time::sleep(away).await;
        let begin = Instant::now();
        hub = Program::hub(folder.path(), address.port())?;
        hub.address()?;
        let up = begin.elapsed();
        let (half, most, all) = come_back(address, count, begin).await?;
        println!(
            "  away {:2.0} s after a {}: up after {:3.0} ms; back 50 % {half:5.1} s, 99 % {most:5.1} s, all {all:5.1} s; \
             the hub used {:.2} s of a processor",
            away.as_secs_f64(),
            if crashes { "crash" } else { "stop " },
            up.as_secs_f64() * 1e3,
            hub.processor()?
        );
        tokio::time::sleep(SETTLE).await;
        print_memory("memory of the hub with all back", empty, hub.memory()?, count);
    }
    for node in nodes {
        node.stop(Duration::from_secs(5)).await;
    }
    hub.stop()
}

fn print_memory(what: &str, empty: u64, full: u64, count: usize) {
    println!(
        "  {what}: {empty} KiB without nodes, {full} KiB with them, {:.1} KiB a node",
        full.saturating_sub(empty) as f64 / count as f64
    );
}

/// When half, 99 of a hundred and all tunnels stand, in seconds.
async fn come_back(hub: SocketAddr, count: usize, begin: Instant) -> Outcome<(f64, f64, f64)> {
    let (mut half, mut most) = (None, None);
    loop {
        let (standing, now) = (tunnels(hub)?, begin.elapsed());
        if standing * 2 >= count {
            half.get_or_insert(now);
        }
        if standing * 100 >= count * 99 {
            most.get_or_insert(now);
        }
        if let (Some(half), Some(most), true) = (half, most, standing >= count) {
            return Ok((half.as_secs_f64(), most.as_secs_f64(), now.as_secs_f64()));
        }
        if now > LONGEST {
            return Err(format!("only {standing} of {count} nodes are back after {LONGEST:?}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn wait_for(hub: SocketAddr, count: usize) -> Outcome<()> {
    come_back(hub, count, Instant::now()).await.map(|_| ())
}

/// One invite for all of them.
async fn invite(hub: SocketAddr, folder: &Path, count: usize) -> Outcome<Secret> {
    let options = ControlOptions {
        token: Some(admin_token(folder)?),
        ..ControlOptions::new(url(hub)?)
    };
    let wanted = CreateInvite {
        max_uses: Some(u64::try_from(count)?),
        ..CreateInvite::default()
    };
    let made = Control::connect(options).await?.create_invite(&wanted).await?;
    Ok(made.invite_token)
}

fn url(hub: SocketAddr) -> Outcome<WsUrl> {
    Ok(format!("ws://{hub}/").parse()?)
}

/// Where the nodes keep what they know.
fn homes() -> Outcome<TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() {
        tempfile::tempdir_in(memory)?
    } else {
        tempfile::tempdir()?
    })
}

fn config(number: usize, hub: SocketAddr, invite: &Secret, homes: &Path) -> Outcome<NodeConfig> {
    let name = format!("bench-{number}");
    let state_file = homes.join(format!("{name}.json"));
    let control = ControlConfig {
        url: url(hub)?,
        dialer: Dialer::tcp(),
        token: TokenSource::Absent,
        operator_token: TokenSource::Absent,
        pair_mode: PairMode::Invite,
        invites: Invites {
            tokens: vec![invite.clone()],
            file: None,
        },
        may_replace_damaged_state: false,
        node_name: NodeName::new(&name)?,
        fs_url: String::new(),
        state_file: state_file.clone(),
        older_state_file: None,
        // What the program's flags say unless they are given.
        lease_ttl: Duration::from_secs(900),
        refresh_interval: Duration::from_secs(60),
        backoff: Duration::from_secs(5),
        backoff_max: Duration::from_secs(60),
        labels: Vec::new(),
        disclosure: Disclosure::default(),
    };
    Ok(NodeConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        control: Some(control),
        exports: Vec::new(),
        default_export: false,
        node_name: name,
        services: ServicesConfig {
            has_fs_service: true,
            reload_every: spiderweb_node::DEFAULT_RELOAD,
            state_file: Some(state_file),
            ..ServicesConfig::default()
        },
        token: None,
        limits: Limits::default(),
        disk_work: DiskWork::default(),
    })
}
