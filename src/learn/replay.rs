//! Finished episodes in memory. An episode is the unit of storage and of eviction.
//!
//! An episode of T transitions is T + 1 *frames* that lie one after another: what was observed, achieved and wanted,
//! and the action that was then carried out (unused in the last frame). The frames of all episodes share one block of
//! memory, filled like a ring: a new episode evicts the oldest ones whose frames it needs, as wholes. A transition is
//! drawn by drawing frames until one is hit that starts a transition, which makes every stored transition as likely
//! as any other whatever the episodes' lengths.
//!
//! An episode's last frame wants nothing any more: what it has as wanted is where the episode would have ended without
//! its luck, as far as anybody can tell ([`ReplayBuffer::push_with_end`]).
//!
//! Rewards are not stored: they follow from the achieved state and the goal, by one rule for original and substituted
//! goals. Nor are substituted goals: they are drawn anew with every sample.

use crate::env::{GoalObservation, Layout};
use rand::{Rng, RngExt};
use std::collections::VecDeque;

/// An episode on its way into the buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    layout: Layout,
    frames: Vec<f32>,
    terminated: bool,
}

/// Why an episode cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReplayError {
    /// A vector has another length than the layout says.
    #[error("{what} has {found} numbers where the layout says {expected}; check the environment's layout()")]
    Shape {
        /// Which vector.
        what: &'static str,
        /// The layout's length.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A number is NaN or infinite.
    #[error("{what} holds a number that is not finite; the simulator or the tracker has failed")]
    NotFinite {
        /// Which vector.
        what: &'static str,
    },
    /// The episode is longer than the buffer.
    #[error("an episode of {steps} steps does not fit a buffer of {capacity}; enlarge replay_transitions")]
    TooLong {
        /// Transitions of the episode.
        steps: usize,
        /// Transitions that the buffer can hold.
        capacity: usize,
    },
    /// The episode has no transition.
    #[error("an episode without a step teaches nothing; step the environment before finishing it")]
    Empty,
    /// The episode's layout is not the buffer's.
    #[error("an episode of layout {found:?} does not fit a buffer of layout {expected:?}")]
    Layout {
        /// The buffer's.
        expected: Layout,
        /// The episode's.
        found: Layout,
    },
}

/// Where a frame's parts lie.
fn stride(layout: Layout) -> usize {
    layout.observation + 2 * layout.goal + layout.action
}

/// One moment of an episode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame<'a> {
    /// What was observed.
    pub observation: &'a [f32],
    /// What had been achieved.
    pub achieved: &'a [f32],
    /// What was wanted; in a stored episode's last frame, where it would have ended without its luck.
    pub desired: &'a [f32],
    /// The action that was then carried out; zeros in an episode's last frame.
    pub action: &'a [f32],
}

fn split_frame(layout: Layout, numbers: &[f32]) -> Frame<'_> {
    let (observation, rest) = numbers.split_at(layout.observation);
    let (achieved, rest) = rest.split_at(layout.goal);
    let (desired, action) = rest.split_at(layout.goal);
    Frame { observation, achieved, desired, action }
}

impl Trajectory {
    /// No frame yet; room for `steps` transitions without allocation.
    pub fn new(layout: Layout, steps: usize) -> Self {
        Self { layout, frames: Vec::with_capacity((steps + 1) * stride(layout)), terminated: false }
    }

    /// Forgets everything and starts with an episode's first observation.
    ///
    /// # Errors
    /// [`ReplayError::Shape`] and [`ReplayError::NotFinite`].
    pub fn begin(&mut self, first: &GoalObservation) -> Result<(), ReplayError> {
        self.frames.clear();
        self.terminated = false;
        self.append(first)
    }

    /// Adds a transition: the action that was *carried out*, and what was seen after it. Where achieved states are
    /// noisy, pass filtered ones: noise near the success radius flips rewards.
    ///
    /// # Errors
    /// [`ReplayError::Shape`] and [`ReplayError::NotFinite`]; the trajectory is then as it was.
    pub fn push(&mut self, applied: &[f32], next: &GoalObservation) -> Result<(), ReplayError> {
        check("applied action", applied, self.layout.action)?;
        self.append(next)?;
        let stride = stride(self.layout);
        // `append` wrote the next frame; the action belongs to the one before it.
        let before = self.frames.len() - stride;
        if let Some(slot) = self.frames[..before].rchunks_exact_mut(stride).next() {
            slot[stride - applied.len()..].copy_from_slice(applied);
        }
        Ok(())
    }

    fn append(&mut self, seen: &GoalObservation) -> Result<(), ReplayError> {
        check("observation", &seen.observation, self.layout.observation)?;
        check("achieved_goal", &seen.achieved_goal, self.layout.goal)?;
        check("desired_goal", &seen.desired_goal, self.layout.goal)?;
        self.frames.extend_from_slice(&seen.observation);
        self.frames.extend_from_slice(&seen.achieved_goal);
        self.frames.extend_from_slice(&seen.desired_goal);
        self.frames.extend(std::iter::repeat_n(0.0, self.layout.action));
        Ok(())
    }

    /// Marks the last state as final for good: its value is not bootstrapped. A time limit is not such an end.
    pub fn terminate(&mut self) {
        self.terminated = true;
    }

    /// Sizes of the vectors.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Transitions so far.
    pub fn steps(&self) -> usize {
        (self.frames.len() / stride(self.layout)).saturating_sub(1)
    }

    /// A moment of the episode, `0..=steps`.
    ///
    /// # Panics
    /// Beyond the last frame.
    pub fn frame(&self, index: usize) -> Frame<'_> {
        let stride = stride(self.layout);
        split_frame(self.layout, &self.frames[index * stride..(index + 1) * stride])
    }
}

fn check(what: &'static str, numbers: &[f32], expected: usize) -> Result<(), ReplayError> {
    if numbers.len() != expected {
        return Err(ReplayError::Shape { what, expected, found: numbers.len() });
    }
    if numbers.iter().any(|x| !x.is_finite()) {
        return Err(ReplayError::NotFinite { what });
    }
    Ok(())
}

/// A frame's place in the buffer.
const FREE: u32 = u32::MAX;

/// A stored episode: its first frame and its transitions.
#[derive(Debug, Clone, Copy)]
struct Stored {
    start: usize,
    steps: usize,
    terminated: bool,
}

/// A drawn transition, by its place in the buffer it was drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// First frame of its episode.
    pub start: usize,
    /// Transitions of its episode.
    pub length: usize,
    /// Which of them, from 0.
    pub step: usize,
    /// Whether its episode's last state is final for good.
    pub terminated: bool,
}

/// Finished episodes, to draw transitions from.
#[derive(Debug, Clone)]
pub struct ReplayBuffer {
    layout: Layout,
    frames: Vec<f32>,
    /// For each frame, which entry of `slots` it belongs to.
    owner: Vec<u32>,
    slots: Vec<Stored>,
    free_slots: Vec<u32>,
    /// Slots in order of age.
    order: VecDeque<u32>,
    /// Where the next episode goes.
    cursor: usize,
    /// One more than the last frame ever used.
    used: usize,
    transitions: usize,
}

impl ReplayBuffer {
    /// Room for `transitions` in episodes of about `episode_steps`; memory is touched only as it fills.
    pub fn new(layout: Layout, transitions: usize, episode_steps: usize) -> Self {
        let frames = transitions + transitions / episode_steps.max(1) + 1;
        Self {
            layout,
            frames: vec![0.0; frames * stride(layout)],
            owner: vec![FREE; frames],
            slots: Vec::new(),
            free_slots: Vec::new(),
            order: VecDeque::new(),
            cursor: 0,
            used: 0,
            transitions: 0,
        }
    }

    /// Sizes of the vectors.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Episodes stored.
    pub fn episodes(&self) -> usize {
        self.order.len()
    }

    /// Transitions stored.
    pub fn transitions(&self) -> usize {
        self.transitions
    }

    /// Takes a finished episode, evicting the oldest ones for it.
    ///
    /// # Errors
    /// [`ReplayError::Empty`], [`ReplayError::TooLong`], [`ReplayError::Layout`]; nothing is evicted then.
    pub fn push(&mut self, episode: &Trajectory) -> Result<(), ReplayError> {
        if episode.steps() == 0 {
            return Err(ReplayError::Empty);
        }
        self.push_with_end(episode, episode.frame(episode.steps()).achieved)
    }

    /// The same with an episode that would have ended at `end` without its luck.
    ///
    /// # Errors
    /// As [`ReplayBuffer::push`], and [`ReplayError::Shape`] and [`ReplayError::NotFinite`] for `end`.
    pub fn push_with_end(&mut self, episode: &Trajectory, end: &[f32]) -> Result<(), ReplayError> {
        let (steps, capacity) = (episode.steps(), self.owner.len());
        if episode.layout != self.layout {
            return Err(ReplayError::Layout { expected: self.layout, found: episode.layout });
        }
        if steps == 0 {
            return Err(ReplayError::Empty);
        }
        if steps + 1 > capacity {
            return Err(ReplayError::TooLong { steps, capacity: capacity - 1 });
        }
        check("end without luck", end, self.layout.goal)?;
        if self.cursor + steps + 1 > capacity {
            // The tail is too short for the episode: what is still there is older than what lies at the front.
            self.evict(self.cursor..capacity);
            self.cursor = 0;
        }
        let span = self.cursor..self.cursor + steps + 1;
        self.evict(span.clone());
        let stored = Stored { start: span.start, steps, terminated: episode.terminated };
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.slots[slot as usize] = stored;
                slot
            }
            None => {
                self.slots.push(stored);
                (self.slots.len() - 1) as u32
            }
        };
        let stride = stride(self.layout);
        self.frames[span.start * stride..span.end * stride].copy_from_slice(&episode.frames);
        let wanted = span.end * stride - self.layout.action - self.layout.goal;
        self.frames[wanted..wanted + self.layout.goal].copy_from_slice(end);
        self.owner[span.clone()].fill(slot);
        self.order.push_back(slot);
        self.transitions += steps;
        self.cursor = span.end;
        self.used = self.used.max(span.end);
        Ok(())
    }

    /// Drops every episode that has a frame in `span`.
    fn evict(&mut self, span: std::ops::Range<usize>) {
        for frame in span {
            let slot = self.owner[frame];
            if slot == FREE {
                continue;
            }
            let Stored { start, steps, .. } = self.slots[slot as usize];
            self.owner[start..=start + steps].fill(FREE);
            self.transitions -= steps;
            self.free_slots.push(slot);
            // Almost always the front: episodes lie in the ring in order of age.
            if let Some(place) = self.order.iter().position(|&s| s == slot) {
                self.order.remove(place);
            }
        }
    }

    /// Draws a transition, every one as likely; `None` from an empty buffer.
    pub fn draw(&self, rng: &mut impl Rng) -> Option<Transition> {
        if self.transitions == 0 {
            return None;
        }
        loop {
            let frame = rng.random_range(0..self.used);
            let slot = self.owner[frame];
            if slot == FREE {
                continue;
            }
            let Stored { start, steps, terminated } = self.slots[slot as usize];
            let step = frame - start;
            if step < steps {
                return Some(Transition { start, length: steps, step, terminated });
            }
        }
    }

    /// Where the next episode goes, and one more than the last frame ever used: with [`ReplayBuffer::stored`], all
    /// that a copy on disk needs for the same draws.
    pub(super) fn extent(&self) -> (usize, usize) {
        (self.cursor, self.used)
    }

    /// Every stored episode's first transition and numbers, the oldest first.
    pub(super) fn stored(&self) -> impl Iterator<Item = (Transition, &[f32])> {
        let stride = stride(self.layout);
        self.order.iter().map(move |&slot| {
            let Stored { start, steps, terminated } = self.slots[slot as usize];
            let frames = &self.frames[start * stride..(start + steps + 1) * stride];
            (Transition { start, length: steps, step: 0, terminated }, frames)
        })
    }

    /// Makes room for an episode at a given place, as the youngest, and returns its numbers to be filled in. `None`
    /// where the place is taken or beyond the buffer.
    pub(super) fn place(&mut self, start: usize, steps: usize, terminated: bool) -> Option<&mut [f32]> {
        let end = start.checked_add(steps)?.checked_add(1)?;
        let owner = self.owner.get_mut(start..end)?;
        if steps == 0 || owner.iter().any(|&slot| slot != FREE) {
            return None;
        }
        let slot = self.slots.len() as u32;
        owner.fill(slot);
        self.slots.push(Stored { start, steps, terminated });
        self.order.push_back(slot);
        self.transitions += steps;
        self.used = self.used.max(end);
        let stride = stride(self.layout);
        self.frames.get_mut(start * stride..end * stride)
    }

    /// The counterpart of [`ReplayBuffer::extent`]; false where they do not fit what is stored.
    pub(super) fn set_extent(&mut self, cursor: usize, used: usize) -> bool {
        let fits = self.used <= used && cursor <= used && used <= self.owner.len();
        (self.cursor, self.used) = if fits { (cursor, used) } else { (self.cursor, self.used) };
        fits
    }

    /// Brings some frames' memory closer, for [`ReplayBuffer::frame`].
    pub(super) fn touch(&self, first: usize, frames: usize) {
        /// Sixteen floats are a cache line.
        const LINE: usize = 16;
        let stride = stride(self.layout);
        let numbers = &self.frames[first * stride..(first + frames) * stride];
        let sum: f32 = numbers.iter().step_by(LINE).sum::<f32>() + numbers[numbers.len() - 1];
        std::hint::black_box(sum);
    }

    /// The frame of that number, as counted by [`Transition::start`].
    ///
    /// # Panics
    /// Beyond the buffer.
    pub fn frame(&self, index: usize) -> Frame<'_> {
        let stride = stride(self.layout);
        split_frame(self.layout, &self.frames[index * stride..(index + 1) * stride])
    }
}
