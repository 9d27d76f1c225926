//! A scripted pusher: shows that a push task can be done, and how well by rules alone.

use super::{CLOSED, Sent, View};
use crate::env::GoalObservation;
use crate::policy::{Policy, PolicyError};
use crate::task::observation::OBJECT_SIZE;

/// Distance behind the object's centre at which the fingertip goes down, m: the puck's radius, half a post of fingers
/// and room.
const BEHIND_M: f32 = 0.055;
/// Distance of the fingertip from the object's centre at which they touch, m.
const TOUCH_M: f32 = 0.042;
/// Height of travel, m: over the object.
const OVER_M: f32 = 0.06;
/// Height of pushing, m: within the puck's 2 cm.
const PUSH_M: f32 = 0.015;
/// Height below which the fingertip pushes rather than passes over, m.
const LOW_M: f32 = 0.03;
/// How far beside the line of the push the fingertip may be to push on, m.
const BESIDE_M: f32 = 0.018;
/// Distance to the point behind the object at which the fingertip goes down, m.
const THERE_M: f32 = 0.015;
/// Advance of a push, m a step.
const PUSH_STEP_M: f32 = 0.018;
/// Distance to the goal at which pushing ends, m.
const DONE_M: f32 = 0.008;

/// Goes behind the object as seen from the goal, down, and pushes it along the line, anew whenever it has slid aside.
#[derive(Debug, Clone, Default)]
pub struct PushExpert {
    sent: Sent,
}

impl Policy for PushExpert {
    fn act(&mut self, seen: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        let scene = View::new(seen, OBJECT_SIZE)?;
        let sent = self.sent.of(&scene);
        let target = target(scene.tip, sent, [scene.object[0], scene.object[1]], [scene.goal[0], scene.goal[1]]);
        self.sent.send(&scene, target, CLOSED, action)
    }
}

/// Where to send the fingertip, given where it is and where it has been sent.
fn target(tip: [f32; 3], sent: [f32; 3], object: [f32; 2], goal: [f32; 2]) -> [f32; 3] {
    let to_goal = [goal[0] - object[0], goal[1] - object[1]];
    let distance = to_goal[0].hypot(to_goal[1]);
    if distance < DONE_M {
        return sent;
    }
    let along = [to_goal[0] / distance, to_goal[1] / distance];
    // In the frame of the push: how far behind the object, and how far to the left of the line.
    let behind = |at: [f32; 3]| (object[0] - at[0]) * along[0] + (object[1] - at[1]) * along[1];
    let left = |at: [f32; 3]| (at[1] - object[1]) * along[0] - (at[0] - object[0]) * along[1];
    if tip[2] < LOW_M && left(tip).abs() < BESIDE_M && behind(tip) > TOUCH_M * 0.5 {
        // Along the line, and no further than where the object lies at the goal.
        let back = (behind(sent) - PUSH_STEP_M).max(TOUCH_M - distance);
        return [object[0] - along[0] * back, object[1] - along[1] * back, PUSH_M];
    }
    let start = [object[0] - along[0] * BEHIND_M, object[1] - along[1] * BEHIND_M];
    let there = (tip[0] - start[0]).hypot(tip[1] - start[1]) < THERE_M;
    let clear = tip[2] > OVER_M - 0.015 || (tip[0] - object[0]).hypot(tip[1] - object[1]) > BEHIND_M + 0.03;
    match (there, clear) {
        (true, _) => [start[0], start[1], PUSH_M],
        (false, true) => [start[0], start[1], OVER_M],
        (false, false) => [tip[0], tip[1], OVER_M],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::expert::ACTION_UNIT_M;

    /// A world in which the fingertip goes where it is told and the puck moves out of its way.
    fn pushed(mut tip: [f32; 3], mut puck: [f32; 2], goal: [f32; 3]) -> f32 {
        let mut seen =
            GoalObservation { observation: vec![0.0; 25], achieved_goal: vec![0.0; 3], desired_goal: goal.to_vec() };
        let (mut expert, mut action) = (PushExpert::default(), [0.0; 4]);
        for _ in 0..50 {
            seen.observation[..3].copy_from_slice(&tip);
            seen.observation[3..6].copy_from_slice(&[puck[0], puck[1], 0.01]);
            expert.act(&seen, &mut action).unwrap();
            for _ in 0..10 {
                for axis in 0..3 {
                    tip[axis] += action[axis] * ACTION_UNIT_M / 10.0;
                }
                let (dx, dy) = (puck[0] - tip[0], puck[1] - tip[1]);
                let apart = dx.hypot(dy).max(1e-6);
                if tip[2] < 0.025 && apart < 0.04 {
                    puck = [tip[0] + dx / apart * 0.04, tip[1] + dy / apart * 0.04];
                }
            }
        }
        (puck[0] - goal[0]).hypot(puck[1] - goal[1])
    }

    #[test]
    fn the_expert_pushes_an_ideal_puck_to_its_goal_from_anywhere() {
        for (puck, goal) in [
            ([0.24, 0.0], [0.30, 0.05, 0.01]),
            ([0.30, 0.08], [0.18, -0.06, 0.01]),
            ([0.20, -0.08], [0.20, 0.09, 0.01]),
            ([0.18, 0.0], [0.31, 0.0, 0.01]),
        ] {
            let missed = pushed([0.22, 0.0, 0.08], puck, goal);
            assert!(missed < 0.02, "{puck:?} to {goal:?}: missed by {missed}");
        }
    }

    #[test]
    fn an_observation_that_is_too_short_is_refused() {
        let seen = GoalObservation::default();
        assert!(matches!(PushExpert::default().act(&seen, &mut [0.0; 4]), Err(PolicyError::Length { .. })));
    }
}
