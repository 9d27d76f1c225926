//! The far end of a line without a microcontroller: the simulated arm's bus servos themselves, register by register.
//!
//! Answers are made at the virtual time at which a question arrives; [`mod@crate::line`] lets the wire take its time.
//! What the physics, the servos and a question do not determine comes from [`Faults`] on request.

mod faults;
mod sts;

pub use faults::Faults;

use crate::device::{FarEnd, OUTPUT_MAX, take};
use crate::world::{STEP_US, SimError, World};
use faults::Fate;
use firmware_bridge::servo::sts3215::COUNTS_PER_TURN;
use firmware_bridge::servo::{BROADCAST, Decoder, Instruction, MAX_PACKET, Protocol, Status};
use firmware_bridge::{JointState, MAX_JOINTS, Motors};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use std::collections::VecDeque;
use std::f64::consts::TAU;
use sts::{Sensed, Sts};

/// Speed of the line, bit/s: as delivered.
const BIT_RATE: u32 = 1_000_000;
/// Supply of an SO-101 with 12 V servos, V.
const SUPPLY_V: f64 = 12.0;
/// Encoder's count where an assembled arm's joints are at zero, as LeRobot's calibration leaves it.
const ZERO_COUNTS: f64 = 2048.0;

/// Six STS3215 with the ids 1 to 6, or as many as the arm has joints, and the arm that they move.
#[derive(Debug)]
pub struct ServoBus {
    world: World,
    servos: Vec<Sts>,
    sensed: [Sensed; MAX_JOINTS],
    measured: JointState,
    decoder: Decoder,
    output: VecDeque<u8>,
    /// Answers that come late, and when, µs.
    late: VecDeque<(u64, Vec<u8>)>,
    faults: Faults,
    rng: Pcg64Mcg,
    /// Every byte is lost while the cable is out, until then, µs.
    unplugged_until_us: u64,
}

impl ServoBus {
    /// Servos with the torque off. Faults are drawn from `seed`.
    ///
    /// # Errors
    /// The world cannot be measured.
    pub fn new(world: World, faults: Faults, seed: u64) -> Result<Self, SimError> {
        let count = world.joint_positions().len();
        let mut bus = Self {
            servos: (1..).take(count).map(|id| Sts::new(id, ZERO_COUNTS)).collect(),
            world,
            sensed: [Sensed::default(); MAX_JOINTS],
            measured: JointState::default(),
            decoder: Decoder::new(Protocol::Feetech),
            output: VecDeque::new(),
            late: VecDeque::new(),
            faults,
            rng: Pcg64Mcg::seed_from_u64(seed),
            unplugged_until_us: 0,
        };
        bus.measure()?;
        Ok(bus)
    }

    /// The simulated arm and what is around it.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The simulated arm and what is around it.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// Spoils answers in another way from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Lets the servo of joint `index` say nothing for `time_us`; it goes on holding.
    pub fn silence(&mut self, index: usize, time_us: u64) {
        let until_us = self.world.time_us() + time_us;
        if let Some(servo) = self.servos.get_mut(index) {
            servo.silence(until_us);
        }
    }

    /// Lets the servo of joint `index` lose its power for a moment.
    pub fn brown_out(&mut self, index: usize) {
        let now_us = self.world.time_us();
        if let Some(servo) = self.servos.get_mut(index) {
            servo.lose_power(now_us);
        }
    }

    /// Pulls the cable to the host for `time_us`; the servos keep their power and their goals.
    pub fn unplug(&mut self, time_us: u64) {
        self.unplugged_until_us = self.world.time_us() + time_us;
        self.output.clear();
    }

    /// What each servo keeps without power, in the joints' order.
    #[must_use]
    pub fn eeprom(&self) -> Vec<Vec<u8>> {
        self.servos.iter().map(|servo| servo.eeprom().to_vec()).collect()
    }

    /// Takes over what [`ServoBus::eeprom`] gave; false where it is of another arm.
    pub fn restore(&mut self, eeprom: &[Vec<u8>]) -> bool {
        eeprom.len() == self.servos.len()
            && self.servos.iter_mut().zip(eeprom).all(|(servo, bytes)| servo.restore(bytes))
    }

    fn measure(&mut self) -> Result<(), SimError> {
        self.world.measure(&mut self.measured)?;
        let motor = &self.world.params().motor;
        let (free_speed, counts_per_rad) = (motor.free_speed_rad_s, f64::from(COUNTS_PER_TURN) / TAU);
        let servos = &self.world.params().servos;
        for (i, sensed) in self.sensed.iter_mut().enumerate().take(servos.len()) {
            let of = |values: &[f32]| values.get(i).copied().map_or(0.0, f64::from);
            let speed = of(&self.measured.velocity_rad_s);
            *sensed = Sensed {
                counts: (of(&self.measured.position_rad) * counts_per_rad).round(),
                counts_s: speed * counts_per_rad,
                duty: of(&self.measured.load),
                of_free_speed: speed / free_speed,
                voltage_v: SUPPLY_V * servos[i].voltage,
            };
        }
        for (servo, sensed) in self.servos.iter_mut().zip(&self.sensed) {
            servo.advance(sensed, STEP_US as f64 * 1e-6);
        }
        Ok(())
    }

    fn drive(&mut self) {
        let mut goals = [None; MAX_JOINTS];
        for (i, (servo, sensed)) in self.servos.iter().zip(&self.sensed).enumerate() {
            let (goal, gain, duty_limit) = servo.drive(sensed);
            goals[i] = goal;
            self.world.set_servo(i, gain, duty_limit);
        }
        self.world.command(goals);
    }

    /// Obeys one instruction to `id` and queues what is answered.
    fn obey(&mut self, id: u8, instruction: &Instruction<'_>) {
        let now_us = self.world.time_us();
        match instruction {
            Instruction::SyncRead { ids, .. } => {
                for asked in *ids {
                    let answers = self.servos.iter_mut().filter(|servo| servo.id() == *asked);
                    let said: Vec<_> = answers.filter_map(|servo| answer(servo, instruction, now_us)).collect();
                    said.into_iter().for_each(|bytes| self.say(bytes));
                }
            }
            Instruction::SyncWrite { address, .. } => {
                for (asked, data) in instruction.entries() {
                    let addressed = |servo: &&mut Sts| servo.id() == asked && !servo.is_silent(now_us);
                    self.servos.iter_mut().filter(addressed).for_each(|servo| servo.write(*address, data));
                }
            }
            _ => {
                let addressed = |servo: &&mut Sts| id == BROADCAST || servo.id() == id;
                let answers = self.servos.iter_mut().filter(addressed);
                let said: Vec<_> = answers.filter_map(|servo| answer(servo, instruction, now_us)).collect();
                if id != BROADCAST {
                    said.into_iter().for_each(|bytes| self.say(bytes));
                }
            }
        }
    }

    fn say(&mut self, mut bytes: Vec<u8>) {
        match self.faults.strike(&mut bytes, &mut self.rng) {
            Fate::Lost => {}
            Fate::Late(by_us) => self.late.push_back((self.world.time_us() + by_us, bytes)),
            Fate::Arrives if self.output.len() + bytes.len() <= OUTPUT_MAX => self.output.extend(bytes),
            Fate::Arrives => {}
        }
    }

    fn is_unplugged(&self) -> bool {
        self.world.time_us() < self.unplugged_until_us
    }
}

/// What `servo` says to `instruction`, as bytes.
fn answer(servo: &mut Sts, instruction: &Instruction<'_>, now_us: u64) -> Option<Vec<u8>> {
    if servo.is_silent(now_us) {
        return None;
    }
    let id = servo.id();
    let data = servo.obey(instruction, now_us)?;
    let mut bytes = vec![0; MAX_PACKET];
    let status = Status { error: servo.alarms(), data: &data };
    let len = status.encode(Protocol::Feetech, id, &mut bytes).ok()?;
    bytes.truncate(len);
    Some(bytes)
}

impl FarEnd for ServoBus {
    fn receive(&mut self, mut bytes: &[u8]) {
        if self.is_unplugged() {
            return;
        }
        while !bytes.is_empty() {
            bytes = self.decoder.push(bytes);
            // The decoder is lent out while its packet lives.
            let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(Protocol::Feetech));
            while let Some(packet) = decoder.next_packet() {
                if let Ok(packet) = packet
                    && let Ok(instruction) = packet.instruction()
                {
                    self.obey(packet.id, &instruction);
                }
            }
            self.decoder = decoder;
        }
    }

    fn step(&mut self) {
        self.drive();
        self.world.step();
        // The world is asked for what it measures, which cannot fail once it did not in `new`.
        let _ = self.measure();
        let now_us = self.world.time_us();
        while let Some((_, bytes)) = self.late.front().filter(|(due_us, _)| *due_us <= now_us) {
            self.output.extend(bytes);
            self.late.pop_front();
        }
        if self.is_unplugged() {
            self.output.clear();
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        take(&mut self.output, buf)
    }

    fn discard_output(&mut self) {
        self.output.clear();
    }

    fn time_us(&self) -> u64 {
        self.world.time_us()
    }

    fn bit_rate(&self) -> Option<u32> {
        Some(BIT_RATE)
    }
}
