//! How the servos are, for people: everything that they say of themselves at one moment.

use super::{COUNT, IDS, JOINTS};
use crate::arm::bus::{Answer, Bus, BusError};
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::servo::Register;
use firmware_bridge::servo::sts3215::{self as table, alarm};
use serde::Serialize;

/// From torque enable to present current.
const BLOCK: (u16, u16) = (table::TORQUE_ENABLE.address, 31);
/// Longest wait for all servos, µs: twice the latency of an FTDI adapter.
const TIMEOUT_US: u64 = 40_000;

/// One servo at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Vitals {
    /// Its id.
    pub id: u8,
    /// The joint that it moves.
    pub joint: &'static str,
    /// Whether it is under power.
    pub torque: bool,
    /// Goal, counts.
    pub goal: i32,
    /// Position, counts.
    pub position: i32,
    /// Speed, rad/s.
    pub speed_rad_s: f32,
    /// Drive as a fraction of full duty.
    pub load: f32,
    /// Supply, V.
    pub voltage_v: f32,
    /// Temperature, °C.
    pub temperature_c: f32,
    /// Current, A.
    pub current_a: f32,
    /// What it complains of.
    pub alarms: Vec<&'static str>,
}

/// Asks all servos at once; `None` for those that do not answer.
///
/// # Errors
/// [`BusError::Link`].
pub fn vitals<L: Link, C: Clock>(bus: &mut Bus<L, C>) -> Result<[Option<Vitals>; COUNT], BusError> {
    let mut answers: [Option<Answer>; COUNT] = Default::default();
    let deadline_us = bus.now_us() + TIMEOUT_US;
    bus.sync_read(BLOCK.0, BLOCK.1, &IDS, &mut answers, deadline_us)?;
    Ok(std::array::from_fn(|i| answers[i].as_ref().and_then(|answer| understood(i, answer))))
}

fn understood(index: usize, answer: &Answer) -> Option<Vitals> {
    let count = |register: &Register| {
        let at = usize::from(register.address - BLOCK.0);
        register.decode(answer.data.get(at..at + usize::from(register.size))?).ok()
    };
    let quantity = |register: &Register| count(register).map(|count| register.quantity(count));
    Some(Vitals {
        id: IDS[index],
        joint: JOINTS[index],
        torque: count(&table::TORQUE_ENABLE)? != 0,
        goal: count(&table::GOAL_POSITION)?,
        position: count(&table::PRESENT_POSITION)?,
        speed_rad_s: quantity(&table::PRESENT_SPEED)?,
        load: quantity(&table::PRESENT_LOAD)?,
        voltage_v: quantity(&table::PRESENT_VOLTAGE)?,
        temperature_c: quantity(&table::PRESENT_TEMPERATURE)?,
        current_a: quantity(&table::PRESENT_CURRENT)?,
        alarms: alarms(answer.error | count(&table::STATUS)? as u8),
    })
}

/// The names of what is set in an error byte.
#[must_use]
pub fn alarms(error: u8) -> Vec<&'static str> {
    let names = [
        (alarm::VOLTAGE, "voltage"),
        (alarm::ENCODER, "encoder"),
        (alarm::TEMPERATURE, "temperature"),
        (alarm::CURRENT, "current"),
        (alarm::OVERLOAD, "overload"),
    ];
    names.into_iter().filter(|(bit, _)| error & bit != 0).map(|(_, name)| name).collect()
}
