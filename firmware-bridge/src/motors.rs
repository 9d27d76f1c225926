//! The seam between the firmware and whatever turns the joints: a board's servo bus or a simulated arm.

use crate::joint::{JointLimits, JointState};

/// Motors that hold joint angles.
pub trait Motors {
    /// Why the motors did not obey.
    type Error;

    /// Limits of each joint; its length is the number of joints.
    fn limits(&self) -> &[JointLimits];

    /// Reads every joint into `state`, filling its vectors to the number of joints.
    ///
    /// # Errors
    /// The motors did not answer; `state` is unspecified.
    fn measure(&mut self, state: &mut JointState) -> Result<(), Self::Error>;

    /// Powers the motors if they are off and holds `goal_rad`, one angle a joint.
    ///
    /// # Errors
    /// The motors did not take the goal.
    fn drive(&mut self, goal_rad: &[f32]) -> Result<(), Self::Error>;

    /// Cuts the power. Calling it again is harmless.
    ///
    /// # Errors
    /// The motors may still be powered.
    fn disable(&mut self) -> Result<(), Self::Error>;
}
