//! One run: a storm, calm, and a look at what is left.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::User;
use crate::dice::Dice;
use crate::entropy;
use crate::trace::Trace;
use crate::world::{BACKOFF, NODES, World};

/// Hosts of clients.
const USERS: [&str; 3] = ["user-a", "user-b", "user-c"];

/// How long the hub and its nodes may take to be whole again after the last fault: `docs/simulation.md` adds it up.
const RECOVERY: Duration = Duration::from_secs(180);

/// A hub that restarts at once has its nodes back after one pause of theirs, and some time to shake hands.
const RETURN: Duration = Duration::from_millis(BACKOFF.as_millis() as u64 + 1000);

/// A node that was deleted has begun to pair again, and found somebody to pair with.
const REPAIR: Duration = Duration::from_secs(2);

/// After this long without a loss a node asks for its next identity at once.
const GOOD_IDENTITY: Duration = Duration::from_secs(31);

/// Longest run: a storm, a client's longest operation, recovery, a look at everything.
const LONGEST: Duration = Duration::from_secs(1800);

/// Longest run by the clock on the wall, of which a run takes a tenth of a second. The other clock does not notice when
/// something goes on for ever at one moment.
const STUCK: Duration = Duration::from_secs(120);

/// How often the hub's clock is moved.
const TICK: Duration = Duration::from_millis(100);

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Plays a seed in this process.
pub(crate) fn play(seed: &str) -> ExitCode {
    let Ok(number) = seed.parse() else {
        eprintln!("SPIDERWEB_SIM_PLAY is no number: {seed}");
        return ExitCode::from(2);
    };
    entropy::follow(number);
    if std::env::var_os("SPIDERWEB_SIM_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .init();
    }
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::SeqCst);
        report(info);
    }));
    std::thread::spawn(move || {
        std::thread::sleep(STUCK);
        eprintln!("seed {number}: something goes on for ever at one moment");
        std::process::exit(3);
    });
    let folder = Folder::new(number);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (trace, summary, result) = runtime.block_on(async {
        let trace = Trace::new(std::env::var_os("SPIDERWEB_SIM_TRACE").is_some());
        let running = run(number, &folder.0, trace.clone());
        let result = tokio::time::timeout(LONGEST, running).await;
        let summary = trace.summary();
        (
            trace,
            summary,
            result.unwrap_or_else(|_| bail!("the run does not end")),
        )
    });
    drop(runtime);
    let mut wrong = trace.violations();
    wrong.extend(result.err().map(|error| format!("{error:#}")));
    if PANICKED.load(Ordering::SeqCst) {
        wrong.push("a task panicked".to_owned());
    }
    println!("seed {number}: {summary}");
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    for line in trace.last_lines() {
        eprintln!("{line}");
    }
    for what in wrong {
        eprintln!("seed {number}: {what}");
    }
    ExitCode::FAILURE
}

/// A folder that goes with the run.
struct Folder(PathBuf);

impl Folder {
    fn new(seed: u64) -> Self {
        // In memory where that is possible: identities are written through to the disk.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        Self(root.join(format!("spiderweb-simulation-{}-{seed}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn run(seed: u64, folder: &Path, trace: Trace) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut world = World::new(folder, &mut dice, trace.clone())?;
    world.start_hub().await?;
    world.hand_out_invites().await?;
    let clock = world.clock.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            clock.advance(TICK.as_millis() as u64);
        }
    });
    for which in 0..NODES.len() {
        world.start_node(which).await?;
    }
    let stop = CancellationToken::new();
    let mut users = Vec::new();
    for host in USERS {
        let user = User::new(host, world.network.dialer(host), dice.fork(), trace.clone());
        users.push(tokio::spawn(user.work(stop.clone())));
    }

    let storm = dice.millis(15_000..75_000);
    let mut faults = Faults { dice: dice.fork() };
    let end = Instant::now() + storm;
    while Instant::now() < end {
        let pause = faults.dice.millis(100..5000);
        tokio::time::sleep(pause).await;
        faults.strike(&mut world).await?;
    }

    trace.note("calm");
    world.network.heal();
    world.store.set_failing(false);
    world.start_hub().await?;
    for which in 0..NODES.len() {
        world.start_node(which).await?;
    }
    world.hand_out_invites().await?;
    world.until_whole(RECOVERY, "the last fault").await?;
    world.network.cut_half_open();
    world
        .until_whole(RECOVERY, "the end of what was half open")
        .await?;
    // Mostly the rest is for itself: it costs less, and what clients hide shows.
    if dice.percent(75) {
        stop.cancel();
    }
    quiet(&mut world, &mut dice).await?;
    stop.cancel();
    let mut done = 0;
    let folders: Vec<_> = world.nodes.iter().map(|place| place.folder.as_path()).collect();
    for user in users {
        let user = user.await.context("a client ended by a panic")?;
        user.verify(&folders).await.with_context(|| user.host)?;
        done += user.done;
    }
    trace.note(format_args!("{done} operations"));
    drop(folders);
    for which in 0..NODES.len() {
        world.stop_node(which, false).await;
    }
    world.stop_hub(false).await;
    // Clients hang up when their last handle goes; linger takes a second.
    tokio::time::sleep(Duration::from_secs(5)).await;
    trace.note(format_args!("{} links left", world.network.open_links()));
    Ok(())
}

/// One thing goes wrong while everything else is well, and is mended in a short time.
async fn quiet(world: &mut World, dice: &mut Dice) -> Result<()> {
    tokio::time::sleep(GOOD_IDENTITY).await;
    world.until_whole(RECOVERY, "a rest").await?;
    let (is_crash, pause) = (dice.percent(50), dice.millis(0..200));
    world.stop_hub(is_crash).await;
    tokio::time::sleep(pause).await;
    world.start_hub().await?;
    world.until_whole(RETURN, "a restart of the hub").await?;

    let which = dice.below(NODES.len());
    let id = world.nodes[which]
        .identity()
        .context("a node lost its identity")?;
    world.trace.note(format_args!("an operator deletes {id}"));
    world
        .console()
        .await?
        .ask("node_delete", json!({"node_id": id}))
        .await?;
    world.until_whole(REPAIR, "the loss of an identity").await?;
    Ok(())
}

/// What goes wrong, and when.
struct Faults {
    dice: Dice,
}

impl Faults {
    fn host(&mut self) -> &'static str {
        let hosts: Vec<_> = NODES.iter().chain(&USERS).copied().collect();
        self.dice.pick(&hosts).copied().unwrap_or(NODES[0])
    }

    async fn strike(&mut self, world: &mut World) -> Result<()> {
        let network = world.network.clone();
        match self.dice.below(100) {
            0..20 => network.cut_any(&mut self.dice),
            20..26 => {
                let host = self.host();
                network.cut(Some(host));
            }
            26..40 => {
                let host = self.host();
                let (delay, jitter) = (self.dice.millis(0..150), self.dice.millis(0..80));
                network.slow_down(host, delay, jitter);
            }
            40..50 => {
                let duration = self.dice.millis(100..10_000);
                network.stall_any(&mut self.dice, duration);
            }
            50..55 => network.half_open_any(&mut self.dice),
            55..62 => {
                let host = self.host();
                let duration = self.dice.millis(500..12_000);
                network.cut_off(host, true);
                tokio::spawn(async move {
                    tokio::time::sleep(duration).await;
                    network.cut_off(host, false);
                });
            }
            62..72 => {
                let (is_crash, loses) = (self.dice.percent(50), self.dice.percent(25));
                world.stop_hub(is_crash).await;
                if loses {
                    world.lose_data();
                }
                let pause = self.dice.millis(0..8000);
                tokio::time::sleep(pause).await;
                world.start_hub().await?;
                if loses {
                    let pause = self.dice.millis(0..3000);
                    tokio::time::sleep(pause).await;
                    world.hand_out_invites().await?;
                }
            }
            72..84 => {
                let which = self.dice.below(NODES.len());
                let is_crash = self.dice.percent(50);
                world.stop_node(which, is_crash).await;
                let pause = self.dice.millis(0..6000);
                tokio::time::sleep(pause).await;
                world.start_node(which).await?;
            }
            84..90 => {
                let by = self.dice.millis(1000..3_600_000).as_millis() as u64;
                if self.dice.percent(60) {
                    world
                        .trace
                        .note(format_args!("the hub's clock jumps {by} ms forward"));
                    world.clock.advance(by);
                } else {
                    world
                        .trace
                        .note(format_args!("the hub's clock jumps {by} ms back"));
                    world.clock.set_back(by);
                }
            }
            90..96 => {
                let which = self.dice.below(NODES.len());
                let Some(id) = world.nodes[which].identity() else {
                    return Ok(());
                };
                world.trace.note(format_args!("an operator deletes {id}"));
                let mut console = world.console().await?;
                // It may be gone already.
                let _ = console.ask("node_delete", json!({"node_id": id})).await;
            }
            _ => {
                world.trace.note("the hub's store fails");
                world.store.set_failing(true);
                let pause = self.dice.millis(100..4000);
                tokio::time::sleep(pause).await;
                world.store.set_failing(false);
                world.trace.note("the hub's store works");
            }
        }
        Ok(())
    }
}
