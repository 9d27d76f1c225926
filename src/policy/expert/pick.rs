//! A scripted picker: shows that a cube can be grasped, and how well by rules alone.

use super::{Sent, View};
use crate::env::GoalObservation;
use crate::policy::{Policy, PolicyError};
use crate::task::observation::{JAW_INDEX, OBJECT_SIZE};

/// Half an edge of the cube, m.
const HALF_EDGE_M: f32 = 0.0175;
/// Room between the fixed jaw and the cube on the way down, m: a cube that stands askew is half its diagonal wide.
const ROOM_M: f32 = 0.010;
/// Height of travel, m: over the cube.
const OVER_M: f32 = 0.065;
/// Height of the grasp, m.
const GRASP_M: f32 = 0.014;
/// Height below which the jaws are beside the cube, m.
const LOW_M: f32 = 0.024;
/// Distance to the point beside the cube at which the hand goes down, m.
const THERE_M: f32 = 0.010;
/// The jaw's angle below which it has closed on the cube, rad; at 35 mm it is at 0.23, and on a diagonal at 0.45.
const GRASPED_RAD: f32 = 0.46;
/// Distance of the cube's centre from the middle between the jaws up to which it is between them, m.
const BETWEEN_M: f32 = 0.02;
/// Speed of a jaw that has come to rest on something, rad/s.
const STILL_RAD_S: f32 = 0.15;
/// The gripper's number in an action that opens it, and one that squeezes.
const OPEN: f32 = 1.0;
const SQUEEZE: f32 = -0.7;
/// Advance of the set-point while it carries, m a step.
const CARRY_STEP_M: f32 = 0.025;

/// Goes over the cube with open jaws, down beside it, closes them, and carries it to the goal; anew if it was lost.
#[derive(Debug, Clone, Default)]
pub struct PickExpert {
    sent: Sent,
}

impl Policy for PickExpert {
    fn act(&mut self, seen: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        let view = View::new(seen, OBJECT_SIZE)?;
        let jaw = Jaw { rad: seen.observation[JAW_INDEX], rad_s: seen.observation[23] };
        let sent = self.sent.of(&view);
        let (target, gripper) = target(&view, sent, jaw);
        self.sent.send(&view, target, gripper, action)
    }
}

#[derive(Debug, Clone, Copy)]
struct Jaw {
    rad: f32,
    rad_s: f32,
}

/// Where to send the fingertip, which lies in the fixed jaw, and the gripper's number.
fn target(view: &View, sent: [f32; 3], jaw: Jaw) -> ([f32; 3], f32) {
    let View { tip, object, goal } = *view;
    let radius = object[0].hypot(object[1]).max(1e-6);
    // To the right of the arm, where the moving jaw is.
    let right = [object[1] / radius, -object[0] / radius];
    let away = |beside: f32, at: [f32; 3]| {
        (object[0] - right[0] * beside - at[0]).hypot(object[1] - right[1] * beside - at[1])
    };
    let between = away(HALF_EDGE_M, tip) < BETWEEN_M && (object[2] - tip[2]).abs() < BETWEEN_M;
    if between && jaw.rad < GRASPED_RAD {
        if jaw.rad_s.abs() > STILL_RAD_S {
            return (sent, SQUEEZE);
        }
        // The goal is the cube's; the fingertip keeps its place beside it.
        let wanted: [f32; 3] = std::array::from_fn(|i| goal[i] + tip[i] - object[i]);
        let gap: [f32; 3] = std::array::from_fn(|i| wanted[i] - sent[i]);
        let length = gap.iter().map(|x| x * x).sum::<f32>().sqrt();
        let share = (CARRY_STEP_M / length.max(1e-6)).min(1.0);
        return (std::array::from_fn(|i| sent[i] + share * gap[i]), SQUEEZE);
    }
    let beside = HALF_EDGE_M + ROOM_M;
    let start = [object[0] - right[0] * beside, object[1] - right[1] * beside];
    let there = away(beside, tip) < THERE_M;
    if between || (there && tip[2] < LOW_M) {
        return ([start[0], start[1], GRASP_M], SQUEEZE);
    }
    let clear = tip[2] > OVER_M - 0.015;
    match (there, clear) {
        (true, _) => ([start[0], start[1], GRASP_M], OPEN),
        (false, true) => ([start[0], start[1], OVER_M], OPEN),
        (false, false) => ([tip[0], tip[1], OVER_M], OPEN),
    }
}
