//! What a Dynamixel does not let itself be told, and why.

use super::{XSeries, mode};
use firmware_bridge::servo::Register;
use firmware_bridge::servo::register::{Access, Memory};
use firmware_bridge::servo::x_series::{self as table, refusal};

/// Furthest goal over several turns, counts: 256 turns.
const FURTHEST: i32 = 1_048_575;

impl XSeries {
    /// Why `data` may not be stored, or 0.
    pub(super) fn refuses(&self, address: u16, data: &[u8]) -> u8 {
        let end = usize::from(address) + data.len();
        let mut at = address;
        while usize::from(at) < end {
            let Some(register) = self.memory.register_at(at) else {
                // Bytes between registers are nobody's.
                at += 1;
                continue;
            };
            let from = usize::from(register.address.saturating_sub(address));
            if register.address < at || usize::from(register.end()) > end {
                return refusal::LENGTH;
            }
            let Some(Ok(value)) = data.get(from..from + usize::from(register.size)).map(|d| register.decode(d)) else {
                return refusal::LENGTH;
            };
            let error = self.refuses_value(register, value);
            if error != 0 {
                return error;
            }
            at = register.end();
        }
        if self.memory.register_at(address).is_none() { refusal::ACCESS } else { 0 }
    }

    fn refuses_value(&self, register: &Register, value: i32) -> u8 {
        let (min, max) = register.bounds();
        let is_goal =
            [table::GOAL_PWM, table::GOAL_CURRENT, table::GOAL_VELOCITY, table::GOAL_POSITION].contains(register);
        let stopped = self.get(&table::BUS_WATCHDOG) < 0;
        let mode = self.get(&table::OPERATING_MODE);
        if register.access == Access::Read || (register.memory == Memory::Eeprom && self.torque()) {
            return refusal::ACCESS;
        }
        if !(min..=max).contains(&value) || (stopped && (is_goal || (*register == table::BUS_WATCHDOG && value != 0))) {
            return refusal::RANGE;
        }
        let limit = |limit: &Register| self.get(limit);
        match *register {
            table::OPERATING_MODE => {
                let known: &[i32] = if self.has(&table::GOAL_CURRENT) { &[0, 1, 3, 4, 5, 16] } else { &[1, 3, 4, 16] };
                if known.contains(&value) { 0 } else { refusal::RANGE }
            }
            table::GOAL_POSITION if mode == mode::POSITION => {
                let within = limit(&table::MIN_POSITION)..=limit(&table::MAX_POSITION);
                if within.contains(&value) { 0 } else { refusal::LIMIT }
            }
            table::GOAL_POSITION if !(-FURTHEST..=FURTHEST).contains(&value) => refusal::RANGE,
            table::GOAL_PWM if value.abs() > limit(&table::PWM_LIMIT) => refusal::LIMIT,
            table::GOAL_CURRENT if value.abs() > limit(&table::CURRENT_LIMIT) => refusal::LIMIT,
            // It stays off until it starts anew.
            table::TORQUE_ENABLE if value == 1 && self.is_shut_down() => refusal::RESULT,
            _ => 0,
        }
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.get(&table::HARDWARE_ERROR) & self.get(&table::SHUTDOWN) != 0
    }
}
