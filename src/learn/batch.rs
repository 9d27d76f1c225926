//! A minibatch of raw transitions, with goals substituted while it is filled.

use super::hindsight::Relabel;
use super::replay::{ReplayBuffer, Transition};
use crate::env::{Layout, Symmetry};
use rand::{Rng, RngExt};
use std::f32::consts::TAU;

/// Rows of transitions, each part row-major. A row has *one* goal, which holds before and after the action, so that
/// observation and next observation cannot disagree about it; whatever a network makes of the goal (differences,
/// normalisation) is computed after the substitution.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Sizes of a row's parts.
    pub layout: Layout,
    /// What was observed before the action.
    pub observation: Vec<f32>,
    /// What had been achieved before the action.
    pub achieved: Vec<f32>,
    /// What was observed after the action, or after as many as [`Batch::with_n_step`] says.
    pub next_observation: Vec<f32>,
    /// What had been achieved then.
    pub next_achieved: Vec<f32>,
    /// The original or the substituted goal.
    pub goal: Vec<f32>,
    /// The action that was carried out.
    pub action: Vec<f32>,
    /// r(achieved after the action, goal); over n actions Σ gamma^i · r(achieved after the i-th, goal), i from 0.
    pub reward: Vec<f32>,
    /// What the next state's value counts, beside one gamma: gamma^(n − 1), which is 1 after one action, and 0 where the
    /// next state is final for good. A time limit is no such end.
    pub bootstrap: Vec<f32>,
    /// Whether the row's episode ended where the goal is, so that the action led there; empty unless asked for, as
    /// every row then waits for one more place in memory. See [`Batch::with_reached`].
    pub reached: Vec<bool>,
    /// The goal for which the action is imitated: in rows that reached their goal, where the episode would have ended
    /// without its luck, else the goal. Empty where `reached` is.
    pub imitated_goal: Vec<f32>,
    /// Rows whose goal was substituted.
    pub relabelled: usize,
    n_step: usize,
    gamma: f32,
}

/// A buffer and the share of a batch that is to come from it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Where to draw from.
    pub buffer: &'a ReplayBuffer,
    /// Share of the batch; shares are relative to their sum, and an empty buffer counts as 0.
    pub share: f64,
}

impl Batch {
    /// Room for `rows` transitions.
    pub fn new(layout: Layout, rows: usize) -> Self {
        Self {
            layout,
            observation: vec![0.0; rows * layout.observation],
            achieved: vec![0.0; rows * layout.goal],
            next_observation: vec![0.0; rows * layout.observation],
            next_achieved: vec![0.0; rows * layout.goal],
            goal: vec![0.0; rows * layout.goal],
            action: vec![0.0; rows * layout.action],
            reward: vec![0.0; rows],
            bootstrap: vec![1.0; rows],
            reached: Vec::new(),
            imitated_goal: Vec::new(),
            relabelled: 0,
            n_step: 1,
            gamma: 1.0,
        }
    }

    /// The same, and its rewards and next states are those of `n_step` actions, or of as many as an episode still has.
    /// `gamma` is the discount a step.
    #[must_use]
    pub fn with_n_step(self, n_step: usize, gamma: f32) -> Self {
        Self { n_step, gamma, ..self }
    }

    /// The same, and it fills in [`Batch::reached`] and [`Batch::imitated_goal`].
    #[must_use]
    pub fn with_reached(self) -> Self {
        Self { reached: vec![false; self.rows()], imitated_goal: vec![0.0; self.goal.len()], ..self }
    }

    /// Transitions in it.
    pub fn rows(&self) -> usize {
        self.reward.len()
    }

    /// Draws every row anew, without any allocation. `reward` takes `(achieved, desired)`. `false`, and nothing done,
    /// where all sources are empty.
    pub fn fill(
        &mut self,
        sources: &[Source<'_>],
        relabel: Relabel,
        reward: impl Fn(&[f32], &[f32]) -> f32,
        rng: &mut impl Rng,
    ) -> bool {
        let weight = |s: &Source<'_>| if s.buffer.transitions() == 0 { 0.0 } else { s.share.max(0.0) };
        let total: f64 = sources.iter().map(weight).sum();
        if total <= 0.0 {
            return false;
        }
        self.relabelled = 0;
        let (rows, mut row, mut sum) = (self.rows(), 0, 0.0);
        for source in sources {
            sum += weight(source);
            let end = (rows as f64 * sum / total).round() as usize;
            while row < end {
                let mut block = [Drawn::default(); BLOCK];
                let block = &mut block[..BLOCK.min(end - row)];
                for drawn in &mut *block {
                    // A source with weight holds transitions, so that this never fails to draw.
                    let Some(transition) = source.buffer.draw(rng) else { return false };
                    *drawn = substitute(source.buffer, transition, relabel, rng);
                }
                // Waits for all of the block's memory at once instead of for one row's after another's.
                for drawn in &*block {
                    source.buffer.touch(drawn.frame, drawn.actions(self.n_step) + 1);
                    source.buffer.touch(drawn.goal.unwrap_or(drawn.frame), 1);
                }
                if !self.reached.is_empty() {
                    block.iter().for_each(|drawn| source.buffer.touch(drawn.last, 1));
                }
                for &drawn in &*block {
                    self.set(row, source.buffer, drawn, &reward);
                    row += 1;
                }
            }
        }
        true
    }

    /// Turns each row about the base's vertical axis by an angle of its own in ±`largest_rad`. Rewards stay what they are:
    /// distances do not change.
    pub fn turn(&mut self, symmetry: Symmetry, largest_rad: f32, rng: &mut impl Rng) {
        let Layout { observation: o, goal: g, action: a } = self.layout;
        for row in 0..self.rows() {
            let angle_rad = rng.random_range(-largest_rad..=largest_rad);
            let (sin, cos) = angle_rad.sin_cos();
            let turn = |numbers: &mut [f32]| {
                let (x, y) = (numbers[0], numbers[1]);
                (numbers[0], numbers[1]) = (cos * x - sin * y, sin * x + cos * y);
            };
            for seen in [&mut self.observation, &mut self.next_observation] {
                let seen = &mut seen[row * o..(row + 1) * o];
                symmetry.vectors.iter().for_each(|&i| turn(&mut seen[i..i + 2]));
                for &i in symmetry.headings {
                    let heading = seen[i] + angle_rad;
                    seen[i] = heading - TAU * (heading / TAU).round();
                }
            }
            for goal in [&mut self.achieved, &mut self.next_achieved, &mut self.goal, &mut self.imitated_goal] {
                goal.get_mut(row * g..(row + 1) * g).map(turn);
            }
            turn(&mut self.action[row * a..(row + 1) * a]);
        }
    }

    fn set(&mut self, row: usize, buffer: &ReplayBuffer, drawn: Drawn, reward: &impl Fn(&[f32], &[f32]) -> f32) {
        let next = drawn.frame + drawn.actions(self.n_step);
        let (before, after) = (buffer.frame(drawn.frame), buffer.frame(next));
        self.relabelled += usize::from(drawn.goal.is_some());
        let goal = drawn.goal.map_or(before.desired, |frame| buffer.frame(frame).achieved);
        let put = |to: &mut [f32], from: &[f32]| to[row * from.len()..(row + 1) * from.len()].copy_from_slice(from);
        put(&mut self.observation, before.observation);
        put(&mut self.achieved, before.achieved);
        put(&mut self.next_observation, after.observation);
        put(&mut self.next_achieved, after.achieved);
        put(&mut self.goal, goal);
        put(&mut self.action, before.action);
        // From the last action back, as Horner would.
        let rewards = (drawn.frame + 1..next).rev().map(|frame| reward(buffer.frame(frame).achieved, goal));
        let last_reward = reward(after.achieved, goal);
        (self.reward[row], self.bootstrap[row]) =
            rewards.fold((last_reward, 1.0), |(sum, left), reward| (reward + self.gamma * sum, left * self.gamma));
        if drawn.terminated && next == drawn.last {
            self.bootstrap[row] = 0.0;
        }
        if let Some(reached) = self.reached.get_mut(row) {
            let last = buffer.frame(drawn.last);
            *reached = reward(last.achieved, goal) >= 0.0;
            put(&mut self.imitated_goal, if *reached { last.desired } else { goal });
        }
    }
}

/// Rows that are drawn before the first of them is copied.
const BLOCK: usize = 16;

/// What a row is made of, as places in the buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Drawn {
    /// The frame before the action.
    frame: usize,
    /// The frame whose achieved state is the goal, where one is substituted.
    goal: Option<usize>,
    /// Whether the episode's last state is final for good.
    terminated: bool,
    /// The episode's last frame.
    last: usize,
}

impl Drawn {
    /// How many of `n_step` actions the episode still has from its frame on.
    fn actions(self, n_step: usize) -> usize {
        n_step.min(self.last - self.frame)
    }
}

/// Puts a goal in place of the original one, with the probability that `relabel` says.
fn substitute(buffer: &ReplayBuffer, drawn: Transition, relabel: Relabel, rng: &mut impl Rng) -> Drawn {
    let goal = rng.random_bool(relabel.probability()).then(|| {
        match relabel.strategy.goal_index(drawn.step, drawn.length, rng) {
            Some(index) => Some(drawn.start + index),
            None => buffer.draw(rng).map(|other| other.start + other.step + 1),
        }
    });
    Drawn {
        frame: drawn.start + drawn.step,
        goal: goal.flatten(),
        terminated: drawn.terminated,
        last: drawn.start + drawn.length,
    }
}

#[cfg(test)]
mod tests;
