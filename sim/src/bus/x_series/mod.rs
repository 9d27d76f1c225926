//! A Dynamixel XL430 or XL330 at the level of its registers.
//!
//! Not modelled: the modes for current, speed and PWM (register 11 takes them, the motor then does nothing), the
//! feed-forward gains and indirect addresses. ROBOTIS does not say after what time a servo that is overloaded shuts down;
//! here it is [`PATIENCE_S`].

mod refusals;

use super::memory::Memory;
use super::profile::Profile;
use super::{Drive, ROOM_C, Reply, START_UP_US, Sensed, Servo, THERMAL_S};
use firmware_bridge::servo::x_series::{self as table, COUNTS_PER_TURN, Model, hardware_error, refusal};
use firmware_bridge::servo::{Instruction, Keep, Register};
use std::f64::consts::TAU;

/// Counts in a turn.
const TURN: f64 = COUNTS_PER_TURN as f64;
/// Firmware version that the servos give: a recent one, which neither the driver nor LeRobot asks more of.
const FIRMWARE: i32 = 52;
/// An older one, which does not know `Fast Sync Read`.
const OLD_FIRMWARE: i32 = 42;
/// Largest homing offset that the mode for a single turn obeys, counts.
const SINGLE_TURN_OFFSET: f64 = 1024.0;
/// Duty of 100 % in registers, and the cycle of the position controller, s.
const FULL_DUTY: f64 = 885.0;
const CYCLE_S: f64 = 1e-3;
/// Share of the current at standstill that overloads the motor, and the time in which that shuts it down, s.
const OVERLOAD: f64 = 0.8;
const PATIENCE_S: f64 = 2.0;
/// Warming by the square of the share of the current at standstill, °C, until it is steady.
const WARMING_C: f64 = 60.0;

/// Values of register 11 that are modelled.
mod mode {
    pub(super) const POSITION: i32 = 3;
    pub(super) const EXTENDED_POSITION: i32 = 4;
    pub(super) const CURRENT_BASED_POSITION: i32 = 5;
}

/// One servo.
#[derive(Debug, Clone)]
pub(super) struct XSeries {
    model: &'static Model,
    memory: Memory,
    pending: Option<(u16, Vec<u8>)>,
    profile: Profile,
    overloaded_s: f64,
    temperature_c: f64,
    silent_until_us: u64,
    /// When the last instruction to anyone was on the bus, µs.
    heard_us: u64,
    /// Encoder's count at the joint's zero.
    zero: f64,
    /// Encoder's count, over all turns, and the turns that it has forgotten.
    count: f64,
    forgotten: f64,
    /// Position gain for which the simulation's parameters are made.
    nominal_gain: f64,
    /// Current at standstill, A.
    stall_a: f64,
}

impl XSeries {
    /// A servo as delivered but for its id, whose encoder stands at `zero` where its joint does.
    pub(super) fn new(model: &'static Model, id: u8, zero: f64, nominal_gain: f64, stall_a: f64) -> Self {
        let memory = Memory::new(model.registers, |register| match *register {
            table::ID => i32::from(id),
            // Models differ in the speeds that they know.
            _ if register.name == table::BAUD_RATE.name => 3,
            table::FIRMWARE_VERSION => FIRMWARE,
            _ => register.default.unwrap_or(0),
        });
        let mut servo = Self {
            model,
            memory,
            pending: None,
            profile: Profile::default(),
            overloaded_s: 0.0,
            temperature_c: ROOM_C,
            silent_until_us: 0,
            heard_us: 0,
            zero,
            count: zero,
            forgotten: 0.0,
            nominal_gain,
            stall_a,
        };
        servo.power_on();
        servo
    }

    fn power_on(&mut self) {
        self.memory.power_on();
        self.set(&table::GOAL_PWM, self.get(&table::PWM_LIMIT));
        if self.has(&table::GOAL_CURRENT) {
            self.set(&table::GOAL_CURRENT, self.get(&table::CURRENT_LIMIT));
        }
        (self.pending, self.overloaded_s) = (None, 0.0);
        self.forget_turns();
    }

    /// Takes the encoder's angle, and where that is for the goal.
    fn forget_turns(&mut self) {
        self.forgotten = (self.count / TURN).floor() * TURN;
        self.stop();
    }

    /// Makes the present position the goal.
    fn stop(&mut self) {
        let present = self.position();
        self.set(&table::PRESENT_POSITION, present as i32);
        self.set(&table::GOAL_POSITION, present as i32);
        self.profile = Profile::at(present);
    }

    /// Present position as the register has it, counts.
    fn position(&self) -> f64 {
        let offset = f64::from(self.get(&table::HOMING_OFFSET));
        let direction = if self.get(&table::DRIVE_MODE) & 1 == 1 { -1.0 } else { 1.0 };
        if self.get(&table::OPERATING_MODE) == mode::POSITION {
            let offset = offset.clamp(-SINGLE_TURN_OFFSET, SINGLE_TURN_OFFSET);
            return (direction * self.count + offset).rem_euclid(TURN).round();
        }
        (direction * (self.count - self.forgotten) + offset).round()
    }

    fn has(&self, register: &Register) -> bool {
        self.model.registers.iter().any(|known| known.name == register.name)
    }

    fn get(&self, register: &Register) -> i32 {
        self.memory.get(register)
    }

    fn set(&mut self, register: &Register, value: i32) {
        self.memory.set(register, value);
    }

    fn torque(&self) -> bool {
        self.get(&table::TORQUE_ENABLE) == 1
    }

    fn store(&mut self, address: u16, data: &[u8]) -> u8 {
        let error = self.refuses(address, data);
        if error != 0 {
            return error;
        }
        let before = [table::TORQUE_ENABLE, table::OPERATING_MODE, table::HOMING_OFFSET, table::DRIVE_MODE]
            .map(|register| self.get(&register));
        self.memory.write(address, data, true);
        let after = [table::TORQUE_ENABLE, table::OPERATING_MODE, table::HOMING_OFFSET, table::DRIVE_MODE]
            .map(|register| self.get(&register));
        if before[1] != after[1] {
            // Gains and profile are then the mode's own.
            let own =
                |register: &&Register| (76..=90).contains(&register.address) || [108, 112].contains(&register.address);
            for register in self.model.registers.iter().filter(own) {
                self.set(register, register.default.unwrap_or(0));
            }
            self.forget_turns();
        }
        if before[2..] != after[2..] {
            self.set(&table::PRESENT_POSITION, self.position() as i32);
        }
        if before[0] == 0 && after[0] == 1 {
            // The profile begins where the shaft is; the goal is what was last written.
            self.profile = Profile::at(self.position());
        }
        0
    }

    /// Answers to instructions that ask for nothing, unless they are switched off.
    fn acknowledges(&self, error: u8) -> Option<Reply> {
        (self.get(&table::STATUS_RETURN_LEVEL) == 2).then(|| self.reply(error, Vec::new()))
    }

    fn reply(&self, error: u8, data: Vec<u8>) -> Reply {
        let alert = if self.get(&table::HARDWARE_ERROR) == 0 { 0 } else { table::ALERT };
        Reply { error: error | alert, data }
    }

    /// Notes what is wrong, and lets go if the register for that says so.
    fn protect(&mut self, sensed: &Sensed, share_of_stall: f64, dt_s: f64) {
        self.overloaded_s = if share_of_stall.abs() > OVERLOAD { self.overloaded_s + dt_s } else { 0.0 };
        let decivolts = sensed.voltage_v * 10.0;
        let outside = decivolts > f64::from(self.get(&table::MAX_VOLTAGE))
            || decivolts < f64::from(self.get(&table::MIN_VOLTAGE));
        let hot = self.temperature_c > f64::from(self.get(&table::TEMPERATURE_LIMIT));
        let mut errors = self.get(&table::HARDWARE_ERROR) as u8;
        for (wrong, bit) in [
            (outside, hardware_error::VOLTAGE),
            (hot, hardware_error::TEMPERATURE),
            (self.overloaded_s > PATIENCE_S, hardware_error::OVERLOAD),
        ] {
            errors |= if wrong { bit } else { 0 };
        }
        self.set(&table::HARDWARE_ERROR, errors.into());
        if self.is_shut_down() {
            self.set(&table::TORQUE_ENABLE, 0);
        }
    }
}

impl Servo for XSeries {
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
        self.memory.set_for_good(&table::FIRMWARE_VERSION, OLD_FIRMWARE);
    }

    fn overload(&mut self) {
        self.set(&table::HARDWARE_ERROR, self.get(&table::HARDWARE_ERROR) | i32::from(hardware_error::OVERLOAD));
    }

    fn lose_power(&mut self, now_us: u64) {
        self.silent_until_us = now_us + START_UP_US;
        self.power_on();
    }

    fn mount(&mut self, zero: f64) {
        self.count += zero - self.zero;
        self.zero = zero;
        self.power_on();
    }

    fn silence(&mut self, until_us: u64) {
        self.silent_until_us = self.silent_until_us.max(until_us);
    }

    fn is_silent(&self, now_us: u64) -> bool {
        now_us < self.silent_until_us
    }

    fn hear(&mut self, now_us: u64) {
        self.heard_us = now_us;
    }

    fn return_delay_us(&self) -> u64 {
        2 * self.get(&table::RETURN_DELAY) as u64
    }

    fn eeprom(&self) -> &[u8] {
        self.memory.eeprom()
    }

    fn restore(&mut self, eeprom: &[u8]) -> bool {
        let is_ours = self.memory.restore(eeprom);
        self.power_on();
        is_ours
    }

    fn obey(&mut self, instruction: &Instruction<'_>, now_us: u64) -> Option<Reply> {
        let answers_reads = self.get(&table::STATUS_RETURN_LEVEL) >= 1;
        match *instruction {
            Instruction::Ping => {
                let firmware = self.get(&table::FIRMWARE_VERSION) as u8;
                let identity = [self.model.number.to_le_bytes().as_slice(), &[firmware]].concat();
                Some(self.reply(0, identity))
            }
            Instruction::Read { address, len } | Instruction::SyncRead { address, len, .. } => {
                let data = self.memory.read(address, len).map(<[u8]>::to_vec);
                let error = if data.is_some() { 0 } else { refusal::LENGTH };
                answers_reads.then(|| self.reply(error, data.unwrap_or_default()))
            }
            Instruction::BulkRead { requests } => {
                let request = requests.chunks_exact(5).find(|request| request.first() == Some(&self.id()))?;
                let word = |at: usize| u16::from_le_bytes([request[at], request[at + 1]]);
                let data = self.memory.read(word(1), word(3)).map(<[u8]>::to_vec);
                answers_reads.then(|| self.reply(0, data.unwrap_or_default()))
            }
            Instruction::Write { address, data } => {
                let error = self.store(address, data);
                self.acknowledges(error)
            }
            Instruction::RegWrite { address, data } => {
                let error = self.refuses(address, data);
                if error == 0 {
                    self.pending = Some((address, data.to_vec()));
                    self.set(&table::REGISTERED, 1);
                }
                self.acknowledges(error)
            }
            Instruction::Action => {
                let error = match self.pending.take() {
                    Some((address, data)) => self.store(address, &data),
                    None => refusal::INSTRUCTION,
                };
                self.set(&table::REGISTERED, 0);
                self.acknowledges(error)
            }
            Instruction::FactoryReset { keep } => {
                let reply = self.acknowledges(0);
                let [id, baud_rate] = [table::ID, table::BAUD_RATE].map(|register| self.get(&register));
                self.memory = Self::new(self.model, 1, self.zero, self.nominal_gain, self.stall_a).memory;
                self.deliver();
                if matches!(keep, Some(Keep::Id | Keep::IdAndBaudRate)) {
                    self.memory.set_for_good(&table::ID, id);
                }
                if matches!(keep, Some(Keep::IdAndBaudRate)) {
                    self.memory.set_for_good(&table::BAUD_RATE, baud_rate);
                }
                self.lose_power(now_us);
                reply
            }
            Instruction::Reboot => {
                let reply = self.acknowledges(0);
                self.lose_power(now_us);
                reply
            }
            Instruction::SyncWrite { .. } => None,
        }
    }

    fn write(&mut self, address: u16, data: &[u8]) {
        // Nobody is told.
        self.store(address, data);
    }

    fn advance(&mut self, sensed: &Sensed, now_us: u64, dt_s: f64) {
        self.count = self.zero + sensed.counts;
        let share = (sensed.duty - sensed.of_free_speed).clamp(-1.0, 1.0);
        let steady_c = ROOM_C + WARMING_C * share * share;
        self.temperature_c += (steady_c - self.temperature_c) * (dt_s / THERMAL_S).min(1.0);
        self.protect(sensed, share, dt_s);

        let patience_us = 20_000 * u64::try_from(self.get(&table::BUS_WATCHDOG)).unwrap_or(0);
        if self.torque() && patience_us > 0 && now_us.saturating_sub(self.heard_us) > patience_us {
            self.stop();
            self.set(&table::BUS_WATCHDOG, -1);
        }

        let present = self.position();
        let speed = sensed.counts_s * TAU / TURN;
        for (register, value) in [
            (table::PRESENT_POSITION, present),
            (table::PRESENT_VELOCITY, speed / f64::from(table::PRESENT_VELOCITY.scale.factor)),
            (table::PRESENT_PWM, FULL_DUTY * sensed.duty),
            (table::PRESENT_VOLTAGE, 10.0 * sensed.voltage_v),
            (table::PRESENT_TEMPERATURE, self.temperature_c),
            (table::REALTIME_TICK, (now_us / 1000 % 32_768) as f64),
            (table::MOVING, f64::from(u8::from(speed.abs() > MOVING_RAD_S))),
        ] {
            self.set(&register, value.round() as i32);
        }
        let (register, value) = if self.has(&table::PRESENT_CURRENT) {
            (table::PRESENT_CURRENT, 1000.0 * self.stall_a * share)
        } else {
            (table::PRESENT_LOAD, 1000.0 * sensed.duty)
        };
        self.set(&register, value.round() as i32);

        let limit = |register: &Register| match self.get(register) {
            0 => f64::INFINITY,
            counts => f64::from(register.quantity(counts)) * TURN / TAU,
        };
        let (speed, acceleration) = (limit(&table::PROFILE_VELOCITY), limit(&table::PROFILE_ACCELERATION));
        self.profile.follow(f64::from(self.get(&table::GOAL_POSITION)), speed, acceleration, dt_s);
        self.set(&table::POSITION_TRAJECTORY, self.profile.target.round() as i32);
    }

    fn drive(&self, sensed: &Sensed) -> Drive {
        let mode = self.get(&table::OPERATING_MODE);
        let holds = [mode::POSITION, mode::EXTENDED_POSITION, mode::CURRENT_BASED_POSITION].contains(&mode);
        let direction = if self.get(&table::DRIVE_MODE) & 1 == 1 { -1.0 } else { 1.0 };
        let error = direction * (self.profile.target.round() - f64::from(self.get(&table::PRESENT_POSITION)));
        let mut duty_limit = f64::from(self.get(&table::GOAL_PWM).abs()) / FULL_DUTY;
        if mode == mode::CURRENT_BASED_POSITION {
            // A motor that turns draws less at the same duty.
            let share = f64::from(self.get(&table::GOAL_CURRENT).abs()) / 1000.0 / self.stall_a;
            duty_limit = duty_limit.min(share + sensed.of_free_speed.abs());
        }
        let [p, i, d] = [table::POSITION_P_GAIN, table::POSITION_I_GAIN, table::POSITION_D_GAIN]
            .map(|register| f64::from(self.get(&register)));
        let counts_per_rad = TURN / TAU;
        Drive {
            goal_counts: (self.torque() && holds).then(|| sensed.counts.round() + error),
            gain: p / self.nominal_gain,
            // E-manual: KP = P/128, KI = I/65536, KD = D/16, on counts, in PWM, once a cycle.
            integral: i / 65_536.0 / CYCLE_S * counts_per_rad / FULL_DUTY,
            derivative: d / 16.0 * CYCLE_S * counts_per_rad / FULL_DUTY,
            duty_limit,
        }
    }
}

/// Shafts that are slower stand still, rad/s: the moving threshold as delivered.
const MOVING_RAD_S: f64 = 10.0 * 0.229 * TAU / 60.0;
