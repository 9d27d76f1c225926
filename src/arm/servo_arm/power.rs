//! Power: on without a jump, off whatever happens, and on again in servos that have lost it.

use super::ticks::Servos;
use super::{COUNT, IDS, JOINTS, TRIES};
use crate::arm::ArmError;
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::servo::Protocol;
use firmware_bridge::servo::register::Memory;

/// How long a servo that starts anew may be silent, µs.
const START_UP_US: u64 = 2_000_000;

impl<L: Link, C: Clock> Servos<L, C> {
    /// Settings, then goal := present, then torque: in this order, so that nothing moves.
    pub(super) fn power(&mut self, joint: usize) -> Result<(), ArmError> {
        let (id, registers) = (IDS[joint], &self.kit.registers);
        for (register, value) in self.kit.settings.iter().chain(self.kit.servos[joint].settings) {
            if register.memory == Memory::Eeprom && self.kit.protocol == Protocol::Dynamixel {
                if self.bus.read(id, register, TRIES)? == *value {
                    continue;
                }
                // It takes such a setting without torque only.
                self.bus.write(id, &registers.torque, 0, TRIES)?;
            }
            self.bus.write(id, register, *value, TRIES)?;
        }
        let present = self.bus.read(id, &registers.position, TRIES)?;
        self.bus.write(id, &registers.goal, present, TRIES)?;
        self.goal_rad[joint] = self.angle_rad(joint, present);
        self.bus.write(id, &registers.torque, 1, TRIES)?;
        if let Some((watchdog, value, _)) = self.kit.watchdog {
            self.bus.write(id, &watchdog, value, TRIES)?;
        }
        Ok(())
    }

    pub(super) fn activate(&mut self) -> Result<(), ArmError> {
        self.check()?;
        self.measure_all()?;
        for (joint, (state, &limits)) in self.joints.iter().zip(&self.options.limits).enumerate() {
            let position_rad = state.position_rad;
            // Free play and rounding.
            if !(limits.lower_rad - 0.05..=limits.upper_rad + 0.05).contains(&position_rad) {
                return Err(ArmError::OutsideLimits { joint, position_rad, limits });
            }
        }
        self.powered = true;
        for joint in 0..COUNT {
            self.power(joint)?;
        }
        (self.active, self.behind, self.ticks) = (true, false, 0);
        self.written_us = self.bus.now_us();
        Ok(())
    }

    pub(super) fn deactivate(&mut self) -> Result<(), ArmError> {
        self.active = false;
        if !self.powered {
            return Ok(());
        }
        // All at once first: it needs no answers. Then each until it says so; alarms do not matter.
        let off: [(u8, i32); COUNT] = IDS.map(|id| (id, 0));
        let torque = &self.kit.registers.torque;
        let sent = self.bus.sync_write(torque, &off);
        let mut on = Vec::new();
        for (id, joint) in IDS.into_iter().zip(JOINTS) {
            let written = self.bus.write(id, torque, 0, TRIES);
            if written.is_err() && self.bus.read(id, torque, TRIES).ok() != Some(0) {
                on.push(joint);
            }
            if let Some((watchdog, ..)) = self.kit.watchdog.filter(|_| on.last() != Some(&joint)) {
                // For programs that know nothing of it; without torque it does nothing.
                let _ = self.bus.write(id, &watchdog, 0, TRIES);
            }
        }
        if on.is_empty() {
            (self.powered, self.tripped) = (false, false);
            return Ok(());
        }
        sent?;
        Err(ArmError::StillPowered { joints: on })
    }

    /// Servos that have switched themselves off for good, and why.
    pub(super) fn shut_down(&mut self) -> Result<Vec<String>, ArmError> {
        let mut servos = Vec::new();
        // A Feetech servo that protects itself goes on with less torque.
        if self.kit.protocol == Protocol::Feetech {
            return Ok(servos);
        }
        for (joint, (id, name)) in IDS.into_iter().zip(JOINTS).enumerate() {
            let alarms = self.bus.read(id, &self.kit.registers.alarms, TRIES)? as u8;
            self.health.alarms[joint] |= alarms;
            if alarms != 0 {
                servos.push(format!("{name} (id {id}, {})", self.kit.alarms(alarms).join(", ")));
            }
        }
        Ok(servos)
    }

    /// Starts servos anew that have switched themselves off for good; the power is off.
    pub(super) fn revive(&mut self) -> Result<(), ArmError> {
        if self.kit.protocol == Protocol::Feetech {
            return Ok(());
        }
        for id in IDS {
            if self.bus.read(id, &self.kit.registers.alarms, TRIES)? == 0 {
                continue;
            }
            self.bus.reboot(id)?;
            let until_us = self.bus.now_us() + START_UP_US;
            while !self.bus.ping(id, 20_000)? && self.bus.now_us() < until_us {}
        }
        let servos = self.shut_down()?;
        if servos.is_empty() { Ok(()) } else { Err(ArmError::ServoShutdown { servos }) }
    }
}
