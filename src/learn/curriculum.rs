//! Goals to pursue while collecting: stepping stones on the way to what is wanted.
//!
//! A goal far from all that was ever achieved teaches nothing: no action brings it nearer, so that the actor learns not
//! to move. Pursued instead is the nearest to it of some that were achieved before, which lies towards the edge of what the
//! actor can do; noise and practice move that edge, and with it the next such goal. What is as good as one of these is
//! pursued itself. After hindsight goal generation (arXiv 1906.04136), without its matching of a whole batch of goals to
//! starts.
//!
//! Once it is there, an episode goes on with random actions, as in Go-Explore (arXiv 1901.10995): what nobody has done
//! yet is nearer to where the object was brought than to where it lay.
//!
//! Policies are judged by the goals that are wanted, never by these.

use super::collector::{distance, moved};
use super::replay::ReplayBuffer;
use crate::env::{GoalObservation, RewardRule};
use rand::{Rng, RngExt};

/// For how many steps a random action is held, on average, once the goal pursued was achieved. A jaw closes and rises in
/// several steps.
pub(crate) const ROAMING_HELD_STEPS: f64 = 4.0;

/// Where pursued goals come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Curriculum<'a> {
    /// [`Hyper::curriculum_share`](super::Hyper::curriculum_share).
    pub(crate) share: f64,
    /// [`Hyper::curriculum_candidates`](super::Hyper::curriculum_candidates).
    pub(crate) candidates: usize,
    /// Episodes in which the object moved.
    pub(crate) achieved: [&'a ReplayBuffer; 2],
}

impl Curriculum<'_> {
    /// What to pursue, and to explore from, in as many episodes as is asked for: in place of the goal that was `seen`
    /// first the nearest to it of some that were achieved, unless that would be a success there. Nothing is drawn where
    /// nothing can come of it: a seed keeps its bits.
    pub(crate) fn choose(&self, seen: &mut GoalObservation, rule: RewardRule, rng: &mut impl Rng) -> Option<Pursuit> {
        let nothing = self.achieved.iter().all(|buffer| buffer.transitions() == 0);
        if self.share <= 0.0 || nothing || !rng.random_bool(self.share) {
            return None;
        }
        let mut nearest: (f32, Option<&[f32]>) = (f32::INFINITY, None);
        for buffer in self.achieved {
            for _ in 0..self.candidates {
                let Some(transition) = buffer.draw(rng) else { break };
                let achieved = buffer.frame(transition.start + transition.step + 1).achieved;
                let distance = distance(achieved, &seen.desired_goal);
                if distance < nearest.0 {
                    nearest = (distance, Some(achieved));
                }
            }
        }
        let nearest = nearest.1?;
        if rule.compute(nearest, &seen.desired_goal) < 0.0 {
            seen.desired_goal = nearest.to_vec();
        }
        Some(Pursuit { goal: seen.desired_goal.clone(), achieved: false })
    }
}

/// An episode's goal, which is explored from once it was achieved.
#[derive(Debug, Clone)]
pub(crate) struct Pursuit {
    goal: Vec<f32>,
    achieved: bool,
}

impl Pursuit {
    /// Puts the goal into what was seen, and takes note of whether it is achieved: not by an object that lies where it
    /// lay at `first`.
    pub(crate) fn follow(&mut self, first: &[f32], seen: &mut GoalObservation, rule: RewardRule) {
        seen.desired_goal.clone_from(&self.goal);
        let there = rule.compute(&seen.achieved_goal, &self.goal) >= 0.0;
        self.achieved |= there && moved(first, &seen.achieved_goal);
    }

    /// Whether it was achieved in this episode.
    pub(crate) fn achieved(&self) -> bool {
        self.achieved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{GoalObservation, Layout};
    use crate::learn::replay::Trajectory;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    const RULE: RewardRule = RewardRule::Sparse { radius: 0.1 };

    fn seen(at: f32) -> GoalObservation {
        GoalObservation { observation: vec![0.0], achieved_goal: vec![at], desired_goal: vec![9.0] }
    }

    /// One episode from 0 through `ends`.
    fn buffer(ends: &[f32]) -> ReplayBuffer {
        let layout = Layout { observation: 1, goal: 1, action: 1 };
        let mut buffer = ReplayBuffer::new(layout, 100, 10);
        let mut episode = Trajectory::new(layout, ends.len());
        episode.begin(&seen(0.0)).unwrap();
        ends.iter().for_each(|&end| episode.push(&[0.0], &seen(end)).unwrap());
        if !ends.is_empty() {
            buffer.push(&episode).unwrap();
        }
        buffer
    }

    /// What is pursued where `wanted` is, if the episode is one of the curriculum's.
    fn pursued(curriculum: &Curriculum<'_>, wanted: f32, rng: &mut Pcg64Mcg) -> Option<f32> {
        let mut seen = seen(0.0);
        seen.desired_goal[0] = wanted;
        let pursuit = curriculum.choose(&mut seen, RULE, rng);
        assert_eq!(pursuit.as_ref().map_or(wanted, |pursuit| pursuit.goal[0]), seen.desired_goal[0]);
        pursuit.map(|pursuit| pursuit.goal[0])
    }

    #[test]
    fn the_nearest_that_was_achieved_is_pursued_in_place_of_what_is_wanted() {
        let (moved, lifted) = (buffer(&[1.0, 3.0, 2.0]), buffer(&[-4.0]));
        let curriculum = Curriculum { share: 0.999, candidates: 30, achieved: [&moved, &lifted] };
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        // 0 was there before anything was done.
        for (wanted, nearest) in [(9.0, 3.0), (2.2, 2.0), (-9.0, -4.0), (0.0, 1.0)] {
            assert_eq!(pursued(&curriculum, wanted, &mut rng), Some(nearest));
        }
        assert_eq!(pursued(&curriculum, 2.05, &mut rng), Some(2.05), "2 is as good");
        let any = Curriculum { candidates: 1, achieved: [&moved, &buffer(&[])], ..curriculum };
        let farthest = (0..100).filter_map(|_| pursued(&any, 9.0, &mut rng)).reduce(f32::min);
        assert_eq!(farthest, Some(1.0), "the nearest of one is any");
    }

    #[test]
    fn as_many_pursue_as_is_asked_for_and_none_where_nothing_was_achieved() {
        let (moved, empty) = (buffer(&[1.0]), buffer(&[]));
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let curriculum = Curriculum { share: 0.25, candidates: 30, achieved: [&moved, &empty] };
        let pursue = (0..2_000).filter(|_| pursued(&curriculum, 9.0, &mut rng).is_some()).count();
        assert!((400..600).contains(&pursue), "{pursue} of 2,000");
        let before = rng.clone();
        for (share, buffer) in [(0.5, &empty), (0.0, &moved)] {
            assert_eq!(pursued(&Curriculum { share, candidates: 30, achieved: [buffer, &empty] }, 9.0, &mut rng), None);
        }
        assert_eq!(rng, before, "drawn for nothing");
    }

    #[test]
    fn a_goal_is_achieved_once_the_object_was_moved_there_and_stays_so() {
        let mut pursuit = Pursuit { goal: vec![1.0], achieved: false };
        let mut follow = |at: f32| {
            let mut seen = seen(at);
            pursuit.follow(&[0.95], &mut seen, RULE);
            assert_eq!(seen.desired_goal, [1.0]);
            pursuit.achieved()
        };
        // Within the radius from the start on, which nobody did.
        assert_eq!([0.95, 0.5, 1.02, 0.5].map(&mut follow), [false, false, true, true]);
    }
}
