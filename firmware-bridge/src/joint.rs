//! Joint quantities in SI units, in the order of the arm's joints from the base outwards.

use serde::{Deserialize, Serialize};

/// The most joints an arm may have; the gripper counts as one.
pub const MAX_JOINTS: usize = 8;

/// One number a joint.
pub type PerJoint = heapless::Vec<f32, MAX_JOINTS>;

/// What the motors measure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JointState {
    /// Angle of each joint, rad.
    pub position_rad: PerJoint,
    /// Angular velocity of each joint, rad/s.
    pub velocity_rad_s: PerJoint,
    /// Drive effort of each joint as a fraction of the motor's stall torque, in −1..=1.
    pub load: PerJoint,
}

/// Where the joints shall be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JointCommand {
    /// Goal angle of each joint, rad.
    pub position_rad: PerJoint,
}

/// What one joint may do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct JointLimits {
    /// Smallest angle, rad.
    pub lower_rad: f32,
    /// Largest angle, rad.
    pub upper_rad: f32,
    /// Largest speed of the goal, rad/s.
    pub velocity_rad_s: f32,
}
