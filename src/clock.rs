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

/// End of a sleep that is spent spinning, µs: about how late a Linux kernel wakes a thread of normal priority.
const SPIN_US: u64 = 100;

/// The machine's monotonic clock. All of its copies in a process agree; 0 is when the first was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        // Half a million years fit.
        START.get_or_init(Instant::now).elapsed().as_micros() as u64
    }

    /// Sleeps, and spins for the last 100 µs, so that the wake-up does not depend on the kernel's timer slack.
    fn sleep_until_us(&mut self, deadline_us: u64) {
        loop {
            let left_us = deadline_us.saturating_sub(self.now_us());
            match left_us {
                0 => return,
                1..=SPIN_US => std::hint::spin_loop(),
                _ => std::thread::sleep(Duration::from_micros(left_us - SPIN_US)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_never_ends_before_its_deadline() {
        let mut clock = SystemClock;
        for ahead_us in [0, 50, 500] {
            let deadline_us = clock.now_us() + ahead_us;
            clock.sleep_until_us(deadline_us);
            assert!(clock.now_us() >= deadline_us);
        }
    }
}
