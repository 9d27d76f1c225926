//! A scripted pusher: shows that a push task can be done, and how well by rules alone.

use super::{Policy, PolicyError, check_length};
use crate::env::GoalObservation;

/// Displacement of the fingertip for an action of 1, m a step.
const ACTION_UNIT_M: f32 = 0.03;
/// Distance behind the object's centre at which the fingertip goes down, m: the puck's radius, half a post of fingers
/// and room.
const BEHIND_M: f32 = 0.055;
/// Height of travel above the object, m.
const OVER_M: f32 = 0.07;
/// Height of pushing, m: within the puck's 2 cm.
const PUSH_M: f32 = 0.015;
/// How far beside the line of the push the fingertip may be to push on, m.
const BESIDE_M: f32 = 0.012;
/// Distance to the goal at which pushing ends, m.
const DONE_M: f32 = 0.008;

/// Goes behind the object as seen from the goal, down, and pushes it along the line, anew whenever it has slid aside.
///
/// Reads the Fetch layout: fingertip 0..3, object 3..6; needs no more. Actions are displacements of 3 cm at 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushExpert;

impl Policy for PushExpert {
    fn act(&mut self, seen: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        let [tip_x, tip_y, tip_z, object_x, object_y, _, ..] = seen.observation[..] else {
            return Err(PolicyError::Length { what: "observation", expected: 25, found: seen.observation.len() });
        };
        check_length("desired_goal", &seen.desired_goal, 3)?;
        check_length("action", action, 4)?;
        let (to_goal_x, to_goal_y) = (seen.desired_goal[0] - object_x, seen.desired_goal[1] - object_y);
        let distance = to_goal_x.hypot(to_goal_y);
        action.fill(0.0);
        if distance < DONE_M {
            return Ok(());
        }
        let (along_x, along_y) = (to_goal_x / distance, to_goal_y / distance);
        // The fingertip in the frame of the push: behind the object, and to the left of the line.
        let (dx, dy) = (tip_x - object_x, tip_y - object_y);
        let (ahead, left) = (dx * along_x + dy * along_y, dy * along_x - dx * along_y);
        let behind = (object_x - along_x * BEHIND_M, object_y - along_y * BEHIND_M);
        let low = tip_z < PUSH_M + 0.012;
        let in_line = left.abs() < BESIDE_M && ahead < -BEHIND_M * 0.4;
        let (x, y, z) = if low && in_line {
            // Push, steering back to the line, and not past the goal.
            let step = (distance + BEHIND_M * 0.1).min(ACTION_UNIT_M * 0.7);
            (tip_x + along_x * step + along_y * left, tip_y + along_y * step - along_x * left, PUSH_M)
        } else {
            let off = (tip_x - behind.0).hypot(tip_y - behind.1);
            if off < 0.01 {
                (behind.0, behind.1, PUSH_M)
            } else if tip_z < OVER_M - 0.015 && dx.hypot(dy) < BEHIND_M + 0.02 {
                (tip_x, tip_y, OVER_M)
            } else {
                (behind.0, behind.1, OVER_M.min(tip_z.max(OVER_M - 0.01)))
            }
        };
        for (number, (to, from)) in action.iter_mut().zip([(x, tip_x), (y, tip_y), (z, tip_z)]) {
            *number = ((to - from) / ACTION_UNIT_M).clamp(-1.0, 1.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world in which the fingertip goes where it is told and the puck moves out of its way.
    fn pushed(mut tip: [f32; 3], mut puck: [f32; 2], goal: [f32; 3]) -> f32 {
        let mut seen =
            GoalObservation { observation: vec![0.0; 25], achieved_goal: vec![0.0; 3], desired_goal: goal.to_vec() };
        let mut action = [0.0; 4];
        for _ in 0..50 {
            seen.observation[..3].copy_from_slice(&tip);
            seen.observation[3..6].copy_from_slice(&[puck[0], puck[1], 0.01]);
            PushExpert.act(&seen, &mut action).unwrap();
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
        assert!(matches!(PushExpert.act(&seen, &mut [0.0; 4]), Err(PolicyError::Length { .. })));
    }
}
