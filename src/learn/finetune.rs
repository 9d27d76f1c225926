//! A better policy for one very arm, from its own episodes: fit the simulator to them, practise in it with the episodes
//! mixed in, and keep what is better beyond chance.
//!
//! Everybody practises on the fitted simulator, and so nobody may be judged on the seeds that were practised or chosen
//! on: validation seeds choose among the candidate's stages, and the gate's are met by both for the first time.

use super::actor::Actor;
use super::agent::Agent;
use super::evaluate::{Comparison, EvaluateError, Evaluation, evaluate};
use super::fit::{Candidates, Fit, FitBudget, FitError, FitProgress, fit};
use super::hyper::{Hyper, HyperError};
use super::recorded::{CAPACITY, RecordedEpisodes, RecordedError};
use super::trainer::{Budget, Progress, TrainError, Trainer};
use crate::env::simulated::simulated_many;
use crate::env::{EnvError, GoalEnv, Layout};
use crate::task::{EPISODE_STEPS, Task};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sim::{ArmModel, Ranges, SimParams};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// First seed of the gate's episodes; training draws its seeds from all 64 bits.
const GATE_SEED: u64 = 3 << 40;
/// First seed of the episodes that choose the candidate.
const VALIDATION_SEED: u64 = 5 << 40;
/// Environments that evaluate in parallel.
const JUDGES: usize = 8;
/// Episodes between two reports of how far a comparison has come.
const JUDGED_AT_ONCE: usize = 40;

/// How far the candidate's weights follow the actor's in each cycle: the mean of about ten cycles. An actor that goes on
/// learning wavers from one update to the next by more than it gains; the mean of its weights does not (Polyak 1992).
const SMOOTHING: f32 = 0.1;

/// How to fine-tune.
#[derive(Debug, Clone)]
pub struct FinetuneConfig {
    /// How long to practise. Default: four minutes. With a limit of time, two runs do not end alike.
    pub budget: Budget,
    /// How much to simulate for the fit.
    pub fit: FitBudget,
    /// Share of every batch that comes from the recorded episodes. Default 0.25; more makes few episodes be learned by
    /// heart.
    pub real_share: f64,
    /// Environments that collect. Default 24.
    pub envs: usize,
    /// Validations over the budget; the best of the stages becomes the candidate. Default 8.
    pub validations: u32,
    /// Episodes of a validation. Default 100.
    pub validation_episodes: u64,
    /// Episodes of the gate, for each of the two. Default 400: of 200 a gain from 92 to 96 % was not told from chance.
    pub gate_episodes: u64,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            budget: Budget { env_steps: None, wall: Some(Duration::from_secs(240)) },
            fit: FitBudget::default(),
            real_share: 0.25,
            envs: 24,
            validations: 8,
            validation_episodes: 100,
            gate_episodes: 400,
        }
    }
}

/// What is fine-tuned for: the arm as its host believes it to be, and what it shall do.
#[derive(Debug, Clone, Copy)]
pub struct Workplace<'a> {
    /// The arm.
    pub model: &'a ArmModel,
    /// What the host believes of it: the nominal simulator.
    pub twin: &'a SimParams,
    /// How far it may be from that.
    pub ranges: &'a Ranges,
    /// The task of the episodes.
    pub task: &'a Task,
}

/// How far a fine-tuning has come.
#[derive(Debug, Clone, Copy)]
pub enum FinetuneProgress {
    /// Recorded episodes are being read.
    Reading {
        /// Files read.
        done: usize,
        /// All files; where they are too many, fewer are read before the practice begins.
        total: usize,
    },
    /// The simulator is being fitted.
    Fitting(FitProgress),
    /// The policy practises.
    Practising {
        /// Where the training stands.
        progress: Progress,
        /// Success rate of the last validation; the incumbent's at first.
        validated: f64,
    },
    /// Candidate and incumbent are being compared.
    Judging {
        /// Episodes done, of both.
        done: u64,
        /// All of them.
        total: u64,
    },
}

/// What came of a fine-tuning.
#[derive(Debug, Clone)]
pub struct Finetuned {
    /// The best stage with its actor averaged over the last cycles, whether accepted or not.
    pub candidate: Agent,
    /// Whether the candidate is better than the incumbent beyond chance.
    pub accepted: bool,
    /// The incumbent at the gate, in the fitted simulator.
    pub before: Evaluation,
    /// The candidate at the gate, on the same seeds.
    pub after: Evaluation,
    /// The two compared.
    pub comparison: Comparison,
    /// The fitted simulator.
    pub fit: Fit,
    /// Where the training ended.
    pub progress: Progress,
    /// Recorded episodes that were learned from; one that was read again counts again.
    pub real_episodes: u64,
    /// Steps of these.
    pub real_steps: u64,
    /// Why files gave nothing.
    pub skipped: Vec<String>,
}

/// Why fine-tuning cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FinetuneError {
    /// The agent is for another task.
    #[error("the policy was trained on {found:?}, the task has {expected:?}; choose a policy of this task")]
    Layout {
        /// The task's.
        expected: Layout,
        /// The agent's.
        found: Layout,
    },
    /// A recorded episode cannot be learned from.
    #[error(transparent)]
    Recorded(#[from] RecordedError),
    /// The simulator cannot be fitted.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The simulator failed.
    #[error("the fitted simulator failed: {0}")]
    Env(#[from] EnvError),
    /// A hyper-parameter is out of range.
    #[error(transparent)]
    Hyper(#[from] HyperError),
    /// Learning failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// An evaluation failed.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// Fits the simulator to the episodes in `files`, practises in it, and compares with `incumbent` on fresh seeds.
///
/// # Errors
/// See [`FinetuneError`].
pub fn finetune(
    place: Workplace<'_>,
    incumbent: &Agent,
    files: &[PathBuf],
    config: &FinetuneConfig,
    seed: u64,
    mut on_progress: impl FnMut(FinetuneProgress),
) -> Result<Finetuned, FinetuneError> {
    let (expected, found) = (place.task.layout(), incumbent.layout());
    if expected != found {
        return Err(FinetuneError::Layout { expected, found });
    }
    let mut candidates = Candidates::new(place.model.joints.len(), config.fit);
    let real = RecordedEpisodes::open(files, place.task, CAPACITY, seed, |episode, done| {
        candidates.add(episode);
        on_progress(FinetuneProgress::Reading { done, total: files.len() });
    })?;
    let fitted = |progress| on_progress(FinetuneProgress::Fitting(progress));
    let fit = fit(place.model, place.twin, place.ranges, &candidates, config.fit, seed, fitted)?;
    let arms: Vec<SimParams> = fit.elites.iter().chain([&fit.best]).cloned().collect();
    let envs = |count| simulated_many(place.model, place.twin, &arms, place.task, count);
    let mut judges = envs(JUDGES)?;

    let mut agent = incumbent.clone();
    agent.set_hyper(hyper(incumbent.hyper(), config.envs))?;
    // The critic's warm-up is counted from here.
    agent.recent_updates = 0;
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let trainer = Trainer::resume(agent, envs(config.envs)?, rng.random())?;
    let mut trainer = trainer.with_real_episodes(real, config.real_share)?;
    let (candidate, progress) = practise(&mut trainer, incumbent, &mut judges, config, &mut on_progress)?;

    let mut judged = 0;
    let mut at_the_gate = |agent: &Agent| {
        let mut evaluation = Evaluation { episodes: Vec::new() };
        for first in (0..config.gate_episodes).step_by(JUDGED_AT_ONCE) {
            let count = (config.gate_episodes - first).min(JUDGED_AT_ONCE as u64);
            on_progress(FinetuneProgress::Judging { done: judged, total: 2 * config.gate_episodes });
            evaluation.episodes.extend(judge(&mut judges, agent, GATE_SEED + first, count)?.episodes);
            judged += count;
        }
        Ok::<_, EvaluateError>(evaluation)
    };
    let (before, after) = (at_the_gate(incumbent)?, at_the_gate(&candidate)?);
    let comparison = Comparison::new(&after, &before)?;
    let accepted = comparison.candidate_is_better();
    let (real_episodes, real_steps, skipped) = trainer
        .real_episodes()
        .map(|real| (real.episodes(), real.transitions(), real.skipped().to_vec()))
        .unwrap_or_default();
    Ok(Finetuned { candidate, accepted, before, after, comparison, fit, progress, real_episodes, real_steps, skipped })
}

/// Trains until the budget is spent, and gives the stage that did best in validation.
fn practise(
    trainer: &mut Trainer,
    incumbent: &Agent,
    judges: &mut [Box<dyn GoalEnv>],
    config: &FinetuneConfig,
    on_progress: &mut impl FnMut(FinetuneProgress),
) -> Result<(Agent, Progress), FinetuneError> {
    let mut validate = |agent: &Agent| judge(judges, agent, VALIDATION_SEED, config.validation_episodes);
    let mut smooth = incumbent.actor.network.parameters().to_vec();
    let mut best: Option<(f64, Agent)> = None;
    let mut validated = validate(incumbent)?.success_rate();
    let mut validations = 0;
    let mut failure = None;
    let progress = trainer.run(config.budget, |progress, trainer| {
        let agent = trainer.agent();
        for (mean, now) in smooth.iter_mut().zip(agent.actor.network.parameters()) {
            *mean += SMOOTHING * (now - *mean);
        }
        let due = spent(config.budget, progress) * f64::from(config.validations.max(1));
        if due >= f64::from(validations + 1) {
            validations = due as u32;
            let mut agent = agent.clone();
            agent.actor.network.parameters_mut().copy_from_slice(&smooth);
            match validate(&agent) {
                Ok(evaluation) => validated = evaluation.success_rate(),
                Err(error) => {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            }
            if best.as_ref().is_none_or(|(rate, _)| validated >= *rate) {
                best = Some((validated, agent));
            }
        }
        on_progress(FinetuneProgress::Practising { progress: *progress, validated });
        ControlFlow::Continue(())
    })?;
    match failure {
        Some(error) => Err(error.into()),
        None => Ok((best.map_or_else(|| trainer.agent().clone(), |(_, agent)| agent), progress)),
    }
}

/// Share of the budget that is spent.
fn spent(budget: Budget, progress: &Progress) -> f64 {
    let steps = budget.env_steps.map_or(0.0, |limit| progress.env_steps as f64 / limit.max(1) as f64);
    let wall = budget.wall.map_or(0.0, |limit| progress.elapsed.as_secs_f64() / limit.as_secs_f64().max(1e-3));
    steps.max(wall).min(1.0)
}

fn judge(
    judges: &mut [Box<dyn GoalEnv>],
    agent: &Agent,
    first_seed: u64,
    episodes: u64,
) -> Result<Evaluation, EvaluateError> {
    let seeds: Vec<u64> = (first_seed..first_seed + episodes).collect();
    evaluate(judges, || Ok(Actor::new(agent, 1)), &seeds)
}

/// What is different from training from scratch: the policy is good already. It strays less from what it does, and its
/// critic first learns the new arm; where imitation had the last word, it goes on from there.
fn hyper(trained: &Hyper, envs: usize) -> Hyper {
    Hyper {
        epsilon: trained.epsilon.min(0.1),
        sigma: trained.sigma.min(0.1),
        actor_rate: trained.actor_rate.min(3e-4),
        critic_rate: trained.critic_rate.min(1e-3),
        warmup_steps: (4 * envs * EPISODE_STEPS) as u64,
        critic_warmup_updates: 500,
        // What is wanted is within its reach.
        curriculum_share: 0.0,
        imitate_from: if trained.imitate_from < 1.0 { 0.0 } else { 1.0 },
        replay_transitions: trained.replay_transitions.min(300_000),
        ..trained.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fit::tests::{drawn, record};
    use super::*;
    use crate::episode::{Episode, Folder, Pace, Recorder};
    use crate::task::TaskKind;
    use std::path::Path;

    #[test]
    fn a_policy_that_imitated_goes_on_imitating_and_no_other_begins_to() {
        let from = |imitate_from| hyper(&Hyper { imitate_from, ..Hyper::default() }, 4).imitate_from;
        assert_eq!([from(0.4), from(1.0)], [0.0, 1.0]);
    }

    /// Files of the episodes, in a folder of their own.
    fn written(episodes: &[Episode], place: &Path) -> Vec<PathBuf> {
        let folder = Folder::create(place).unwrap();
        for episode in episodes {
            let path = folder.next_file().unwrap();
            let mut recorder = Recorder::create(&path, episode.start.clone(), Pace::Inline).unwrap();
            episode.ticks.iter().for_each(|tick| recorder.record(tick.clone()).unwrap());
            recorder.finish(episode.end.clone().unwrap()).unwrap();
        }
        folder.files().unwrap()
    }

    fn untrained(task: &Task) -> Agent {
        let hyper = Hyper { hidden: vec![16, 16], ..Hyper::default() };
        Agent::new(hyper, task.layout(), &mut Pcg64Mcg::seed_from_u64(1)).unwrap()
    }

    fn tuned(kind: TaskKind, agent: &Agent, files: &[PathBuf]) -> Result<Finetuned, FinetuneError> {
        let (model, twin, ranges) = (ArmModel::so101().unwrap(), SimParams::so101().unwrap(), Ranges::so101().unwrap());
        let task = Task::new(kind, twin.object.rest_height_m());
        let place = Workplace { model: &model, twin: &twin, ranges: &ranges, task: &task };
        let config = FinetuneConfig {
            budget: Budget { env_steps: Some(1_600), wall: None },
            fit: FitBudget { population: 4, generations: 1, arm_episodes: 1, object_episodes: 1, elites: 2 },
            envs: 4,
            validations: 2,
            validation_episodes: 4,
            gate_episodes: 8,
            ..FinetuneConfig::default()
        };
        finetune(place, agent, files, &config, 5, |_| {})
    }

    #[test]
    fn the_same_seed_gives_the_same_candidate_and_only_a_better_one_is_accepted() {
        let place = tempfile::tempdir().unwrap();
        let mut episodes = record(&drawn(3), TaskKind::Reach, 2, place.path());
        // The second was cut in its 21st step.
        episodes[1].ticks.truncate(205);
        let files = written(&episodes, &place.path().join("cut"));
        let task = Task::new(TaskKind::Reach, 0.01);
        let agent = untrained(&task);
        let first = tuned(TaskKind::Reach, &agent, &files).unwrap();
        assert_eq!(first.real_steps, 50 + 20);
        assert!(first.progress.updates > 0 && first.candidate != agent);
        assert_eq!(first.accepted, first.comparison.candidate_is_better());
        assert_eq!((first.before.episodes.len(), first.after.episodes.len()), (8, 8));
        let second = tuned(TaskKind::Reach, &agent, &files).unwrap();
        assert!(first.candidate == second.candidate);
        assert_eq!((first.fit, first.after), (second.fit, second.after));
    }

    #[test]
    fn episodes_and_policies_of_another_task_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let episodes = record(&drawn(3), TaskKind::Reach, 1, place.path());
        let files = written(&episodes, &place.path().join("good"));
        let [reach, push] = [TaskKind::Reach, TaskKind::Push].map(|kind| untrained(&Task::new(kind, 0.01)));
        let refused = tuned(TaskKind::Push, &push, &files).map(|_| ());
        assert!(matches!(refused, Err(FinetuneError::Recorded(RecordedError::Task { .. }))), "{refused:?}");
        let refused = tuned(TaskKind::Push, &reach, &files).map(|_| ());
        assert!(matches!(refused, Err(FinetuneError::Layout { .. })), "{refused:?}");
        let mut damaged = episodes;
        damaged[0].ticks[20].observation[3] = f32::NAN;
        let refused = tuned(TaskKind::Reach, &reach, &written(&damaged, &place.path().join("damaged"))).map(|_| ());
        assert!(matches!(refused, Err(FinetuneError::Recorded(RecordedError::Episode { .. }))), "{refused:?}");
    }
}
