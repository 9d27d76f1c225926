//! How far simulated time may go as real time passes.

/// Longest lag that is caught up, µs. Well below the firmware's watchdog, which would otherwise take a burst of steps
/// for a silent host.
pub(crate) const LAG_MAX_US: u64 = 40_000;

/// Ties simulated time to real time by absolute deadlines, so that waits that are too long do not add up.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Real time at which simulated time was, or would have been, 0, µs.
    origin_us: i64,
    /// Simulated time that has been granted, µs.
    granted_us: u64,
    lag_max_us: u64,
    lost_us: u64,
}

impl Pace {
    /// Starts with simulated time `sim_us` at real time `now_us`.
    pub(crate) fn new(now_us: u64, sim_us: u64) -> Self {
        Self { origin_us: now_us as i64 - sim_us as i64, granted_us: sim_us, lag_max_us: 0, lost_us: 0 }
    }

    /// Simulated time that a whole number of steps shall not go beyond by more than a step, at real time `now_us`.
    /// What lies further back than [`LAG_MAX_US`] is given up.
    pub(crate) fn catch_up(&mut self, now_us: u64) -> u64 {
        let due_us = (now_us as i64 - self.origin_us).max(0) as u64;
        let lag_us = due_us.saturating_sub(self.granted_us);
        self.lag_max_us = self.lag_max_us.max(lag_us);
        let lost_us = lag_us.saturating_sub(LAG_MAX_US);
        self.lost_us += lost_us;
        self.origin_us += lost_us as i64;
        self.granted_us = self.granted_us.max(due_us - lost_us);
        self.granted_us
    }

    /// Real time from `now_us` until simulated time may go beyond `sim_us`, µs.
    pub(crate) fn left_us(&self, sim_us: u64, now_us: u64) -> u64 {
        (self.origin_us + sim_us as i64 - now_us as i64).max(0) as u64
    }

    /// Longest lag so far, µs.
    pub(crate) fn lag_max_us(&self) -> u64 {
        self.lag_max_us
    }

    /// Real time given up so far, µs.
    pub(crate) fn lost_us(&self) -> u64 {
        self.lost_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_are_too_long_do_not_add_up() {
        let mut pace = Pace::new(500, 4_000);
        let (mut now_us, mut sim_us) = (500, 4_000);
        for _ in 0..1_000 {
            while sim_us < pace.catch_up(now_us) {
                sim_us += 4_000;
            }
            // A wait takes 900 µs longer than it was asked to.
            now_us += pace.left_us(sim_us, now_us) + 900;
        }
        assert_eq!((sim_us - 4_000) / 4_000, (now_us - 500) / 4_000);
        assert_eq!(pace.lost_us(), 0);
    }

    #[test]
    fn a_short_lag_is_caught_up_and_a_long_one_is_given_up_and_reported() {
        let mut pace = Pace::new(0, 0);
        assert_eq!(pace.catch_up(30_000), 30_000);
        assert_eq!((pace.lag_max_us(), pace.lost_us()), (30_000, 0));
        assert_eq!(pace.catch_up(1_030_000), 30_000 + LAG_MAX_US);
        assert_eq!((pace.lag_max_us(), pace.lost_us()), (1_000_000, 1_000_000 - LAG_MAX_US));
        // From here simulated time runs as real time does again.
        assert_eq!(pace.catch_up(1_034_000), 34_000 + LAG_MAX_US);
    }
}
