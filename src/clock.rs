//! The host loop's time: the machine's monotonic clock, or virtual time that steps a simulated arm.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Monotonic time in microseconds from an arbitrary start.
pub trait Clock {
    /// Now, µs.
    fn now_us(&self) -> u64;

    /// Returns once `now_us() >= deadline_us`.
    fn sleep_until_us(&mut self, deadline_us: u64);
}

/// The machine's monotonic clock. All of its copies in a process agree; 0 is when the first was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        // Half a million years fit.
        START.get_or_init(Instant::now).elapsed().as_micros() as u64
    }

    fn sleep_until_us(&mut self, deadline_us: u64) {
        loop {
            let left_us = deadline_us.saturating_sub(self.now_us());
            if left_us == 0 {
                return;
            }
            std::thread::sleep(Duration::from_micros(left_us));
        }
    }
}
