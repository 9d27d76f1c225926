//! An episode at a constant rate, as LeRobot's datasets want it.
//!
//! Frame i shows what was known at i / rate after the first tick: the newest tick at that time, with its measured stamp
//! in `stamp_us`, so that a loop that ran slow can still be seen. The last frame shows the last tick. Joints are
//! LeRobot's for this arm: degrees from the middle of a joint's range, for the gripper 0 (closed) to 100.
//!
//! Columns whose names begin with `step.` belong to the policy step that the frame lies in, not to the tick, so that
//! the transitions are in the dataset bit by bit at any rate that leaves a frame to each step.

use super::ExportError;
use super::table::{Column, Values};
use crate::episode::joint_units::JointUnits;
use crate::episode::{Episode, Tick};
use crate::kinematics::Kinematics;
use sim::ArmModel;
use std::path::Path;

/// A column with the names of the numbers in it.
pub(super) struct Feature {
    pub(super) column: Column,
    pub(super) names: Vec<String>,
}

/// The ticks of a policy step, or those before the first one.
struct Step<'a> {
    ticks: &'a [Tick],
    /// −1 before the first step.
    number: i64,
}

/// Which tick each frame shows: the newest at the frame's time.
fn sampled(ticks: &[Tick], rate_hz: u32) -> Vec<usize> {
    let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else { return Vec::new() };
    let span_us = last.stamp_us.saturating_sub(first.stamp_us);
    let count = (span_us * u64::from(rate_hz)).div_ceil(1_000_000);
    let mut tick = 0;
    (0..=count)
        .map(|frame| {
            let due_us = first.stamp_us + frame * 1_000_000 / u64::from(rate_hz);
            while ticks.get(tick + 1).is_some_and(|next| next.stamp_us <= due_us) {
                tick += 1;
            }
            tick
        })
        .collect()
}

/// The features of an episode, each as long as the episode has frames; none if it has no tick.
pub(super) fn features(
    file: &Path,
    episode: &Episode,
    model: &ArmModel,
    kinematics: &Kinematics,
    rate_hz: u32,
) -> Result<Vec<Feature>, ExportError> {
    let ticks = &episode.ticks;
    let joints = model.joints.len();
    // The last tick only looks: with a real arm it may come before the first reading, never in between.
    if episode.start.arm != model.name || ticks.iter().any(|tick| tick.joints.position_rad.len() != joints) {
        let (expected, found) = (model.name.clone(), episode.start.arm.clone());
        return Err(ExportError::Arm { path: file.to_owned(), expected, found });
    }
    let sampled = sampled(ticks, rate_hz);
    let steps: Vec<Step<'_>> = ticks
        .chunk_by(|_, next| !next.begins_step)
        .map(|ticks| Step { ticks, number: if ticks[0].begins_step { i64::from(ticks[0].step) } else { -1 } })
        .collect();
    // Which step each tick is in, and what was sent last.
    let step_of: Vec<usize> =
        steps.iter().enumerate().flat_map(|(k, step)| step.ticks.iter().map(move |_| k)).collect();
    let mut shown: Vec<usize> = sampled.iter().map(|&tick| step_of[tick]).collect();
    shown.dedup();
    if shown.len() != steps.len() {
        return Err(ExportError::TooSlow { path: file.to_owned(), rate_hz });
    }
    let mut goal: &[f32] = &ticks[0].joints.position_rad;
    let goals: Vec<&[f32]> = ticks
        .iter()
        .map(|tick| {
            if tick.sent_rad.len() == joints {
                goal = &tick.sent_rad;
            }
            goal
        })
        .collect();

    let units = JointUnits::of(model);
    let mut features = Vec::new();
    let mut floats = |name: &str, names: Vec<String>, of: &dyn Fn(usize) -> Vec<f32>| {
        let values = sampled.iter().flat_map(|&tick| of(tick)).collect();
        features.push(Feature { column: Column::lists(name, names.len(), Values::F32(values)), names });
    };
    let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let joint_names: Vec<String> = model.joints.iter().map(|joint| format!("{}.pos", joint.name)).collect();
    let position = ["x_m", "y_m", "z_m"];
    floats("observation.state", joint_names.clone(), &|tick| units.of_rad(&ticks[tick].joints.position_rad).collect());
    floats("action", joint_names, &|tick| units.of_rad(goals[tick]).collect());
    floats("observation.fingertip", named(&position), &|tick| {
        kinematics.forward(&ticks[tick].joints.position_rad).position_m.map(|x| x as f32).to_vec()
    });
    floats("observation.goal", named(&position), &|tick| ticks[tick].desired_goal.to_vec());
    // Where an object has not been seen yet there is no number to give, so the feature is where one always was.
    if ticks.iter().all(|tick| tick.object.is_some()) {
        floats("observation.environment_state", named(&["x_m", "y_m", "z_m", "qx", "qy", "qz", "qw"]), &|tick| {
            let pose = |object: crate::episode::ObjectTrack| {
                object.position.iter().chain(&object.orientation).map(|&x| x as f32).collect()
            };
            ticks[tick].object.map(pose).unwrap_or_default()
        });
    }
    let in_step = |tick: usize| steps[step_of[tick]].ticks;
    let width = ticks[0].observation.len();
    let numbered: Vec<String> = (0..width).map(|k| format!("observation_{k}")).collect();
    if width > 0 {
        floats("step.observation", numbered, &|tick| in_step(tick)[0].observation.to_vec());
    }
    floats("step.achieved_goal", named(&position), &|tick| in_step(tick)[0].achieved_goal.to_vec());
    floats("step.desired_goal", named(&position), &|tick| in_step(tick)[0].desired_goal.to_vec());
    let action = ["dx", "dy", "dz", "gripper"];
    floats("step.requested_action", named(&action), &|tick| in_step(tick)[0].requested_action.to_vec());
    floats("step.applied_action", named(&action), &|tick| {
        in_step(tick).last().map(|last| last.applied_action.to_vec()).unwrap_or_default()
    });

    let mut whole = |name: &str, of: &dyn Fn(usize) -> i64| {
        let values = sampled.iter().map(|&tick| of(tick)).collect();
        features.push(Feature { column: Column::new(name, Values::I64(values)), names: named(&[name]) });
    };
    whole("step.index", &|tick| steps[step_of[tick]].number);
    whole("step.interventions", &|tick| in_step(tick).iter().fold(0, |all, tick| all | i64::from(tick.interventions)));
    whole("stamp_us", &|tick| ticks[tick].stamp_us as i64);
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::tests::sample;

    fn of(episode: &Episode, rate_hz: u32) -> Result<Vec<Feature>, ExportError> {
        let model = ArmModel::so101().unwrap();
        let kinematics = Kinematics::new(&model).unwrap();
        features(Path::new("test"), episode, &model, &kinematics, rate_hz)
    }

    fn stamps(features: &[Feature]) -> Vec<i64> {
        let stamp = features.iter().find(|feature| feature.column.name == "stamp_us").unwrap();
        let Values::I64(stamps) = &stamp.column.values else { panic!() };
        stamps.clone()
    }

    #[test]
    fn a_frame_shows_the_newest_tick_and_keeps_its_measured_stamp() {
        let mut episode = sample(2, 10);
        // The loop ran late: tick 3 was due at 24 ms and came at 30 ms.
        episode.ticks[3].stamp_us += 6_000;
        let stamps = stamps(&of(&episode, 125).unwrap());
        assert_eq!(stamps.len(), 21);
        assert_eq!(stamps[3], 5_016_000, "at 24 ms the tick of 16 ms was the newest");
        assert_eq!((stamps[2], stamps[4], stamps[20]), (5_016_000, 5_032_000, 5_160_000));
        episode.ticks[20].stamp_us += 1_000;
        assert_eq!(*super::tests::stamps(&of(&episode, 25).unwrap()).last().unwrap(), 5_161_000, "the end is shown");
    }

    #[test]
    fn a_rate_that_would_lose_a_step_is_refused() {
        assert!(of(&sample(4, 10), 13).is_ok());
        assert!(matches!(of(&sample(4, 10), 6), Err(ExportError::TooSlow { rate_hz: 6, .. })));
    }

    #[test]
    fn an_episode_of_another_arm_is_refused() {
        let mut episode = sample(2, 10);
        episode.start.arm = "ur5".into();
        assert!(matches!(of(&episode, 25), Err(ExportError::Arm { .. })));
    }
}
