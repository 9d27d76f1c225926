//! Frames of a dataset that [`crate::episode::export::lerobot`] wrote, as the ticks that they show.
//!
//! A frame becomes a tick, unless it shows the same one as the frame before it. Columns named `step.…` hold the whole
//! of a frame's step, so that the transitions are the recorded ones, bit by bit; a transition's stamp is that of the
//! first frame in its step, at most a frame later than recorded. Only ticks that begin a step have an observation.

use super::dataset::{Feature, Frames};
use super::{ImportError, OBJECT, Source};
use crate::episode::{EndReason, Episode, EpisodeEnd, ObjectTrack, Tick};
use crate::task::{TaskKind, goal_distance_m};
use clap::ValueEnum as _;
use firmware_bridge::JointState;

/// What the export adds to a frame of LeRobot's.
pub(super) const FEATURES: [&str; 8] = [
    "step.index",
    "step.interventions",
    "stamp_us",
    OBSERVATION,
    "step.achieved_goal",
    "step.desired_goal",
    "step.requested_action",
    "step.applied_action",
];
const OBSERVATION: &str = "step.observation";

/// Refuses a dataset of another task.
pub(super) fn check(source: &Source<'_>) -> Result<(), ImportError> {
    let (dataset, expected) = (source.dataset, source.kind().name());
    let root = || dataset.root().to_owned();
    let other = |task: &String| TaskKind::from_str(task, false).is_ok() && task != expected;
    if let Some(found) = dataset.tasks()?.into_iter().find(other) {
        return Err(ImportError::Task { root: root(), expected, found });
    }
    let width = source.task.layout().observation;
    let found = dataset.feature(OBSERVATION).map_or(0, Feature::width);
    if found != width {
        let expected = format!("the {width} numbers of {expected}");
        return Err(ImportError::Feature { root: root(), name: OBSERVATION, expected, found: found.to_string() });
    }
    Ok(())
}

/// The episode that the frames show.
pub(super) fn episode(source: &Source<'_>, number: u64, frames: &Frames) -> Result<Episode, ImportError> {
    let mut ticks: Vec<Tick> = Vec::with_capacity(frames.len());
    let mut previous_step = -1.0;
    for frame in 0..frames.len() {
        let stamp_us = frames.number("stamp_us", frame) as u64;
        if ticks.last().is_some_and(|last| last.stamp_us == stamp_us) {
            continue;
        }
        let step = frames.number("step.index", frame);
        let begins_step = step >= 0.0 && step != previous_step;
        previous_step = step;
        let mut tick = tick(source, frames, frame, begins_step);
        (tick.index, tick.stamp_us) = (ticks.len() as u64, stamp_us);
        ticks.push(tick);
    }
    // The last tick looks, and commands nothing.
    if let Some(last) = ticks.last_mut() {
        last.sent_rad.clear();
    }
    let goal = ticks.first().map(|tick| tick.desired_goal).unwrap_or_default();
    let mut start = source.start(number, goal);
    start.control_period_us = (1e6 / source.dataset.fps()).round() as u32;
    let in_first = ticks.iter().filter(|tick| tick.begins_step).map(|tick| tick.index).take(2);
    start.ticks_per_step = in_first.reduce(|first, second| second - first).unwrap_or(1).max(1) as u32;
    start.stamp_us = ticks.first().map_or(0, |tick| tick.stamp_us);
    let mut episode = Episode { start, ticks, faults: Vec::new(), end: None };
    episode.end = end(&episode);
    Ok(episode)
}

/// A whole episode's end, as the last tick shows it.
pub(super) fn end(episode: &Episode) -> Option<EpisodeEnd> {
    let last = episode.ticks.last()?;
    Some(EpisodeEnd {
        reason: EndReason::Completed,
        stamp_us: last.stamp_us,
        success: episode.start.compute_reward(&last.achieved_goal, &last.desired_goal) >= 0.0,
        steps: episode.transitions(|_, _| 0.0).count() as u32,
        final_distance_m: goal_distance_m(&last.achieved_goal, &last.desired_goal),
        lost_ticks: 0,
    })
}

fn tick(source: &Source<'_>, frames: &Frames, frame: usize, begins_step: bool) -> Tick {
    let floats = |name: &str| frames.row(name, frame).iter().map(|&x| x as f32);
    let position_rad = joints(source, frames.row("observation.state", frame));
    let object = source.has_object.then(|| object(frames.row(OBJECT.0, frame)));
    let achieved_goal = match (begins_step, source.task.objects, object) {
        (false, None, _) => source.kinematics.forward(&position_rad).position_m.map(|x| x as f32),
        (false, Some(_), Some(object)) => object.position.map(|x| x as f32),
        (true, ..) | (false, Some(_), None) => array(floats("step.achieved_goal")),
    };
    Tick {
        step: frames.number("step.index", frame).max(0.0) as u32,
        begins_step,
        observation: if begins_step { floats(OBSERVATION).collect() } else { Default::default() },
        achieved_goal,
        desired_goal: array(floats("step.desired_goal")),
        requested_action: array(floats("step.requested_action")),
        applied_action: array(floats("step.applied_action")),
        sent_rad: joints(source, frames.row("action", frame)),
        joints: JointState { position_rad, ..JointState::default() },
        object,
        interventions: if begins_step { frames.number("step.interventions", frame) as u32 } else { 0 },
        ..Tick::default()
    }
}

/// Angles in LeRobot's units in rad.
pub(super) fn joints(source: &Source<'_>, values: &[f64]) -> firmware_bridge::PerJoint {
    source.units.to_rad(values).map(|rad| rad as f32).collect()
}

/// An object that is known by one pose.
pub(super) fn object(pose: &[f64]) -> ObjectTrack {
    let at = |i: usize| pose.get(i).copied().unwrap_or_default();
    let (position, orientation) = ([at(0), at(1), at(2)], [at(3), at(4), at(5), at(6)]);
    ObjectTrack { raw_position: position, raw_orientation: orientation, position, orientation, ..Default::default() }
}

/// The first numbers; 0 beyond the last.
pub(super) fn array<const N: usize>(numbers: impl Iterator<Item = f32>) -> [f32; N] {
    let mut array = [0.0; N];
    array.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
    array
}
