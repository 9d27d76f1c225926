//! An episode's actions once more.

use super::{Policy, PolicyError, check_length};
use crate::env::GoalObservation;
use crate::episode::Episode;
use crate::task::ACTION_SIZE;

/// Acts as a recorded episode did, whatever is seen, and keeps where the fingertip was.
#[derive(Debug, Clone)]
pub struct RecordedPolicy {
    /// Applied actions of the whole steps, and where the fingertip was before each, m.
    steps: Vec<([f32; ACTION_SIZE], [f32; 3])>,
    /// Where the fingertip has been before each action now, m.
    seen_m: Vec<[f32; 3]>,
}

impl RecordedPolicy {
    /// The actions that `episode` carried out, which is one of a task whose observation begins with the fingertip.
    #[must_use]
    pub fn new(episode: &Episode) -> Self {
        let tip = |observation: &[f32]| std::array::from_fn(|i| observation.get(i).copied().unwrap_or_default());
        let steps: Vec<_> =
            episode.transitions(|_, _| 0.0).map(|step| (step.applied_action, tip(step.observation))).collect();
        Self { seen_m: Vec::with_capacity(steps.len()), steps }
    }

    /// How many actions there are.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Distance of the fingertip from where it was when recorded, m, before each action that has been repeated.
    pub fn deviations_m(&self) -> impl Iterator<Item = f64> {
        self.seen_m.iter().zip(&self.steps).map(|(seen, (_, recorded))| crate::task::goal_distance_m(seen, recorded))
    }
}

impl Policy for RecordedPolicy {
    /// The next action; nothing after the last one.
    fn act(&mut self, seen: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        check_length("action", action, ACTION_SIZE)?;
        action.fill(0.0);
        let tip = seen.observation.first_chunk::<3>();
        if let (Some((recorded, _)), Some(tip)) = (self.steps.get(self.seen_m.len()), tip) {
            action.copy_from_slice(recorded);
            self.seen_m.push(*tip);
        }
        Ok(())
    }
}
