//! The far end of a line without a microcontroller: the simulated arm's bus servos themselves, register by register.
//!
//! Answers are made at the virtual time at which a question arrives; [`mod@crate::line`] lets the wire take its time.
//! What the physics, the servos and a question do not determine comes from [`Faults`] on request.

mod faults;
mod memory;
mod profile;
mod sts;
mod x_series;

pub use faults::Faults;

use crate::device::{FarEnd, OUTPUT_MAX, take};
use crate::world::{STEP_US, SimError, World};
use faults::Fate;
use firmware_bridge::servo::sts3215::COUNTS_PER_TURN;
use firmware_bridge::servo::x_series::{Model, XL330_M288, XL430_W250};
use firmware_bridge::servo::{BROADCAST, Decoder, Instruction, MAX_PACKET, Protocol, Status};
use firmware_bridge::{JointState, MAX_JOINTS, Motors};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use std::collections::VecDeque;
use std::f64::consts::TAU;
use sts::Sts;
use x_series::XSeries;

/// Speed of the line until the host sets another, bit/s.
const BIT_RATE: u32 = 1_000_000;
/// A UART understands one whose speed differs by no more than one part in so many.
const RATE_TOLERANCE: u32 = 50;
/// Supply of servos for 12 V, V, and of the smaller ones of a Koch, which have a converter of their own.
const SUPPLY_V: f64 = 12.0;
const SMALL_SUPPLY_V: f64 = 5.0;
/// A servo without power says nothing for so long after it has come back, µs.
const START_UP_US: u64 = 350_000;
/// Temperature of the room, °C.
const ROOM_C: f64 = 25.0;
/// Time in which a difference in temperature falls to 1/e, s.
const THERMAL_S: f64 = 300.0;
/// A Koch's servos: model, position gain for which `models/arms/koch.toml` is made (that which the driver sets), current
/// at standstill, A (ROBOTIS' e-manual, at 12 V and at 5 V).
const KOCH: [(&Model, f64, f64); 6] = [
    (&XL430_W250, 640.0, 1.4),
    (&XL430_W250, 640.0, 1.4),
    (&XL330_M288, 1500.0, 1.47),
    (&XL330_M288, 400.0, 1.47),
    (&XL330_M288, 400.0, 1.47),
    (&XL330_M288, 400.0, 1.47),
];
/// Encoder's count where an assembled arm's joints are at zero, as LeRobot's calibration leaves it.
const ZERO_COUNTS: f64 = 2048.0;

/// What the physics say of a servo.
#[derive(Debug, Clone, Copy, Default)]
struct Sensed {
    /// Angle of the joint's encoder, counts from the joint's zero.
    counts: f64,
    /// Speed, counts/s.
    counts_s: f64,
    /// Drive as a fraction of full duty.
    duty: f64,
    /// Speed as a fraction of the one without load.
    of_free_speed: f64,
    /// Supply, V.
    voltage_v: f64,
}

/// What a servo answers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reply {
    error: u8,
    data: Vec<u8>,
}

/// What a servo's motor shall do.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Drive {
    /// Goal in counts from the joint's zero; none without torque.
    goal_counts: Option<f64>,
    /// Position gain as a multiple of that of the simulation's parameters.
    gain: f64,
    /// Duty an error of 1 rad adds in a second.
    integral: f64,
    /// Duty that a speed of 1 rad/s takes away.
    derivative: f64,
    /// Largest duty, 0 to 1.
    duty_limit: f64,
}

/// A servo at the level of its registers.
trait Servo: std::fmt::Debug + Send {
    fn id(&self) -> u8;

    /// Speed at which it speaks and listens, bit/s.
    fn bit_rate(&self) -> u32;

    /// Takes the id and the speed that it was delivered with.
    fn deliver(&mut self);

    /// Takes an older firmware.
    fn age(&mut self);

    /// Lets its overload protection act.
    fn overload(&mut self);

    /// Loses power at `now_us` and comes back: registers in RAM are at their defaults, the torque is off.
    fn lose_power(&mut self, now_us: u64);

    /// Lets the encoder read `zero` counts at the joint's zero.
    fn mount(&mut self, zero: f64);

    /// Takes note that an instruction, to whomever, was on the bus.
    fn hear(&mut self, _now_us: u64) {}

    /// How long it waits before it answers, µs.
    fn return_delay_us(&self) -> u64 {
        0
    }

    /// Says nothing until `until_us`; what it does goes on.
    fn silence(&mut self, until_us: u64);

    fn is_silent(&self, now_us: u64) -> bool;

    /// What is kept without power.
    fn eeprom(&self) -> &[u8];

    /// Takes over what another servo's [`Servo::eeprom`] gave; false if it is none.
    fn restore(&mut self, eeprom: &[u8]) -> bool;

    /// Does what `instruction` says; what it answers, if it is asked.
    fn obey(&mut self, instruction: &Instruction<'_>, now_us: u64) -> Option<Reply>;

    /// Stores what may be stored, without an answer.
    fn write(&mut self, address: u16, data: &[u8]);

    /// Lets `dt_s` pass until `now_us`: takes in what the physics say and brings the present registers up to date.
    fn advance(&mut self, sensed: &Sensed, now_us: u64, dt_s: f64);

    /// What the motor shall do.
    fn drive(&self, sensed: &Sensed) -> Drive;
}

/// Bus servos with the ids from 1 on, as many as the arm has joints, and the arm that they move.
#[derive(Debug)]
pub struct ServoBus {
    world: World,
    protocol: Protocol,
    servos: Vec<Box<dyn Servo>>,
    sensed: [Sensed; MAX_JOINTS],
    measured: JointState,
    decoder: Decoder,
    output: VecDeque<u8>,
    /// Answers that come late, and when, µs.
    late: VecDeque<(u64, Vec<u8>)>,
    faults: Faults,
    rng: Pcg64Mcg,
    /// What the servos have waited before the answers in `output`, µs.
    delay_us: u64,
    /// Speed of the host's side of the line, bit/s.
    bit_rate: u32,
    /// Every byte is lost while the cable is out, until then, µs.
    unplugged_until_us: u64,
}

impl ServoBus {
    /// Servos of `protocol` with the torque off: STS3215 all, or a Koch's XL430 and XL330. Faults are drawn from `seed`.
    ///
    /// # Errors
    /// The world cannot be measured, or is of an arm that is no Koch.
    pub fn new(world: World, protocol: Protocol, faults: Faults, seed: u64) -> Result<Self, SimError> {
        let count = world.joint_positions().len();
        if protocol == Protocol::Dynamixel && count != KOCH.len() {
            return Err(SimError::JointCount { expected: KOCH.len(), found: count });
        }
        let mut koch = KOCH.into_iter();
        let servo = |id| -> Box<dyn Servo> {
            match koch.next().filter(|_| protocol == Protocol::Dynamixel) {
                Some((model, gain, stall_a)) => Box::new(XSeries::new(model, id, ZERO_COUNTS, gain, stall_a)),
                None => Box::new(Sts::new(id, ZERO_COUNTS)),
            }
        };
        let mut bus = Self {
            protocol,
            servos: (1..).take(count).map(servo).collect(),
            world,
            sensed: [Sensed::default(); MAX_JOINTS],
            measured: JointState::default(),
            decoder: Decoder::new(protocol),
            output: VecDeque::new(),
            late: VecDeque::new(),
            faults,
            rng: Pcg64Mcg::seed_from_u64(seed),
            delay_us: 0,
            bit_rate: BIT_RATE,
            unplugged_until_us: 0,
        };
        bus.servos.iter_mut().filter(|servo| servo.id() == faults.old_firmware).for_each(|servo| servo.age());
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
        let (params, now_us) = (self.world.params(), self.world.time_us());
        let counts_per_rad = f64::from(COUNTS_PER_TURN) / TAU;
        let small = |i: usize| self.protocol == Protocol::Dynamixel && i >= 2;
        for (i, sensed) in self.sensed.iter_mut().enumerate().take(params.servos.len()) {
            let free_speed = params.motor_of(i).free_speed_rad_s;
            let of = |values: &[f32]| values.get(i).copied().map_or(0.0, f64::from);
            let speed = of(&self.measured.velocity_rad_s);
            *sensed = Sensed {
                counts: (of(&self.measured.position_rad) * counts_per_rad).round(),
                counts_s: speed * counts_per_rad,
                duty: of(&self.measured.load),
                of_free_speed: speed / free_speed,
                voltage_v: if small(i) { SMALL_SUPPLY_V } else { SUPPLY_V } * params.servos[i].voltage,
            };
        }
        for (servo, sensed) in self.servos.iter_mut().zip(&self.sensed) {
            servo.advance(sensed, now_us, STEP_US as f64 * 1e-6);
        }
        Ok(())
    }

    fn drive(&mut self) {
        let mut goals = [None; MAX_JOINTS];
        for (i, (servo, sensed)) in self.servos.iter().zip(&self.sensed).enumerate() {
            let drive = servo.drive(sensed);
            goals[i] = drive.goal_counts;
            let Drive { gain, integral, derivative, duty_limit, .. } = drive;
            self.world.set_servo(i, gain, integral, derivative, duty_limit);
        }
        self.world.command(goals);
    }

    /// Obeys one instruction to `id` and queues what is answered.
    fn obey(&mut self, id: u8, instruction: &Instruction<'_>) {
        let now_us = self.world.time_us();
        let bit_rate = self.bit_rate;
        self.servos.iter_mut().filter(|servo| is_heard(servo.as_ref(), bit_rate)).for_each(|servo| servo.hear(now_us));
        match instruction {
            Instruction::SyncRead { ids, .. } => ids.iter().for_each(|asked| self.ask(*asked, instruction, true)),
            Instruction::SyncWrite { address, .. } => {
                for (asked, data) in instruction.entries() {
                    let addressed = |servo: &&mut Box<dyn Servo>| {
                        servo.id() == asked && !servo.is_silent(now_us) && is_heard(servo.as_ref(), bit_rate)
                    };
                    self.servos.iter_mut().filter(addressed).for_each(|servo| servo.write(*address, data));
                }
            }
            Instruction::BulkRead { requests } => {
                requests.chunks_exact(5).for_each(|request| self.ask(request[0], instruction, true));
            }
            // They say who they are when all are asked, too.
            Instruction::Ping => self.ask(id, instruction, true),
            _ => self.ask(id, instruction, id != BROADCAST),
        }
    }

    /// Lets the servos with this id obey, and say what they say if it is `heard`.
    fn ask(&mut self, id: u8, instruction: &Instruction<'_>, heard: bool) {
        let now_us = self.world.time_us();
        for index in 0..self.servos.len() {
            let servo = &mut self.servos[index];
            let is_meant = id == BROADCAST || servo.id() == id;
            if !is_meant || servo.is_silent(now_us) || !is_heard(servo.as_ref(), self.bit_rate) {
                continue;
            }
            let (speaker, delay_us) = (servo.id(), servo.return_delay_us());
            if let Some(Reply { error, data }) = servo.obey(instruction, now_us).filter(|_| heard) {
                let mut bytes = vec![0; MAX_PACKET];
                let status = Status { error, data: &data };
                if let Ok(len) = status.encode(self.protocol, speaker, &mut bytes) {
                    bytes.truncate(len);
                    self.delay_us += delay_us;
                    self.say(bytes);
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

impl FarEnd for ServoBus {
    fn receive(&mut self, mut bytes: &[u8]) {
        if self.is_unplugged() {
            return;
        }
        while !bytes.is_empty() {
            bytes = self.decoder.push(bytes);
            // The decoder is lent out while its packet lives.
            let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(self.protocol));
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

    fn delay_us(&mut self) -> u64 {
        std::mem::take(&mut self.delay_us)
    }

    fn bit_rate(&self) -> Option<u32> {
        Some(self.bit_rate)
    }

    fn set_bit_rate(&mut self, bit_rate: u32) {
        self.bit_rate = bit_rate;
    }
}

/// Whether `servo` understands what is sent at this speed; what is not is noise to it.
fn is_heard(servo: &dyn Servo, bit_rate: u32) -> bool {
    servo.bit_rate().abs_diff(bit_rate) <= bit_rate / RATE_TOLERANCE
}
