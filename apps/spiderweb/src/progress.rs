//! A bar with the rate of a transfer, on standard error when that is a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{Format, Global};

const KNOWN: &str = "{msg} {bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left";
const UNKNOWN: &str = "{msg} {spinner} {bytes}, {binary_bytes_per_sec}";
/// Redraws per second.
const RATE: u8 = 8;

/// A bar for `total` bytes, or for an unknown number. Invisible unless a person is watching.
pub(crate) fn bar(global: &Global, message: String, total: Option<u64>) -> ProgressBar {
    if global.output == Format::Json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(RATE);
    let bar = ProgressBar::with_draw_target(total, target).with_message(message);
    let template = if total.is_some() { KNOWN } else { UNKNOWN };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if total.is_none() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}
