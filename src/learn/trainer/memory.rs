//! Collected episodes, kept apart by what happened to the object: what is rare at first teaches most.

use crate::env::Layout;
use crate::learn::batch::Source;
use crate::learn::collector::Motion;
use crate::learn::hyper::Hyper;
use crate::learn::recorded::RecordedEpisodes;
use crate::learn::replay::ReplayBuffer;

/// Transitions of a typical episode, to size the buffers by.
const TYPICAL_EPISODE_STEPS: usize = 50;

/// A buffer for each [`Motion`].
pub(super) struct Memory {
    still: ReplayBuffer,
    moved: ReplayBuffer,
    lifted: ReplayBuffer,
}

impl Memory {
    /// Room for `transitions` of each kind, which costs memory only once there are so many.
    pub(super) fn new(layout: Layout, transitions: usize) -> Self {
        // Made thrice, not cloned: a clone would touch all of the memory.
        let buffer = || ReplayBuffer::new(layout, transitions, TYPICAL_EPISODE_STEPS);
        Self { still: buffer(), moved: buffer(), lifted: buffer() }
    }

    pub(super) fn buffers(&self) -> [&ReplayBuffer; 3] {
        [&self.moved, &self.still, &self.lifted]
    }

    pub(super) fn buffers_mut(&mut self) -> [&mut ReplayBuffer; 3] {
        [&mut self.moved, &mut self.still, &mut self.lifted]
    }

    /// Where an episode belongs; one that was lifted to those that were moved, where it has no share of its own.
    pub(super) fn of(&mut self, motion: Motion, hyper: &Hyper) -> &mut ReplayBuffer {
        match motion {
            Motion::Still => &mut self.still,
            Motion::Lifted if hyper.lifted_share > 0.0 => &mut self.lifted,
            Motion::Moved | Motion::Lifted => &mut self.moved,
        }
    }

    /// What batches are drawn from, and how much of each; `real` episodes have a share of their own.
    pub(super) fn sources<'a>(&'a self, hyper: &Hyper, real: Option<&'a (RecordedEpisodes, f64)>) -> Vec<Source<'a>> {
        let [moved, still, lifted] = self.buffers().map(|buffer| buffer.transitions() as f64);
        let [moved, lifted] = [moved, lifted].map(|transitions| hyper.moved_weight * transitions);
        let others = (moved + still).max(1.0);
        let lifted = if lifted > 0.0 { (lifted / (lifted + others)).max(hyper.lifted_share) } else { 0.0 };
        let rest = 1.0 - real.map_or(0.0, |(_, share)| *share);
        let shares = [(1.0 - lifted) * moved / others, (1.0 - lifted) * still / others, lifted];
        let real = real.map(|(episodes, share)| Source { buffer: episodes.buffer(), share: *share });
        let simulated = self.buffers().into_iter().zip(shares);
        real.into_iter().chain(simulated.map(|(buffer, share)| Source { buffer, share: rest * share })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::GoalObservation;
    use crate::learn::replay::Trajectory;

    const LAYOUT: Layout = Layout { observation: 1, goal: 1, action: 1 };

    /// Shares after as many episodes of each kind as are given: moved, still, lifted.
    fn shares(hyper: &Hyper, episodes: [(Motion, usize); 3]) -> Vec<f64> {
        let seen = GoalObservation { observation: vec![0.0], achieved_goal: vec![0.0], desired_goal: vec![0.0] };
        let mut episode = Trajectory::new(LAYOUT, 1);
        episode.begin(&seen).unwrap();
        episode.push(&[0.0], &seen).unwrap();
        let mut memory = Memory::new(LAYOUT, 1_000);
        for motion in episodes.into_iter().flat_map(|(motion, count)| std::iter::repeat_n(motion, count)) {
            memory.of(motion, hyper).push(&episode).unwrap();
        }
        memory.sources(hyper, None).iter().map(|source| (source.share * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn what_was_moved_weighs_more_and_what_was_lifted_has_its_share() {
        let hyper = Hyper { moved_weight: 8.0, lifted_share: 0.25, ..Hyper::default() };
        let rare = [(Motion::Still, 2), (Motion::Moved, 1), (Motion::Lifted, 1)];
        // Two still and one moved, 2 + 8 in all, have the other half.
        assert_eq!(shares(&Hyper { lifted_share: 0.5, ..hyper.clone() }, rare), [0.4, 0.1, 0.5]);
        // 8 of 18 is more than a quarter, so that all that moved weigh alike.
        assert_eq!(shares(&hyper, rare), [0.444444, 0.111111, 0.444444]);
        let none = [(Motion::Still, 2), (Motion::Moved, 1), (Motion::Lifted, 0)];
        assert_eq!(shares(&hyper, none), [0.8, 0.2, 0.0]);
        // Without a share of their own they count as moved: 2 + 2 · 8.
        assert_eq!(shares(&Hyper { lifted_share: 0.0, ..hyper }, rare), [0.888889, 0.111111, 0.0]);
    }
}
