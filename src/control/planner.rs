//! From a set-point to the command of one tick: kinematics, both safety layers and gravity feed-forward, without an
//! arm or a clock. The control loop and the training environment share it, so that what is learned is what runs.

use crate::kinematics::{JOINTS, Kinematics, KinematicsError, PUSH_ROLL_RAD};
use crate::safety::brake::{Bounds, stopping_speed};
use crate::safety::{Filtered, Interventions, JointFilter, JointMotion, PointFilter, PointMotion};
use firmware_bridge::JointLimits;
use sim::ArmModel;

/// Share of a joint's speed limit that is planned with; the rest is for the feed-forward's own motion.
const SPEED_SHARE: f64 = 0.9;
/// How far behind the set-point joints may fall before the set-point waits for them, rad.
const LAG_LIMIT_RAD: f64 = 0.05;
/// Pace that a waiting set-point keeps, so that no joint can block it for good.
const PACE_MIN: f64 = 0.05;
/// Largest correction for gravity, rad; a stretched SO-101 at half its usual gain needs 0.3.
const FEED_FORWARD_MAX_RAD: f64 = 0.35;
/// Time in which the correction is faded in after [`Planner::reset`], s, so that the arm does not twitch.
const FADE_IN_S: f64 = 0.5;
/// Speed of the fastest joint in a planned move from pose to pose, rad/s: slow enough to step aside.
const MOVE_SPEED_RAD_S: f64 = 0.8;

/// Speed and acceleration of the jaw's set-point, rad/s and rad/s²: within what the joint filter lets pass, so that
/// being on the way is no intervention.
const JAW: Bounds = Bounds { speed: 4.0, acceleration: 80.0 };

/// Where the fingertip and the jaw shall be.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SetPoint {
    /// Fingertip in the base frame, m.
    pub position_m: [f64; 3],
    /// Angle of the jaw, rad.
    pub jaw_rad: f32,
}

/// What a planner needs to know besides the arm's model.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannerConfig {
    /// Workspace, speed and acceleration of the set-point.
    pub points: PointFilter,
    /// Largest acceleration of a joint's goal, rad/s². Default 100.
    pub acceleration_rad_s2: f64,
    /// Least height of the fingertip over the table, m. Default 6 mm: the jaws reach 6–7 mm beyond the fingertip when
    /// they point straight down.
    pub clearance_m: f64,
    /// Torque of each servo per radian of error, N·m/rad, for the gravity feed-forward: too small a value lifts the
    /// arm, infinity, the default, turns it off. An STS3215 at P = 16 has 7.8.
    pub stiffness_nm_rad: [f64; JOINTS],
    /// Roll of the hand, rad. Default [`PUSH_ROLL_RAD`].
    pub roll_rad: f64,
}

impl Default for PlannerConfig {
    fn default() -> Self {
        Self {
            points: PointFilter::default(),
            acceleration_rad_s2: 100.0,
            clearance_m: 0.006,
            stiffness_nm_rad: [f64::INFINITY; JOINTS],
            roll_rad: PUSH_ROLL_RAD,
        }
    }
}

/// What a tick asked for and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Plan {
    /// The set-point as asked for; that of the goal, which the applied one approaches.
    pub set_point_requested: SetPoint,
    /// The set-point after the first safety layer, where the fingertip shall be now.
    pub set_point_applied: SetPoint,
    /// Joint angles that the kinematics made of it, rad.
    pub requested_rad: [f32; JOINTS],
    /// Joint angles after the second safety layer, rad: where the joints shall be now.
    pub applied_rad: [f32; JOINTS],
    /// Joint goals with the correction for gravity, rad: what to send.
    pub command_rad: [f32; JOINTS],
    /// What the safety layers changed.
    pub interventions: Interventions,
}

/// Turns set-points into commands, one a control period. Allocates nothing after [`Planner::new`].
#[derive(Debug, Clone)]
pub struct Planner {
    kinematics: Kinematics,
    points: PointFilter,
    joints: JointFilter,
    limits: [JointLimits; JOINTS],
    stiffness_nm_rad: [f64; JOINTS],
    point: PointMotion,
    motion: JointMotion,
    /// The jaw's set-point, rad, and its velocity, rad/s.
    jaw: (f64, f64),
    /// Share of the gravity correction that is applied.
    fade: f64,
    plan: Plan,
}

impl Planner {
    /// A planner for `model` within `limits`, the narrower of the model's and the driver's; at rest at zero until
    /// [`Planner::reset`].
    ///
    /// # Errors
    /// [`KinematicsError::UnsupportedArm`] if `model` is not such an arm.
    pub fn new(
        model: &ArmModel,
        limits: [JointLimits; JOINTS],
        config: &PlannerConfig,
    ) -> Result<Self, KinematicsError> {
        let kinematics = Kinematics::new(model)?.with_profile_roll(config.roll_rad);
        let planned = limits.map(|l| JointLimits { velocity_rad_s: l.velocity_rad_s * SPEED_SHARE as f32, ..l });
        let joints = JointFilter::new(kinematics.clone(), &planned, config.acceleration_rad_s2, config.clearance_m);
        let mut planner = Self {
            points: config.points,
            joints,
            limits,
            stiffness_nm_rad: config.stiffness_nm_rad,
            point: PointMotion::default(),
            motion: JointMotion::default(),
            jaw: (0.0, 0.0),
            fade: 0.0,
            plan: Plan::default(),
            kinematics,
        };
        planner.reset(&[0.0; JOINTS]);
        Ok(planner)
    }

    /// Starts over from joints at rest at `position_rad`, moved into their limits.
    pub fn reset(&mut self, position_rad: &[f32; JOINTS]) {
        let at: [f32; JOINTS] =
            std::array::from_fn(|i| position_rad[i].max(self.limits[i].lower_rad).min(self.limits[i].upper_rad));
        self.motion = JointMotion::at(at.map(f64::from));
        self.jaw = (f64::from(at[JOINTS - 1]), 0.0);
        let position_m = self.kinematics.forward(&at).position_m;
        self.point = PointMotion::at(position_m);
        self.fade = 0.0;
        let set_point = SetPoint { position_m, jaw_rad: at[JOINTS - 1] };
        self.plan = Plan {
            set_point_requested: set_point,
            set_point_applied: set_point,
            requested_rad: at,
            applied_rad: at,
            command_rad: at,
            interventions: Interventions::none(),
        };
    }

    /// As [`Planner::reset`], but as if the arm had been held there for long: gravity is corrected for at once, and
    /// the command is the corrected one. For a simulated arm that is put into a pose.
    pub fn reset_settled(&mut self, position_rad: &[f32; JOINTS]) {
        self.reset(position_rad);
        self.fade = 1.0;
        self.plan.command_rad = self.corrected(&self.plan.applied_rad);
    }

    /// The command of the next period, `dt_s` after the last: the set-point approaches `goal` at `pace` in 0..=1 of
    /// its full speed. `object_age_us` is the age of the object's pose, `None` if the task has no object.
    pub fn plan(&mut self, goal: SetPoint, object_age_us: Option<u64>, pace: f64, dt_s: f64) -> &Plan {
        let pace = (1.0 - self.lag_rad() / LAG_LIMIT_RAD).clamp(PACE_MIN, 1.0) * pace;
        let Filtered { state, mut interventions } =
            self.points.filter(&self.point, goal.position_m, object_age_us, pace, dt_s);
        self.point = state;
        let mut request = self.plan.requested_rad;
        match self.kinematics.inverse_on_profile(state.position_m) {
            Ok(angles) => request[..5].copy_from_slice(&angles),
            Err(_) => interventions |= Interventions::UNREACHABLE,
        }
        request[JOINTS - 1] = self.approach_jaw(goal.jaw_rad, dt_s);
        self.plan.set_point_requested = goal;
        self.plan.set_point_applied.position_m = state.position_m;
        self.finish(request, interventions, dt_s);
        &self.plan
    }

    /// The command of the next period of a slow move straight through joint space to `goal_rad`; the set-point goes
    /// along. All joints arrive together.
    pub fn plan_joints(&mut self, goal_rad: &[f32; JOINTS], dt_s: f64) -> &Plan {
        let mut request = self.plan.requested_rad;
        let mut farthest = 0.0_f32;
        for (from, to) in request.iter().zip(goal_rad) {
            farthest = farthest.max((to - from).abs());
        }
        // A request that runs ahead of joints that are held back would lose the straight way.
        let waits = self.lag_rad() > LAG_LIMIT_RAD;
        let share = if waits { 0.0 } else { (MOVE_SPEED_RAD_S * dt_s) as f32 / farthest };
        for (from, to) in request.iter_mut().zip(goal_rad) {
            *from = if share >= 1.0 { *to } else { *from + (to - *from) * share };
        }
        self.finish(request, Interventions::none(), dt_s);
        self.jaw = (f64::from(self.plan.applied_rad[JOINTS - 1]), 0.0);
        let position_m = self.kinematics.forward(&self.plan.applied_rad).position_m;
        self.point = PointMotion::at(position_m);
        self.plan.set_point_requested = SetPoint { position_m, jaw_rad: request[JOINTS - 1] };
        self.plan.set_point_applied.position_m = position_m;
        &self.plan
    }

    /// The last plan.
    #[must_use]
    pub fn last(&self) -> &Plan {
        &self.plan
    }

    /// The arm's kinematics.
    #[must_use]
    pub fn kinematics(&self) -> &Kinematics {
        &self.kinematics
    }

    /// Where set-points may be.
    #[must_use]
    pub fn workspace(&self) -> &crate::safety::Workspace {
        &self.points.workspace
    }

    /// Range of each joint, rad.
    #[must_use]
    pub fn limits_rad(&self) -> [(f32, f32); JOINTS] {
        self.limits.map(|l| (l.lower_rad, l.upper_rad))
    }

    /// Whether the pose of the last plan is the one that the kinematics choose for its fingertip; only from such a
    /// pose a set-point can be followed smoothly.
    #[must_use]
    pub fn on_profile(&self) -> bool {
        let applied = &self.plan.applied_rad;
        self.kinematics
            .inverse_on_profile(self.kinematics.forward(applied).position_m)
            .is_ok_and(|q| q.iter().zip(applied).all(|(a, b)| (a - b).abs() < LAG_LIMIT_RAD as f32))
    }

    /// Whether the joint goals rest on what was requested.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.motion == JointMotion::at(self.motion.requested_rad) && self.jaw.1 == 0.0
    }

    /// The jaw's set-point after this period, on its way to `goal_rad`. What is not a number is passed on, for the
    /// joint filter to tell.
    fn approach_jaw(&mut self, goal_rad: f32, dt_s: f64) -> f32 {
        let (at, velocity) = self.jaw;
        let gap = if goal_rad.is_finite() { f64::from(goal_rad) - at } else { 0.0 };
        let wanted = stopping_speed(gap.abs(), JAW.acceleration, dt_s).min(JAW.speed).copysign(gap);
        let change = JAW.acceleration * dt_s;
        let taken = wanted.clamp(velocity - change, velocity + change);
        let next = at + taken * dt_s;
        // Land on the goal itself instead of a rounding beside it.
        let landed = goal_rad.is_finite() && (next - f64::from(goal_rad)).abs() < 1e-6;
        self.jaw = if landed { (f64::from(goal_rad), 0.0) } else { (next, taken) };
        if goal_rad.is_finite() { self.jaw.0 as f32 } else { goal_rad }
    }

    /// How far the joint farthest behind is from where it was requested, rad. The jaw does not count: it has no part in
    /// where the fingertip is.
    fn lag_rad(&self) -> f64 {
        let mut lag = 0.0_f64;
        for (at, asked) in self.motion.position_rad.iter().zip(&self.motion.requested_rad).take(JOINTS - 1) {
            lag = lag.max((at - asked).abs());
        }
        lag
    }

    fn finish(&mut self, request: [f32; JOINTS], interventions: Interventions, dt_s: f64) {
        let filtered = self.joints.filter(&self.motion, &request, dt_s);
        self.motion = filtered.state;
        self.fade = (self.fade + dt_s / FADE_IN_S).min(1.0);
        let plan = &mut self.plan;
        // What is not a number must not be remembered as a request to go on from.
        for (kept, asked) in plan.requested_rad.iter_mut().zip(request) {
            if asked.is_finite() {
                *kept = asked;
            }
        }
        plan.applied_rad = filtered.state.position_rad.map(|x| x as f32);
        plan.set_point_applied.jaw_rad = plan.applied_rad[JOINTS - 1];
        plan.interventions = interventions | filtered.interventions;
        let mut command = self.corrected(&self.plan.applied_rad);
        for (i, command) in command.iter_mut().enumerate() {
            let most = (f64::from(self.limits[i].velocity_rad_s) * dt_s) as f32;
            let last = self.plan.command_rad[i];
            *command = command.max(last - most).min(last + most);
        }
        self.plan.command_rad = command;
    }

    /// Goals at which servos that give way under load come to rest at `position_rad`, within the limits.
    fn corrected(&self, position_rad: &[f32; JOINTS]) -> [f32; JOINTS] {
        let torque = self.kinematics.gravity_torque(position_rad);
        std::array::from_fn(|i| {
            let limits = self.limits[i];
            let sag = if i == JOINTS - 1 { 0.0 } else { torque[i] / self.stiffness_nm_rad[i] * self.fade };
            let correction = sag.clamp(-FEED_FORWARD_MAX_RAD, FEED_FORWARD_MAX_RAD) as f32;
            (position_rad[i] + correction).max(limits.lower_rad).min(limits.upper_rad)
        })
    }
}
