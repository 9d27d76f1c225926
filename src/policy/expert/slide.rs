//! A scripted striker for a puck that glides on beyond the arm's reach.

use super::{CLOSED, Sent, View};
use crate::env::GoalObservation;
use crate::policy::{Policy, PolicyError};
use crate::task::observation::SLIDE_SIZE;

/// Distance behind the puck's centre at which the fingertip goes down, m.
const BEHIND_M: f32 = 0.055;
/// Distance of the fingertip from the puck's centre at which they touch, m.
const TOUCH_M: f32 = 0.042;
/// Height of travel, m: over the puck.
const OVER_M: f32 = 0.06;
/// Height of the strike, m: within the puck's 2 cm.
const STRIKE_M: f32 = 0.015;
/// Height below which the fingertip strikes rather than passes over, m.
const LOW_M: f32 = 0.025;
/// Distance to the point behind the puck at which the fingertip goes down and waits to be still, m.
const THERE_M: f32 = 0.015;
/// Distance from the pan axis at which the strike ends, m.
const END_RADIUS_M: f32 = 0.38;

/// Friction between puck and table that the strike reckons with: the nominal one.
const FRICTION: f32 = 0.04;
/// Standard gravity, m/s².
const GRAVITY_M_S2: f32 = 9.80665;
/// Time of a policy step, s.
const STEP_S: f32 = 0.08;
/// Speed that the set-point needs for the puck to leave at a speed of 1: the servos lag, and best of 0.9, 1.0, 1.1,
/// 1.15 and 1.2 on the nominal arm.
const GAIN: f32 = 1.1;

/// Goes behind the puck as seen from the goal, down, and strikes along the line, so fast that the puck comes to rest
/// on the goal, `v² / (2 µ g)` from where the fingers leave it. One strike: what has left the reach cannot be corrected.
#[derive(Debug, Clone, Default)]
pub struct SlideExpert {
    sent: Sent,
    /// Goal of the strike that is under way, its start and end, and the steps that it has taken.
    strike: Option<Strike>,
}

/// A straight stroke of the fingertip at constant speed.
#[derive(Debug, Clone, Copy)]
struct Strike {
    goal: [f32; 3],
    start: [f32; 2],
    along: [f32; 2],
    length_m: f32,
    step_m: f32,
    done_m: f32,
}

impl Policy for SlideExpert {
    fn act(&mut self, seen: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        let view = View::new(seen, SLIDE_SIZE)?;
        let sent = self.sent.of(&view);
        self.strike = self.strike.filter(|strike| strike.goal == view.goal);
        let target = self.target(&view, sent);
        self.sent.send(&view, target, CLOSED, action)
    }
}

impl SlideExpert {
    fn target(&mut self, view: &View, sent: [f32; 3]) -> [f32; 3] {
        if let Some(strike) = &mut self.strike {
            strike.done_m = (strike.done_m + strike.step_m).min(strike.length_m);
            let at = |i: usize| strike.start[i] + strike.along[i] * strike.done_m;
            return [at(0), at(1), STRIKE_M];
        }
        let [x, y, _] = view.object;
        let to_goal = [view.goal[0] - x, view.goal[1] - y];
        let distance = to_goal[0].hypot(to_goal[1]);
        let along = to_goal.map(|d| d / distance.max(1e-6));
        let start = [x - along[0] * BEHIND_M, y - along[1] * BEHIND_M];
        let beside = (view.tip[0] - start[0]).hypot(view.tip[1] - start[1]);
        let waiting = (sent[0] - start[0]).hypot(sent[1] - start[1]) < THERE_M && sent[2] < LOW_M;
        if beside < THERE_M && view.tip[2] < LOW_M && waiting {
            self.strike = Some(strike(view, start, along, distance));
        }
        let there = beside < THERE_M;
        let clear = view.tip[2] > OVER_M - 0.015 || (view.tip[0] - x).hypot(view.tip[1] - y) > BEHIND_M + 0.03;
        match (there, clear) {
            (true, _) => [start[0], start[1], STRIKE_M],
            (false, true) => [start[0], start[1], OVER_M],
            (false, false) => [view.tip[0], view.tip[1], OVER_M],
        }
    }
}

/// The strike from `start` along the line, after which the puck has as far to glide as its speed carries it.
fn strike(view: &View, start: [f32; 2], along: [f32; 2], distance: f32) -> Strike {
    // Where the line leaves the circle of END_RADIUS_M.
    let forward = start[0] * along[0] + start[1] * along[1];
    let aside = start[0].powi(2) + start[1].powi(2) - forward.powi(2);
    let length_m = (END_RADIUS_M.powi(2) - aside).max(0.0).sqrt() - forward;
    let glide_m = distance + BEHIND_M - length_m - TOUCH_M;
    let speed_m_s = GAIN * (2.0 * FRICTION * GRAVITY_M_S2 * glide_m.max(0.0)).sqrt();
    let step_m = speed_m_s * STEP_S;
    Strike { goal: view.goal, start, along, length_m, step_m, done_m: 0.0 }
}
