//! Where the fingertip is, which joint angles put it somewhere, and what gravity asks of the motors.
//!
//! The arm is a vertical pan axis that carries a planar chain (lift, elbow, wrist, with parallel horizontal axes),
//! whose hand rolls about its own axis. Five joints reach a position, a pitch and a roll, in closed form:
//! the pan from the tip's bearing and its offset from the arm's plane, the wrist from position and pitch, lift and
//! elbow from the triangle shoulder–elbow–wrist. Of the two triangles the one with the elbow up is taken, always,
//! so that nearby positions have nearby angles. Everything is computed in `f64`; nothing allocates.

mod gravity;
mod profile;

use nalgebra::{Isometry3, Vector3};
use sim::{ArmModel, Reach};
use std::f64::consts::{FRAC_PI_2, PI};

use gravity::Bodies;
pub use profile::{GRASP_ROLL_RAD, PUSH_ROLL_RAD};

/// Number of joints: pan, lift, elbow, wrist, roll, jaw.
pub const JOINTS: usize = 6;

/// How far axes may be from parallel or perpendicular (sine), and points from the pan axis (m), to count as such.
const GEOMETRY_TOLERANCE: f64 = 1e-3;
/// How far rounding may carry an angle beyond its limit, rad.
const LIMIT_TOLERANCE_RAD: f64 = 1e-6;

/// Pose of the fingertip.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tip {
    /// Position in the base frame, m.
    pub position_m: [f64; 3],
    /// Angle of the fingers below the horizon, rad.
    pub pitch_rad: f64,
    /// Rotation of the hand about the fingers' direction, rad; 0 when the jaws open in the arm's vertical plane.
    pub roll_rad: f64,
}

/// Why there are no joint angles for a pose.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum KinematicsError {
    /// The arm is not of the kind that this module solves.
    #[error("expected a pan-lift-elbow-wrist-roll-jaw arm, found {found}; describe the arm with such joints")]
    UnsupportedArm {
        /// What is different.
        found: &'static str,
    },
    /// A coordinate is NaN or infinite.
    #[error("expected a finite position and pitch, found NaN or infinity; check what computed them")]
    NotFinite,
    /// The pose is too far away, or too close to the shoulder or the pan axis.
    #[error(
        "no joint angles put the fingertip at {position_m:.3?} m with the hand {:.0}° below the horizon; \
         the nearest position at this pitch is {nearest_m:.3?} m", .pitch_rad.to_degrees()
    )]
    Unreachable {
        /// What was asked for, m.
        position_m: [f64; 3],
        /// What was asked for, rad below the horizon.
        pitch_rad: f64,
        /// A nearby position that the links are long enough for, m.
        nearest_m: [f64; 3],
    },
    /// The pose is within reach of the links, but not within a joint's limits.
    #[error(
        "joint {joint} would have to be at {found_rad:.3} rad, expected {lower_rad:.3}..={upper_rad:.3}; \
         choose another position or pitch"
    )]
    JointLimit {
        /// Index of the joint, 0 is the pan.
        joint: usize,
        /// Angle that the pose needs, rad.
        found_rad: f64,
        /// Smallest angle, rad.
        lower_rad: f64,
        /// Largest angle, rad.
        upper_rad: f64,
    },
}

/// A vector in the arm's vertical plane: forward, up; m.
#[derive(Debug, Clone, Copy)]
struct InPlane {
    forward: f64,
    up: f64,
}

impl InPlane {
    /// Turned down by `pitch_rad`.
    fn pitched(self, pitch_rad: f64) -> Self {
        let (sin, cos) = pitch_rad.sin_cos();
        Self { forward: self.forward * cos + self.up * sin, up: self.up * cos - self.forward * sin }
    }

    /// Angle below the horizon, rad.
    fn pitch(self) -> f64 {
        (-self.up).atan2(self.forward)
    }

    fn length(self) -> f64 {
        self.forward.hypot(self.up)
    }
}

impl std::ops::Add for InPlane {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { forward: self.forward + other.forward, up: self.up + other.up }
    }
}

impl std::ops::Sub for InPlane {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { forward: self.forward - other.forward, up: self.up - other.up }
    }
}

/// Closed-form kinematics of one arm, extracted from its model.
#[derive(Debug, Clone)]
pub struct Kinematics {
    /// +1 or −1 a joint: does a positive joint angle turn pan counter-clockwise, lift to wrist down, roll about the
    /// fingers' direction?
    sign: [f64; 5],
    /// Bearing of the arm's plane at pan zero, rad.
    bearing_rad: f64,
    /// Pan axis to lift axis at zero.
    shoulder: InPlane,
    /// Lift axis to elbow axis at zero.
    upper: InPlane,
    /// Elbow axis to wrist axis at zero.
    fore: InPlane,
    /// Pitch of the fingers at zero, rad.
    hand_pitch_rad: f64,
    /// Distance of the wrist axis' frame from the pan axis along the lift axis, m.
    lateral_m: f64,
    /// Wrist axis to fingertip at zero (forward, left, up): the part that roll does not move.
    hand: Vector3<f64>,
    /// Roll axis to fingertip at zero, and the same a quarter turn further.
    swing: [Vector3<f64>; 2],
    /// Turn of the hand from roll joint zero to roll zero, rad.
    roll_zero_rad: f64,
    /// Limits of the five joints, rad.
    limits: [(f64, f64); 5],
    /// Roll of the hand on the profile, rad.
    profile_roll_rad: f64,
    bodies: Bodies,
    reach: Reach,
}

impl Kinematics {
    /// Extracts the geometry of `model`.
    ///
    /// # Errors
    /// [`KinematicsError::UnsupportedArm`] if the joints are not a vertical pan through the base frame's origin,
    /// three parallel horizontal axes, a roll along the fingers, and a jaw.
    pub fn new(model: &ArmModel) -> Result<Self, KinematicsError> {
        let unsupported = |found| KinematicsError::UnsupportedArm { found };
        if model.joints.len() != JOINTS || model.tip_joint != 4 {
            return Err(unsupported("another number of joints, or a fingertip that the roll does not carry"));
        }
        let mut frames = [Isometry3::identity(); JOINTS];
        for (i, joint) in model.joints.iter().enumerate() {
            if joint.parent != i.checked_sub(1) {
                return Err(unsupported("joints that are not a chain in this order"));
            }
            let parent = joint.parent.map_or_else(Isometry3::identity, |p| frames[p]);
            frames[i] = parent * joint.origin;
        }
        let axes: [Vector3<f64>; JOINTS] = std::array::from_fn(|i| frames[i] * model.joints[i].axis.into_inner());
        let points: [Vector3<f64>; JOINTS] = std::array::from_fn(|i| frames[i].translation.vector);
        let tip = frames[4] * model.tip;
        let fingers = tip.rotation * Vector3::z();

        let up = Vector3::z();
        if axes[0].cross(&up).norm() > GEOMETRY_TOLERANCE || points[0].xy().norm() > GEOMETRY_TOLERANCE {
            return Err(unsupported("a pan axis that is not vertical through the base frame's origin"));
        }
        if axes[1].z.abs() > GEOMETRY_TOLERANCE
            || axes[1].cross(&axes[2]).norm() > GEOMETRY_TOLERANCE
            || axes[1].cross(&axes[3]).norm() > GEOMETRY_TOLERANCE
        {
            return Err(unsupported("lift, elbow and wrist axes that are not horizontal and parallel"));
        }
        // Left of the arm's plane; the lift axis points either way.
        let mut left = Vector3::new(axes[1].x, axes[1].y, 0.0).normalize();
        if left.cross(&up).x < 0.0 {
            left = -left;
        }
        let forward = left.cross(&up);
        if axes[4].cross(&fingers).norm() > GEOMETRY_TOLERANCE || fingers.dot(&left).abs() > GEOMETRY_TOLERANCE {
            return Err(unsupported("a roll axis that does not point along the fingers in the arm's plane"));
        }

        let flat = |v: Vector3<f64>| InPlane { forward: v.dot(&forward), up: v.z };
        let local = |v: Vector3<f64>| Vector3::new(v.dot(&forward), v.dot(&left), v.z);
        let to_tip = tip.translation.vector - points[4];
        let along = fingers * to_tip.dot(&fingers);
        let swing = to_tip - along;
        let jaw = axes[5];
        let jaw_from_left = jaw.dot(&fingers.cross(&left)).atan2(jaw.dot(&left));
        // The jaw's axis is a line without direction: of the two rolls that lay it level, the one nearer to zero.
        let roll_zero_rad = if jaw.cross(&fingers).norm() < 0.5 { 0.0 } else { wrap_half(-jaw_from_left) };
        let signum = |x: f64| if x < 0.0 { -1.0 } else { 1.0 };
        Ok(Self {
            sign: [
                signum(axes[0].z),
                signum(axes[1].dot(&left)),
                signum(axes[2].dot(&left)),
                signum(axes[3].dot(&left)),
                signum(axes[4].dot(&fingers)),
            ],
            bearing_rad: forward.y.atan2(forward.x),
            shoulder: flat(points[1]),
            upper: flat(points[2] - points[1]),
            fore: flat(points[3] - points[2]),
            hand_pitch_rad: flat(fingers).pitch(),
            lateral_m: points[3].dot(&left),
            hand: local(points[4] - points[3] + along),
            swing: [local(swing), local(fingers.cross(&swing))],
            roll_zero_rad,
            profile_roll_rad: PUSH_ROLL_RAD,
            limits: std::array::from_fn(|i| {
                let limits = model.joints[i].limits;
                (f64::from(limits.lower_rad), f64::from(limits.upper_rad))
            }),
            bodies: Bodies::new(model),
            reach: model.reach,
        })
    }

    /// Pose of the fingertip at the joint angles `position_rad`; joints that are missing count as zero.
    #[must_use]
    pub fn forward(&self, position_rad: &[f32]) -> Tip {
        let turn: [f64; 5] =
            std::array::from_fn(|i| self.sign[i] * position_rad.get(i).copied().map_or(0.0, f64::from));
        let (hand, lateral) = self.hand_at(turn[4]);
        let flat = self.shoulder
            + self.upper.pitched(turn[1])
            + self.fore.pitched(turn[1] + turn[2])
            + hand.pitched(turn[1] + turn[2] + turn[3]);
        let (sin, cos) = (turn[0] + self.bearing_rad).sin_cos();
        Tip {
            position_m: [
                flat.forward * cos - (self.lateral_m + lateral) * sin,
                flat.forward * sin + (self.lateral_m + lateral) * cos,
                flat.up,
            ],
            pitch_rad: wrap(self.hand_pitch_rad + turn[1] + turn[2] + turn[3]),
            roll_rad: wrap(turn[4] - self.roll_zero_rad),
        }
    }

    /// Height of the fingertip above the table at the joint angles `position_rad`, m; cheaper than [`Self::forward`].
    #[must_use]
    pub fn tip_height_m(&self, position_rad: &[f64; JOINTS]) -> f64 {
        let turn: [f64; 5] = std::array::from_fn(|i| self.sign[i] * position_rad[i]);
        let (hand, _) = self.hand_at(turn[4]);
        self.shoulder.up
            + self.upper.pitched(turn[1]).up
            + self.fore.pitched(turn[1] + turn[2]).up
            + hand.pitched(turn[1] + turn[2] + turn[3]).up
    }

    /// Largest distance between each joint's axis and the fingertip, or for pan and jaw, which do not change its height,
    /// zero; m.
    #[must_use]
    pub fn height_levers_m(&self) -> [f64; JOINTS] {
        let swing = self.swing[0].norm();
        let wrist = self.hand.norm() + swing;
        let elbow = self.fore.length() + wrist;
        [0.0, self.upper.length() + elbow, elbow, wrist, swing, 0.0]
    }

    /// Joint angles from pan to roll that put the fingertip at `position_m` (base frame) with the fingers
    /// `pitch_rad` below the horizon and the hand rolled by `roll_rad`, elbow up.
    ///
    /// # Errors
    /// [`KinematicsError::NotFinite`], [`KinematicsError::Unreachable`] or [`KinematicsError::JointLimit`].
    pub fn inverse(&self, position_m: [f64; 3], pitch_rad: f64, roll_rad: f64) -> Result<[f32; 5], KinematicsError> {
        let [x, y, z] = position_m;
        if !(x.is_finite() && y.is_finite() && z.is_finite() && pitch_rad.is_finite() && roll_rad.is_finite()) {
            return Err(KinematicsError::NotFinite);
        }
        let roll_turn = wrap(roll_rad + self.roll_zero_rad);
        let (hand, lateral) = self.hand_at(roll_turn);
        let lateral = self.lateral_m + lateral;
        let radius = x.hypot(y);
        let unreachable = |flat: InPlane, bearing: f64| KinematicsError::Unreachable {
            position_m,
            pitch_rad,
            nearest_m: [
                flat.forward * bearing.cos() - lateral * bearing.sin(),
                flat.forward * bearing.sin() + lateral * bearing.cos(),
                flat.up,
            ],
        };
        let out = (radius * radius - lateral * lateral).max(0.0).sqrt();
        let bearing = y.atan2(x) - lateral.atan2(out);
        if radius < lateral.abs() {
            return Err(unreachable(InPlane { forward: 0.0, up: z }, bearing));
        }

        let hand_turn = pitch_rad - self.hand_pitch_rad;
        let hand = hand.pitched(hand_turn);
        let to_wrist = InPlane { forward: out, up: z } - hand - self.shoulder;
        let (upper, fore, span) = (self.upper.length(), self.fore.length(), to_wrist.length());
        let nearest_span = span.clamp((upper - fore).abs(), upper + fore);
        // Also catches a wrist in the shoulder of an arm with equal links, where every lift would do.
        if span < 1e-9 || (span - nearest_span).abs() > 1e-9 {
            let scale = nearest_span / span.max(1e-9);
            let wrist = InPlane { forward: to_wrist.forward * scale, up: to_wrist.up * scale };
            return Err(unreachable(self.shoulder + wrist + hand, bearing));
        }
        let cos_elbow = (span * span - upper * upper - fore * fore) / (2.0 * upper * fore);
        // Forearm below the upper arm's line: the elbow is up.
        let elbow = cos_elbow.clamp(-1.0, 1.0).acos();
        let lift_turn = to_wrist.pitch() - (fore * elbow.sin()).atan2(upper + fore * elbow.cos()) - self.upper.pitch();
        let elbow_turn = elbow - (self.fore.pitch() - self.upper.pitch());
        let wrist_turn = hand_turn - lift_turn - elbow_turn;

        let turn = [bearing - self.bearing_rad, lift_turn, elbow_turn, wrist_turn, roll_turn];
        let mut angles = [0.0; 5];
        for (joint, (angle, (lower_rad, upper_rad))) in angles.iter_mut().zip(self.limits).enumerate() {
            let found_rad = self.sign[joint] * wrap(turn[joint]);
            if found_rad < lower_rad - LIMIT_TOLERANCE_RAD || found_rad > upper_rad + LIMIT_TOLERANCE_RAD {
                return Err(KinematicsError::JointLimit { joint, found_rad, lower_rad, upper_rad });
            }
            *angle = found_rad.clamp(lower_rad, upper_rad) as f32;
        }
        Ok(angles)
    }

    /// Where the arm's fingertip may go.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Rolls the hand by `roll_rad` on the profile; without this by [`PUSH_ROLL_RAD`].
    #[must_use]
    pub fn with_profile_roll(self, roll_rad: f64) -> Self {
        Self { profile_roll_rad: roll_rad, ..self }
    }

    /// Pitch of the hand on the profile with the fingertip at `position_m`, rad below the horizon.
    #[must_use]
    pub fn pitch_on_profile(&self, position_m: [f64; 3]) -> f64 {
        let [x, y, z] = position_m;
        self.reach.pitch(x.hypot(y), z)
    }

    /// [`Self::inverse`] with the pitch of [`Reach::pitch`] and the roll of [`Self::with_profile_roll`]: the arm's
    /// pose as a function of the fingertip's position alone.
    ///
    /// # Errors
    /// As [`Self::inverse`].
    pub fn inverse_on_profile(&self, position_m: [f64; 3]) -> Result<[f32; 5], KinematicsError> {
        let radius_m = position_m[0].hypot(position_m[1]);
        self.inverse(position_m, self.reach.pitch(radius_m, position_m[2]), self.profile_roll_rad)
    }

    /// Torque with which each motor holds the arm against gravity at the angles `position_rad`, N·m: the derivative
    /// of the potential energy by the joint's angle. Joints that are missing count as zero.
    #[must_use]
    pub fn gravity_torque(&self, position_rad: &[f32]) -> [f64; JOINTS] {
        self.bodies.gravity_torque(position_rad)
    }

    /// Wrist axis to fingertip at zero pitch turn, split into the arm's plane and left of it.
    fn hand_at(&self, roll_turn: f64) -> (InPlane, f64) {
        let (sin, cos) = roll_turn.sin_cos();
        let v = self.hand + self.swing[0] * cos + self.swing[1] * sin;
        (InPlane { forward: v.x, up: v.z }, v.y)
    }
}

/// Into −π..=π.
fn wrap(angle_rad: f64) -> f64 {
    if (-PI..=PI).contains(&angle_rad) { angle_rad } else { (angle_rad + PI).rem_euclid(2.0 * PI) - PI }
}

/// Into −π/2..=π/2 by whole half turns.
fn wrap_half(angle_rad: f64) -> f64 {
    (angle_rad + FRAC_PI_2).rem_euclid(PI) - FRAC_PI_2
}

#[cfg(test)]
pub(crate) mod tests;
