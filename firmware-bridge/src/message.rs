//! What the packets mean. Postcard-encoded; see [`crate::frame`] for the bytes around them.

use crate::joint::{JointLimits, JointState, MAX_JOINTS, PerJoint};
use serde::{Deserialize, Serialize};

/// Version of messages and frames. A host and a firmware that differ refuse each other.
pub const PROTOCOL_VERSION: u16 = 1;

/// From the host to the firmware.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HostMessage {
    /// First message of a host; answered by [`DeviceMessage::Hello`] whatever the version.
    Hello {
        /// The host's [`PROTOCOL_VERSION`].
        version: u16,
    },
    /// Hold the present position under power; nothing if already active. Feeds the watchdog. Answered by a state.
    Activate {
        /// Echoed in the answer.
        seq: u32,
    },
    /// Cut the power. Obeyed in every mode and before any `Hello`; a fault stays latched. Answered by a state.
    Deactivate {
        /// Echoed in the answer.
        seq: u32,
    },
    /// Move so as to be at the goal after `horizon_us`. Feeds the watchdog. Answered by a state.
    Command {
        /// Echoed in the answer.
        seq: u32,
        /// Goal angle of each joint, rad.
        position_rad: PerJoint,
        /// Time in which to reach the goal from the present one, in µs; the host's control period.
        horizon_us: u32,
    },
    /// Ask for the state; does not feed the watchdog.
    Poll {
        /// Echoed in the answer.
        seq: u32,
    },
    /// Leave the fault mode for idle: the power is cut. Answered by a state.
    ClearFault {
        /// Echoed in the answer.
        seq: u32,
    },
}

/// From the firmware to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DeviceMessage {
    /// Who the firmware is.
    Hello {
        /// The firmware's [`PROTOCOL_VERSION`].
        version: u16,
        /// Differs after every reset of the microcontroller.
        boot_id: u32,
        /// Longest time without a command before the arm is stopped, µs.
        watchdog_us: u32,
        /// Limits that the firmware enforces, one a joint.
        limits: heapless::Vec<JointLimits, MAX_JOINTS>,
    },
    /// The arm's state, in answer to any message but `Hello`.
    State {
        /// Of the message that this answers.
        seq: u32,
        /// Differs after every reset of the microcontroller.
        boot_id: u32,
        /// Firmware's clock at the measurement, µs since its boot; 0 if there was none yet.
        stamp_us: u64,
        /// What the firmware is doing.
        mode: Mode,
        /// Why the message that this answers was not obeyed, if so.
        refused: Option<Refusal>,
        /// Measured joints; empty if there was no measurement yet.
        joints: JointState,
        /// The goal that was last sent to the motors, rad; empty while the power is off.
        sent_rad: PerJoint,
    },
}

/// What the firmware is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Power off.
    Idle,
    /// Power on, following commands.
    Active,
    /// Stopped under power, or powered off if the motors fail; latched until cleared.
    Fault(Fault),
}

/// Why the firmware stopped the arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// No valid command within the watchdog's time.
    Watchdog,
    /// The motors stopped answering.
    Motors,
}

/// Why a message was not obeyed. The arm goes on as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Not in this mode: a command while idle, anything but clear and deactivate while in fault.
    WrongMode,
    /// The number of joints differs from the arm's.
    JointCount,
    /// A number is NaN or infinite.
    NotFinite,
    /// A goal is outside the joint's limits.
    PositionLimit,
    /// A goal would be reached too late within the joint's velocity limit; see [`crate::firmware::CATCH_UP_US`].
    VelocityLimit,
    /// No `Hello` of the same version has come since the firmware started.
    NoHello,
    /// The motors did not obey.
    Motors,
}
