//! Policies that know nothing: what any success rate must be compared with.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::{Policy, PolicyError};
use crate::env::GoalObservation;

/// Does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct StillPolicy;

impl Policy for StillPolicy {
    fn act(&mut self, _: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        action.fill(0.0);
        Ok(())
    }
}

/// Draws every action uniformly.
#[derive(Debug, Clone)]
pub struct RandomPolicy(Pcg64Mcg);

impl RandomPolicy {
    /// Actions drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }
}

impl Policy for RandomPolicy {
    fn act(&mut self, _: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        action.fill_with(|| self.0.random_range(-1.0..=1.0));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_actions() {
        let seen = GoalObservation::default();
        let draw = |seed| {
            let mut policy = RandomPolicy::new(seed);
            let mut actions = [[0.0; 4]; 3];
            actions.iter_mut().for_each(|a| policy.act(&seen, a).unwrap());
            actions
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().flatten().all(|x| x.abs() <= 1.0));
    }
}
