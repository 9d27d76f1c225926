//! Fits the paired simulator to one very arm, from what it did.
//!
//! The goals that were sent are sent once more, to simulated arms, and those are kept that move as the real one did
//! (the cross-entropy method). First the arm alone: every joint's gain, free play and friction, which show in that
//! joint alone, and the sum of both latencies. Then the object around its first contacts: mass, both frictions, and
//! the command's share of the latency, which no joint shows. What the episodes do not tell stays as it was.

mod arm;
mod object;
mod recording;
mod replay;
mod search;
#[cfg(test)]
pub(super) mod tests;

use crate::episode::Episode;
use crate::episode::import::SOURCE_KEY;
use arm::ArmFit;
use object::ObjectFit;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use recording::Recording;
use replay::{LINE_S, Misfit, replay};
use serde::Serialize;
use sim::params::Latency;
use sim::world::SimError;
use sim::{ArmModel, Ranges, SimParams};

/// Samples in a row that count as one when certainty is judged: their errors are alike.
const ALIKE_SAMPLES: f64 = 10.0;
/// A number is identified if a quarter of its range away the loss is larger by this much: two standard deviations.
const IDENTIFIED_LOSS: f64 = 2.0;

/// How much is simulated. The default takes about half a minute of one core, for episodes of four seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FitBudget {
    /// Candidates in a generation. Default 24.
    pub population: usize,
    /// Generations for the arm, and as many for the object. Default 7.
    pub generations: usize,
    /// Episodes for the arm: those in which it moved most. Default 4.
    pub arm_episodes: usize,
    /// Episodes for the object: those in which it moved most. Default 10.
    pub object_episodes: usize,
    /// Samples of the final distribution. Default 16.
    pub elites: usize,
}

impl Default for FitBudget {
    fn default() -> Self {
        Self { population: 24, generations: 7, arm_episodes: 4, object_episodes: 10, elites: 16 }
    }
}

/// A fitted simulator.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The likeliest parameters.
    pub best: SimParams,
    /// Samples of what else may be: around `best` where the episodes tell, all over the ranges where they do not.
    pub elites: Vec<SimParams>,
    /// What was searched for, and found.
    pub parameters: Vec<Parameter>,
    /// How far the nominal simulator is from the episodes that were used.
    pub before: ReplayError,
    /// How far the fitted one is.
    pub after: ReplayError,
    /// Episodes that could be replayed.
    pub episodes: usize,
}

/// A parameter that was searched for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameter {
    /// Its path, such as `shoulder_pan.p_gain`; the unit is in the name.
    pub name: String,
    /// In the nominal simulator.
    pub nominal: f64,
    /// In the fitted one.
    pub fitted: f64,
    /// Whether the episodes tell; if not, `fitted` is what follows from the others or the nominal value.
    pub identified: bool,
}

/// How far replays are from what was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReplayError {
    /// Root mean square over the moving joints and all ticks, rad.
    pub joints_rad: f64,
    /// Root mean square over the object's samples until 1.2 s after the first contact, m; `None` without contact.
    pub object_m: Option<f64>,
}

/// How far a fit has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitProgress {
    /// Generations done.
    pub done: usize,
    /// All generations.
    pub total: usize,
    /// Mean loss of the best candidate so far, in squared standard errors.
    pub loss: f64,
}

/// Why nothing can be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// No episode can be replayed.
    #[error(
        "none of the {found} episodes can be replayed: expected at least one that was recorded here (an imported one \
         lacks the goals between its frames), begins at rest and lasts 0.4 s, of an arm with {joints} joints; record more"
    )]
    NoRecording {
        /// Episodes given.
        found: usize,
        /// Joints of the arm.
        joints: usize,
    },
    /// The arm stood still.
    #[error("the arm hardly moves in these episodes; record some with a policy that acts, or with --policy random")]
    Still,
    /// The simulator refused.
    #[error(transparent)]
    Sim(#[from] SimError),
}

/// What the stages of a fit share.
struct Context<'a> {
    model: &'a ArmModel,
    nominal: &'a SimParams,
    ranges: &'a Ranges,
    budget: FitBudget,
}

/// The episodes that a fit is made from: of any number, those that tell most, so that memory holds a few.
#[derive(Debug, Clone)]
pub struct Candidates {
    joints: usize,
    for_arm: Most,
    for_object: Most,
    /// Episodes that were added.
    found: usize,
    /// Of these, how many can be replayed.
    usable: usize,
}

impl Candidates {
    /// None yet, of an arm with `joints` joints; as many will be kept as `budget` says.
    #[must_use]
    pub fn new(joints: usize, budget: FitBudget) -> Self {
        let most = |count: usize| Most { count: count.max(1), kept: Vec::new() };
        let (for_arm, for_object) = (most(budget.arm_episodes), most(budget.object_episodes));
        Self { joints, for_arm, for_object, found: 0, usable: 0 }
    }

    /// Looks at an episode, and keeps of it what a replay needs if it tells more than others. Of a damaged one the
    /// whole beginning counts; an imported one lacks the goals between its frames, and is passed over.
    pub fn add(&mut self, episode: &Episode) {
        self.found += 1;
        let is_imported = episode.start.metadata.contains_key(SOURCE_KEY);
        let Some(recording) = Recording::new(episode, self.joints).filter(|_| !is_imported) else { return };
        self.usable += 1;
        let travel = recording.track.as_ref().filter(|t| t.contact_s.is_some()).map_or(0.0, |t| t.travel_m);
        let moved: f64 = recording.ranges_rad()[..self.joints].iter().sum();
        if travel > 0.0 {
            self.for_object.offer(travel, || recording.clone());
        }
        self.for_arm.offer(moved, || recording.clone());
    }
}

/// The recordings of which a measure is largest, the largest first; of equal ones the first that came.
#[derive(Debug, Clone)]
struct Most {
    count: usize,
    kept: Vec<(f64, Recording)>,
}

impl Most {
    fn offer(&mut self, measure: f64, recording: impl FnOnce() -> Recording) {
        let place = self.kept.partition_point(|(kept, _)| *kept >= measure);
        if place < self.count {
            self.kept.insert(place, (measure, recording()));
            self.kept.truncate(self.count);
        }
    }

    fn recordings(&self) -> Vec<&Recording> {
        self.kept.iter().map(|(_, recording)| recording).collect()
    }
}

/// Fits the simulator to the arm that `candidates` are of. The result depends on the arguments alone, not on threads.
///
/// `ranges` say where to search; it is searched a little beyond them.
///
/// # Errors
/// See [`FitError`].
pub fn fit(
    model: &ArmModel,
    nominal: &SimParams,
    ranges: &Ranges,
    candidates: &Candidates,
    budget: FitBudget,
    seed: u64,
    mut on_progress: impl FnMut(FitProgress),
) -> Result<Fit, FitError> {
    if candidates.usable == 0 {
        return Err(FitError::NoRecording { found: candidates.found, joints: candidates.joints });
    }
    let context = Context { model, nominal, ranges, budget };
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let for_arm = candidates.for_arm.recordings();
    let for_object = candidates.for_object.recordings();
    let total = budget.generations * if for_object.is_empty() { 1 } else { 2 };
    let mut report = |done, loss| on_progress(FitProgress { done, total, loss });

    let arm = ArmFit::search(&context, &for_arm, &mut rng, &mut report)?;
    let object = ObjectFit::search(&context, &arm, &for_object, &mut rng, &mut report)?;
    let put = |arm: &ArmFit, object: &ObjectFit| object.put(arm, arm.put(&context));
    let best = put(&arm, &object);
    let elites = (0..budget.elites)
        .map(|_| {
            let arm = arm.vary(&context, &mut rng);
            put(&arm, &object.vary(&context, &mut rng))
        })
        .collect();
    let mut parameters = arm.parameters(&context);
    parameters.extend(object.parameters(&context, &best));
    let error = |params: &SimParams| error(&context, params, &for_arm, &for_object, &arm.moving);
    Ok(Fit { before: error(nominal)?, after: error(&best)?, best, elites, parameters, episodes: candidates.usable })
}

/// From a goal's sending to its being measured, with what the simulator's lines add, s.
fn shift_s(params: &SimParams) -> f64 {
    (params.command_latency.mean_us + params.feedback_latency.mean_us) * 1e-6 + 2.0 * LINE_S
}

/// From a goal's sending to the servos' acting on it, s.
fn delay_s(params: &SimParams) -> f64 {
    params.command_latency.mean_us * 1e-6 + LINE_S
}

/// A latency of another mean whose jitter is the same fraction of it.
fn scaled(latency: Latency, mean_us: f64) -> Latency {
    let fraction = if latency.mean_us > 0.0 { latency.jitter_us / latency.mean_us } else { 0.0 };
    Latency { mean_us, jitter_us: fraction * mean_us }
}

/// Widens a range by a tenth on both sides, staying above `smallest`.
fn widened([lower, upper]: [f64; 2], smallest: f64) -> search::Axis {
    let margin = 0.1 * (upper - lower);
    search::Axis { lower: (lower - margin).max(smallest), upper: upper + margin }
}

/// How far replays with `params` are from the recordings.
fn error(
    context: &Context<'_>,
    params: &SimParams,
    for_arm: &[&Recording],
    for_object: &[&Recording],
    moving: &[usize],
) -> Result<ReplayError, SimError> {
    let arm = |recording: &&Recording| {
        let trace = replay(context.model, params, recording, 0.0, recording.duration_s())?;
        let mut misfits = vec![Misfit::default(); context.model.joints.len()];
        trace.joints_misfit(recording, shift_s(params), &mut misfits);
        Ok(moving.iter().fold(Misfit::default(), |mut sum, &joint| {
            sum.merge(&misfits[joint]);
            sum
        }))
    };
    let joints = total(for_arm.par_iter().map(arm).collect())?;
    let object = object::misfit(context, params, delay_s(params), for_object)?;
    Ok(ReplayError { joints_rad: joints.rms(), object_m: (object.samples > 0).then(|| object.rms()) })
}

/// The sum, in the order of the recordings whatever the threads.
fn total(misfits: Vec<Result<Misfit, SimError>>) -> Result<Misfit, SimError> {
    misfits.into_iter().try_fold(Misfit::default(), |mut sum, misfit| {
        sum.merge(&misfit?);
        Ok(sum)
    })
}

/// Whether a loss that grows by `growth` when a number is turned tells that number.
fn is_identified(growth: f64) -> bool {
    growth / ALIKE_SAMPLES > IDENTIFIED_LOSS
}
