//! The host loop's time: the machine's monotonic clock, or virtual time that steps a simulated arm.

/// Monotonic time in microseconds from an arbitrary start.
pub trait Clock {
    /// Now, µs.
    fn now_us(&self) -> u64;

    /// Returns once `now_us() >= deadline_us`.
    fn sleep_until_us(&mut self, deadline_us: u64);
}
