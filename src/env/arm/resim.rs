//! Puts a recorded episode through the safety filter once more: the same build gives the same goals, bit by bit.

use super::{SETTLE_TICKS, applied_action};
use crate::control::{Planner, SetPoint};
use crate::episode::Episode;
use crate::kinematics::{JOINTS, KinematicsError};
use crate::safety::Interventions;
use crate::task::observation::JAW_INDEX;
use crate::task::{ACTION_SCALE_M, TaskKind};

/// Where a new run of the filter leaves the recorded one.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The first tick that differs.
    pub tick: u64,
    /// Joint goals after the filter as recorded, rad.
    pub recorded_rad: Vec<f32>,
    /// The same now, rad.
    pub found_rad: Vec<f32>,
    /// What the filter changed, as recorded.
    pub recorded_interventions: Interventions,
    /// The same now.
    pub found_interventions: Interventions,
}

/// Feeds the requested actions of `episode`, which is one of `task`, through `planner`, which must be that of the
/// recording, and gives the
/// first tick whose joint goals after the filter, interventions or applied action differ; `None` if none does. Whether
/// the object was stale is taken from the record: the age at which that was decided is not in it.
///
/// # Errors
/// The arm cannot reach the start pose.
pub fn resim(episode: &Episode, task: TaskKind, planner: &mut Planner) -> Result<Option<Difference>, KinematicsError> {
    let dt_s = f64::from(episode.start.control_period_us) * 1e-6;
    let start_tip_m = planner.kinematics().reach().start_tip_m;
    let mut angles = [task.jaw_start_rad(); JOINTS];
    angles[..5].copy_from_slice(&planner.kinematics().inverse_on_profile(start_tip_m)?);
    planner.reset_settled(&angles);
    // Every episode starts after the arm has come to rest at the start pose, where the filter has no past.
    for _ in 0..SETTLE_TICKS {
        planner.plan(SetPoint { position_m: start_tip_m, jaw_rad: task.jaw_start_rad() }, None, 1.0, dt_s);
    }
    let (mut from, mut target) = (start_tip_m, start_tip_m);
    let (mut goal, mut applied) = (start_tip_m, [0.0; 4]);
    let (mut jaw_rad, mut gripper) = (task.jaw_start_rad(), 0.0);
    let commanding = episode.ticks.iter().filter(|tick| !tick.sent_rad.is_empty());
    for tick in commanding {
        if tick.begins_step {
            from = target;
            let wanted = std::array::from_fn(|i| from[i] + ACTION_SCALE_M * f64::from(tick.requested_action[i]));
            (goal, _) = planner.workspace().clip(wanted);
            target = goal;
            let measured_rad = tick.observation.get(JAW_INDEX).copied().unwrap_or_default();
            (jaw_rad, gripper) = task.jaw_set_point(jaw_rad, measured_rad, tick.requested_action[3]);
            applied = applied_action(&from, &goal, gripper);
        }
        let recorded = Interventions::from_bits(tick.interventions as u16);
        let age_us = if recorded.contains(Interventions::STALE_OBJECT) { u64::MAX } else { 0 };
        let plan = *planner.plan(SetPoint { position_m: goal, jaw_rad }, Some(age_us), 1.0, dt_s);
        // The row is written after the tick, when holding has changed the action already.
        if plan.interventions.contains(Interventions::STALE_OBJECT) {
            target = plan.set_point_applied.position_m;
            applied = applied_action(&from, &target, gripper);
        }
        if tick.applied_rad != plan.applied_rad || recorded != plan.interventions || tick.applied_action != applied {
            return Ok(Some(Difference {
                tick: tick.index,
                recorded_rad: tick.applied_rad.to_vec(),
                found_rad: plan.applied_rad.to_vec(),
                recorded_interventions: recorded,
                found_interventions: plan.interventions,
            }));
        }
    }
    Ok(None)
}
