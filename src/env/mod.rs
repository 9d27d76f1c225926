//! Goal-conditioned environments in Gymnasium's words: the seam ([`GoalEnv`]), and a task on an arm ([`arm`]), be
//! it real or simulated in this process ([`simulated`]). [`child`] takes in other people's simulators.

pub mod arm;
pub mod child;
pub mod scene;
pub mod simulated;
pub mod varied;

pub use arm::{ArmEnv, Start};
pub use child::{ChildError, ChildSpec};
pub use scene::Scene;
pub use simulated::SimEnv;
pub use varied::VariedEnv;

use crate::task::goal_distance_m;

/// What a goal-conditioned policy sees. Task spaces are 3-dimensional positions in the base frame, m.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GoalObservation {
    /// Task's observation, laid out as the task documents it.
    pub observation: Vec<f32>,
    /// What has been achieved (the object's or the fingertip's position).
    pub achieved_goal: Vec<f32>,
    /// What shall be achieved.
    pub desired_goal: Vec<f32>,
}

/// Sizes of an environment's vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// Length of `observation`.
    pub observation: usize,
    /// Length of `achieved_goal` and of `desired_goal`.
    pub goal: usize,
    /// Length of an action; each number in [−1, 1].
    pub action: usize,
}

/// What came of a step, besides the next observation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Sparse reward: −1 away from the goal, 0 at it.
    pub reward: f32,
    /// The task ended for good; never because of success.
    pub terminated: bool,
    /// The time limit was reached; the value of the last state is still bootstrapped.
    pub truncated: bool,
    /// Whether the goal is achieved now.
    pub success: bool,
    /// The action that was carried out after safety filtering; what a learner must train on.
    pub applied: Vec<f32>,
    /// Whether the safety filter changed the action.
    pub intervened: bool,
}

/// A goal-conditioned environment. Not `Sync`; one thread drives one environment.
pub trait GoalEnv: Send {
    /// Sizes of the vectors.
    fn layout(&self) -> Layout;

    /// Starts an episode drawn from `seed` and writes its first observation into `out`.
    ///
    /// # Errors
    /// The environment's simulator or arm failed.
    fn reset(&mut self, seed: u64, out: &mut GoalObservation) -> Result<(), EnvError>;

    /// Carries out `action` and writes the next observation into `out`, what came of it into `outcome`.
    ///
    /// # Errors
    /// The environment's simulator or arm failed.
    fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError>;

    /// The rule by which this environment rewards; the same in every episode.
    fn reward_rule(&self) -> RewardRule;

    /// How an episode may be turned, if it may; see [`Symmetry`].
    fn symmetry(&self) -> Option<Symmetry> {
        None
    }

    /// Reward for having achieved `achieved` where `desired` was wanted. Pure: depends on nothing else.
    fn compute_reward(&self, achieved: &[f32], desired: &[f32]) -> f32 {
        self.reward_rule().compute(achieved, desired)
    }
}

/// Where an observation holds what turns if an episode as a whole, the arm with it, is turned about the base's vertical
/// axis. The arm turns about it, too: the turned episode is one that it could have had. Goals and actions begin with
/// such a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symmetry {
    /// Indices of the x of vectors; their y follows.
    pub vectors: &'static [usize],
    /// Indices of angles about the axis, rad.
    pub headings: &'static [usize],
}

/// A reward that depends on the achieved and the desired goal alone. A value rather than a method, so that a learner
/// can reward substituted goals while the environment is busy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RewardRule {
    /// 0 where the goals' distance is below the radius, −1 elsewhere.
    Sparse {
        /// In the goals' unit, m for ours.
        radius: f64,
    },
    /// −|g − s|²: the shaped reward of the paper's equation 4 (arXiv 1707.01495) with λ = 0 and p = 2.
    Shaped,
}

impl RewardRule {
    /// The reward, for goals of equal length.
    #[must_use]
    pub fn compute(self, achieved: &[f32], desired: &[f32]) -> f32 {
        match self {
            Self::Sparse { radius } if goal_distance_m(achieved, desired) < radius => 0.0,
            Self::Sparse { .. } => -1.0,
            Self::Shaped => -achieved.iter().zip(desired).map(|(a, d)| (a - d) * (a - d)).sum::<f32>(),
        }
    }
}

/// Why an environment failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EnvError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

impl EnvError {
    /// Any error as the reason.
    pub fn new(reason: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(reason))
    }
}
