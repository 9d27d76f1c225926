//! Arms that differ from their twin, as real ones do.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{Latency, ParamsError, Prop, SO101_TOML, SimParams, parse};

/// How far an arm may differ from its twin: `[smallest, largest]` of each number that is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Position gain of the whole arm; drawn on a logarithmic scale. 10..32.
    pub p_gain: [f64; 2],
    /// Factor on it, joint by joint. 0.95..1.05.
    pub p_gain_spread: [f64; 2],
    /// Supply voltage of the whole arm as a fraction of the nominal one. 0.92..1.04.
    pub voltage: [f64; 2],
    /// Free play, joint by joint, rad. 0.3°..2°.
    pub backlash_rad: [f64; 2],
    /// Dry friction, joint by joint, N·m. 0.03..0.09.
    pub friction_nm: [f64; 2],
    /// Mean command latency, µs. 5..40 ms.
    pub command_latency_us: [f64; 2],
    /// Mean feedback latency, µs. 2..20 ms.
    pub feedback_latency_us: [f64; 2],
    /// Jitter of both latencies as a fraction of their means. 0.1..0.4.
    pub jitter: [f64; 2],
    /// Mass of the object, kg; drawn on a logarithmic scale. 0.02..0.12.
    pub mass_kg: [f64; 2],
    /// Friction between object and table. 0.15..0.6.
    pub table_friction: [f64; 2],
    /// Friction between object and fingers. 0.25..0.9.
    pub finger_friction: [f64; 2],
}

impl Ranges {
    /// The SO-101's ranges of `models/arms/so101.toml`.
    ///
    /// # Errors
    /// The embedded file is damaged; a test keeps it sound.
    pub fn so101() -> Result<Self, ParamsError> {
        Self::so101_with(Prop::Puck)
    }

    /// The SO-101's ranges with `prop` on its table.
    ///
    /// # Errors
    /// As [`Ranges::so101`].
    pub fn so101_with(prop: Prop) -> Result<Self, ParamsError> {
        Ok(parse(SO101_TOML)?.with(prop).1)
    }
}

impl SimParams {
    /// An arm that differs from this one within `ranges`; what they do not name stays as it is.
    pub fn draw(&self, ranges: &Ranges, rng: &mut impl Rng) -> Self {
        let mut drawn = self.clone();
        let p_gain = log_uniform(ranges.p_gain, rng);
        let voltage = uniform(ranges.voltage, rng);
        for servo in &mut drawn.servos {
            servo.p_gain = p_gain * uniform(ranges.p_gain_spread, rng);
            servo.voltage = voltage;
            servo.backlash_rad = uniform(ranges.backlash_rad, rng);
            servo.friction_nm = uniform(ranges.friction_nm, rng);
        }
        drawn.command_latency = latency(ranges.command_latency_us, ranges.jitter, rng);
        drawn.feedback_latency = latency(ranges.feedback_latency_us, ranges.jitter, rng);
        drawn.object.mass_kg = log_uniform(ranges.mass_kg, rng);
        drawn.object.table_friction = uniform(ranges.table_friction, rng);
        drawn.object.finger_friction = uniform(ranges.finger_friction, rng);
        drawn
    }
}

fn uniform([smallest, largest]: [f64; 2], rng: &mut impl Rng) -> f64 {
    smallest + (largest - smallest) * rng.random::<f64>()
}

fn log_uniform([smallest, largest]: [f64; 2], rng: &mut impl Rng) -> f64 {
    uniform([smallest.ln(), largest.ln()], rng).exp()
}

fn latency(mean_us: [f64; 2], jitter: [f64; 2], rng: &mut impl Rng) -> Latency {
    let mean_us = uniform(mean_us, rng);
    Latency { mean_us, jitter_us: mean_us * uniform(jitter, rng) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    #[test]
    fn every_drawn_arm_can_be_simulated_and_is_the_same_for_the_same_seed() {
        let (nominal, ranges) = (SimParams::so101().unwrap(), Ranges::so101().unwrap());
        for seed in 0..200 {
            let arm = nominal.draw(&ranges, &mut Pcg64Mcg::seed_from_u64(seed));
            arm.check().unwrap();
            assert!((0.02..=0.12).contains(&arm.object.mass_kg));
            assert!(arm.servos.iter().all(|s| (9.5..=33.6).contains(&s.p_gain)));
            assert_eq!(arm, nominal.draw(&ranges, &mut Pcg64Mcg::seed_from_u64(seed)));
            assert_ne!(arm, nominal);
        }
    }
}
