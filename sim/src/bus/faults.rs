//! What goes wrong on a real bus, on request.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How often answers are spoilt. Default: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Probability that an answer is lost, 0 to 1.
    pub lost: f64,
    /// Probability that one of its bits is turned.
    pub corrupt: f64,
    /// Probability that it breaks off.
    pub truncated: f64,
    /// Probability that it comes late by [`Faults::late_us`].
    pub late: f64,
    /// How late, µs. Longer than a tick: the answer then meets the next question.
    pub late_us: u64,
    /// Id of a servo whose firmware is older than the others', from the beginning on; 0 for none.
    pub old_firmware: u8,
}

/// What becomes of an answer.
pub(super) enum Fate {
    /// It arrives as the bytes now are, at once.
    Arrives,
    /// It never does.
    Lost,
    /// It arrives so much later, µs.
    Late(u64),
}

impl Faults {
    /// Draws what becomes of `answer`, and does it.
    pub(super) fn strike(&self, answer: &mut Vec<u8>, rng: &mut impl Rng) -> Fate {
        let mut hit = |probability: f64| probability > 0.0 && rng.random_bool(probability.clamp(0.0, 1.0));
        let [lost, corrupt, truncated, late] = [self.lost, self.corrupt, self.truncated, self.late].map(&mut hit);
        if lost {
            return Fate::Lost;
        }
        if corrupt && !answer.is_empty() {
            let bit = rng.random_range(0..8 * answer.len());
            answer[bit / 8] ^= 1 << (bit % 8);
        }
        if truncated {
            answer.truncate(rng.random_range(0..answer.len().max(1)));
        }
        if late { Fate::Late(self.late_us) } else { Fate::Arrives }
    }
}
