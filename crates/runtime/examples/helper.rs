//! The smallest program that runs libraries: what a node does before anything else.

use std::process::ExitCode;

fn main() -> ExitCode {
    let helper = spiderweb_runtime::run_helper(std::env::args_os().skip(1));
    helper.unwrap_or_else(|| {
        eprintln!("this program only helps another one");
        ExitCode::FAILURE
    })
}
