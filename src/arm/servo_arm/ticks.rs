//! The six servos: what is asked of them and sent to them, tick by tick.

use super::grip::Grip;
use super::{Block, COUNT, GRIPPER, IDS, JOINTS, Kit, ServoArmOptions, ServoHealth, TRIES};
use crate::arm::bus::{Answer, Bus};
use crate::arm::calibration::TURN;
use crate::arm::{ArmError, Reading};
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::message::{Fault, Refusal};
use firmware_bridge::servo::{Protocol, x_series};
use firmware_bridge::{JointCommand, JointState};

/// Ticks between two looks at whether all servos still have power.
const LOOK_TICKS: u32 = 8;
/// Of so many looks one is at what is asked seldom.
const SELDOM_LOOKS: u32 = 4;
/// Speed at which goals are followed again after the arm was held, rad/s, until they are reached: who asks has gone on.
const CATCH_UP_RAD_S: f32 = 0.8;
/// Goals that are nearer are reached, rad.
const CAUGHT_UP_RAD: f32 = 0.005;

/// One servo as last heard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Joint {
    pub(super) position_rad: f32,
    pub(super) velocity_rad_s: f32,
    /// Drive as a fraction of full duty.
    pub(super) load: f32,
    /// When it was heard, µs.
    stamp_us: u64,
}

/// What the control thread and the watchdog share.
#[derive(Debug)]
pub(super) struct Servos<L: Link, C: Clock> {
    pub(super) kit: &'static Kit,
    pub(super) bus: Bus<L, C>,
    pub(super) options: ServoArmOptions,
    pub(super) joints: [Joint; COUNT],
    /// Goals as last sent, rad.
    pub(super) goal_rad: [f32; COUNT],
    pub(super) active: bool,
    /// The torque may be on because of us.
    pub(super) powered: bool,
    pub(super) written_us: u64,
    /// The arm was held, and its goals have not been reached since.
    pub(super) behind: bool,
    pub(super) ticks: u32,
    /// A servo's answer tells that it is not well.
    alerted: bool,
    grip: Grip,
    /// What is to be added to each joint's ticks to give its register, whole turns.
    turns: [i32; COUNT],
    /// The watchdog has stopped the arm.
    pub(super) tripped: bool,
    pub(super) health: ServoHealth,
}

impl<L: Link, C: Clock> Servos<L, C> {
    pub(super) fn new(kit: &'static Kit, bus: Bus<L, C>, options: ServoArmOptions) -> Self {
        Self {
            kit,
            bus,
            options,
            joints: [Joint::default(); COUNT],
            goal_rad: [0.0; COUNT],
            active: false,
            powered: false,
            written_us: 0,
            behind: false,
            ticks: 0,
            alerted: false,
            grip: Grip::default(),
            turns: [0; COUNT],
            tripped: false,
            health: ServoHealth::default(),
        }
    }

    /// What the goal's register has to hold for a joint to go to an angle.
    fn counts(&self, joint: usize, angle_rad: f32) -> i32 {
        self.options.calibration.ticks(joint, angle_rad, &self.options.limits[joint]) + self.turns[joint]
    }

    /// The angle of a joint whose servo says that it is at `counts`.
    pub(super) fn angle_rad(&mut self, joint: usize, counts: i32) -> f32 {
        if self.kit.counts_turns {
            // Within half a turn of the middle of its range: no joint has more.
            let range = self.options.calibration.joints()[joint];
            let from = (range.range_min + range.range_max + 1) / 2 - TURN / 2;
            self.turns[joint] = (counts - from).div_euclid(TURN) * TURN;
        }
        self.options.calibration.radians(joint, counts - self.turns[joint], &self.options.limits[joint])
    }

    /// Asks for a block of servos whose joints' numbers are in `asked`, until `deadline_us`; gives to `take` what
    /// answers, and returns those that did not.
    fn ask(
        &mut self,
        block: Block,
        asked: &[usize],
        deadline_us: u64,
        mut take: impl FnMut(&mut Self, usize, &Answer) -> Option<()>,
    ) -> Result<heapless::Vec<usize, COUNT>, ArmError> {
        let ids: heapless::Vec<u8, COUNT> = asked.iter().map(|&joint| IDS[joint]).collect();
        let mut answers: [Option<Answer>; COUNT] = Default::default();
        self.bus.sync_read(block.address, block.len, &ids, &mut answers[..ids.len()], deadline_us)?;
        let mut missing = heapless::Vec::new();
        for (&joint, answer) in asked.iter().zip(&answers) {
            if answer.as_ref().and_then(|answer| take(self, joint, answer)).is_none() {
                // Six joints fit.
                let _ = missing.push(joint);
            }
        }
        Ok(missing)
    }

    /// Asks for the state of servos whose joints' numbers are in `asked`, until `deadline_us`; gives those that did
    /// not answer.
    fn measure(&mut self, asked: &[usize], deadline_us: u64) -> Result<heapless::Vec<usize, COUNT>, ArmError> {
        let (state, registers) = (self.kit.state, &self.kit.registers);
        self.ask(state, asked, deadline_us, |servos, joint, answer| {
            let find = |register| state.find(register, &answer.data);
            let (position, speed, load) = (find(&registers.position)?, find(&registers.speed)?, find(&registers.load)?);
            let calibration = &servos.options.calibration;
            let is_turned_here = calibration.joints()[joint].reversed && calibration.protocol() == Protocol::Feetech;
            let sign = if is_turned_here { -1.0 } else { 1.0 };
            servos.joints[joint] = Joint {
                position_rad: servos.angle_rad(joint, position),
                velocity_rad_s: sign * registers.speed.quantity(speed),
                load: sign * registers.load.quantity(load),
                stamp_us: servos.bus.now_us(),
            };
            match servos.kit.protocol {
                // The error byte is the register for alarms.
                Protocol::Feetech => servos.health.alarms[joint] |= answer.error,
                Protocol::Dynamixel => servos.alerted |= answer.error & x_series::ALERT != 0,
            }
            servos.take_temperature(state, answer);
            Some(())
        })
    }

    fn take_temperature(&mut self, block: Block, answer: &Answer) {
        if let Some(temperature) = block.find(&self.kit.registers.temperature, &answer.data) {
            self.health.temperature_max_c = self.health.temperature_max_c.max(temperature);
        }
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
        let is_cable_out = missing.len() == COUNT;
        let limit_us = if is_cable_out { self.options.cable_out_max_us } else { self.options.silence_max_us };
        for &joint in &missing {
            let silent_us = now_us.saturating_sub(self.joints[joint].stamp_us);
            if silent_us > limit_us {
                if is_cable_out {
                    return Err(ArmError::BusSilent { silent_ms: silent_us / 1000 });
                }
                let (id, joint) = (IDS[joint], JOINTS[joint]);
                return Err(ArmError::ServoSilent { id, joint, silent_ms: silent_us / 1000 });
            }
        }
        Ok(())
    }

    /// Now and then, between ticks: looks for servos that have lost their power or have stopped, and powers them again
    /// where they are.
    pub(super) fn look_after(&mut self) -> Result<(), ArmError> {
        self.ticks = self.ticks.wrapping_add(1);
        if !self.active {
            return Ok(());
        }
        if std::mem::take(&mut self.alerted) {
            let servos = self.shut_down()?;
            if !servos.is_empty() {
                return Err(ArmError::ServoShutdown { servos });
            }
        }
        if !self.ticks.is_multiple_of(LOOK_TICKS) {
            return Ok(());
        }
        let deadline_us = self.bus.now_us() + self.options.answer_timeout_us;
        let all: heapless::Vec<usize, COUNT> = (0..COUNT).collect();
        if let Some(block) = self.kit.seldom.filter(|_| (self.ticks / LOOK_TICKS).is_multiple_of(SELDOM_LOOKS)) {
            self.ask(block, &all, deadline_us, |servos, _, answer| {
                servos.take_temperature(block, answer);
                Some(())
            })?;
            return Ok(());
        }
        let (register, alive) = self.kit.alive;
        let block = Block::from_to(&register, &register);
        let mut stopped: heapless::Vec<usize, COUNT> = heapless::Vec::new();
        self.ask(block, &all, deadline_us, |_, joint, answer| {
            if block.find(&register, &answer.data)? != alive {
                let _ = stopped.push(joint);
            }
            Some(())
        })?;
        for joint in stopped {
            let was_on = self.bus.read(IDS[joint], &self.kit.registers.torque, TRIES)? != 0;
            self.power(joint)?;
            if was_on {
                self.health.halts += 1;
            } else {
                self.health.brown_outs += 1;
            }
            self.behind = true;
        }
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
        Ok(self.bus.sync_write(&self.kit.registers.goal, &goals)?)
    }

    pub(super) fn check(&mut self) -> Result<(), ArmError> {
        if let Some((.., silence_us)) = self.kit.watchdog.filter(|_| self.active) {
            // The servos have stopped by themselves.
            self.tripped |= self.bus.now_us().saturating_sub(self.bus.sent_us()) >= u64::from(silence_us);
        }
        if self.tripped { Err(ArmError::Fault(Fault::Watchdog)) } else { Ok(()) }
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
        let mut asked_rad: [f32; COUNT] = std::array::from_fn(|joint| command.position_rad[joint]);
        let was_easing = self.grip.is_easing();
        asked_rad[GRIPPER] = self.grip.ease(asked_rad[GRIPPER], &self.joints[GRIPPER], now_us);
        self.health.eased += u64::from(self.grip.is_easing() && !was_easing);
        let dt_s = now_us.saturating_sub(self.written_us).min(self.options.step_max_us) as f32 * 1e-6;
        let mut left_rad = 0.0_f32;
        for ((goal, &asked), limits) in self.goal_rad.iter_mut().zip(&asked_rad).zip(&self.options.limits) {
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
