//! Exploration: a policy that sometimes does something else.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::{Policy, PolicyError};
use crate::env::GoalObservation;

/// Another policy's actions with noise, for recording episodes that there is something to learn from.
#[derive(Debug, Clone)]
pub struct NoisyPolicy<P> {
    policy: P,
    sigma: f32,
    epsilon: f32,
    rng: Pcg64Mcg,
}

impl<P: Policy> NoisyPolicy<P> {
    /// With probability `epsilon` (0 to 1) an action is drawn uniformly; else Gaussian noise of deviation `sigma` is
    /// added to the policy's, which is clipped to [−1, 1]. Plappert et al. (2018), "Multi-Goal Reinforcement
    /// Learning", explore so with 0.3 and 0.2.
    #[must_use]
    pub fn new(policy: P, sigma: f32, epsilon: f32, seed: u64) -> Self {
        Self { policy, sigma, epsilon: epsilon.clamp(0.0, 1.0), rng: Pcg64Mcg::seed_from_u64(seed) }
    }
}

impl<P: Policy> Policy for NoisyPolicy<P> {
    fn act(&mut self, observation: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        self.policy.act(observation, action)?;
        if self.rng.random::<f32>() < self.epsilon {
            action.fill_with(|| self.rng.random_range(-1.0..=1.0));
        } else {
            for a in action {
                *a = (*a + self.sigma * gaussian(&mut self.rng)).clamp(-1.0, 1.0);
            }
        }
        Ok(())
    }
}

/// A standard normal number (Box and Muller's method; the second of the pair is not kept).
pub(crate) fn gaussian(rng: &mut Pcg64Mcg) -> f32 {
    let (u, v): (f32, f32) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::StillPolicy;

    fn actions(sigma: f32, epsilon: f32) -> Vec<f32> {
        let mut policy = NoisyPolicy::new(StillPolicy, sigma, epsilon, 3);
        let mut action = [0.0; 4];
        (0..500)
            .flat_map(|_| {
                policy.act(&GoalObservation::default(), &mut action).unwrap();
                action
            })
            .collect()
    }

    #[test]
    fn noise_has_the_deviation_that_was_asked_for_and_none_is_none() {
        assert!(actions(0.0, 0.0).iter().all(|&a| a == 0.0));
        let deviation = |all: &[f32]| (all.iter().map(|a| a * a).sum::<f32>() / all.len() as f32).sqrt();
        assert!((deviation(&actions(0.2, 0.0)) - 0.2).abs() < 0.01);
        let uniform = actions(0.2, 1.0);
        assert!((deviation(&uniform) - 1.0 / 3.0_f32.sqrt()).abs() < 0.02);
        assert_eq!(uniform, actions(0.2, 1.0), "the same seed gives the same noise");
    }
}
