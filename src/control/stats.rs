//! Distributions of durations, kept in a fixed amount of memory.

use serde::Serialize;

/// Buckets an octave; a power of two. A quantile is exact to half of 1/256.
const PER_OCTAVE: usize = 256;
/// Octaves above the first, whose buckets are 1 µs wide: up to 2^24 µs, 16 s.
const OCTAVES: usize = 16;

/// Histogram of durations in µs with logarithmic buckets. Recording allocates nothing.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; PER_OCTAVE * (OCTAVES + 1)].into_boxed_slice(), total: 0 }
    }
}

impl Histogram {
    /// Counts a duration; from 16 s on they are all alike.
    pub fn record(&mut self, duration_us: u64) {
        let bucket = bucket_of(duration_us).min(self.counts.len() - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.total += 1;
    }

    /// Number of durations recorded.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The duration that a share `q` in 0..=1 of the recorded ones does not exceed, µs, to 0.2 %; `None` if empty.
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                let (first, width) = range_of(bucket);
                return Some(first as f64 + (width - 1) as f64 / 2.0);
            }
        }
        None
    }
}

/// Below 256 µs a bucket each; above, 256 buckets for each power of two.
fn bucket_of(value: u64) -> usize {
    let octave = (value / PER_OCTAVE as u64).checked_ilog2().map_or(0, |log| log as usize + 1);
    if octave == 0 {
        return value as usize;
    }
    if octave > OCTAVES {
        return usize::MAX;
    }
    // The leading bit is implied by the octave.
    octave * PER_OCTAVE + (value >> (octave - 1)) as usize - PER_OCTAVE
}

/// First value and number of values of a bucket.
fn range_of(bucket: usize) -> (u64, u64) {
    let (octave, within) = (bucket / PER_OCTAVE, (bucket % PER_OCTAVE) as u64);
    if octave == 0 { (within, 1) } else { ((PER_OCTAVE as u64 + within) << (octave - 1), 1 << (octave - 1)) }
}

/// How regular a control loop has been; the `loop` object of the commands' JSON.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LoopStats {
    /// Mean rate of the ticks, 1/s.
    pub rate_hz: f64,
    /// Median time between two ticks, µs.
    pub period_p50_us: f64,
    /// Time between two ticks that one in a thousand exceeds, µs.
    pub period_p999_us: f64,
    /// Ticks that began later than the next one was due.
    pub overruns: u64,
    /// Median of the time that a tick spends on the line to the arm, from the question to the last answer and the goals
    /// handed over, µs.
    pub bus_p50_us: f64,
    /// The same, which one tick in a thousand exceeds, µs.
    pub bus_p999_us: f64,
}

/// How long a policy took to act; the `policy_latency_us` object of the commands' JSON.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LatencyStats {
    /// Median, µs.
    pub p50: f64,
    /// Exceeded by one in a thousand, µs.
    pub p999: f64,
}

impl From<&Histogram> for LatencyStats {
    fn from(histogram: &Histogram) -> Self {
        let at = |q| histogram.quantile_us(q).unwrap_or(0.0);
        Self { p50: at(0.5), p999: at(0.999) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_is_within_half_a_percent_of_the_sorted_values(
            mut values in prop::collection::vec(0..16_000_000u64, 1..200), q in 0.0..=1.0f64,
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&v| histogram.record(v));
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let (expected, found) = (values[rank - 1] as f64, histogram.quantile_us(q).unwrap());
            prop_assert!((found - expected).abs() <= 0.5 + expected * 0.0025, "{found} {expected}");
        }
    }

    #[test]
    fn an_empty_histogram_has_no_quantile_and_a_huge_duration_a_place() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), None);
        histogram.record(u64::MAX);
        assert!(histogram.quantile_us(0.5).unwrap() > 15e6);
    }
}
