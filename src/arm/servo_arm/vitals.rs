//! How the servos are, for people: everything that they say of themselves at one moment.

use super::{Block, COUNT, IDS, JOINTS, Kit};
use crate::arm::bus::{Answer, Bus, BusError};
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::servo::Protocol;
use serde::Serialize;

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
    /// Current, A; `None` from servos that do not measure it.
    pub current_a: Option<f32>,
    /// What it complains of.
    pub alarms: Vec<&'static str>,
}

/// Asks all servos at once; `None` for those that do not answer.
///
/// # Errors
/// [`BusError::Link`].
pub fn vitals<L: Link, C: Clock>(kit: &Kit, bus: &mut Bus<L, C>) -> Result<[Option<Vitals>; COUNT], BusError> {
    let mut answers: [Vec<(Block, Answer)>; COUNT] = Default::default();
    for &block in kit.vitals {
        let mut parts: [Option<Answer>; COUNT] = Default::default();
        let deadline_us = bus.now_us() + TIMEOUT_US;
        bus.sync_read(block.address, block.len, &IDS, &mut parts, deadline_us)?;
        for (answer, part) in answers.iter_mut().zip(parts) {
            answer.extend(part.map(|part| (block, part)));
        }
    }
    Ok(std::array::from_fn(|i| understood(kit, i, &answers[i])))
}

fn understood(kit: &Kit, index: usize, answers: &[(Block, Answer)]) -> Option<Vitals> {
    let registers = &kit.registers;
    let count = |register| answers.iter().find_map(|(block, answer)| block.find(register, &answer.data));
    let quantity = |register| count(register).map(|count| register.quantity(count));
    let error = match kit.protocol {
        Protocol::Feetech => answers.iter().fold(0, |error, (_, answer)| error | answer.error),
        // Whether it did as it was told, not how it is.
        Protocol::Dynamixel => 0,
    };
    Some(Vitals {
        id: IDS[index],
        joint: JOINTS[index],
        torque: count(&registers.torque)? != 0,
        goal: count(&registers.goal)?,
        position: count(&registers.position)?,
        speed_rad_s: quantity(&registers.speed)?,
        load: quantity(&registers.load)?,
        voltage_v: quantity(&registers.voltage)?,
        temperature_c: quantity(&registers.temperature)?,
        current_a: kit.servos[index].current.as_ref().and_then(quantity),
        alarms: kit.alarms(error | count(&registers.alarms)? as u8),
    })
}
