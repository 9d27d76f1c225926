//! The simulated arm on its table: rigid-body physics under servo models, and [`Motors`] for a firmware to drive.

mod hand;
mod scene;

use crate::delay::{CommandLine, FeedbackLine, Goals, Joints, Sample};
use crate::model::ArmModel;
use crate::params::{ParamsError, SimParams};
use crate::servo::{self, Servo};
use firmware_bridge::{JointLimits, JointState, MAX_JOINTS, Motors};
use hand::Hand;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use scene::Scene;

/// Length of a physics step, µs.
pub const STEP_US: u64 = 4_000;

/// Where the object is and how it moves, in the base frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectPose {
    /// Centre of mass, m.
    pub position: [f64; 3],
    /// Quaternion [x, y, z, w].
    pub orientation: [f64; 4],
    /// Velocity of the centre of mass, m/s.
    pub linear_velocity: [f64; 3],
    /// Angular velocity, rad/s.
    pub angular_velocity: [f64; 3],
}

/// Why the simulated arm did not obey.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The parameters cannot be simulated.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The number of joints differs from the arm's.
    #[error("expected {expected} joints, found {found}; use the parameters and poses of this arm")]
    JointCount {
        /// The arm's.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A pose holds NaN or an infinity.
    #[error("expected finite numbers, found {found} in {what}")]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: f64,
    },
    /// The arm cannot be there.
    #[error("joint {joint}: expected an angle in {lower}..={upper} rad, found {found}")]
    OutOfLimits {
        /// Name of the joint.
        joint: String,
        /// Smallest angle, rad.
        lower: f32,
        /// Largest angle, rad.
        upper: f32,
        /// What was given, rad.
        found: f32,
    },
}

/// An arm that stands on a table, with at most one object. Deterministic: the same build, seed and calls give
/// the same bits.
///
/// [`World::step`] is the passage of time; [`Motors`] is what a firmware sees; everything else is the truth, for tests,
/// trackers and rewards.
pub struct World {
    model: ArmModel,
    params: SimParams,
    limits: Vec<JointLimits>,
    scene: Scene,
    servos: Vec<Servo>,
    commands: CommandLine,
    feedback: FeedbackLine,
    /// What the servos hold.
    goals: Goals,
    hands: [Option<Hand>; MAX_JOINTS],
    position_rad: Joints,
    velocity_rad_s: Joints,
    rng: Pcg64Mcg,
    time_us: u64,
}

impl World {
    /// An arm at angle zero, powered off, without an object.
    ///
    /// # Errors
    /// See [`SimError`]: the parameters do not make sense or are those of an arm with another number of joints.
    pub fn new(model: &ArmModel, params: &SimParams, seed: u64) -> Result<Self, SimError> {
        params.check()?;
        let (expected, found) = (model.joints.len(), params.servos.len());
        if expected != found || expected > MAX_JOINTS {
            return Err(SimError::JointCount { expected, found });
        }
        let zero: Joints = std::array::from_fn(|i| {
            let limits = model.joints.get(i).map(|joint| joint.limits);
            limits.map_or(0.0, |l| 0.0_f64.clamp(f64::from(l.lower_rad), f64::from(l.upper_rad)))
        });
        Ok(Self {
            limits: model.limits(),
            scene: Scene::new(model, params, &zero[..expected], None),
            servos: params.servos.iter().enumerate().map(|(i, s)| Servo::new(params.motor_of(i), s)).collect(),
            commands: CommandLine::new(),
            feedback: FeedbackLine::new(Sample::default()),
            goals: [None; MAX_JOINTS],
            hands: [None; MAX_JOINTS],
            position_rad: zero,
            velocity_rad_s: [0.0; MAX_JOINTS],
            rng: Pcg64Mcg::seed_from_u64(seed),
            time_us: 0,
            model: model.clone(),
            params: params.clone(),
        })
    }

    /// Puts the arm at rest and powered off at `joints_rad`, and a fresh object flat on the table at
    /// `[x, y, yaw]` (m, rad) or none. What was on its way to or from the servos is lost, hands let go; time goes on.
    ///
    /// # Errors
    /// See [`SimError`]; the world is unchanged.
    pub fn reset(&mut self, joints_rad: &[f32], object_xy_yaw: Option<[f64; 3]>, seed: u64) -> Result<(), SimError> {
        self.check_count(joints_rad.len())?;
        for (joint, &angle) in self.model.joints.iter().zip(joints_rad) {
            let JointLimits { lower_rad: lower, upper_rad: upper, .. } = joint.limits;
            if !(lower..=upper).contains(&angle) {
                return Err(SimError::OutOfLimits { joint: joint.name.clone(), lower, upper, found: angle });
            }
        }
        let object = object_xy_yaw.map(|[x, y, yaw]| ObjectPose {
            position: [x, y, self.params.object.rest_height_m()],
            orientation: [0.0, 0.0, (yaw / 2.0).sin(), (yaw / 2.0).cos()],
            linear_velocity: [0.0; 3],
            angular_velocity: [0.0; 3],
        });
        if let Some(object) = &object {
            check_finite(object)?;
        }
        self.position_rad = [0.0; MAX_JOINTS];
        self.velocity_rad_s = [0.0; MAX_JOINTS];
        for (position, &angle) in self.position_rad.iter_mut().zip(joints_rad) {
            *position = f64::from(angle);
        }
        self.rng = Pcg64Mcg::seed_from_u64(seed);
        self.scene = Scene::new(&self.model, &self.params, &self.position_rad[..joints_rad.len()], object.as_ref());
        self.servos.clear();
        self.servos.extend(self.params.servos.iter().enumerate().map(|(i, s)| Servo::new(self.params.motor_of(i), s)));
        self.commands = CommandLine::new();
        self.goals = [None; MAX_JOINTS];
        self.hands = [None; MAX_JOINTS];
        self.feedback = FeedbackLine::new(self.sample());
        Ok(())
    }

    /// Lets the world behave as `params` say from the next [`World::reset`] on.
    ///
    /// # Errors
    /// See [`SimError`]; the world is unchanged.
    pub fn set_params(&mut self, params: &SimParams) -> Result<(), SimError> {
        params.check()?;
        self.check_count(params.servos.len())?;
        self.params.clone_from(params);
        Ok(())
    }

    /// Lets [`STEP_US`] pass.
    pub fn step(&mut self) {
        if let Some(command) = self.commands.receive(self.time_us) {
            self.goals = command;
        }
        for (i, servo) in self.servos.iter_mut().enumerate() {
            let (position_rad, dt_s) = (self.position_rad[i], STEP_US as f64 * 1e-6);
            let mut drive = servo.step(self.goals[i], position_rad, self.velocity_rad_s[i], dt_s);
            if let Some(hand) = &mut self.hands[i] {
                let push = hand.push(position_rad, dt_s);
                drive.torque_nm += push.torque_nm;
                drive.damping += push.damping;
            }
            self.scene.set_drive(i, drive);
        }
        self.scene.step();
        self.scene.read_joints(&mut self.position_rad, &mut self.velocity_rad_s);
        self.time_us += STEP_US;
        self.feedback.push(self.sample());
    }

    /// Sends goals to the servos, in encoder counts from their joints' zeros; `None` cuts a joint's power.
    pub(crate) fn command(&mut self, goals: Goals) {
        let delay_us = self.params.command_latency.draw(&mut self.rng);
        self.commands.send(self.time_us + delay_us, goals);
    }

    /// Sets what a servo's registers can: its gain as a multiple of [`SimParams`]'s, the duty that an error of 1 rad adds
    /// in a second, the duty that 1 rad/s takes away, and its largest duty, 0 to 1.
    pub(crate) fn set_servo(&mut self, joint: usize, gain: f64, integral: f64, derivative: f64, duty_limit: f64) {
        if let (Some(servo), Some(params)) = (self.servos.get_mut(joint), self.params.servos.get(joint)) {
            servo.set(params.p_gain * gain, integral, derivative, duty_limit);
        }
    }

    /// Time since the world began, µs; resets do not turn it back.
    pub fn time_us(&self) -> u64 {
        self.time_us
    }

    /// True pose of the object, if there is one.
    pub fn object(&self) -> Option<ObjectPose> {
        self.scene.object()
    }

    /// Moves the object, if there is one.
    ///
    /// # Errors
    /// [`SimError::NotFinite`]; the object stays.
    pub fn set_object(&mut self, pose: &ObjectPose) -> Result<(), SimError> {
        check_finite(pose)?;
        self.scene.set_object(pose);
        Ok(())
    }

    /// Lets a person's hand take joint `index` to `goal_rad` and keep it there, or let go of it. A hand pushes on the
    /// joint beside its servo; it moves nothing by itself that a hand could not.
    ///
    /// # Errors
    /// [`SimError::NotFinite`], [`SimError::JointCount`]; nobody touches anything.
    pub fn take_by_hand(&mut self, index: usize, goal_rad: Option<f64>) -> Result<(), SimError> {
        if let Some(found) = goal_rad.filter(|goal| !goal.is_finite()) {
            return Err(SimError::NotFinite { what: "a hand's goal", found });
        }
        let expected = self.model.joints.len();
        let (Some(hand), true) = (self.hands.get_mut(index), index < expected) else {
            return Err(SimError::JointCount { expected, found: index + 1 });
        };
        let from_rad = hand.as_ref().map_or(self.position_rad[index], Hand::at_rad);
        *hand = goal_rad.map(|goal_rad| Hand::new(from_rad, goal_rad));
        Ok(())
    }

    /// True angle of each joint, rad.
    pub fn joint_positions(&self) -> &[f64] {
        &self.position_rad[..self.model.joints.len()]
    }

    /// True speed of each joint, rad/s.
    pub fn joint_velocities(&self) -> &[f64] {
        &self.velocity_rad_s[..self.model.joints.len()]
    }

    /// True position of the fingertip, m.
    pub fn tip(&self) -> [f64; 3] {
        let hand = self.scene.link_pose(self.model.tip_joint).unwrap_or_default();
        (hand * self.model.tip).translation.vector.into()
    }

    /// What the world is made of.
    pub fn params(&self) -> &SimParams {
        &self.params
    }

    /// The arm.
    pub fn model(&self) -> &ArmModel {
        &self.model
    }

    fn sample(&self) -> Sample {
        let mut sample = Sample { stamp_us: self.time_us, ..Sample::default() };
        for (i, servo) in self.servos.iter().enumerate() {
            sample.position_counts[i] = servo.shaft_counts(self.position_rad[i]);
            sample.velocity_rad_s[i] = servo.shaft_speed_rad_s(self.velocity_rad_s[i]);
            sample.load[i] = servo.duty();
        }
        sample
    }

    fn check_count(&self, found: usize) -> Result<(), SimError> {
        let expected = self.model.joints.len();
        if expected == found { Ok(()) } else { Err(SimError::JointCount { expected, found }) }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("arm", &self.model.name)
            .field("time_us", &self.time_us)
            .field("joints_rad", &self.joint_positions())
            .field("object", &self.object())
            .finish_non_exhaustive()
    }
}

impl Motors for World {
    type Error = SimError;

    fn limits(&self) -> &[JointLimits] {
        &self.limits
    }

    fn measure(&mut self, state: &mut JointState) -> Result<(), SimError> {
        let age_us = self.params.feedback_latency.draw(&mut self.rng);
        let sample = self.feedback.read(self.time_us.saturating_sub(age_us));
        let noise = self.params.encoder_noise_counts;
        state.position_rad.clear();
        state.velocity_rad_s.clear();
        state.load.clear();
        for i in 0..self.servos.len() {
            let error = if noise > 0.0 { self.rng.random_range(-noise..=noise) } else { 0.0 };
            let position = servo::angle_rad((sample.position_counts[i] + error).round());
            // The vectors hold MAX_JOINTS, and `new` admits no more joints than that.
            let _ = state.position_rad.push(position as f32);
            let _ = state.velocity_rad_s.push(sample.velocity_rad_s[i] as f32);
            let _ = state.load.push(sample.load[i] as f32);
        }
        Ok(())
    }

    fn drive(&mut self, goal_rad: &[f32]) -> Result<(), SimError> {
        self.check_count(goal_rad.len())?;
        if let Some(&found) = goal_rad.iter().find(|goal| !goal.is_finite()) {
            return Err(SimError::NotFinite { what: "a joint's goal", found: f64::from(found) });
        }
        let mut goals = [None; MAX_JOINTS];
        for (counts, &goal) in goals.iter_mut().zip(goal_rad) {
            *counts = Some(servo::counts(f64::from(goal)));
        }
        self.command(goals);
        Ok(())
    }

    fn disable(&mut self) -> Result<(), SimError> {
        self.command([None; MAX_JOINTS]);
        Ok(())
    }
}

fn check_finite(pose: &ObjectPose) -> Result<(), SimError> {
    let numbers = pose.position.iter().chain(&pose.orientation).chain(&pose.linear_velocity);
    let found = numbers.chain(&pose.angular_velocity).find(|v| !v.is_finite());
    found.map_or(Ok(()), |&found| Err(SimError::NotFinite { what: "the object's pose", found }))
}
