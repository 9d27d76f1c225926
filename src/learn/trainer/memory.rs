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

    /// Where an episode belongs; one that was lifted to those that were moved, where it does not weigh more.
    pub(super) fn of(&mut self, motion: Motion, hyper: &Hyper) -> &mut ReplayBuffer {
        match motion {
            Motion::Still => &mut self.still,
            Motion::Lifted if hyper.lifted_weight > 1.0 => &mut self.lifted,
            Motion::Moved | Motion::Lifted => &mut self.moved,
        }
    }

    /// What batches are drawn from, and how much of each; `real` episodes have a share of their own.
    pub(super) fn sources<'a>(&'a self, hyper: &Hyper, real: Option<&'a (RecordedEpisodes, f64)>) -> Vec<Source<'a>> {
        let weights = [hyper.moved_weight, 1.0, hyper.moved_weight * hyper.lifted_weight];
        let drawn = self.buffers().into_iter().zip(weights).map(|(b, weight)| (b, weight * b.transitions() as f64));
        let total: f64 = drawn.clone().map(|(_, weight)| weight).sum();
        let rest = 1.0 - real.map_or(0.0, |(_, share)| *share);
        let real = real.map(|(episodes, share)| Source { buffer: episodes.buffer(), share: *share });
        let simulated = drawn.map(|(buffer, weight)| Source { buffer, share: rest * weight / total.max(1.0) });
        real.into_iter().chain(simulated).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::GoalObservation;
    use crate::learn::replay::Trajectory;

    const LAYOUT: Layout = Layout { observation: 1, goal: 1, action: 1 };

    fn shares(hyper: &Hyper) -> Vec<f64> {
        let seen = GoalObservation { observation: vec![0.0], achieved_goal: vec![0.0], desired_goal: vec![0.0] };
        let mut episode = Trajectory::new(LAYOUT, 1);
        episode.begin(&seen).unwrap();
        episode.push(&[0.0], &seen).unwrap();
        let mut memory = Memory::new(LAYOUT, 1_000);
        for motion in [Motion::Still, Motion::Still, Motion::Moved, Motion::Lifted] {
            memory.of(motion, hyper).push(&episode).unwrap();
        }
        memory.sources(hyper, None).iter().map(|source| source.share).collect()
    }

    #[test]
    fn what_was_moved_and_what_was_lifted_weigh_more() {
        let hyper = Hyper { moved_weight: 8.0, lifted_weight: 5.0, ..Hyper::default() };
        // Two still, one moved, one lifted: 2 + 8 + 40 in all.
        assert_eq!(shares(&hyper), [8.0 / 50.0, 2.0 / 50.0, 40.0 / 50.0]);
        // Together: 2 + 2 · 8.
        assert_eq!(shares(&Hyper { lifted_weight: 1.0, ..hyper }), [16.0 / 18.0, 2.0 / 18.0, 0.0]);
    }
}
