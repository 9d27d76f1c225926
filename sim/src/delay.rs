//! What lies between a bus and its servos: goals arrive late, measurements are old.

use crate::params::Latency;
use firmware_bridge::MAX_JOINTS;
use rand::{Rng, RngExt};

/// Depth of both lines: at one entry a physics step of 4 ms, longer than the longest latency.
const DEPTH: usize = 64;

/// Numbers of the joints; those beyond the arm's joints are unused.
pub(crate) type Joints = [f64; MAX_JOINTS];

/// Goals in counts; `None` for joints whose power is off.
pub(crate) type Goals = [Option<f64>; MAX_JOINTS];

impl Latency {
    /// Draws a delay in µs.
    pub(crate) fn draw(self, rng: &mut impl Rng) -> u64 {
        (self.mean_us + self.jitter_us * rng.random_range(-1.0..=1.0)).max(0.0) as u64
    }
}

/// Commands on their way to the servos, first in, first out. Fixed memory.
#[derive(Debug, Clone)]
pub(crate) struct CommandLine {
    /// When it arrives, µs, and what it says.
    waiting: [(u64, Goals); DEPTH],
    head: usize,
    len: usize,
}

impl CommandLine {
    pub(crate) fn new() -> Self {
        Self { waiting: [(0, [None; MAX_JOINTS]); DEPTH], head: 0, len: 0 }
    }

    /// Sends a command that arrives at `arrival_us`, or with its predecessor if that is later. A line that is full
    /// loses its youngest entry: the goal that the new one replaces.
    pub(crate) fn send(&mut self, arrival_us: u64, command: Goals) {
        let previous = self.len.checked_sub(1).map_or(0, |last| self.waiting[(self.head + last) % DEPTH].0);
        if self.len == DEPTH {
            self.len -= 1;
        }
        self.waiting[(self.head + self.len) % DEPTH] = (arrival_us.max(previous), command);
        self.len += 1;
    }

    /// The last of the commands that have arrived by `now_us`; those before it are forgotten.
    pub(crate) fn receive(&mut self, now_us: u64) -> Option<Goals> {
        let mut latest = None;
        while self.len > 0 && self.waiting[self.head].0 <= now_us {
            latest = Some(self.waiting[self.head].1);
            self.head = (self.head + 1) % DEPTH;
            self.len -= 1;
        }
        latest
    }
}

/// What the servos measured at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) stamp_us: u64,
    pub(crate) position_counts: Joints,
    pub(crate) velocity_rad_s: Joints,
    pub(crate) load: Joints,
}

/// The latest samples. Fixed memory.
#[derive(Debug, Clone)]
pub(crate) struct FeedbackLine {
    samples: [Sample; DEPTH],
    newest: usize,
    /// Stamp of the sample that was read last; reading never goes back in time.
    read_us: u64,
}

impl FeedbackLine {
    /// A line whose past is `first`.
    pub(crate) fn new(first: Sample) -> Self {
        Self { samples: [first; DEPTH], newest: 0, read_us: first.stamp_us }
    }

    pub(crate) fn push(&mut self, sample: Sample) {
        self.newest = (self.newest + 1) % DEPTH;
        self.samples[self.newest] = sample;
    }

    /// The newest sample that is not younger than `stamp_us`, nor older than one that was read before.
    pub(crate) fn read(&mut self, stamp_us: u64) -> &Sample {
        let stamp_us = stamp_us.max(self.read_us);
        let mut index = self.newest;
        for _ in 1..DEPTH {
            if self.samples[index].stamp_us <= stamp_us {
                break;
            }
            index = (index + DEPTH - 1) % DEPTH;
        }
        self.read_us = self.samples[index].stamp_us;
        &self.samples[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_arrive_late_but_in_order() {
        let mut line = CommandLine::new();
        line.send(9_000, [Some(1.0); MAX_JOINTS]);
        line.send(5_000, [Some(2.0); MAX_JOINTS]);
        assert_eq!(line.receive(8_999), None);
        assert_eq!(line.receive(9_000), Some([Some(2.0); MAX_JOINTS]));
        line.send(10_000, [None; MAX_JOINTS]);
        assert_eq!(line.receive(20_000), Some([None; MAX_JOINTS]));
        assert_eq!(line.receive(30_000), None);
    }

    #[test]
    fn a_full_command_line_keeps_the_newest_command() {
        let mut line = CommandLine::new();
        for i in 0..200 {
            line.send(i, [Some(i as f64); MAX_JOINTS]);
        }
        assert_eq!(line.receive(1_000), Some([Some(199.0); MAX_JOINTS]));
    }

    #[test]
    fn measurements_are_old_but_never_go_back_in_time() {
        let mut line = FeedbackLine::new(Sample::default());
        for i in 1..=10 {
            line.push(Sample { stamp_us: i * 4_000, ..Sample::default() });
        }
        assert_eq!(line.read(30_000).stamp_us, 28_000);
        assert_eq!(line.read(10_000).stamp_us, 28_000);
        assert_eq!(line.read(90_000).stamp_us, 40_000);
    }
}
