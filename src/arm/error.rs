//! Why an arm does not obey, and what to do about it.

use firmware_bridge::JointLimits;
use firmware_bridge::message::{Fault, Refusal};

/// Why an arm did not obey.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The line to the arm failed.
    #[error(transparent)]
    Link(Box<dyn std::error::Error + Send + Sync>),
    /// Nothing was heard from the arm at all.
    #[error("no arm answered within {waited_ms} ms; check that it is powered and that the port is the right one")]
    Silent {
        /// How long the driver waited, ms.
        waited_ms: u64,
    },
    /// The port speaks, but not as our firmware does.
    #[error(
        "the port speaks something else: {count} bytes that are no answer to a hello, beginning with {excerpt}; \
         check that the port is the right one and that the arm runs the firmware of this project"
    )]
    Foreign {
        /// Number of bytes heard.
        count: usize,
        /// The first of them.
        excerpt: String,
    },
    /// Host and firmware are of different versions.
    #[error(
        "the host speaks version {host} of the protocol and the arm's firmware version {firmware}; update the older"
    )]
    Version {
        /// The host's version.
        host: u16,
        /// The firmware's version.
        firmware: u16,
    },
    /// The arm has stopped answering.
    #[error("the arm has not answered for {silent_ms} ms; check the cable, and how busy this machine is")]
    NoAnswer {
        /// How long, ms.
        silent_ms: u64,
    },
    /// The microcontroller was reset.
    #[error(
        "the arm's microcontroller was reset (boot {before:08x} became {now:08x}) and its power is off; \
         check its supply, then connect again"
    )]
    Rebooted {
        /// Boot id at the connection.
        before: u32,
        /// Boot id now.
        now: u32,
    },
    /// The firmware has stopped the arm and stays so until the fault is cleared.
    #[error("the arm has stopped with a fault: {}; find the cause, then clear the fault", told(.0))]
    Fault(Fault),
    /// The arm was active and is not.
    #[error("the arm's power went off without a fault; another program may be using the arm")]
    PowerLost,
    /// A message was not obeyed.
    #[error("the arm refused: {}", reason(.0))]
    Refused(Refusal),
    /// Servos of the arm's bus are missing.
    #[error(
        "no answer from {}: expected servos with the ids 1 to {count}; check the supply, the cable between the last \
         servo that answers and the first that does not, and the ids", missing.join(", ")
    )]
    MissingServos {
        /// Joint and id of each.
        missing: Vec<String>,
        /// How many servos the arm has.
        count: usize,
    },
    /// A servo of the bus has stopped answering.
    #[error("servo {id} ({joint}) has not answered for {silent_ms} ms; check its cable and its supply")]
    ServoSilent {
        /// Id of the servo.
        id: u8,
        /// The joint that it moves.
        joint: &'static str,
        /// How long, ms.
        silent_ms: u64,
    },
    /// No servo of the bus answers any more.
    #[error("no servo has answered for {silent_ms} ms; check the cable to the adapter and the arm's supply")]
    BusSilent {
        /// How long, ms.
        silent_ms: u64,
    },
    /// A servo is not what the arm is made of.
    #[error("servo {id} ({joint}) is of model {found}, expected {expected}; check --arm, and the ids")]
    ServoModel {
        /// Id of the servo.
        id: u8,
        /// The joint that it should move.
        joint: &'static str,
        /// Model number of the arm's servos.
        expected: i32,
        /// Model number that it gives.
        found: i32,
    },
    /// The servos hold other homing offsets than the calibration says.
    #[error(
        "{} {} not calibrated as the file says: the homing offset differs; give the arm's own --calibration, or write \
         this one to it with `hindsight calibrate --restore`", joints.join(", "), if joints.len() == 1 { "is" } else { "are" }
    )]
    OtherCalibration {
        /// The joints.
        joints: Vec<&'static str>,
    },
    /// Servos have switched themselves off.
    #[error(
        "{} shut down to protect {}; find what pressed or heated, support the arm, and run again with --clear-fault",
        servos.join(", "), if servos.len() == 1 { "itself" } else { "themselves" }
    )]
    ServoShutdown {
        /// Joint, id and reason of each.
        servos: Vec<String>,
    },
    /// The torque of servos could not be switched off.
    #[error("the power of {} may still be on: no answer; switch the supply off", joints.join(", "))]
    StillPowered {
        /// The joints.
        joints: Vec<&'static str>,
    },
    /// A joint rests where it cannot be.
    #[error(
        "joint {joint} is at {position_rad:.3} rad, outside {:.3}..{:.3} rad, and got no power; \
         move it inside by hand, or calibrate the arm again", limits.lower_rad, limits.upper_rad
    )]
    OutsideLimits {
        /// Number of the joint, from the base.
        joint: usize,
        /// Where it is, rad.
        position_rad: f32,
        /// Where it may be.
        limits: JointLimits,
    },
}

impl ArmError {
    /// A failure of the line.
    pub(super) fn link(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Link(Box::new(error))
    }
}

fn told(fault: &Fault) -> &'static str {
    match fault {
        Fault::Watchdog => "no command came in time, and the arm is held where it stopped",
        Fault::Motors => "the motors failed, and their power is cut",
    }
}

fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::WrongMode => "not in this mode; activate the arm first, or clear its fault",
        Refusal::JointCount => "the command has another number of joints than the arm; check which arm is connected",
        Refusal::NotFinite => "the command holds a number that is NaN or infinite",
        Refusal::PositionLimit => "a goal is outside the limits of its joint",
        Refusal::VelocityLimit => "a goal is too far away to be reached in time at the joint's speed limit",
        Refusal::NoHello => "the firmware waits for a hello; connect again",
        Refusal::Motors => "the motors do not answer; check their supply and their cables",
    }
}

/// Bytes for people: as text where it is text, else in hexadecimal.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        format!("{:?}", String::from_utf8_lossy(bytes))
    } else {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    }
}
