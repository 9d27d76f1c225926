//! What goes wrong on a real bus, on request.

use super::ServoBus;
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

impl ServoBus {
    /// Spoils answers in another way from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Lets the servo of joint `index` say nothing for `time_us`; it goes on holding.
    pub fn silence(&mut self, index: usize, time_us: u64) {
        let until_us = self.world.time_us() + time_us;
        if let Some(servo) = self.servos.get_mut(index) {
            servo.silence(until_us);
        }
    }

    /// Leaves only the servo of joint `index` on the bus, as it was delivered: with the id 1, at its first speed.
    pub fn deliver(&mut self, index: usize) {
        for (joint, servo) in self.servos.iter_mut().enumerate() {
            if joint == index { servo.deliver() } else { servo.silence(u64::MAX) }
        }
    }

    /// Screws the servo of joint `index` on anew, without power: its encoder then reads `zero` counts where the joint is at
    /// zero. 2048 before.
    pub fn mount(&mut self, index: usize, zero: f64) {
        if let Some(servo) = self.servos.get_mut(index) {
            servo.mount(zero);
        }
    }

    /// Lets the servo of joint `index` lose its power for a moment.
    pub fn brown_out(&mut self, index: usize) {
        let now_us = self.world.time_us();
        if let Some(servo) = self.servos.get_mut(index) {
            servo.lose_power(now_us);
        }
    }

    /// Lets the overload protection of joint `index`'s servo act, as if it had pressed for long.
    pub fn overload(&mut self, index: usize) {
        if let Some(servo) = self.servos.get_mut(index) {
            servo.overload();
        }
    }

    /// Pulls the cable to the host for `time_us`; the servos keep their power and their goals.
    pub fn unplug(&mut self, time_us: u64) {
        self.unplugged_until_us = self.world.time_us() + time_us;
        self.output.clear();
    }
}
