//! An arm and its drivers. [`bridge`] talks to our firmware, [`servo_arm`] to bus servos; [`so101`] and [`koch`] say
//! what servos such arms have.

mod error;

pub mod bridge;
pub mod bus;
pub mod calibration;
pub mod koch;
pub mod servo_arm;
pub mod so101;

pub use bridge::{BridgeArm, BridgeOptions};
pub use calibration::{Calibration, CalibrationError};
pub use error::ArmError;
pub use servo_arm::{Kit, ServoArm, ServoArmOptions};

use firmware_bridge::{JointCommand, JointLimits, JointState};
use serde::Serialize;

/// What a driver's arm can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// Limits that hold whatever the host asks, one a joint.
    pub limits: Vec<JointLimits>,
    /// Longest silence of the host before the arm stops by itself, µs; `None` if it never does.
    pub watchdog_us: Option<u32>,
}

/// An arm under power only between [`Arm::activate`] and [`Arm::deactivate`].
pub trait Arm {
    /// What the arm can do; known once connected.
    fn capabilities(&self) -> &Capabilities;

    /// Holds the present position under power: goal := present, then torque on.
    ///
    /// # Errors
    /// See [`ArmError`]; the power is off.
    fn activate(&mut self) -> Result<(), ArmError>;

    /// Reads every joint. `stamp_us` of the result is on the host's clock.
    ///
    /// # Errors
    /// See [`ArmError`].
    fn read(&mut self) -> Result<Reading, ArmError>;

    /// Sends a goal and returns the command that was really sent after the driver's own clamping.
    ///
    /// # Errors
    /// See [`ArmError`].
    fn write(&mut self, command: &JointCommand) -> Result<JointCommand, ArmError>;

    /// How arm and line have been since the connection.
    fn health(&self) -> Health;

    /// Leaves a latched fault. Cuts the power, so an arm that hangs in the air must be supported or activated at once.
    ///
    /// # Errors
    /// The arm does not answer, or its motors still fail.
    fn clear_fault(&mut self) -> Result<(), ArmError>;

    /// Cuts the power. Idempotent; also on drop.
    ///
    /// # Errors
    /// The power may still be on.
    fn deactivate(&mut self) -> Result<(), ArmError>;
}

impl<A: Arm + ?Sized> Arm for Box<A> {
    fn capabilities(&self) -> &Capabilities {
        (**self).capabilities()
    }

    fn activate(&mut self) -> Result<(), ArmError> {
        (**self).activate()
    }

    fn read(&mut self) -> Result<Reading, ArmError> {
        (**self).read()
    }

    fn write(&mut self, command: &JointCommand) -> Result<JointCommand, ArmError> {
        (**self).write(command)
    }

    fn health(&self) -> Health {
        (**self).health()
    }

    fn clear_fault(&mut self) -> Result<(), ArmError> {
        (**self).clear_fault()
    }

    fn deactivate(&mut self) -> Result<(), ArmError> {
        (**self).deactivate()
    }
}

/// What an arm and its line have been through since the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Answers that were waited for, or messages that came.
    pub asked: u64,
    /// Answers that did not come in time.
    pub lost: u64,
    /// Answers that came damaged.
    pub damaged: u64,
    /// Readings in which a measurement was an old one.
    pub stale: u64,
    /// Servos that had lost their power or stopped by themselves, and were powered again.
    pub restarts: u64,
    /// Hottest that a motor has been, °C; 0 where it is not known.
    pub temperature_max_c: i32,
}

/// Joint state with the time of its measurement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Host's clock when the measurement arrived, µs.
    pub stamp_us: u64,
    /// Measured joints.
    pub joints: JointState,
}
