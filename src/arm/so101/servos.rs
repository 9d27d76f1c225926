//! The six servos: what is asked of them and sent to them, tick by tick.

use super::{COUNT, IDS, JOINTS, So101Health, So101Options, TRIES};
use crate::arm::bus::{Answer, Bus};
use crate::arm::{ArmError, Reading};
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::message::{Fault, Refusal};
use firmware_bridge::servo::Register;
use firmware_bridge::servo::sts3215 as table;
use firmware_bridge::{JointCommand, JointState};

/// What every servo is set to before it gets power; it lasts until the servo loses its supply. Gains as LeRobot's; no
/// profile, because every goal is only a control period away.
const SETTINGS: [(Register, i32); 6] = [
    (table::P_GAIN, 16),
    (table::I_GAIN, 0),
    (table::D_GAIN, 32),
    (table::RETURN_DELAY, 0),
    (table::GOAL_ACCELERATION, 0),
    (table::GOAL_SPEED, 0),
];
/// What keeps the gripper's motor from burning out when it squeezes for minutes, as LeRobot's.
const GRIPPER_SETTINGS: [(Register, i32); 3] =
    [(table::TORQUE_LIMIT, 500), (table::PROTECTION_CURRENT, 250), (table::OVERLOAD_TORQUE, 25)];

/// Registers of a tick's question: present position to present current.
const STATE: (u16, u16) = (table::PRESENT_POSITION.address, 15);
/// Speed at which goals are followed again after the arm was held, rad/s, until they are reached: who asks has gone on.
const CATCH_UP_RAD_S: f32 = 0.8;
/// Goals that are nearer are reached, rad.
const CAUGHT_UP_RAD: f32 = 0.005;

/// One servo as last heard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Joint {
    position_rad: f32,
    velocity_rad_s: f32,
    load: f32,
    /// When it was heard, µs.
    stamp_us: u64,
}

/// What the control thread and the watchdog share.
#[derive(Debug)]
pub(super) struct Servos<L: Link, C: Clock> {
    pub(super) bus: Bus<L, C>,
    options: So101Options,
    joints: [Joint; COUNT],
    /// Goals as last sent, rad.
    goal_rad: [f32; COUNT],
    pub(super) active: bool,
    /// The torque may be on because of us.
    powered: bool,
    pub(super) written_us: u64,
    /// The arm was held, and its goals have not been reached since.
    behind: bool,
    pub(super) ticks: u32,
    /// The watchdog has stopped the arm.
    pub(super) tripped: bool,
    pub(super) health: So101Health,
}

impl<L: Link, C: Clock> Servos<L, C> {
    pub(super) fn new(bus: Bus<L, C>, options: So101Options) -> Self {
        Self {
            bus,
            options,
            joints: [Joint::default(); COUNT],
            goal_rad: [0.0; COUNT],
            active: false,
            powered: false,
            written_us: 0,
            behind: false,
            ticks: 0,
            tripped: false,
            health: So101Health::default(),
        }
    }

    fn counts(&self, joint: usize, angle_rad: f32) -> i32 {
        self.options.calibration.ticks(joint, angle_rad, &self.options.limits[joint])
    }

    fn angle_rad(&self, joint: usize, counts: i32) -> f32 {
        self.options.calibration.radians(joint, counts, &self.options.limits[joint])
    }

    /// Asks for the state of servos whose joints' numbers are in `asked`, until `deadline_us`; gives those that did
    /// not answer.
    fn measure(&mut self, asked: &[usize], deadline_us: u64) -> Result<heapless::Vec<usize, COUNT>, ArmError> {
        let ids: heapless::Vec<u8, COUNT> = asked.iter().map(|&joint| IDS[joint]).collect();
        let mut answers: [Option<Answer>; COUNT] = Default::default();
        self.bus.sync_read(STATE.0, STATE.1, &ids, &mut answers[..ids.len()], deadline_us)?;
        let stamp_us = self.bus.now_us();
        let mut missing = heapless::Vec::new();
        for (&joint, answer) in asked.iter().zip(&answers) {
            let decode = |answer: &Answer, register: &Register| {
                let at = usize::from(register.address - STATE.0);
                register.decode(answer.data.get(at..at + usize::from(register.size)).unwrap_or_default()).ok()
            };
            let state = answer.as_ref().and_then(|answer| {
                let [position, speed, load, temperature] =
                    [table::PRESENT_POSITION, table::PRESENT_SPEED, table::PRESENT_LOAD, table::PRESENT_TEMPERATURE]
                        .map(|register| decode(answer, &register));
                Some((position?, speed?, load?, temperature?, answer.error))
            });
            let Some((position, speed, load, temperature, alarms)) = state else {
                // Six joints fit.
                let _ = missing.push(joint);
                continue;
            };
            let sign = if self.options.calibration.joints()[joint].reversed { -1.0 } else { 1.0 };
            self.joints[joint] = Joint {
                position_rad: self.angle_rad(joint, position),
                velocity_rad_s: sign * table::PRESENT_SPEED.quantity(speed),
                load: sign * table::PRESENT_LOAD.quantity(load),
                stamp_us,
            };
            self.health.alarms[joint] |= alarms;
            self.health.temperature_max_c = self.health.temperature_max_c.max(temperature);
        }
        Ok(missing)
    }

    /// Measures every servo, outside of a tick.
    pub(super) fn measure_all(&mut self) -> Result<(), ArmError> {
        let mut missing: heapless::Vec<usize, COUNT> = (0..COUNT).collect();
        for _ in 0..TRIES {
            let deadline_us = self.bus.now_us() + 20_000;
            missing = self.measure(&missing, deadline_us)?;
            if missing.is_empty() {
                return Ok(());
            }
        }
        let silent = |&joint: &usize| format!("{} (id {})", JOINTS[joint], IDS[joint]);
        Err(ArmError::MissingServos { missing: missing.iter().map(silent).collect(), count: COUNT })
    }

    /// Measures within a tick: asks again once while there is time, then lives with what is known.
    pub(super) fn measure_in_tick(&mut self) -> Result<(), ArmError> {
        let begun_us = self.bus.now_us();
        let all: heapless::Vec<usize, COUNT> = (0..COUNT).collect();
        let mut missing = self.measure(&all, begun_us + self.options.answer_timeout_us)?;
        let until_us = begun_us + self.options.read_budget_us;
        if !missing.is_empty() && self.bus.now_us() < until_us {
            self.bus.count_retry();
            missing = self.measure(&missing, until_us)?;
        }
        self.health.stale += u64::from(!missing.is_empty());
        let now_us = self.bus.now_us();
        for &joint in &missing {
            let silent_us = now_us.saturating_sub(self.joints[joint].stamp_us);
            if silent_us > self.options.silence_max_us {
                let (id, joint) = (IDS[joint], JOINTS[joint]);
                return Err(ArmError::ServoSilent { id, joint, silent_ms: silent_us / 1000 });
            }
        }
        Ok(())
    }

    /// Looks for servos that have lost their power, and powers them again where they are.
    pub(super) fn mend_brown_outs(&mut self) -> Result<(), ArmError> {
        let (torque, mut answers) = (table::TORQUE_ENABLE, <[Option<Answer>; COUNT]>::default());
        let deadline_us = self.bus.now_us() + self.options.answer_timeout_us;
        self.bus.sync_read(torque.address, torque.size.into(), &IDS, &mut answers, deadline_us)?;
        for (joint, answer) in answers.iter().enumerate() {
            if answer.as_ref().is_some_and(|answer| answer.data.first() == Some(&0)) {
                self.power(joint)?;
                self.health.brown_outs += 1;
                self.behind = true;
            }
        }
        Ok(())
    }

    /// Settings, then goal := present, then torque: in this order, so that nothing moves.
    fn power(&mut self, joint: usize) -> Result<(), ArmError> {
        let id = IDS[joint];
        for (register, value) in &SETTINGS {
            self.bus.write(id, register, *value, TRIES)?;
        }
        if JOINTS[joint] == "gripper" {
            for (register, value) in &GRIPPER_SETTINGS {
                self.bus.write(id, register, *value, TRIES)?;
            }
        }
        let present = self.bus.read(id, &table::PRESENT_POSITION, TRIES)?;
        self.bus.write(id, &table::GOAL_POSITION, present, TRIES)?;
        self.goal_rad[joint] = self.angle_rad(joint, present);
        self.bus.write(id, &table::TORQUE_ENABLE, 1, TRIES)?;
        Ok(())
    }

    /// Goal := present, for all servos that answer.
    pub(super) fn hold(&mut self) -> Result<(), ArmError> {
        let deadline_us = self.bus.now_us() + self.options.read_budget_us;
        let all: heapless::Vec<usize, COUNT> = (0..COUNT).collect();
        let missing = self.measure(&all, deadline_us)?;
        for joint in all.iter().filter(|joint| !missing.contains(joint)) {
            self.goal_rad[*joint] = self.joints[*joint].position_rad;
        }
        self.send()
    }

    fn send(&mut self) -> Result<(), ArmError> {
        let goals: [(u8, i32); COUNT] = std::array::from_fn(|i| (IDS[i], self.counts(i, self.goal_rad[i])));
        Ok(self.bus.sync_write(&table::GOAL_POSITION, &goals)?)
    }

    pub(super) fn check(&self) -> Result<(), ArmError> {
        if self.tripped { Err(ArmError::Fault(Fault::Watchdog)) } else { Ok(()) }
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
        let sent = self.bus.sync_write(&table::TORQUE_ENABLE, &off);
        let mut on = Vec::new();
        for (id, joint) in IDS.into_iter().zip(JOINTS) {
            let written = self.bus.write(id, &table::TORQUE_ENABLE, 0, TRIES);
            if written.is_err() && self.bus.read(id, &table::TORQUE_ENABLE, TRIES).ok() != Some(0) {
                on.push(joint);
            }
        }
        if on.is_empty() {
            (self.powered, self.tripped) = (false, false);
            return Ok(());
        }
        sent?;
        Err(ArmError::StillPowered { joints: on })
    }

    pub(super) fn write(&mut self, command: &JointCommand) -> Result<JointCommand, ArmError> {
        self.check()?;
        if !self.active {
            return Err(ArmError::Refused(Refusal::WrongMode));
        }
        if command.position_rad.len() != COUNT {
            return Err(ArmError::Refused(Refusal::JointCount));
        }
        if command.position_rad.iter().any(|goal| !goal.is_finite()) {
            return Err(ArmError::Refused(Refusal::NotFinite));
        }
        let now_us = self.bus.now_us();
        let oldest_us = self.joints.iter().map(|joint| joint.stamp_us).min().unwrap_or(0);
        if now_us.saturating_sub(oldest_us) > self.options.hold_after_us {
            // Where the others would go does not matter while nobody knows where this one is.
            self.send()?;
            self.written_us = now_us;
            self.behind = true;
            return Ok(self.sent());
        }
        let dt_s = now_us.saturating_sub(self.written_us).min(self.options.step_max_us) as f32 * 1e-6;
        let mut left_rad = 0.0_f32;
        for ((goal, &asked), limits) in self.goal_rad.iter_mut().zip(&command.position_rad).zip(&self.options.limits) {
            let speed = if self.behind { CATCH_UP_RAD_S.min(limits.velocity_rad_s) } else { limits.velocity_rad_s };
            let asked = asked.clamp(limits.lower_rad, limits.upper_rad);
            *goal = asked.clamp(*goal - speed * dt_s, *goal + speed * dt_s);
            left_rad = left_rad.max((asked - *goal).abs());
        }
        self.behind &= left_rad > CAUGHT_UP_RAD;
        self.send()?;
        self.written_us = now_us;
        Ok(self.sent())
    }

    fn sent(&self) -> JointCommand {
        JointCommand { position_rad: self.goal_rad.iter().copied().collect() }
    }

    pub(super) fn reading(&self) -> Reading {
        let joints = &self.joints;
        Reading {
            // Of the oldest measurement in it: who plans with it must know how old it may be.
            stamp_us: joints.iter().map(|joint| joint.stamp_us).min().unwrap_or(0),
            joints: JointState {
                position_rad: joints.iter().map(|joint| joint.position_rad).collect(),
                velocity_rad_s: joints.iter().map(|joint| joint.velocity_rad_s).collect(),
                load: joints.iter().map(|joint| joint.load).collect(),
            },
        }
    }
}
