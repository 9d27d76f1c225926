//! What the loop does in a tick, and the moves that are made of many.

use super::{ControlError, ControlLoop, Goal, SetPoint, Tick};
use crate::arm::Arm;
use crate::clock::Clock;
use crate::kinematics::JOINTS;
use crate::task::distance_m;
use firmware_bridge::JointLimits;
use sim::ArmModel;
use std::sync::atomic::Ordering;

/// Height to which the fingertip is raised before a move from pose to pose, m: above a puck.
const CLEAR_HEIGHT_M: f64 = 0.09;
/// The same from a pose in which the hand may point anywhere, m: about the length of the hand more.
const FOLDED_CLEAR_HEIGHT_M: f64 = 0.22;
/// How far ahead the goal of a joint that raises the fingertip is put, rad; more than it moves in a tick.
const UPHILL_STEP_RAD: f64 = 0.1;
/// Pace of [`ControlLoop::move_to`], as a share of the set-point's full speed.
const MOVE_PACE: f64 = 0.3;
/// The set-point counts as arrived within this distance, m: rounding at the workspace's edge must not be waited out.
const ARRIVED_M: f64 = 1e-6;
/// What is sent counts as what was planned within this angle, rad: rounding, and limits that differ a little.
const SENT_RAD: f32 = 0.01;
/// Longest that a move may take, µs; a joint turns from limit to limit in 5 s.
pub(super) const MOVE_LIMIT_US: u64 = 15_000_000;
/// How long the arm is given to follow the last goal of a move, µs; the lag of its servos is 50–85 ms.
const SETTLE_US: u64 = 250_000;

/// The period must be a whole multiple of the physics step, or the simulated servos would see commands of uneven age.
pub(super) fn check_period(period_us: u32, physics_step_us: Option<u32>) -> Result<(), ControlError> {
    let physics_step_us = physics_step_us.unwrap_or(1);
    if period_us == 0 || physics_step_us == 0 || !period_us.is_multiple_of(physics_step_us) {
        return Err(ControlError::Period { period_us, physics_step_us });
    }
    Ok(())
}

/// The narrower of the model's and the driver's limits, joint by joint.
pub(super) fn common_limits(model: &ArmModel, driver: &[JointLimits]) -> Result<[JointLimits; JOINTS], ControlError> {
    if driver.len() != JOINTS || model.joints.len() != JOINTS {
        return Err(ControlError::JointCount { found: driver.len() });
    }
    Ok(std::array::from_fn(|i| {
        let (a, b) = (model.joints[i].limits, driver[i]);
        JointLimits {
            lower_rad: a.lower_rad.max(b.lower_rad),
            upper_rad: a.upper_rad.min(b.upper_rad),
            velocity_rad_s: a.velocity_rad_s.min(b.velocity_rad_s),
        }
    }))
}

/// Whether the driver follows the plan: after it had to hold the arm it is behind for a while. A jaw that squeezes may be
/// behind for ever.
fn is_sent(tick: &Tick) -> bool {
    let arm = tick.plan.command_rad.iter().zip(&tick.sent.position_rad).take(JOINTS - 1);
    arm.into_iter().all(|(planned, sent)| (planned - sent).abs() < SENT_RAD)
}

impl<A: Arm, C: Clock> ControlLoop<A, C> {
    pub(super) fn check_stop(&self) -> Result<(), ControlError> {
        if self.stop.load(Ordering::Relaxed) { Err(ControlError::Stopped) } else { Ok(()) }
    }

    pub(super) fn advance(&mut self, goal: Goal) -> Result<&Tick, ControlError> {
        if !self.started {
            return Err(ControlError::NotStarted);
        }
        let now_us = self.wait();
        let asked_us = self.clock.now_us();
        self.tick.reading = self.arm.read()?;
        let read_us = self.clock.now_us();
        self.tick.reading_age_us = read_us.saturating_sub(self.tick.reading.stamp_us);
        let dt_s = self.period_s();
        let plan = match goal {
            Goal::Point(set_point, object_age_us, pace) => self.planner.plan(set_point, object_age_us, pace, dt_s),
            Goal::Joints(goal_rad) => self.planner.plan_joints(&goal_rad, dt_s),
        };
        self.command.position_rad.clear();
        // Fits: six joints of at most eight.
        let _ = self.command.position_rad.extend_from_slice(&plan.command_rad);
        self.tick.plan = *plan;
        let planned_us = self.clock.now_us();
        self.tick.sent = self.arm.write(&self.command)?;
        self.exchanges.record(self.clock.now_us().saturating_sub(planned_us) + read_us.saturating_sub(asked_us));
        self.tick.index += 1;
        self.tick.stamp_us = now_us;
        Ok(&self.tick)
    }

    /// Waits for the tick's deadline, sets the next one, and returns the time.
    fn wait(&mut self) -> u64 {
        let period_us = u64::from(self.config.period_us);
        self.clock.sleep_until_us(self.deadline_us);
        let now_us = self.clock.now_us();
        if now_us >= self.deadline_us + period_us {
            // Late by a whole period: start anew from here, rather than send a burst of stale commands.
            self.overruns += 1;
            self.deadline_us = now_us;
        }
        self.deadline_us += period_us;
        if let Some(last_us) = self.last_us.replace(now_us) {
            let passed_us = now_us.saturating_sub(last_us);
            self.periods.record(passed_us);
            self.elapsed_us += passed_us;
        }
        now_us
    }

    /// [`ControlLoop::move_to`]; with `heed_stop` off also while stopping.
    pub(super) fn bring(&mut self, goal: SetPoint, heed_stop: bool) -> Result<&Tick, ControlError> {
        let (position_m, _) = self.planner.workspace().clip(goal.position_m);
        let angles = self.planner.kinematics().inverse_on_profile(position_m)?;
        let limit_us = self.clock.now_us() + MOVE_LIMIT_US;
        if !self.planner.on_profile() {
            let mut pose = [goal.jaw_rad; JOINTS];
            pose[..5].copy_from_slice(&angles);
            self.raise(heed_stop, limit_us)?;
            self.bring_joints(pose, heed_stop, limit_us)?;
        }
        loop {
            let tick =
                self.guarded(Goal::Point(SetPoint { position_m, ..goal }, None, MOVE_PACE), heed_stop, limit_us)?;
            let arrived = distance_m(&tick.plan.set_point_applied.position_m, &position_m) < ARRIVED_M && is_sent(tick);
            if arrived && self.planner.settled() {
                break;
            }
        }
        self.settle(Goal::Point(SetPoint { position_m, ..goal }, None, MOVE_PACE), heed_stop)
    }

    /// Raises the fingertip, then moves to the rest pose, whatever the stop flag says. The power stays on.
    ///
    /// # Errors
    /// As [`ControlLoop::move_to`].
    pub fn park(&mut self) -> Result<(), ControlError> {
        let limit_us = self.clock.now_us() + MOVE_LIMIT_US;
        let mut rest = self.config.rest_rad;
        for (angle, (lower, upper)) in rest.iter_mut().zip(self.planner.limits_rad()) {
            *angle = angle.max(lower).min(upper);
        }
        self.raise(false, limit_us)?;
        self.bring_joints(rest, false, limit_us)?;
        self.settle(Goal::Joints(rest), false)?;
        Ok(())
    }

    /// Takes the fingertip clear of the table and of what stands on it: straight up from a working pose; from any
    /// other by turning lift and elbow in the direction, and in proportion to how much, they raise the fingertip.
    /// A hand that is folded back under the forearm can make this fail; a person has to unfold it.
    fn raise(&mut self, heed_stop: bool, limit_us: u64) -> Result<(), ControlError> {
        let at = self.planner.last().set_point_applied;
        let [x, y, _] = at.position_m;
        let (above_m, _) = self.planner.workspace().clip([x, y, CLEAR_HEIGHT_M]);
        let straight = self.planner.on_profile();
        let enough_m = if straight { CLEAR_HEIGHT_M } else { FOLDED_CLEAR_HEIGHT_M };
        while self.planner.last().set_point_applied.position_m[2] < enough_m - 1e-6 {
            let goal = if straight {
                Goal::Point(SetPoint { position_m: above_m, ..at }, None, MOVE_PACE)
            } else {
                let pose = self.uphill();
                if pose == self.planner.last().applied_rad {
                    break;
                }
                Goal::Joints(pose)
            };
            self.guarded(goal, heed_stop, limit_us)?;
        }
        Ok(())
    }

    /// A pose a little further up the gradient of the fingertip's height than the present goals.
    fn uphill(&self) -> [f32; JOINTS] {
        let mut pose = self.planner.last().applied_rad;
        let at = pose.map(f64::from);
        let mut slope = [0.0; JOINTS];
        for (joint, slope) in slope.iter_mut().enumerate().skip(1).take(2) {
            let height = |step: f64| {
                let mut moved = at;
                moved[joint] += step;
                self.planner.kinematics().tip_height_m(&moved)
            };
            *slope = height(1e-3) - height(-1e-3);
        }
        let steepest = slope.iter().fold(f64::MIN_POSITIVE, |most, s| most.max(s.abs()));
        for ((angle, slope), (lower, upper)) in pose.iter_mut().zip(slope).zip(self.planner.limits_rad()) {
            *angle = (*angle + (UPHILL_STEP_RAD * slope / steepest) as f32).max(lower).min(upper);
        }
        pose
    }

    fn bring_joints(&mut self, pose: [f32; JOINTS], heed_stop: bool, limit_us: u64) -> Result<(), ControlError> {
        loop {
            let tick = self.guarded(Goal::Joints(pose), heed_stop, limit_us)?;
            if tick.plan.applied_rad == pose && is_sent(tick) {
                return Ok(());
            }
        }
    }

    fn settle(&mut self, goal: Goal, heed_stop: bool) -> Result<&Tick, ControlError> {
        for _ in 1..SETTLE_US / u64::from(self.config.period_us) {
            self.guarded(goal, heed_stop, u64::MAX)?;
        }
        self.guarded(goal, heed_stop, u64::MAX)
    }

    fn guarded(&mut self, goal: Goal, heed_stop: bool, limit_us: u64) -> Result<&Tick, ControlError> {
        if heed_stop {
            self.check_stop()?;
        }
        if self.release.load(Ordering::Relaxed) {
            return Err(ControlError::Stopped);
        }
        if self.clock.now_us() > limit_us {
            return Err(ControlError::Blocked);
        }
        self.advance(goal)
    }
}
