//! A bar with the rate of a transfer, on standard error when that is a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::global::{Format, Global};

const KNOWN: &str = "{msg} {bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left";
const UNKNOWN: &str = "{msg} {spinner} {bytes}, {binary_bytes_per_sec}";
/// Redraws per second.
const RATE: u8 = 8;
/// Time between two redraws when nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// A bar for `total` bytes, or for an unknown number. Invisible unless a person is watching.
pub(crate) fn bar(global: &Global, message: String, total: Option<u64>) -> ProgressBar {
    if global.output == Format::Json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(RATE);
    let bar = ProgressBar::with_draw_target(None, target).with_message(message);
    bar.set_style(style(UNKNOWN));
    bar.enable_steady_tick(TICK);
    if let Some(total) = total {
        expect(&bar, total);
    }
    bar
}

/// Tells a bar how much there is to do.
pub(crate) fn expect(bar: &ProgressBar, total: u64) {
    if !bar.is_hidden() {
        bar.set_length(total);
        bar.set_style(style(KNOWN));
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; one with a mistake would show the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
