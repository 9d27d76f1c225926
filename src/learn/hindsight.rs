//! Which achieved state an episode's step is relabelled with (arXiv 1707.01495, section 3.3 and 4.5).

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Where a substituted goal is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// What the same episode achieved at its end.
    Final,
    /// What the same episode achieved after this step. The paper's best.
    Future,
    /// What the same episode achieved after any step.
    Episode,
    /// What any episode in the buffer achieved after any step. The paper's worst.
    Random,
}

/// How goals are substituted when a batch is drawn. Stored episodes are never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relabel {
    /// Where substituted goals come from.
    pub strategy: Strategy,
    /// Substituted goals for each original one; 0 switches relabelling off.
    pub k: u32,
}

/// The paper's best: future, 4 substituted goals for each original one.
impl Default for Relabel {
    fn default() -> Self {
        Self { strategy: Strategy::Future, k: 4 }
    }
}

impl Relabel {
    /// No relabelling: the control of every experiment.
    pub const NONE: Self = Self { strategy: Strategy::Future, k: 0 };

    /// Probability that a drawn transition gets a substituted goal: k / (1 + k).
    pub fn probability(self) -> f64 {
        f64::from(self.k) / (1.0 + f64::from(self.k))
    }
}

impl Strategy {
    /// Index into the `length + 1` achieved goals of the same episode, for the transition that leads from achieved
    /// goal `step` to `step + 1`. `None` for [`Strategy::Random`], which looks beyond the episode.
    ///
    /// Index 0 is never drawn: it was there before anything was done.
    ///
    /// # Panics
    /// If `step` is not below `length`.
    pub fn goal_index(self, step: usize, length: usize, rng: &mut impl Rng) -> Option<usize> {
        assert!(step < length, "step {step} of an episode of {length}");
        match self {
            Self::Final => Some(length),
            Self::Future => Some(rng.random_range(step + 1..=length)),
            Self::Episode => Some(rng.random_range(1..=length)),
            Self::Random => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use rand::SeedableRng;

    proptest! {
        #[test]
        fn a_future_goal_lies_after_the_step_and_within_the_episode(length in 1usize..80, seed: u64) {
            let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
            for step in 0..length {
                let goal = Strategy::Future.goal_index(step, length, &mut rng).unwrap();
                prop_assert!(goal > step && goal <= length);
                let goal = Strategy::Episode.goal_index(step, length, &mut rng).unwrap();
                prop_assert!(goal >= 1 && goal <= length);
                prop_assert_eq!(Strategy::Final.goal_index(step, length, &mut rng), Some(length));
                prop_assert_eq!(Strategy::Random.goal_index(step, length, &mut rng), None);
            }
        }
    }

    #[test]
    fn future_goals_reach_both_ends_of_their_range() {
        let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(3);
        let drawn: Vec<usize> = (0..500).filter_map(|_| Strategy::Future.goal_index(2, 6, &mut rng)).collect();
        for goal in 3..=6 {
            assert!(drawn.contains(&goal), "{goal} never drawn");
        }
    }

    #[test]
    fn four_goals_to_one_is_a_probability_of_four_fifths() {
        assert_eq!(Relabel::default().probability(), 0.8);
        assert_eq!(Relabel::NONE.probability(), 0.0);
    }
}
