//! What people and scripts see: progress on stderr while it lasts, text on stdout, one JSON object last.

mod lines;

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::Common;
use lines::Lines;

/// How often progress is a line where there is no terminal to draw a bar on.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// A bar with rate and time left, on stderr; where that is not a terminal, a line of it every 30 s.
#[must_use]
pub(crate) fn progress(label: &str, length: u64) -> ProgressBar {
    progress_from(label, 0, length)
}

/// [`progress`] of work of which `done` was done before: its rate is that of the rest.
#[must_use]
pub(crate) fn progress_from(label: &str, done: u64, length: u64) -> ProgressBar {
    let terminal = std::io::stderr().is_terminal();
    let (target, what) = match terminal {
        true => (ProgressDrawTarget::stderr(), "{prefix:14} {wide_bar}"),
        false => (Lines::target(std::io::stderr(), LINE_EVERY), "{prefix}"),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    // The template is a constant: it either parses always or never.
    if let Ok(style) =
        ProgressStyle::with_template(&format!("{what} {{pos}}/{{len}} {{msg}} {{rate:>8}} {{eta:>5}} left"))
    {
        bar.set_style(style.with_key("rate", rate_of));
    }
    bar.set_prefix(label.to_owned());
    // Seen before the clock is set anew, and before the ticker, which would see it late.
    bar.set_position(done);
    bar.tick();
    bar.reset_eta();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// How much is done in a second, as people read it.
fn rate_of(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let rate = state.per_sec();
    let decimals = if rate < 10.0 { 2 } else { 0 };
    // Text is written to memory, which does not fail.
    let _ = write!(out, "{rate:.decimals$}/s");
}

/// Prints text for people, unless a script asked for JSON alone.
pub(crate) fn say(common: &Common, text: &str) {
    if !common.json {
        println!("{text}");
    }
}

/// Prints the JSON object that ends a reporting command, if it was asked for.
pub(crate) fn finish(common: &Common, report: &serde_json::Value) {
    if common.json {
        println!("{report}");
    }
}

/// A success rate with its interval, as a percentage for people.
#[must_use]
pub(crate) fn percent(rate: f64, interval: [f64; 2]) -> String {
    format!("{:5.1} %  [{:.1}, {:.1}]", 100.0 * rate, 100.0 * interval[0], 100.0 * interval[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_counts_as_progress_and_not_as_speed() {
        let bar = progress_from("dig", 1_000_000, 2_000_000);
        assert_eq!(bar.position(), 1_000_000);
        assert!(bar.per_sec() < 1.0, "{}/s", bar.per_sec());
    }
}
