//! Collects and learns at once until a budget is spent.
//!
//! A cycle is one episode in every environment and, at the same time, updates in proportion to the steps of the cycle
//! before. The actor that collects is therefore a cycle old. Neither half sees what the other changes until both are
//! done: what is learned depends on the seed alone, not on the number of threads or on who waits for whom.

use super::agent::Agent;
use super::batch::{Batch, Source};
use super::collector::{CollectError, Collector, Exploration, Motion};
use super::curriculum::Curriculum;
use super::ddpg::UpdateReport;
use super::features;
use super::foresight::Foresight;
use super::hyper::{Hyper, HyperError};
use super::recorded::{RecordedEpisodes, RecordedError};
use super::replay::{ReplayError, Trajectory};
use super::schedule::Schedule;
use crate::env::{GoalEnv, Layout, RewardRule, Symmetry};
use memory::Memory;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// When to stop. The first limit that is reached counts; a cycle that was begun is finished.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Environment steps of this run.
    pub env_steps: Option<u64>,
    /// Time of this run. With this limit, two runs do not end alike.
    pub wall: Option<Duration>,
}

impl Budget {
    /// Share of the budget that is spent; 0 without limits.
    fn spent(&self, env_steps: u64, elapsed: Duration) -> f64 {
        let steps = self.env_steps.map_or(0.0, |limit| env_steps as f64 / limit.max(1) as f64);
        let wall = self.wall.map_or(0.0, |limit| elapsed.as_secs_f64() / limit.as_secs_f64().max(1e-9));
        steps.max(wall)
    }
}

/// Where a run stands after a cycle.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Environment steps of this run.
    pub env_steps: u64,
    /// Updates of this run.
    pub updates: u64,
    /// Episodes of this run.
    pub episodes: u64,
    /// Time since the run began.
    pub elapsed: Duration,
    /// Environment steps per second of collecting, in this cycle.
    pub steps_per_s: f64,
    /// Updates per second of learning, in this cycle; 0 without updates.
    pub updates_per_s: f64,
    /// Share of this cycle's episodes for the goals given that ended there, exploration included.
    pub success: f64,
    /// Share of this cycle's episodes in which the object moved by more than 5 mm.
    pub contact: f64,
    /// Share of this cycle's steps whose applied action was not the one asked for. The applied one is learned from.
    pub intervened: f64,
    /// Means over this cycle's updates.
    pub learning: UpdateReport,
}

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A hyper-parameter is out of range.
    #[error(transparent)]
    Hyper(#[from] HyperError),
    /// No environment was given.
    #[error("no environment to train in; give at least one, better 16 or more")]
    NoEnvironment,
    /// An environment's layout is not the agent's.
    #[error("environment {env} has {found:?}, the agent {expected:?}; use a policy of the same task")]
    Layout {
        /// Which environment, from 0.
        env: usize,
        /// The agent's.
        expected: Layout,
        /// The environment's.
        found: Layout,
    },
    /// The environment does not say what turns.
    #[error("turn_rad is above 0, but the environment is not known to be the same turned about its base; set it to 0")]
    NoSymmetry,
    /// Collecting failed.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// An episode cannot be stored.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A recorded episode cannot be learned from.
    #[error(transparent)]
    Recorded(#[from] RecordedError),
    /// The numbers of the networks have left the finite ones.
    #[error("learning diverged after {updates} updates (a critic's value is not finite); lower the learning rates")]
    Diverged {
        /// Updates so far.
        updates: u64,
    },
}

/// An agent, its environments and its memory.
pub struct Trainer {
    agent: Agent,
    collector: Collector,
    memory: Memory,
    /// Real episodes and their share of every batch.
    real: Option<(RecordedEpisodes, f64)>,
    rule: RewardRule,
    /// How rows are turned, where [`Hyper::turn_rad`] asks for it.
    symmetry: Option<Symmetry>,
    batch: Batch,
    /// Tells ends from luck, for an actor that imitates.
    foresight: Option<Foresight>,
    rng: Pcg64Mcg,
    envs: u64,
    next_seed: u64,
    /// Updates that the steps so far have earned but that have not been made.
    owed_updates: f64,
    env_steps: u64,
    updates: u64,
    episodes: u64,
    /// How long the stored training had run that this one goes on with, until its next run.
    earlier: Option<Duration>,
}

impl Trainer {
    /// Trains from scratch.
    ///
    /// # Errors
    /// A hyper-parameter is out of range, there is no environment, or the environments' layouts differ.
    pub fn new(hyper: Hyper, envs: Vec<Box<dyn GoalEnv>>, seed: u64) -> Result<Self, TrainError> {
        let layout = envs.first().ok_or(TrainError::NoEnvironment)?.layout();
        let agent = Agent::new(hyper, layout, &mut Pcg64Mcg::seed_from_u64(seed))?;
        Self::resume(agent, envs, seed)
    }

    /// Goes on with an agent. Its replay buffer starts empty; [`Hyper::warmup_steps`] are then the policy's own noisy
    /// ones where the agent has learned before, so that the buffer fills with what it does.
    ///
    /// # Errors
    /// There is no environment, or a layout is not the agent's.
    pub fn resume(agent: Agent, envs: Vec<Box<dyn GoalEnv>>, seed: u64) -> Result<Self, TrainError> {
        let expected = agent.layout();
        if envs.is_empty() {
            return Err(TrainError::NoEnvironment);
        }
        for (env, found) in envs.iter().map(|env| env.layout()).enumerate() {
            if found != expected {
                return Err(TrainError::Layout { env, expected, found });
            }
        }
        let symmetry = envs[0].symmetry().filter(|_| agent.hyper().turn_rad > 0.0);
        if symmetry.is_none() && agent.hyper().turn_rad > 0.0 {
            return Err(TrainError::NoSymmetry);
        }
        let mut rng = Pcg64Mcg::seed_from_u64(seed ^ 0x6869_6e64_7369_6768);
        Ok(Self {
            memory: Memory::new(expected, agent.hyper().replay_transitions),
            real: None,
            rule: envs[0].reward_rule(),
            symmetry,
            batch: batch(&agent),
            foresight: (agent.hyper().imitate_from < 1.0).then(|| Foresight::new(expected.goal)),
            envs: envs.len() as u64,
            next_seed: rng.random(),
            collector: Collector::new(&agent, envs, rng.random()),
            agent,
            rng,
            owed_updates: 0.0,
            env_steps: 0,
            updates: 0,
            episodes: 0,
            earlier: None,
        })
    }

    /// Draws `share` (0 to 1) of every batch from recorded episodes. The normaliser keeps its statistics.
    ///
    /// # Errors
    /// The episodes' layout is not the agent's.
    pub fn with_real_episodes(mut self, episodes: RecordedEpisodes, share: f64) -> Result<Self, TrainError> {
        let (expected, found) = (self.agent.layout(), episodes.layout());
        if expected != found {
            return Err(ReplayError::Layout { expected, found }.into());
        }
        self.real = Some((episodes, share.clamp(0.0, 1.0)));
        Ok(self)
    }

    /// The recorded episodes that are learned from, if there are some.
    pub fn real_episodes(&self) -> Option<&RecordedEpisodes> {
        self.real.as_ref().map(|(episodes, _)| episodes)
    }

    /// The agent as it is now.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Ends the training.
    pub fn into_agent(self) -> Agent {
        self.agent
    }

    /// Runs cycles until the budget is spent or `on_cycle` breaks, and returns where it ended. Can be called again.
    /// After [`Trainer::restore`], the stored training's steps and time count as this run's.
    ///
    /// # Errors
    /// An environment failed, gave what cannot be learned from, or learning diverged.
    pub fn run(
        &mut self,
        budget: Budget,
        mut on_cycle: impl FnMut(&Progress, &Self) -> ControlFlow<()>,
    ) -> Result<Progress, TrainError> {
        let begun = Instant::now();
        let (earlier, [first_step, first_update, first_episode]) = match self.earlier.take() {
            Some(earlier) => (earlier, [0; 3]),
            None => (Duration::ZERO, [self.env_steps, self.updates, self.episodes]),
        };
        loop {
            let spent = budget.spent(self.env_steps - first_step, earlier + begun.elapsed());
            self.agent.schedule = Schedule::at(spent, &self.agent.hyper);
            let mut progress = self.cycle()?;
            progress.env_steps = self.env_steps - first_step;
            progress.updates = self.updates - first_update;
            progress.episodes = self.episodes - first_episode;
            progress.elapsed = earlier + begun.elapsed();
            let spent = budget.spent(progress.env_steps, progress.elapsed) >= 1.0;
            if on_cycle(&progress, self).is_break() || spent {
                return Ok(progress);
            }
        }
    }

    /// One episode in every environment, and meanwhile the updates that earlier ones have earned. Both need nothing of
    /// one another, so that whichever ends first leaves its thread to the other.
    fn cycle(&mut self) -> Result<Progress, TrainError> {
        let how = self.exploration();
        let first_seed = self.next_seed;
        let due = self.owed_updates as u64;
        self.owed_updates -= due as f64;
        if let Some((episodes, _)) = self.real.as_mut().filter(|_| due > 0) {
            episodes.refresh()?;
        }
        self.collector.follow(&self.agent);
        let Self { agent, collector, memory, real, rule, symmetry, batch, rng, .. } = self;
        let sources = memory.sources(&agent.hyper, real.as_ref());
        let [moved, _, lifted] = memory.buffers();
        let (share, candidates) = (agent.hyper.curriculum_share, agent.hyper.curriculum_candidates);
        let curriculum = Curriculum { share, candidates, achieved: [moved, lifted] };
        let ((collected, collect_s), (learning, learn_s)) = rayon::join(
            || timed(|| collector.collect(how, curriculum, first_seed)),
            || timed(|| learn(agent, due, batch, &sources, (*rule, *symmetry), rng)),
        );
        let mut progress = Progress { learning: learning?, ..Progress::default() };
        collected?;
        self.next_seed = first_seed.wrapping_add(self.envs);
        self.updates += due;
        let steps = self.store(&mut progress)?;
        progress.steps_per_s = steps as f64 / collect_s;
        progress.updates_per_s = due as f64 / learn_s;
        if self.env_steps > self.agent.hyper.warmup_steps {
            self.owed_updates += steps as f64 / self.agent.hyper.steps_per_update;
        }
        Ok(progress)
    }

    fn exploration(&self) -> Exploration {
        let hyper = &self.agent.hyper;
        let untaught = self.agent.updates == 0 && self.env_steps < hyper.warmup_steps;
        match untaught {
            true => Exploration::Random,
            false => {
                let share = self.agent.schedule.exploration;
                Exploration::Noisy { epsilon: share * hyper.epsilon, sigma: share * hyper.sigma }
            }
        }
    }

    /// The collected episodes, into the buffers and into the normaliser; returns their steps.
    fn store(&mut self, progress: &mut Progress) -> Result<usize, TrainError> {
        let (mut steps, mut tried, mut merited) = (0, 0.0, Vec::new());
        if let Some(foresight) = &mut self.foresight {
            // An object that was not touched lies where it lay.
            for (episode, _) in self.collector.episodes().filter(|(_, report)| report.motion > Motion::Still) {
                let [first, goal, end] = course(episode);
                foresight.observe(first, goal, end);
            }
            foresight.refresh();
        }
        for (episode, report) in self.collector.episodes() {
            let buffer = self.memory.of(report.motion, &self.agent.hyper);
            match &self.foresight {
                Some(foresight) if report.motion > Motion::Still => {
                    let [first, goal, end] = course(episode);
                    foresight.without_luck(first, goal, end, &mut merited);
                    buffer.push_with_end(episode, &merited)?;
                }
                _ => buffer.push(episode)?,
            }
            observe(&mut self.agent, episode, &mut self.rng);
            steps += episode.steps();
            tried += f64::from(u8::from(report.success.is_some()));
            progress.success += f64::from(u8::from(report.success == Some(true)));
            progress.contact += f64::from(u8::from(report.motion > Motion::Still));
            progress.intervened += report.changed as f64;
        }
        self.agent.normalizer.refresh();
        progress.success /= f64::max(tried, 1.0);
        progress.contact /= self.envs as f64;
        progress.intervened /= steps as f64;
        self.env_steps += steps as u64;
        self.agent.env_steps += steps as u64;
        self.episodes += self.envs;
        Ok(steps)
    }
}

/// What the agent learns from.
fn batch(agent: &Agent) -> Batch {
    let &Hyper { batch, n_step, gamma, .. } = agent.hyper();
    let batch = Batch::new(agent.layout(), batch).with_n_step(n_step, gamma);
    if agent.hyper().imitate_from < 1.0 { batch.with_reached() } else { batch }
}

/// Makes the updates that are `due` and returns their means.
fn learn(
    agent: &mut Agent,
    due: u64,
    batch: &mut Batch,
    sources: &[Source<'_>],
    (rule, symmetry): (RewardRule, Option<Symmetry>),
    rng: &mut Pcg64Mcg,
) -> Result<UpdateReport, TrainError> {
    let relabel = agent.hyper.relabel;
    let mut sum = UpdateReport::default();
    for _ in 0..due {
        if !batch.fill(sources, relabel, |achieved, desired| rule.compute(achieved, desired), rng) {
            break;
        }
        if let Some(symmetry) = symmetry {
            batch.turn(symmetry, agent.hyper.turn_rad, rng);
        }
        let report = agent.update(batch);
        if !report.critic_loss.is_finite() {
            return Err(TrainError::Diverged { updates: agent.updates });
        }
        sum.q_mean += report.q_mean / due as f32;
        sum.critic_loss += report.critic_loss / due as f32;
        sum.saturation += report.saturation / due as f32;
    }
    Ok(sum)
}

/// What was achieved first, what was wanted, and what was achieved at last.
fn course(episode: &Trajectory) -> [&[f32]; 3] {
    let (first, last) = (episode.frame(0), episode.frame(episode.steps()));
    [first.achieved, first.desired, last.achieved]
}

/// What `work` gives, and how long it took, s.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed().as_secs_f64())
}

/// Counts an episode into the normaliser, a step at a time, with goals substituted as often as they are in batches:
/// the statistics must be those of what the networks will see.
fn observe(agent: &mut Agent, episode: &Trajectory, rng: &mut impl Rng) {
    let relabel = agent.hyper.relabel;
    let mut row = vec![0.0; features::width(agent.layout)];
    for step in 0..episode.steps() {
        let frame = episode.frame(step);
        let substituted = rng.random_bool(relabel.probability());
        let index = substituted.then(|| relabel.strategy.goal_index(step, episode.steps(), rng)).flatten();
        let goal = index.map_or(frame.desired, |index| episode.frame(index).achieved);
        features::assemble(frame.observation, frame.achieved, goal, &mut row);
        agent.normalizer.observe(&row);
    }
}

mod memory;
mod snapshot;
#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod throw;

pub use snapshot::{Memo, SnapshotError};
