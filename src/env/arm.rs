//! A task on an arm: the environment that training, evaluation, collection and deployment share.
//!
//! A step moves the fingertip's set-point by the action over [`TICKS_PER_STEP`] control ticks and then looks.
//! Nothing here knows whether the arm, the clock and the tracker are real.

mod recording;
pub mod resim;

use firmware_bridge::JointState;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sim::Reach;

use super::scene::Scene;
use super::{EnvError, GoalEnv, GoalObservation, Layout, Outcome, RewardRule, Symmetry};
use crate::arm::Arm;
use crate::clock::Clock;
use crate::control::{ControlLoop, SetPoint};
use crate::episode::{self, Recorder};
use crate::kinematics::{JOINTS, Kinematics};
use crate::safety::Interventions;
use crate::task::observation::{self, Hand, Object};
use crate::task::{ACTION_SCALE_M, ACTION_SIZE, EPISODE_STEPS, Region, Task};
use crate::tracker::{ObjectEstimate, ObjectFilter, Tracker};

/// Control ticks in a policy step: 12.5 Hz at a control rate of 125 Hz.
pub const TICKS_PER_STEP: u32 = 10;

/// Where the object may be for an episode to start in place: the fingertip gets behind it on every side. High enough for
/// what the jaws hold; it is put down first.
pub const REACHABLE: Region = Region { lower: [0.13, -0.13, -0.05], upper: [0.35, 0.13, 0.15] };

/// Height at which the fingertip passes over the object between episodes, m.
const CLEAR_HEIGHT_M: f64 = 0.11;
/// Control ticks for arm and filter to settle at the start pose: 0.5 s.
const SETTLE_TICKS: u32 = 63;
/// The same where the arm was powered there: 1 s. It sags before gravity is corrected for, and rises again.
const RISE_TICKS: u32 = 125;
/// Control ticks for which the object must lie still before an episode starts in place: 0.4 s.
const REST_TICKS: u32 = 50;
/// An object slower than this lies still, m/s; above the tracker's noise.
const REST_SPEED_M_S: f64 = 0.05;

/// How an episode's start is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Arm and object are put in place by rebuilding the simulated world; every start is drawn from its seed alone.
    Rebuilt,
    /// The arm lifts clear and returns by itself, and the object stays where it lies; the only way on a real table.
    InPlace,
}

/// Why a task on an arm cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ArmEnvError {
    /// Starts can be drawn from a seed in a simulator only.
    #[error("a real table cannot be rebuilt for every episode; start episodes in place")]
    NotASimulator,
}

/// A task on an arm.
pub struct ArmEnv<A: Arm, C: Clock, T: Tracker, S: Scene> {
    task: Task,
    start: Start,
    control: ControlLoop<A, C>,
    tracker: T,
    filter: ObjectFilter,
    scene: S,
    home_rad: [f32; JOINTS],
    /// Where the fingertip shall be, integrated from the actions and kept in the workspace.
    target: [f64; 3],
    /// Where the jaw shall be, rad.
    jaw_rad: f32,
    goal: [f64; 3],
    step: usize,
    hand: Hand,
    object: Option<ObjectEstimate>,
    /// The last recorded observation.
    seen: GoalObservation,
    row: episode::Tick,
    recorder: Option<Recorder>,
}

impl<A: Arm, C: Clock, T: Tracker, S: Scene> ArmEnv<A, C, T, S> {
    /// A task on the arm that `control` drives; the first reset powers it.
    ///
    /// # Errors
    /// The arm cannot reach the start pose.
    pub fn new(task: Task, start: Start, control: ControlLoop<A, C>, tracker: T, scene: S) -> Result<Self, EnvError> {
        let start_tip_m = control.planner().kinematics().reach().start_tip_m;
        let [pan, lift, elbow, wrist, roll] =
            control.planner().kinematics().inverse_on_profile(start_tip_m).map_err(EnvError::new)?;
        let jaw_rad = task.kind.jaw_start_rad();
        Ok(Self {
            task,
            start,
            control,
            tracker,
            filter: ObjectFilter::default(),
            scene,
            home_rad: [pan, lift, elbow, wrist, roll, jaw_rad],
            target: start_tip_m,
            jaw_rad,
            goal: [0.0; 3],
            step: 0,
            hand: Hand::default(),
            object: None,
            seen: GoalObservation::default(),
            row: episode::Tick::default(),
            recorder: None,
        })
    }

    /// The task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The control loop, for its statistics.
    pub fn control(&self) -> &ControlLoop<A, C> {
        &self.control
    }

    /// The control loop, for stopping it.
    pub fn control_mut(&mut self) -> &mut ControlLoop<A, C> {
        &mut self.control
    }

    /// Sets another goal for the episode that [`GoalEnv::reset`] has just begun, and looks again.
    pub fn aim(&mut self, goal_m: [f64; 3], out: &mut GoalObservation) {
        self.goal = goal_m;
        self.observe(out);
    }

    /// Holds still until `ready` gives something, such as a file for the episode, and looks again.
    ///
    /// # Errors
    /// The arm failed.
    pub fn hold_until<R>(
        &mut self,
        out: &mut GoalObservation,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R, EnvError> {
        loop {
            if let Some(found) = ready() {
                self.observe(out);
                return Ok(found);
            }
            self.hold(1)?;
        }
    }

    /// What is seen now, written into `out`.
    fn observe(&self, out: &mut GoalObservation) {
        let object = self.object.filter(|_| self.task.objects.is_some()).map(|o| Object {
            position: o.position,
            orientation: o.orientation,
            velocity: o.velocity_m_s,
            angular_velocity: o.angular_velocity_rad_s,
        });
        let mut hand = self.hand;
        for (commanded, (target, at)) in hand.commanded_velocity.iter_mut().zip(self.target.iter().zip(hand.position)) {
            *commanded = (target - at) / self.step_s();
        }
        if self.task.kind.grasps() {
            hand.jaw_set_point_rad = self.jaw_rad.into();
        }
        observation::write(self.task.kind, &hand, object.as_ref(), &mut out.observation);
        let achieved = object.map_or(self.hand.position, |o| o.position);
        out.achieved_goal.clear();
        out.achieved_goal.extend(achieved.map(|x| x as f32));
        out.desired_goal.clear();
        out.desired_goal.extend(self.goal.map(|x| x as f32));
    }

    /// Time of a policy step, s.
    fn step_s(&self) -> f64 {
        self.control.period_s() * f64::from(TICKS_PER_STEP)
    }

    /// One control period: moves towards `set_point`, and takes in what is measured.
    fn tick(&mut self, set_point: [f64; 3]) -> Result<Interventions, EnvError> {
        let now_us = self.control.clock().now_us();
        // A tracker's clock may run ahead.
        let age_us = self.task.objects.and(self.object).map(|o| now_us.saturating_sub(o.sample.stamp_us));
        let goal = SetPoint { position_m: set_point, jaw_rad: self.jaw_rad };
        self.control.tick(goal, age_us).map_err(EnvError::new)?;
        let tick = self.control.last();
        let (stamp_us, interventions) = (tick.stamp_us, tick.plan.interventions);
        self.hand = hand(self.control.planner().kinematics(), &tick.reading.joints);
        self.see(stamp_us);
        Ok(interventions)
    }

    /// Takes in what the tracker has seen.
    fn see(&mut self, now_us: u64) {
        if self.task.objects.is_some() {
            if let Some(sample) = self.tracker.poll(now_us) {
                self.filter.update(&sample);
            }
            self.object = self.filter.estimate(now_us);
        }
    }

    /// Holds still for `ticks` control periods.
    fn hold(&mut self, ticks: u32) -> Result<(), EnvError> {
        (0..ticks).try_for_each(|_| self.tick(self.target).map(|_| ()))
    }

    /// Brings the fingertip to `position_m` at a walking pace.
    fn travel(&mut self, position_m: [f64; 3]) -> Result<(), EnvError> {
        self.control.move_to(SetPoint { position_m, jaw_rad: self.jaw_rad }).map_err(EnvError::new)?;
        self.target = position_m;
        Ok(())
    }

    fn reach(&self) -> &Reach {
        self.control.planner().kinematics().reach()
    }

    /// Puts arm and object where an episode can start, by rebuilding the world.
    fn rebuild(&mut self, rng: &mut Pcg64Mcg) -> Result<(), EnvError> {
        let object = self.task.objects.map(|region| region.sample(rng));
        self.control.abort().map_err(EnvError::new)?;
        // A seed of its own: the episode's once more would tie the scene's chance to where object and goal are.
        if !self.scene.rebuild(&self.home_rad, object, rng.random())? {
            return Err(EnvError::new(ArmEnvError::NotASimulator));
        }
        self.filter = ObjectFilter::default();
        self.object = None;
        self.control.start().map_err(EnvError::new)?;
        self.target = self.reach().start_tip_m;
        self.jaw_rad = self.task.kind.jaw_start_rad();
        self.hold(RISE_TICKS)
    }

    /// Brings the arm back without touching the object, and waits until the object lies where it can be pushed.
    fn return_in_place(&mut self, rng: &mut Pcg64Mcg) -> Result<(), EnvError> {
        if self.control.is_started() {
            let [x, y, z] = self.target;
            if self.task.kind.grasps() {
                // What it may hold is put down, not dropped.
                self.travel([x, y, self.control.planner().workspace().lower_m[2]])?;
                self.jaw_rad = self.task.kind.jaw_start_rad();
                self.hold(SETTLE_TICKS)?;
            }
            self.travel([x, y, z.max(CLEAR_HEIGHT_M)])?;
            let [x, y, _] = self.reach().start_tip_m;
            self.travel([x, y, CLEAR_HEIGHT_M])?;
        } else {
            // A simulated table is set first, with the arm parked; a real one is as it is.
            let object = self.task.objects.map(|region| region.sample(rng));
            let rest_rad = self.reach().rest_rad;
            self.scene.rebuild(&rest_rad, object, rng.random())?;
            self.control.start().map_err(EnvError::new)?;
        }
        self.travel(self.reach().start_tip_m)?;
        self.hold(SETTLE_TICKS)?;
        let Some(region) = self.task.objects else { return Ok(()) };
        let mut rest_ticks = 0;
        let mut asked = false;
        while rest_ticks < REST_TICKS {
            let in_reach = self.object.is_some_and(|o| {
                !o.is_stale() && REACHABLE.contains(&o.position) && norm(&o.velocity_m_s) < REST_SPEED_M_S
            });
            rest_ticks = if in_reach { rest_ticks + 1 } else { 0 };
            let is_away = self.object.is_some_and(|o| !REACHABLE.contains(&o.position));
            if is_away && !asked {
                self.scene.ask_for_object_at(region.sample(rng));
                asked = true;
            }
            self.hold(1)?;
        }
        Ok(())
    }
}

impl<A: Arm + Send, C: Clock + Send, T: Tracker + Send, S: Scene> GoalEnv for ArmEnv<A, C, T, S> {
    fn layout(&self) -> Layout {
        self.task.layout()
    }

    fn reset(&mut self, seed: u64, out: &mut GoalObservation) -> Result<(), EnvError> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        match self.start {
            Start::Rebuilt => self.rebuild(&mut rng)?,
            Start::InPlace => self.return_in_place(&mut rng)?,
        }
        let start = self.object.filter(|_| self.task.objects.is_some()).map_or(self.hand.position, |o| o.position);
        self.goal = self.task.sample_goal(&start, &mut rng);
        self.step = 0;
        self.observe(out);
        Ok(())
    }

    fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError> {
        let mut requested = [0.0_f32; ACTION_SIZE];
        for (kept, asked) in requested.iter_mut().zip(action) {
            // A policy that gives no number asks for nothing.
            *kept = if asked.is_finite() { asked.clamp(-1.0, 1.0) } else { 0.0 };
        }
        let from = self.target;
        let wanted = std::array::from_fn(|i| from[i] + ACTION_SCALE_M * f64::from(requested[i]));
        let (to, clipped) = self.control.planner().workspace().clip(wanted);
        let mut interventions = clipped;
        let (jaw_rad, gripper) = self.task.kind.jaw_set_point(self.jaw_rad, self.hand.jaw_rad as f32, requested[3]);
        let mut applied = applied_action(&from, &to, gripper);
        if self.recorder.is_some() {
            // Before the target moves, which is part of the observation: the log has what the policy saw.
            self.begin_row(true);
        }
        (self.target, self.jaw_rad) = (to, jaw_rad);
        (self.row.requested_action, self.row.applied_action) = (requested, applied);
        for k in 1..=TICKS_PER_STEP {
            if self.recorder.is_some() && k > 1 {
                self.begin_row(false);
            }
            let changed = self.tick(to)?;
            interventions |= changed;
            if changed.contains(Interventions::STALE_OBJECT) {
                // The arm holds; the set-point must not run ahead and jump when the object is seen again.
                self.target = self.control.last().plan.set_point_applied.position_m;
                applied = applied_action(&from, &self.target, gripper);
                self.row.applied_action = applied;
            }
            self.end_row()?;
        }
        self.step += 1;
        self.observe(out);
        outcome.success = self.task.is_success(&out.achieved_goal, &out.desired_goal);
        outcome.reward = self.task.compute_reward(&out.achieved_goal, &out.desired_goal);
        outcome.terminated = false;
        outcome.truncated = self.step >= EPISODE_STEPS;
        outcome.intervened = !interventions.is_empty();
        outcome.applied.clear();
        outcome.applied.extend(applied);
        Ok(())
    }

    fn symmetry(&self) -> Option<Symmetry> {
        Some(observation::symmetry(self.task.kind))
    }

    fn reward_rule(&self) -> RewardRule {
        RewardRule::Sparse { radius: self.task.success_radius_m }
    }
}

/// The action that moves the set-point from `from` to `to`, with the gripper's part.
fn applied_action(from: &[f64; 3], to: &[f64; 3], gripper: f32) -> [f32; ACTION_SIZE] {
    std::array::from_fn(|i| match i {
        0..3 => ((to[i] - from[i]) / ACTION_SCALE_M) as f32,
        _ => gripper,
    })
}

/// Fingertip and jaw out of measured joints.
fn hand(kinematics: &Kinematics, joints: &JointState) -> Hand {
    /// Step of the difference quotient for the fingertip's velocity, s.
    const DT_S: f32 = 1e-3;
    let position = kinematics.forward(&joints.position_rad).position_m;
    let mut ahead = [0.0_f32; JOINTS];
    for (i, angle) in ahead.iter_mut().enumerate() {
        let at = joints.position_rad.get(i).copied().unwrap_or(0.0);
        *angle = at + DT_S * joints.velocity_rad_s.get(i).copied().unwrap_or(0.0);
    }
    let next = kinematics.forward(&ahead).position_m;
    let jaw_rad = joints.position_rad.get(JOINTS - 1).copied().unwrap_or(0.0).into();
    Hand {
        position,
        velocity: std::array::from_fn(|i| (next[i] - position[i]) / f64::from(DT_S)),
        commanded_velocity: [0.0; 3],
        jaw_rad,
        jaw_set_point_rad: jaw_rad,
        jaw_rad_s: joints.velocity_rad_s.get(JOINTS - 1).copied().unwrap_or(0.0).into(),
    }
}

fn norm(v: &[f64; 3]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}
