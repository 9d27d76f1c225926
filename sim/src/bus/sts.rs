//! A Feetech STS3215 at the level of its registers.
//!
//! Not modelled: multi-turn and speed modes (register 33 is stored, the servo stays in position mode), the gains I and
//! D, the dead zones and the minimum force.

use super::memory::Memory;
use super::profile::Profile;
use super::{Drive, ROOM_C, Reply, START_UP_US, Sensed, Servo, THERMAL_S};
use firmware_bridge::servo::sts3215::{self as table, COUNTS_PER_TURN, REGISTERS, alarm};
use firmware_bridge::servo::{Instruction, Register};

/// Warming by the square of the current, °C/A², until it is steady: 2 A for long end at the 70 °C of register 13.
const WARMING_C_A2: f64 = 11.0;
/// Current at standstill under full duty, A: as measured on an STS3215 at 12 V.
const STALL_A: f64 = 2.7;
/// Firmware version that the servos give.
const FIRMWARE: (i32, i32) = (3, 10);
/// Shafts that are slower stand still, counts/s.
const MOVING_COUNTS_S: f64 = 20.0;

/// One servo.
#[derive(Debug, Clone)]
pub(super) struct Sts {
    memory: Memory,
    /// A `RegWrite` that waits for its `Action`.
    pending: Option<(u16, Vec<u8>)>,
    profile: Profile,
    /// How long the drive has been above the overload torque, s.
    overloaded_s: f64,
    /// The overload protection has acted, until the torque is switched off.
    latched: bool,
    temperature_c: f64,
    /// Silent until then, µs.
    silent_until_us: u64,
    /// Encoder's count at the joint's zero.
    zero: f64,
}

impl Sts {
    /// A servo as delivered but for its id, whose encoder stands at `zero` where its joint does.
    pub(super) fn new(id: u8, zero: f64) -> Self {
        let memory = Memory::new(REGISTERS, |register| match *register {
            table::ID => i32::from(id),
            table::FIRMWARE_MAJOR => FIRMWARE.0,
            table::FIRMWARE_MINOR => FIRMWARE.1,
            table::MAX_VOLTAGE => 140,
            table::UNLOAD_CONDITION => i32::from(alarm::OVERLOAD | alarm::TEMPERATURE),
            table::MAX_ACCELERATION => 254,
            _ => register.default.unwrap_or(0),
        });
        let mut servo = Self {
            memory,
            pending: None,
            profile: Profile::default(),
            overloaded_s: 0.0,
            latched: false,
            temperature_c: ROOM_C,
            silent_until_us: 0,
            zero,
        };
        servo.power_on();
        servo
    }

    fn power_on(&mut self) {
        self.memory.power_on();
        self.set(&table::TORQUE_LIMIT, self.get(&table::MAX_TORQUE));
        (self.pending, self.latched, self.overloaded_s) = (None, false, 0.0);
    }

    /// Answers to instructions that ask for nothing, unless they are switched off.
    fn acknowledges(&self) -> Option<Vec<u8>> {
        (self.get(&table::RESPONSE_LEVEL) == 1).then(Vec::new)
    }

    fn get(&self, register: &Register) -> i32 {
        self.memory.get(register)
    }

    fn set(&mut self, register: &Register, value: i32) {
        self.memory.set(register, value);
    }

    /// Brings the target towards the goal, no faster than the registers for speed and acceleration allow.
    fn follow_profile(&mut self, dt_s: f64) {
        let mut goal = f64::from(self.get(&table::GOAL_POSITION));
        let [lower, upper] = [table::MIN_ANGLE, table::MAX_ANGLE].map(|register| f64::from(self.get(&register)));
        if upper > lower {
            goal = goal.clamp(lower, upper);
        }
        let limit = |register: &Register, unit: f64| match self.get(register) {
            0 => f64::INFINITY,
            value => f64::from(value.abs()) * unit,
        };
        let (speed, acceleration) = (limit(&table::GOAL_SPEED, 1.0), limit(&table::GOAL_ACCELERATION, 100.0));
        self.profile.follow(goal, speed, acceleration, dt_s);
        self.set(&table::TARGET_POSITION, self.profile.target.round() as i32);
    }
}

impl Servo for Sts {
    fn id(&self) -> u8 {
        self.get(&table::ID) as u8
    }

    fn bit_rate(&self) -> u32 {
        let code = usize::try_from(self.get(&table::BAUD_RATE)).unwrap_or_default();
        table::BAUD_RATES.get(code).copied().unwrap_or_default()
    }

    fn deliver(&mut self) {
        for register in [table::ID, table::BAUD_RATE] {
            self.memory.set_for_good(&register, register.default.unwrap_or(0));
        }
    }

    fn age(&mut self) {
        self.memory.set_for_good(&table::FIRMWARE_MINOR, FIRMWARE.1 - 1);
    }

    fn overload(&mut self) {
        self.latched = true;
    }

    /// Loses power at `now_us` and comes back: registers in RAM are at their defaults, the torque is off.
    fn lose_power(&mut self, now_us: u64) {
        self.silent_until_us = now_us + START_UP_US;
        self.power_on();
    }

    /// Says nothing until `until_us`; what it does goes on.
    fn mount(&mut self, zero: f64) {
        self.zero = zero;
    }

    fn silence(&mut self, until_us: u64) {
        self.silent_until_us = self.silent_until_us.max(until_us);
    }

    fn is_silent(&self, now_us: u64) -> bool {
        now_us < self.silent_until_us
    }

    /// What is kept without power.
    fn eeprom(&self) -> &[u8] {
        self.memory.eeprom()
    }

    /// Takes over what another servo's [`Sts::eeprom`] gave; false if it is none.
    fn restore(&mut self, eeprom: &[u8]) -> bool {
        let is_ours = self.memory.restore(eeprom);
        self.power_on();
        is_ours
    }

    /// Does what `instruction` says; what it answers, if it is asked.
    fn obey(&mut self, instruction: &Instruction<'_>, now_us: u64) -> Option<Reply> {
        let data = match *instruction {
            Instruction::Ping => Some(Vec::new()),
            Instruction::Read { address, len } | Instruction::SyncRead { address, len, .. } => {
                self.memory.read(address, len).map(<[u8]>::to_vec)
            }
            Instruction::Write { address, data } => {
                self.write(address, data);
                self.acknowledges()
            }
            Instruction::RegWrite { address, data } => {
                self.pending = Some((address, data.to_vec()));
                self.set(&table::PENDING, 1);
                self.acknowledges()
            }
            Instruction::Action => {
                if let Some((address, data)) = self.pending.take() {
                    self.write(address, &data);
                }
                self.set(&table::PENDING, 0);
                self.acknowledges()
            }
            Instruction::FactoryReset { .. } => {
                self.memory = Self::new(self.id(), self.zero).memory;
                self.acknowledges()
            }
            Instruction::Reboot => {
                self.lose_power(now_us);
                None
            }
            Instruction::SyncWrite { .. } | Instruction::BulkRead { .. } => None,
        };
        data.map(|data| Reply { error: self.get(&table::STATUS) as u8, data })
    }

    /// Stores what may be stored: registers that are read-only keep their bytes.
    fn write(&mut self, address: u16, data: &[u8]) {
        let torque_before = self.get(&table::TORQUE_ENABLE);
        let lasting = self.get(&table::LOCK) == 0;
        self.memory.write(address, data, lasting);
        match self.get(&table::TORQUE_ENABLE) {
            // Takes the present position for the middle of the turn.
            128 => {
                let raw = f64::from(self.get(&table::PRESENT_POSITION)) + f64::from(self.get(&table::HOMING_OFFSET));
                let half = f64::from(COUNTS_PER_TURN) / 2.0;
                let offset = (raw - half).clamp(-half + 1.0, half - 1.0) as i32;
                self.set(&table::HOMING_OFFSET, offset);
                self.memory.keep(&table::HOMING_OFFSET);
                self.set(&table::TORQUE_ENABLE, torque_before.min(1));
            }
            0 => (self.latched, self.overloaded_s) = (false, 0.0),
            1 if torque_before != 1 => {
                // The profile begins where the shaft is.
                self.profile = Profile::at(f64::from(self.get(&table::PRESENT_POSITION)));
            }
            _ => {}
        }
    }

    /// Lets `dt_s` pass: takes in what the physics say and brings the present registers up to date.
    fn advance(&mut self, sensed: &Sensed, _: u64, dt_s: f64) {
        let turn = f64::from(COUNTS_PER_TURN);
        let offset = f64::from(self.get(&table::HOMING_OFFSET));
        let raw = (self.zero + sensed.counts).rem_euclid(turn);
        let present = (raw - offset).rem_euclid(turn).round();
        let current_a = STALL_A * (sensed.duty - sensed.of_free_speed).abs().min(1.0);
        let steady_c = ROOM_C + WARMING_C_A2 * current_a * current_a;
        self.temperature_c += (steady_c - self.temperature_c) * (dt_s / THERMAL_S).min(1.0);

        let overload = f64::from(self.get(&table::OVERLOAD_TORQUE)) / 100.0;
        let patience_s = f64::from(self.get(&table::PROTECTION_TIME)) / 100.0;
        self.overloaded_s = if sensed.duty.abs() > overload { self.overloaded_s + dt_s } else { 0.0 };
        self.latched |= self.overloaded_s > patience_s;

        let mut alarms = 0;
        let volts = sensed.voltage_v * 10.0;
        if volts > f64::from(self.get(&table::MAX_VOLTAGE)) || volts < f64::from(self.get(&table::MIN_VOLTAGE)) {
            alarms |= alarm::VOLTAGE;
        }
        if self.temperature_c > f64::from(self.get(&table::MAX_TEMPERATURE)) {
            alarms |= alarm::TEMPERATURE;
        }
        if self.latched {
            alarms |= alarm::OVERLOAD;
        }
        for (register, value) in [
            (table::PRESENT_POSITION, present),
            (table::PRESENT_SPEED, sensed.counts_s),
            (table::PRESENT_LOAD, 1000.0 * sensed.duty),
            (table::PRESENT_VOLTAGE, volts),
            (table::PRESENT_TEMPERATURE, self.temperature_c),
            (table::STATUS, f64::from(alarms)),
            (table::MOVING, f64::from(u8::from(sensed.counts_s.abs() > MOVING_COUNTS_S))),
            (table::PRESENT_CURRENT, current_a / f64::from(table::PRESENT_CURRENT.scale.factor)),
        ] {
            self.set(&register, value.round() as i32);
        }
        self.follow_profile(dt_s);
    }

    fn drive(&self, sensed: &Sensed) -> Drive {
        let limit = if self.latched {
            f64::from(self.get(&table::PROTECTIVE_TORQUE)) / 100.0
        } else {
            f64::from(self.get(&table::TORQUE_LIMIT).min(self.get(&table::MAX_TORQUE))) / 1000.0
        };
        let gain = f64::from(self.get(&table::P_GAIN)) / 16.0;
        let powered = self.get(&table::TORQUE_ENABLE) == 1;
        // The servo compares registers: its error does not wrap where the encoder does.
        let error = self.profile.target.round() - f64::from(self.get(&table::PRESENT_POSITION));
        Drive {
            goal_counts: powered.then(|| sensed.counts.round() + error),
            gain,
            duty_limit: limit,
            ..Drive::default()
        }
    }
}
