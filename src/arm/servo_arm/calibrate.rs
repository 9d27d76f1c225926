//! Calibrating an arm that a person holds: the middle of every joint, then its range. The torque is off throughout.
//!
//! [`release`], then [`home`] with all joints in the middle, then [`follow`] again and again while they are moved from
//! stop to stop, then [`finish`]. Servos keep their part in their EEPROM, as LeRobot writes it; [`restore`] writes what
//! a file says.

use super::{COUNT, IDS, JOINTS, Kit, TRIES};
use crate::arm::bus::{Bus, BusError};
use crate::arm::calibration::{Calibration, CalibrationError, Measured, TURN};
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::servo::register::Memory;
use firmware_bridge::servo::{Protocol, Register};

/// Why an arm was not calibrated.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// A servo did not do as it was told; those before it keep what was written.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// What was measured cannot be right; nothing was written.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}

/// Switches every torque off, and puts servos that have a choice into the mode in which they are driven: what a homing
/// offset does depends on it.
///
/// # Errors
/// [`CalibrateError::Bus`].
pub fn release<L: Link, C: Clock>(kit: &Kit, bus: &mut Bus<L, C>) -> Result<(), CalibrateError> {
    for (id, servo) in IDS.into_iter().zip(&kit.servos) {
        bus.write(id, &kit.registers.torque, 0, TRIES)?;
        let lasts =
            |(register, _): &&(Register, i32)| kit.protocol == Protocol::Dynamixel && register.memory == Memory::Eeprom;
        for (register, value) in servo.settings.iter().filter(lasts) {
            bus.write(id, register, *value, TRIES)?;
        }
    }
    Ok(())
}

/// Takes where the joints are for their middles and writes the homing offsets that make it so. They hold once the
/// servos have measured again, some milliseconds later.
///
/// # Errors
/// [`CalibrateError::Calibration`] before anything is written; [`CalibrateError::Bus`].
pub fn home<L: Link, C: Clock>(kit: &Kit, bus: &mut Bus<L, C>) -> Result<[Measured; COUNT], CalibrateError> {
    let mut measured = Vec::with_capacity(COUNT);
    for (id, joint) in IDS.into_iter().zip(JOINTS) {
        let present = bus.read(id, &kit.registers.position, TRIES)?;
        let offset = bus.read(id, &kit.registers.homing_offset, TRIES)?;
        let actual = match kit.protocol {
            Protocol::Feetech => present + offset,
            Protocol::Dynamixel => present - offset,
        };
        measured.push(Measured::middle(kit.protocol, joint, actual.rem_euclid(TURN))?);
    }
    for (id, middle) in IDS.into_iter().zip(&measured) {
        // The range comes later; the old one would clamp.
        let values = [
            (kit.registers.homing_offset, middle.homing_offset()),
            (kit.registers.min_position, 0),
            (kit.registers.max_position, 4095),
        ];
        keep(kit, bus, id, &values)?;
    }
    Ok(std::array::from_fn(|joint| measured[joint]))
}

/// Takes one reading of every joint; gives them without jumps.
///
/// # Errors
/// [`CalibrateError::Bus`].
pub fn follow<L: Link, C: Clock>(
    kit: &Kit,
    bus: &mut Bus<L, C>,
    measured: &mut [Measured; COUNT],
) -> Result<[i32; COUNT], CalibrateError> {
    let mut at = [0; COUNT];
    for ((id, joint), at) in IDS.into_iter().zip(measured).zip(&mut at) {
        *at = joint.follow(bus.read(id, &kit.registers.position, TRIES)?);
    }
    Ok(at)
}

/// Makes a calibration of what was measured, and writes the ranges to the servos.
///
/// # Errors
/// [`CalibrateError::Calibration`] before anything is written; [`CalibrateError::Bus`].
pub fn finish<L: Link, C: Clock>(
    kit: &Kit,
    bus: &mut Bus<L, C>,
    measured: &[Measured; COUNT],
) -> Result<Calibration, CalibrateError> {
    let mut joints = Vec::with_capacity(COUNT);
    for ((id, joint), measured) in IDS.into_iter().zip(JOINTS).zip(measured) {
        joints.push(measured.finish(kit.protocol, joint, id, kit.full_turns.contains(&joint))?);
    }
    let calibration = Calibration::new(kit.protocol, std::array::from_fn(|joint| joints[joint]))?;
    restore(kit, bus, &calibration)?;
    Ok(calibration)
}

/// Writes homing offsets and ranges to the servos.
///
/// # Errors
/// [`CalibrateError::Bus`].
pub fn restore<L: Link, C: Clock>(
    kit: &Kit,
    bus: &mut Bus<L, C>,
    calibration: &Calibration,
) -> Result<(), CalibrateError> {
    release(kit, bus)?;
    for joint in calibration.joints() {
        let values = [
            (kit.registers.homing_offset, joint.homing_offset),
            (kit.registers.min_position, joint.range_min),
            (kit.registers.max_position, joint.range_max),
        ];
        keep(kit, bus, joint.id, &values)?;
    }
    Ok(())
}

/// Writes registers so that they last, and locks the servo's memory again whatever happened.
fn keep<L: Link, C: Clock>(
    kit: &Kit,
    bus: &mut Bus<L, C>,
    id: u8,
    values: &[(Register, i32)],
) -> Result<(), CalibrateError> {
    if let Some(lock) = &kit.registers.lock {
        bus.write(id, lock, 0, TRIES)?;
    }
    let written = values.iter().try_for_each(|(register, value)| bus.write(id, register, *value, TRIES));
    let locked = kit.registers.lock.as_ref().map_or(Ok(()), |lock| bus.write(id, lock, 1, TRIES));
    Ok(written.and(locked)?)
}
