//! Starts the program; it is in the library beside this file.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    spiderweb_hub_app::main()
}
