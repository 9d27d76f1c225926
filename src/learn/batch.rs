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
    /// What was observed after the action.
    pub next_observation: Vec<f32>,
    /// What had been achieved after the action.
    pub next_achieved: Vec<f32>,
    /// The original or the substituted goal.
    pub goal: Vec<f32>,
    /// The action that was carried out.
    pub action: Vec<f32>,
    /// r(achieved after the action, goal).
    pub reward: Vec<f32>,
    /// 1 where the next state's value counts, 0 where the next state is final for good. A time limit is no such end.
    pub bootstrap: Vec<f32>,
    /// Rows whose goal was substituted.
    pub relabelled: usize,
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
            relabelled: 0,
        }
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
                    source.buffer.touch(drawn.frame, 2);
                    source.buffer.touch(drawn.goal.unwrap_or(drawn.frame), 1);
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
            for goal in [&mut self.achieved, &mut self.next_achieved, &mut self.goal] {
                turn(&mut goal[row * g..(row + 1) * g]);
            }
            turn(&mut self.action[row * a..(row + 1) * a]);
        }
    }

    fn set(&mut self, row: usize, buffer: &ReplayBuffer, drawn: Drawn, reward: &impl Fn(&[f32], &[f32]) -> f32) {
        let (before, after) = (buffer.frame(drawn.frame), buffer.frame(drawn.frame + 1));
        self.relabelled += usize::from(drawn.goal.is_some());
        let goal = drawn.goal.map_or(before.desired, |frame| buffer.frame(frame).achieved);
        let put = |to: &mut [f32], from: &[f32]| to[row * from.len()..(row + 1) * from.len()].copy_from_slice(from);
        put(&mut self.observation, before.observation);
        put(&mut self.achieved, before.achieved);
        put(&mut self.next_observation, after.observation);
        put(&mut self.next_achieved, after.achieved);
        put(&mut self.goal, goal);
        put(&mut self.action, before.action);
        self.reward[row] = reward(after.achieved, goal);
        self.bootstrap[row] = if drawn.terminated { 0.0 } else { 1.0 };
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
    /// Whether the next state is final for good.
    terminated: bool,
}

/// Puts a goal in place of the original one, with the probability that `relabel` says.
fn substitute(buffer: &ReplayBuffer, drawn: Transition, relabel: Relabel, rng: &mut impl Rng) -> Drawn {
    let goal = rng.random_bool(relabel.probability()).then(|| {
        match relabel.strategy.goal_index(drawn.step, drawn.length, rng) {
            Some(index) => Some(drawn.start + index),
            None => buffer.draw(rng).map(|other| other.start + other.step + 1),
        }
    });
    Drawn { frame: drawn.start + drawn.step, goal: goal.flatten(), terminated: drawn.terminated }
}

#[cfg(test)]
mod tests {
    use super::super::hindsight::Strategy;
    use super::super::replay::{ReplayError, Trajectory};
    use super::*;
    use crate::env::GoalObservation;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    const LAYOUT: Layout = Layout { observation: 2, goal: 1, action: 1 };

    /// Every number says which episode and step it belongs to: achieved = 1000·episode + step.
    fn episode(number: usize, steps: usize) -> Trajectory {
        let seen = |step: usize| GoalObservation {
            observation: vec![number as f32, step as f32],
            achieved_goal: vec![(1000 * number + step) as f32],
            desired_goal: vec![-(number as f32) - 1.0],
        };
        let mut episode = Trajectory::new(LAYOUT, steps);
        episode.begin(&seen(0)).unwrap();
        for step in 0..steps {
            episode.push(&[(1000 * number + step) as f32], &seen(step + 1)).unwrap();
        }
        episode
    }

    /// Distinguishes its arguments, so that a wrong order shows.
    fn reward(achieved: &[f32], desired: &[f32]) -> f32 {
        achieved[0] * 2.0 - desired[0]
    }

    fn draw(buffer: &ReplayBuffer, relabel: Relabel, rows: usize, seed: u64) -> Batch {
        let mut batch = Batch::new(LAYOUT, rows);
        let source = [Source { buffer, share: 1.0 }];
        assert!(batch.fill(&source, relabel, reward, &mut Pcg64Mcg::seed_from_u64(seed)));
        batch
    }

    proptest! {
        #[test]
        fn rows_belong_together_and_goals_stay_in_their_episode(
            lengths in prop::collection::vec(1usize..40, 1..30),
            strategy in prop::sample::select(vec![Strategy::Final, Strategy::Future, Strategy::Episode, Strategy::Random]),
            seed: u64,
        ) {
            // Room for about 100 frames: most cases evict.
            let mut buffer = ReplayBuffer::new(LAYOUT, 100, 40);
            for (number, &steps) in lengths.iter().enumerate() {
                buffer.push(&episode(number, steps)).unwrap();
            }
            let batch = draw(&buffer, Relabel { strategy, k: 4 }, 64, seed);
            for row in 0..64 {
                let (number, step) = (batch.observation[2 * row] as usize, batch.observation[2 * row + 1] as usize);
                let mark = (1000 * number + step) as f32;
                prop_assert_eq!(batch.achieved[row], mark);
                prop_assert_eq!(batch.action[row], mark);
                prop_assert_eq!(batch.next_observation[2 * row] as usize, number);
                prop_assert_eq!(batch.next_observation[2 * row + 1] as usize, step + 1);
                prop_assert_eq!(batch.next_achieved[row], mark + 1.0);
                prop_assert!(step < lengths[number]);
                let goal = batch.goal[row];
                prop_assert_eq!(batch.reward[row], 2.0 * (mark + 1.0) - goal);
                if goal >= 0.0 {
                    let (goal_number, goal_step) = (goal as usize / 1000, goal as usize % 1000);
                    match strategy {
                        Strategy::Future => prop_assert!(goal_number == number && goal_step > step),
                        Strategy::Final => prop_assert!(goal_number == number && goal_step == lengths[number]),
                        Strategy::Episode => prop_assert!(goal_number == number && goal_step > 0),
                        Strategy::Random => prop_assert!(goal_step > 0 && goal_step <= lengths[goal_number]),
                    }
                } else {
                    prop_assert_eq!(goal, -(number as f32) - 1.0);
                }
            }
        }

        #[test]
        fn only_whole_recent_episodes_are_kept(lengths in prop::collection::vec(1usize..40, 1..60)) {
            let mut buffer = ReplayBuffer::new(LAYOUT, 100, 40);
            for (number, &steps) in lengths.iter().enumerate() {
                buffer.push(&episode(number, steps)).unwrap();
                let kept = buffer.episodes();
                prop_assert!(kept >= 1);
                let newest: usize = lengths[number + 1 - kept..=number].iter().sum();
                prop_assert_eq!(buffer.transitions(), newest);
                prop_assert!(newest + kept <= 103);
            }
            let oldest = lengths.len() - buffer.episodes();
            let batch = draw(&buffer, Relabel::default(), 200, 9);
            for row in 0..200 {
                prop_assert!(batch.observation[2 * row] as usize >= oldest);
            }
        }
    }

    #[test]
    fn every_transition_is_as_likely_whatever_its_episode() {
        let mut buffer = ReplayBuffer::new(LAYOUT, 100, 10);
        for (number, steps) in [(0, 1), (1, 9), (2, 30)] {
            buffer.push(&episode(number, steps)).unwrap();
        }
        let batch = draw(&buffer, Relabel::NONE, 40_000, 4);
        let mut counts = std::collections::BTreeMap::new();
        for row in 0..batch.rows() {
            *counts.entry(batch.achieved[row] as usize).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 40, "{counts:?}");
        // 1000 expected each, 31 the deviation.
        assert!(counts.values().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }

    #[test]
    fn the_share_of_substituted_goals_is_k_in_k_plus_one() {
        let mut buffer = ReplayBuffer::new(LAYOUT, 100, 10);
        buffer.push(&episode(0, 50)).unwrap();
        let batch = draw(&buffer, Relabel::default(), 20_000, 1);
        let substituted = batch.goal.iter().filter(|&&goal| goal >= 0.0).count();
        assert_eq!(substituted, batch.relabelled);
        assert!((15_600..16_400).contains(&substituted), "{substituted}");
        assert_eq!(draw(&buffer, Relabel::NONE, 1000, 1).relabelled, 0);
    }

    #[test]
    fn a_time_limit_is_bootstrapped_through_and_a_real_end_is_not() {
        let mut buffer = ReplayBuffer::new(LAYOUT, 100, 10);
        buffer.push(&episode(0, 5)).unwrap();
        let mut ended = episode(1, 5);
        ended.terminate();
        buffer.push(&ended).unwrap();
        let batch = draw(&buffer, Relabel::default(), 500, 2);
        for row in 0..500 {
            let last_of_ended = batch.next_achieved[row] == 1005.0;
            assert_eq!(batch.bootstrap[row] == 0.0, last_of_ended);
        }
    }

    #[test]
    fn shares_of_several_buffers_are_kept_and_empty_ones_skipped() {
        let mut real = ReplayBuffer::new(LAYOUT, 100, 10);
        let mut simulated = real.clone();
        let empty = real.clone();
        real.push(&episode(0, 3)).unwrap();
        simulated.push(&episode(1, 30)).unwrap();
        let sources = [
            Source { buffer: &empty, share: 5.0 },
            Source { buffer: &real, share: 0.25 },
            Source { buffer: &simulated, share: 0.75 },
        ];
        let mut batch = Batch::new(LAYOUT, 256);
        let mut rng = Pcg64Mcg::seed_from_u64(0);
        assert!(batch.fill(&sources, Relabel::default(), reward, &mut rng));
        let from_real = (0..256).filter(|row| batch.observation[2 * row] == 0.0).count();
        assert_eq!(from_real, 64);
        assert!(!batch.fill(&sources[..1], Relabel::default(), reward, &mut rng));
    }

    #[test]
    fn bad_episodes_are_refused_and_nothing_is_evicted() {
        let mut buffer = ReplayBuffer::new(LAYOUT, 20, 10);
        buffer.push(&episode(0, 15)).unwrap();
        assert_eq!(buffer.push(&episode(1, 0)), Err(ReplayError::Empty));
        assert!(matches!(buffer.push(&episode(1, 30)), Err(ReplayError::TooLong { steps: 30, .. })));
        assert_eq!((buffer.episodes(), buffer.transitions()), (1, 15));
        let mut bad = episode(2, 1);
        let mut seen =
            GoalObservation { observation: vec![0.0; 2], achieved_goal: vec![f32::NAN], desired_goal: vec![0.0] };
        assert_eq!(bad.push(&[0.0], &seen), Err(ReplayError::NotFinite { what: "achieved_goal" }));
        seen.achieved_goal = vec![0.0, 0.0];
        let shape = ReplayError::Shape { what: "achieved_goal", expected: 1, found: 2 };
        assert_eq!(bad.push(&[0.0], &seen), Err(shape));
        assert_eq!(bad, episode(2, 1));
    }

    #[test]
    fn a_turned_row_is_what_would_be_seen_of_the_turned_scene() {
        use crate::task::TaskKind;
        use crate::task::observation::{Hand, Object, symmetry, write};
        use nalgebra::{UnitQuaternion, Vector3};

        let mut rng = Pcg64Mcg::seed_from_u64(8);
        let mut vector = || -> [f64; 3] { std::array::from_fn(|_| rng.random_range(-0.5..0.5)) };
        let hand = Hand { position: vector(), velocity: vector(), commanded_velocity: vector(), ..Hand::default() };
        let (position, velocity, angular_velocity) = (vector(), vector(), vector());
        let flat = UnitQuaternion::from_euler_angles(0.0, 0.0, 3.0);
        for kind in [TaskKind::Reach, TaskKind::Push, TaskKind::Slide, TaskKind::PickAndPlace] {
            let see = |angle_rad: f64, out: &mut Vec<f32>| {
                let by = UnitQuaternion::from_euler_angles(0.0, 0.0, angle_rad);
                let turn = |v: [f64; 3]| -> [f64; 3] { (by * Vector3::from(v)).into() };
                let hand = Hand {
                    position: turn(hand.position),
                    velocity: turn(hand.velocity),
                    commanded_velocity: turn(hand.commanded_velocity),
                    ..hand
                };
                let object = Object {
                    position: turn(position),
                    orientation: (by * flat).coords.into(),
                    velocity: turn(velocity),
                    angular_velocity: turn(angular_velocity),
                };
                write(kind, &hand, (kind != TaskKind::Reach).then_some(&object), out);
            };
            let mut seen = Vec::new();
            see(0.0, &mut seen);
            let layout = Layout { observation: seen.len(), goal: 3, action: 4 };
            let mut batch = Batch::new(layout, 20);
            for row in 0..20 {
                batch.observation[row * seen.len()..][..seen.len()].copy_from_slice(&seen);
                batch.goal[row * 3] = 0.5;
                batch.action[row * 4 + 1] = 1.0;
            }
            batch.turn(symmetry(kind), 0.4, &mut rng);
            let mut widest = 0.0f32;
            for row in 0..20 {
                let angle_rad = batch.goal[row * 3 + 1].atan2(batch.goal[row * 3]);
                widest = widest.max(angle_rad.abs());
                let mut expected = Vec::new();
                see(angle_rad.into(), &mut expected);
                let turned = &batch.observation[row * seen.len()..][..seen.len()];
                assert!(turned.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{turned:?} {expected:?}");
                let (x, y) = (batch.action[row * 4], batch.action[row * 4 + 1]);
                assert!((x + angle_rad.sin()).abs() < 1e-6 && (y - angle_rad.cos()).abs() < 1e-6);
            }
            assert!(widest > 0.2 && widest <= 0.4, "{widest}");
        }
    }
}
