//! An environment with another reward or with a single goal: the controls of the paper's experiments (arXiv
//! 1707.01495, sections 4.3 and 4.4).

use super::{EnvError, GoalEnv, GoalObservation, Layout, Outcome, RewardRule, Symmetry};
use serde::{Deserialize, Serialize};

/// What is desired in an environment's episodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goals {
    /// Each episode's own.
    #[default]
    Many,
    /// The same in all: that of the episode of seed 0.
    One,
}

/// What a state is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reward {
    /// −1 away from the goal, 0 at it.
    #[default]
    Sparse,
    /// [`RewardRule::Shaped`].
    Shaped,
}

/// An environment in which goals or reward are replaced. Success stays what the environment's own reward calls so.
pub struct VariedEnv {
    env: Box<dyn GoalEnv>,
    reward: Reward,
    goal: Option<Vec<f32>>,
}

impl VariedEnv {
    /// Replaces goals and reward of `env`, whose own reward must be the sparse one.
    ///
    /// # Errors
    /// The environment cannot be reset, to learn its goal.
    pub fn new(mut env: Box<dyn GoalEnv>, goals: Goals, reward: Reward) -> Result<Self, EnvError> {
        let goal = match goals {
            Goals::Many => None,
            Goals::One => {
                let mut seen = GoalObservation::default();
                env.reset(0, &mut seen)?;
                Some(seen.desired_goal)
            }
        };
        Ok(Self { env, reward, goal })
    }

    fn replace_goal(&self, seen: &mut GoalObservation) {
        if let Some(goal) = &self.goal {
            seen.desired_goal.clone_from(goal);
        }
    }
}

impl GoalEnv for VariedEnv {
    fn layout(&self) -> Layout {
        self.env.layout()
    }

    fn reset(&mut self, seed: u64, out: &mut GoalObservation) -> Result<(), EnvError> {
        self.env.reset(seed, out)?;
        self.replace_goal(out);
        Ok(())
    }

    fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError> {
        self.env.step(action, out, outcome)?;
        self.replace_goal(out);
        outcome.success = self.env.compute_reward(&out.achieved_goal, &out.desired_goal) >= 0.0;
        outcome.reward = self.compute_reward(&out.achieved_goal, &out.desired_goal);
        Ok(())
    }

    fn symmetry(&self) -> Option<Symmetry> {
        // Turned, the one goal would be many.
        self.env.symmetry().filter(|_| self.goal.is_none())
    }

    fn reward_rule(&self) -> RewardRule {
        match self.reward {
            Reward::Sparse => self.env.reward_rule(),
            Reward::Shaped => RewardRule::Shaped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::simulated_many;
    use crate::task::{Task, TaskKind};
    use sim::{ArmModel, SimParams};

    fn reach() -> Box<dyn GoalEnv> {
        let twin = SimParams::so101().unwrap();
        let task = Task::new(TaskKind::Reach, twin.object.rest_height_m());
        let mut envs =
            simulated_many(&ArmModel::so101().unwrap(), &twin, std::slice::from_ref(&twin), &task, 1).unwrap();
        envs.remove(0)
    }

    fn goal(env: &mut dyn GoalEnv, seed: u64) -> Vec<f32> {
        let mut seen = GoalObservation::default();
        env.reset(seed, &mut seen).unwrap();
        seen.desired_goal
    }

    #[test]
    fn one_goal_is_the_same_in_every_episode_and_at_every_step_and_many_goals_are_the_environments_own() {
        let mut one = VariedEnv::new(reach(), Goals::One, Reward::Sparse).unwrap();
        let first = goal(&mut one, 1);
        assert_eq!(goal(&mut one, 2), first);
        assert_eq!(goal(reach().as_mut(), 0), first);
        let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
        one.step(&[1.0, 0.0, 0.0, 0.0], &mut seen, &mut outcome).unwrap();
        assert_eq!(seen.desired_goal, first);
        assert!(one.symmetry().is_none() && reach().symmetry().is_some());
        let mut many = VariedEnv::new(reach(), Goals::Many, Reward::Sparse).unwrap();
        assert_eq!(goal(&mut many, 2), goal(reach().as_mut(), 2));
        assert_ne!(goal(&mut many, 2), first);
    }

    #[test]
    fn the_shaped_reward_is_the_squared_distance_and_success_stays_the_sparse_rule() {
        let mut env = VariedEnv::new(reach(), Goals::Many, Reward::Shaped).unwrap();
        assert_eq!(env.compute_reward(&[0.3, 0.0, 0.1], &[0.3, 0.0, 0.1]), 0.0);
        assert!((env.compute_reward(&[0.3, 0.2, 0.1], &[0.3, 0.0, 0.0]) + 0.05).abs() < 1e-6);
        let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
        env.reset(3, &mut seen).unwrap();
        env.step(&[0.0; 4], &mut seen, &mut outcome).unwrap();
        let distance2: f32 = seen.achieved_goal.iter().zip(&seen.desired_goal).map(|(a, d)| (a - d).powi(2)).sum();
        assert!((outcome.reward + distance2).abs() < 1e-6);
        assert_eq!(outcome.success, reach().compute_reward(&seen.achieved_goal, &seen.desired_goal) == 0.0);
    }
}
