//! Ticks cut into the policy steps that a learner trains on.

use super::{Episode, Tick};

/// One policy step, borrowed from an [`Episode`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition<'a> {
    /// Index of the policy step.
    pub step: u32,
    /// Host's clock at the step's first tick, µs.
    pub stamp_us: u64,
    /// Observation before the action.
    pub observation: &'a [f32],
    /// What was achieved before the action, m.
    pub achieved_goal: [f32; 3],
    /// What was wanted, m.
    pub desired_goal: [f32; 3],
    /// Action that the policy asked for.
    pub requested_action: [f32; 4],
    /// Action that was carried out; train on this one.
    pub applied_action: [f32; 4],
    /// Whether the safety filter changed anything during the step.
    pub intervened: bool,
    /// Observation after the action.
    pub next_observation: &'a [f32],
    /// What was achieved after the action, m.
    pub next_achieved_goal: [f32; 3],
    /// The task's reward for `next_achieved_goal` where `desired_goal` was wanted.
    pub reward: f32,
}

impl Episode {
    /// The ticks that begin a policy step, in order: T + 1 of them in a whole episode of T steps.
    pub fn step_ticks(&self) -> impl Iterator<Item = &Tick> {
        self.ticks.iter().filter(|tick| tick.begins_step)
    }

    /// Whole policy steps in order, with the reward given by the task's pure `reward(achieved, desired)`. A step
    /// without its successor's observation (the file was cut, the arm was stopped) is not a transition.
    pub fn transitions<'a>(
        &'a self,
        reward: impl Fn(&[f32], &[f32]) -> f32 + 'a,
    ) -> impl Iterator<Item = Transition<'a>> {
        self.ticks
            .chunk_by(|_, next| !next.begins_step)
            .scan(None::<&'a [Tick]>, |previous, ticks| {
                let before = previous.replace(ticks);
                Some(before.map(|before| (before, ticks)))
            })
            .flatten()
            .filter_map(move |(step, next)| {
                let (first, last, next) = (step.first()?, step.last()?, next.first()?);
                // Ticks before the first step (the arm settles) begin no step.
                (first.begins_step && next.begins_step).then(|| Transition {
                    step: first.step,
                    stamp_us: first.stamp_us,
                    observation: &first.observation,
                    achieved_goal: first.achieved_goal,
                    desired_goal: first.desired_goal,
                    requested_action: first.requested_action,
                    applied_action: last.applied_action,
                    intervened: step.iter().any(|tick| tick.interventions != 0),
                    next_observation: &next.observation,
                    next_achieved_goal: next.achieved_goal,
                    reward: reward(&next.achieved_goal, &first.desired_goal),
                })
            })
    }

    /// Whether the goal was achieved at the last whole step; `None` without a whole step.
    pub fn success(&self) -> Option<bool> {
        let last = self.transitions(|_, _| 0.0).last()?;
        Some(self.start.compute_reward(&last.next_achieved_goal, &last.desired_goal) >= 0.0)
    }

    /// How far the object ever was from where it was first seen, m; 0 without an object. The filtered position
    /// counts, so that noise of the tracker is not taken for contact.
    pub fn object_travel_m(&self) -> f64 {
        let mut seen = self.ticks.iter().filter_map(|tick| tick.object.map(|object| object.position));
        let Some(first) = seen.next() else { return 0.0 };
        seen.map(|at| at.iter().zip(first).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use crate::episode::tests::sample;

    #[test]
    fn an_episode_of_t_steps_gives_t_transitions_and_one_more_observation() {
        let episode = sample(5, 3);
        let transitions: Vec<_> = episode.transitions(|achieved, _| achieved[0]).collect();
        assert_eq!((transitions.len(), episode.step_ticks().count()), (5, 6));
        for (k, transition) in transitions.iter().enumerate() {
            assert_eq!(transition.step as usize, k);
            assert_eq!(transition.achieved_goal[0], 3.0 * k as f32);
            assert_eq!(transition.next_achieved_goal[0], 3.0 * (k + 1) as f32, "the reward is the next state's");
            assert_eq!(transition.reward, transition.next_achieved_goal[0]);
            assert_eq!(transition.applied_action[0], (3 * k + 2) as f32 / 10.0, "the step's last tick knows it all");
            assert_eq!(transition.intervened, k == 0);
        }
    }

    #[test]
    fn a_step_cut_short_is_not_a_transition() {
        let mut episode = sample(5, 3);
        episode.ticks.truncate(14);
        assert_eq!(episode.transitions(|_, _| 0.0).count(), 4);
        episode.ticks.drain(..1);
        assert_eq!(episode.transitions(|_, _| 0.0).count(), 3, "ticks before the first step belong to none");
        episode.ticks.clear();
        assert_eq!(episode.transitions(|_, _| 0.0).count(), 0);
        assert_eq!(episode.success(), None);
    }

    #[test]
    fn an_untouched_object_has_not_travelled() {
        let mut episode = sample(2, 3);
        assert!((episode.object_travel_m() - 0.006).abs() < 1e-12);
        episode.ticks.iter_mut().for_each(|tick| tick.object = None);
        assert_eq!(episode.object_travel_m(), 0.0);
    }
}
