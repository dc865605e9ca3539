//! The commands, one file each.

pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod df;
pub(crate) mod exec;
pub(crate) mod exports;
pub(crate) mod hub;
pub(crate) mod invoke;
pub(crate) mod ln;
pub(crate) mod ls;
pub(crate) mod mkdir;
pub(crate) mod mv;
pub(crate) mod put;
pub(crate) mod rm;
pub(crate) mod services;
pub(crate) mod stat;
pub(crate) mod tree;
pub(crate) mod watch;

use tokio_util::sync::CancellationToken;

use crate::bench;
use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::failure::{Failure, INTERRUPTED};
use crate::output::Output;

/// Runs the command of a parsed line.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    if cli.command.cleans_up() {
        tokio::spawn(interrupts(stop.clone()));
    }
    let mut context = Context {
        out: Output::new(&cli.global),
        global: cli.global,
        stop,
    };
    let done = match cli.command {
        Command::Ls(ls) => ls.run(&mut context).await,
        Command::Tree(tree) => tree.run(&mut context).await,
        Command::Stat(stat) => stat.run(&mut context).await,
        Command::Cat(cat) => cat.run(&mut context).await,
        Command::Put(put) => put.run(&mut context).await,
        Command::Cp(cp) => cp.run(&mut context).await,
        Command::Mv(mv) => mv.run(&mut context).await,
        Command::Rm(rm) => rm.run(&mut context).await,
        Command::Mkdir(mkdir) => mkdir.run(&mut context).await,
        Command::Ln(ln) => ln.run(&mut context).await,
        Command::Watch(watch) => watch.run(&mut context).await,
        Command::Df(df) => df.run(&mut context).await,
        Command::Exports(exports) => exports.run(&mut context).await,
        Command::Services(services) => services.run(&mut context).await,
        Command::Invoke(invoke) => invoke.run(&mut context).await,
        Command::Exec(exec) => exec.run(&mut context).await,
        Command::Hub(hub) => hub.run(&mut context).await,
        Command::Bench(bench) => bench::run(&bench, &mut context).await,
        Command::Completions(completions) => completions.run(),
    };
    // What was printed before a failure is worth seeing; a pipe that broke meanwhile is the lesser news.
    let flushed = context.out.flush();
    done.and(flushed)
}

/// Time for removing partial copies after an interrupt.
const CLEAN_UP: std::time::Duration = std::time::Duration::from_secs(2);

async fn interrupts(stop: CancellationToken) {
    ended().await;
    stop.cancel();
    let _ = tokio::time::timeout(CLEAN_UP, ended()).await;
    std::process::exit(INTERRUPTED.into());
}

/// Waits until the user or the system wants the program to end.
async fn ended() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminated = signal(SignalKind::terminate());
        let hung_up = signal(SignalKind::hangup());
        if let (Ok(mut terminated), Ok(mut hung_up)) = (terminated, hung_up) {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = hung_up.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    #[cfg(windows)]
    {
        use tokio::signal::windows::{ctrl_break, ctrl_close};
        if let (Ok(mut stopped), Ok(mut closed)) = (ctrl_break(), ctrl_close()) {
            tokio::select! {
                _ = stopped.recv() => {}
                _ = closed.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    // Without a handler the default action ends the program, and this never returns.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
