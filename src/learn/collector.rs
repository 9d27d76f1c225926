//! Whole episodes from many environments at once.
//!
//! Environments are stepped in groups of [`GROUP`], so that one pass of the actor serves a group; groups run in
//! parallel. Every environment has its own random numbers, so that neither the number of threads nor the order in
//! which groups finish changes anything.

use super::actor::Actor;
use super::agent::Agent;
use super::curriculum::{Curriculum, Pursuit, ROAMING_HELD_STEPS};
use super::replay::{ReplayError, Trajectory};
use crate::env::{EnvError, GoalEnv, GoalObservation, Outcome};
use crate::policy::gaussian;
use crate::task::{CONTACT_M, LIFT_M};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;

/// Environments that share a pass of the actor.
const GROUP: usize = 4;
/// An episode that has not ended after so many steps never will.
const ENDLESS_STEPS: usize = 10_000;

/// Applied actions closer than this to what was asked for are the same but for rounding.
const SAME_ACTION: f32 = 1e-3;

/// How actions are chosen while collecting.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exploration {
    /// Uniformly random.
    Random,
    /// The policy's, with probability `epsilon` a uniformly random one, else with Gaussian noise.
    Noisy { epsilon: f32, sigma: f32 },
}

/// Why episodes could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The environment failed.
    #[error("environment {env} failed: {source}")]
    Env {
        /// Which environment, from 0.
        env: usize,
        /// Why.
        source: EnvError,
    },
    /// The environment gave something that cannot be learned from.
    #[error("environment {env}: {source}")]
    Replay {
        /// Which environment, from 0.
        env: usize,
        /// What.
        source: ReplayError,
    },
    /// The environment never ends its episode.
    #[error("environment {env} has not ended its episode after {ENDLESS_STEPS} steps; give it a time limit")]
    Endless {
        /// Which environment, from 0.
        env: usize,
    },
}

/// An environment and the episode that it is in.
struct Worker {
    number: usize,
    env: Box<dyn GoalEnv>,
    rng: Pcg64Mcg,
    seen: GoalObservation,
    outcome: Outcome,
    action: Vec<f32>,
    episode: Trajectory,
    report: EpisodeReport,
    /// Where an episode is one of the curriculum's.
    pursuit: Option<Pursuit>,
    done: bool,
    /// [`Hyper::held_steps`](super::Hyper::held_steps).
    held_steps: f64,
    /// The last random action.
    held: Vec<f32>,
    /// For how many steps it is still to be held.
    held_on: u32,
}

/// The most that happened to an episode's object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Motion {
    /// Less than [`CONTACT_M`].
    #[default]
    Still,
    /// It was moved.
    Moved,
    /// It was raised by [`LIFT_M`], which no push does.
    Lifted,
}

/// What came of an episode.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EpisodeReport {
    /// Whether it ended at the goal given; none where it was one of the curriculum's.
    pub(crate) success: Option<bool>,
    pub(crate) motion: Motion,
    /// Steps whose applied action was not the one asked for.
    pub(crate) changed: usize,
}

struct Group {
    workers: Vec<Worker>,
    actor: Actor,
}

/// Environments that collect episodes.
pub(crate) struct Collector {
    groups: Vec<Group>,
}

impl Collector {
    /// Takes the environments, which all have the agent's layout; their exploration is drawn from `seed`.
    pub(crate) fn new(agent: &Agent, envs: Vec<Box<dyn GoalEnv>>, seed: u64) -> Self {
        let mut workers = envs.into_iter().enumerate().map(|(number, env)| Worker::new(number, env, agent, seed));
        let mut groups = Vec::new();
        loop {
            let members: Vec<Worker> = workers.by_ref().take(GROUP).collect();
            if members.is_empty() {
                return Self { groups };
            }
            groups.push(Group { actor: Actor::new(agent, members.len()), workers: members });
        }
    }

    /// State of every environment's exploration, in the environments' order.
    pub(crate) fn explorers(&self) -> Vec<Pcg64Mcg> {
        self.groups.iter().flat_map(|group| &group.workers).map(|worker| worker.rng.clone()).collect()
    }

    /// Sets what [`Collector::explorers`] gave; false where the number is another one.
    pub(crate) fn set_explorers(&mut self, explorers: &[Pcg64Mcg]) -> bool {
        let workers: Vec<&mut Worker> = self.groups.iter_mut().flat_map(|group| &mut group.workers).collect();
        let fits = workers.len() == explorers.len();
        for (worker, rng) in workers.into_iter().zip(explorers).take(if fits { usize::MAX } else { 0 }) {
            worker.rng = rng.clone();
        }
        fits
    }

    /// Acts as `agent` does now until the next call.
    pub(crate) fn follow(&mut self, agent: &Agent) {
        self.groups.iter_mut().for_each(|group| group.actor.refresh(agent));
    }

    /// Runs one episode in every environment. Episode seeds are `first_seed`, `first_seed + 1`, …
    pub(crate) fn collect(
        &mut self,
        how: Exploration,
        curriculum: Curriculum<'_>,
        first_seed: u64,
    ) -> Result<(), CollectError> {
        // The first error in the environments' order, whichever came first in time.
        let run = |group: &mut Group| group.run(how, curriculum, first_seed);
        let results: Vec<_> = self.groups.par_iter_mut().with_max_len(1).map(run).collect();
        results.into_iter().collect()
    }

    /// The episodes of the last [`Collector::collect`], in the environments' order.
    pub(crate) fn episodes(&self) -> impl Iterator<Item = (&Trajectory, EpisodeReport)> {
        self.groups.iter().flat_map(|g| &g.workers).map(|worker| (&worker.episode, worker.report))
    }
}

impl Group {
    fn run(&mut self, how: Exploration, curriculum: Curriculum<'_>, first_seed: u64) -> Result<(), CollectError> {
        for worker in &mut self.workers {
            worker.begin(curriculum, first_seed)?;
        }
        while self.workers.iter().any(|worker| !worker.done) {
            if let Exploration::Noisy { .. } = how {
                for (row, worker) in self.workers.iter().enumerate() {
                    self.actor.observe(row, &worker.seen);
                }
                let width = self.workers[0].action.len();
                for (worker, action) in self.workers.iter_mut().zip(self.actor.forward().chunks_exact(width)) {
                    worker.action.copy_from_slice(action);
                }
            }
            for worker in self.workers.iter_mut().filter(|worker| !worker.done) {
                worker.step(how)?;
            }
        }
        Ok(())
    }
}

impl Worker {
    fn new(number: usize, env: Box<dyn GoalEnv>, agent: &Agent, seed: u64) -> Self {
        let layout = agent.layout();
        Self {
            number,
            env,
            rng: Pcg64Mcg::seed_from_u64(seed.wrapping_add(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(number as u64 + 1))),
            seen: GoalObservation::default(),
            outcome: Outcome::default(),
            action: vec![0.0; layout.action],
            episode: Trajectory::new(layout, 50),
            report: EpisodeReport::default(),
            pursuit: None,
            done: false,
            held_steps: agent.hyper().held_steps,
            held: vec![0.0; layout.action],
            held_on: 0,
        }
    }

    fn begin(&mut self, curriculum: Curriculum<'_>, first_seed: u64) -> Result<(), CollectError> {
        let env = self.number;
        let seed = first_seed.wrapping_add(env as u64);
        self.env.reset(seed, &mut self.seen).map_err(|source| CollectError::Env { env, source })?;
        self.pursuit = curriculum.choose(&mut self.seen, self.env.reward_rule(), &mut self.rng);
        self.episode.begin(&self.seen).map_err(|source| CollectError::Replay { env, source })?;
        self.report = EpisodeReport::default();
        self.done = false;
        self.held_on = 0;
        Ok(())
    }

    fn step(&mut self, how: Exploration) -> Result<(), CollectError> {
        let env = self.number;
        self.explore(how);
        self.env
            .step(&self.action, &mut self.seen, &mut self.outcome)
            .map_err(|source| CollectError::Env { env, source })?;
        if let Some(pursuit) = &mut self.pursuit {
            pursuit.follow(self.episode.frame(0).achieved, &mut self.seen, self.env.reward_rule());
        }
        let applied = &self.outcome.applied;
        self.episode.push(applied, &self.seen).map_err(|source| CollectError::Replay { env, source })?;
        let differs = |(applied, asked): (&f32, &f32)| (applied - asked).abs() > SAME_ACTION;
        self.report.changed += usize::from(applied.iter().zip(&self.action).any(differs));
        self.report.motion = self.report.motion.max(motion(self.episode.frame(0).achieved, &self.seen.achieved_goal));
        self.report.success = self.pursuit.is_none().then_some(self.outcome.success);
        if self.outcome.terminated {
            self.episode.terminate();
        }
        self.done = self.outcome.terminated || self.outcome.truncated;
        if !self.done && self.episode.steps() >= ENDLESS_STEPS {
            return Err(CollectError::Endless { env });
        }
        Ok(())
    }

    /// Turns the policy's action into the one that is tried.
    fn explore(&mut self, how: Exploration) {
        if self.held_on > 0 {
            self.held_on -= 1;
            self.action.copy_from_slice(&self.held);
            return;
        }
        let roams = self.pursuit.as_ref().is_some_and(Pursuit::achieved);
        let held_steps = if roams { self.held_steps.max(ROAMING_HELD_STEPS) } else { self.held_steps };
        let epsilon = match how {
            _ if roams => 1.0,
            Exploration::Random => 1.0,
            Exploration::Noisy { epsilon, .. } => f64::from(epsilon),
        };
        // As seldom as makes it `epsilon` of all steps.
        if self.rng.random_bool(epsilon / (epsilon + held_steps * (1.0 - epsilon))) {
            self.action.iter_mut().for_each(|a| *a = self.rng.random_range(-1.0..=1.0));
            self.held.copy_from_slice(&self.action);
            // A random number that decides nothing is not drawn: a seed keeps its bits.
            while held_steps > 1.0 && self.rng.random_bool(1.0 - 1.0 / held_steps) {
                self.held_on += 1;
            }
        } else if let Exploration::Noisy { sigma, .. } = how {
            for a in &mut self.action {
                *a = (*a + sigma * gaussian(&mut self.rng)).clamp(-1.0, 1.0);
            }
        }
    }
}

/// Whether an achieved goal has moved far enough for a contact.
pub(crate) fn moved(from: &[f32], to: &[f32]) -> bool {
    f64::from(distance(from, to)) > CONTACT_M
}

fn motion(from: &[f32], to: &[f32]) -> Motion {
    match (from, to) {
        ([_, _, below, ..], [_, _, above, ..]) if f64::from(above - below) > LIFT_M => Motion::Lifted,
        _ if moved(from, to) => Motion::Moved,
        _ => Motion::Still,
    }
}

/// Euclidean distance.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::Hyper;
    use crate::learn::replay::ReplayBuffer;
    use crate::learn::trainer::tests::halvers;

    #[test]
    fn random_actions_are_held_as_long_as_is_asked_for_and_are_no_more_steps_for_it() {
        for held_steps in [1.0, 4.0] {
            let hyper = Hyper { hidden: vec![4], held_steps, ..Hyper::default() };
            let env = halvers(1).remove(0);
            let agent = Agent::new(hyper, env.layout(), &mut Pcg64Mcg::seed_from_u64(1)).unwrap();
            let mut worker = Worker::new(0, env, &agent, 7);
            let buffer = ReplayBuffer::new(agent.layout(), 100, 10);
            let given = Curriculum { share: 0.0, candidates: 30, achieved: [&buffer; 2] };
            worker.begin(given, 0).unwrap();
            let (mut random, mut begun, mut last) = (0.0, 0.0, vec![0.0]);
            for _ in 0..50_000 {
                worker.action.fill(0.0);
                worker.explore(Exploration::Noisy { epsilon: 0.3, sigma: 0.0 });
                random += f64::from(u8::from(worker.action != [0.0]));
                begun += f64::from(u8::from(worker.action != [0.0] && worker.action != last));
                last.copy_from_slice(&worker.action);
            }
            assert!((random / 50_000.0 - 0.3).abs() < 0.02, "{random} steps with held_steps = {held_steps}");
            assert!((random / begun / held_steps - 1.0).abs() < 0.1, "{random} steps of {begun} actions");
            worker.held_on = 9;
            worker.begin(given, 1).unwrap();
            assert_eq!(worker.held_on, 0, "an action of the episode before");
        }
    }

    #[test]
    fn what_has_achieved_what_it_pursued_goes_on_at_random() {
        let env = halvers(1).remove(0);
        let agent = Agent::new(Hyper::default(), env.layout(), &mut Pcg64Mcg::seed_from_u64(1)).unwrap();
        let mut buffer = ReplayBuffer::new(agent.layout(), 100, 10);
        let seen = |at| GoalObservation { observation: vec![0.0; 2], achieved_goal: vec![at], desired_goal: vec![5.0] };
        let mut episode = Trajectory::new(agent.layout(), 1);
        episode.begin(&seen(0.0)).unwrap();
        episode.push(&[0.5], &seen(0.5)).unwrap();
        buffer.push(&episode).unwrap();
        let mut worker = Worker::new(0, env, &agent, 7);
        worker.begin(Curriculum { share: 0.999, candidates: 30, achieved: [&buffer; 2] }, 0).unwrap();
        assert_eq!(worker.seen.desired_goal, [0.5]);
        let quiet = Exploration::Noisy { epsilon: 0.0, sigma: 0.0 };
        for (action, at_random) in [(0.1, false), (0.9, false), (0.0, true), (0.0, true)] {
            worker.action[0] = action;
            worker.step(quiet).unwrap();
            assert_eq!(worker.action[0] != action, at_random, "{action} at {}", worker.seen.achieved_goal[0]);
            assert_eq!((worker.seen.desired_goal[0], worker.report.success), (0.5, None));
        }
        worker.begin(Curriculum { share: 0.0, candidates: 30, achieved: [&buffer; 2] }, 0).unwrap();
        worker.action[0] = 0.1;
        worker.step(quiet).unwrap();
        assert_eq!((worker.action[0], worker.report.success), (0.1, Some(false)));
    }

    #[test]
    fn what_rose_was_lifted_and_what_only_moved_was_not() {
        let from = [0.2, 0.0, 0.0175];
        assert_eq!(motion(&from, &[0.2, 0.004, 0.0175]), Motion::Still);
        assert_eq!(motion(&from, &[0.3, 0.1, 0.0245]), Motion::Moved);
        assert_eq!(motion(&from, &[0.2, 0.0, 0.05]), Motion::Moved);
        assert_eq!(motion(&from, &[0.2, 0.0, -0.1]), Motion::Moved);
        assert_eq!(motion(&from, &[0.2, 0.0, 0.06]), Motion::Lifted);
        // Goals of another kind than places in space have no height.
        assert_eq!(motion(&[0.0, 0.0], &[0.0, 9.0]), Motion::Moved);
    }
}
