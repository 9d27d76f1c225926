//! The state machine that runs on the microcontroller, and verbatim behind a simulated arm.
//!
//! ```text
//!            Activate                         no valid command for `watchdog_us`
//!   Idle ────────────────► Active ───────────────────────────────────────────────┐
//!    ▲ ▲◄──────────────────┘   │ motors fail `motor_failures_max` times           ▼
//!    │      Deactivate         └──────────────────────────► Fault(Motors)   Fault(Watchdog)
//!    └──────────────────────────── ClearFault ────────────────┴───────────────────┘
//! ```
//! Whatever the host says:
//! - Goals sent to the motors stay inside the joints' limits and move at their speed limits at most; a command only
//!   changes where the goal is heading, never where it is.
//! - The goal is put to the measured position before the power comes on.
//! - After a watchdog fault the goal comes to rest within [`STOP_US`], and the power **stays on**, holding the arm,
//!   until a host clears the fault or deactivates: an arm that falls on a person or its own gripper is worse than
//!   motors that stay warm, and motors have protections of their own against heat. There is no time limit to it.
//! - After a motor fault the power is cut, and cutting is tried at every poll until it succeeds.
//! - `Deactivate` cuts the power in every mode, also under a latched fault and before any `Hello`.
//! - After a reset the power is cut, a new boot id is told, and nothing but `Hello` and `Deactivate` is obeyed until a
//!   `Hello` of the same version.

use crate::frame::{Decoder, FrameError, MAX_FRAME, encode};
use crate::joint::{JointLimits, JointState, MAX_JOINTS, PerJoint};
use crate::message::{DeviceMessage, Fault, HostMessage, Mode, PROTOCOL_VERSION, Refusal};
use crate::motors::Motors;
use crate::trajectory::Trajectory;

/// How much later than its horizon a goal may be reached at the speed limit before it is refused, µs. Covers a lost
/// command and the jitter of a host whose goals move at the limit already.
pub const CATCH_UP_US: u32 = 50_000;

/// Time in which a moving goal comes to rest after a watchdog fault, µs.
pub const STOP_US: u32 = 100_000;

/// How far outside its limits a goal is still taken, clamped, rad: rounding on the host's side.
pub const GOAL_TOLERANCE_RAD: f32 = 1e-4;

/// How far outside its limits a joint may rest and still be powered, rad; the goal is then the limit. A larger
/// deviation means a wrong calibration, and power would make the arm jump. About 3°: mechanical stops give way.
pub const REST_TOLERANCE_RAD: f32 = 0.05;

/// What may differ between boards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Longest time without a valid command while active, µs; 100 ms unless told otherwise.
    pub watchdog_us: u32,
    /// Consecutive failures of the motors that make a fault; 3 unless told otherwise. One lost answer on a servo bus
    /// is common, three in a row are not.
    pub motor_failures_max: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { watchdog_us: 100_000, motor_failures_max: 3 }
    }
}

/// The state machine: takes bytes of a host and the time, drives [`Motors`], gives bytes for the host.
#[derive(Debug, Clone)]
pub struct Firmware {
    config: Config,
    boot_id: u32,
    boot_us: u64,
    decoder: Decoder,
    mode: Mode,
    /// A host of the same version has said hello.
    greeted: bool,
    /// The power may be on.
    powered: bool,
    /// The power shall be off, and is not known to be.
    cutting: bool,
    /// Consecutive failures of the motors.
    failures: u8,
    /// Time of the last valid command.
    fed_us: u64,
    trajectory: Trajectory,
    /// Last goal sent to the motors, and when; empty without power.
    sent_rad: PerJoint,
    sent_us: u64,
    /// Last good measurement and its time since boot.
    joints: JointState,
    stamp_us: u64,
    /// Measured in this poll already.
    measured: bool,
}

impl Firmware {
    /// Firmware that starts at `now_us` of the clock that [`poll`](Self::poll) will be given. `boot_id` shall differ
    /// from those of earlier starts: a random number or a counter that survives resets.
    #[must_use]
    pub fn new(boot_id: u32, now_us: u64, config: Config) -> Self {
        Self {
            config,
            boot_id,
            boot_us: now_us,
            decoder: Decoder::new(),
            mode: Mode::Idle,
            greeted: false,
            powered: false,
            cutting: true,
            failures: 0,
            fed_us: now_us,
            trajectory: Trajectory::default(),
            sent_rad: PerJoint::new(),
            sent_us: now_us,
            joints: JointState::default(),
            stamp_us: 0,
            measured: false,
        }
    }

    /// What the firmware is doing.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Does what is due at `now_us` and answers the messages in `rx` through `tx`, one call a frame. Call it at least
    /// every few milliseconds: goals between two commands are sent from here, and `now_us` must not run backwards.
    pub fn poll<M: Motors>(&mut self, now_us: u64, motors: &mut M, rx: &[u8], tx: &mut impl FnMut(&[u8])) {
        self.measured = false;
        if self.cutting {
            // Tried again at the next poll if it fails.
            let _ = self.cut_power(motors);
        }
        if self.mode == Mode::Active && now_us.saturating_sub(self.fed_us) > u64::from(self.config.watchdog_us) {
            self.trajectory.stop(now_us, STOP_US);
            self.mode = Mode::Fault(Fault::Watchdog);
        }
        // A command changes where the goal is heading, not where it is: at one time there is one goal to send.
        let due = self.sent_rad.is_empty() || self.sent_us != now_us;
        if self.powered && !self.cutting && due {
            self.drive(now_us, motors);
        }
        for &byte in rx {
            match self.decoder.push::<HostMessage>(byte) {
                Some(Ok(message)) => self.answer(now_us, motors, message, tx),
                Some(Err(FrameError::Version(_))) => {
                    self.greeted = false;
                    self.send_hello(motors, tx);
                }
                // Whoever sent it waits in vain and asks again.
                Some(Err(_)) | None => {}
            }
        }
    }

    fn answer<M: Motors>(&mut self, now_us: u64, motors: &mut M, message: HostMessage, tx: &mut impl FnMut(&[u8])) {
        let (seq, result) = match message {
            // The decoder lets no other version through.
            HostMessage::Hello { .. } => {
                self.greeted = true;
                return self.send_hello(motors, tx);
            }
            HostMessage::Deactivate { seq } => (seq, self.deactivate(motors)),
            HostMessage::Activate { seq } => (seq, self.greeted().and_then(|()| self.activate(now_us, motors))),
            HostMessage::Command { seq, position_rad, horizon_us } => {
                (seq, self.greeted().and_then(|()| self.command(now_us, motors.limits(), &position_rad, horizon_us)))
            }
            HostMessage::Poll { seq } => (seq, self.greeted()),
            HostMessage::ClearFault { seq } => (seq, self.greeted().and_then(|()| self.clear_fault(motors))),
        };
        // A failure to measure shows in the stamp, and as a fault when it lasts.
        let _ = self.measure(now_us, motors);
        let state = DeviceMessage::State {
            seq,
            boot_id: self.boot_id,
            stamp_us: self.stamp_us,
            mode: self.mode,
            refused: result.err(),
            joints: self.joints.clone(),
            sent_rad: self.sent_rad.clone(),
        };
        send(&state, tx);
    }

    fn send_hello<M: Motors>(&self, motors: &M, tx: &mut impl FnMut(&[u8])) {
        let limits = motors.limits().iter().copied().take(MAX_JOINTS).collect();
        let hello = DeviceMessage::Hello {
            version: PROTOCOL_VERSION,
            boot_id: self.boot_id,
            watchdog_us: self.config.watchdog_us,
            limits,
        };
        send(&hello, tx);
    }

    fn greeted(&self) -> Result<(), Refusal> {
        if self.greeted { Ok(()) } else { Err(Refusal::NoHello) }
    }

    fn activate<M: Motors>(&mut self, now_us: u64, motors: &mut M) -> Result<(), Refusal> {
        match self.mode {
            Mode::Active => {
                self.fed_us = now_us;
                return Ok(());
            }
            Mode::Fault(_) => return Err(Refusal::WrongMode),
            Mode::Idle if self.cutting => return Err(Refusal::Motors),
            Mode::Idle => {}
        }
        self.measure(now_us, motors)?;
        let limits = motors.limits();
        for (position, limit) in self.joints.position_rad.iter().zip(limits) {
            let tolerated = limit.lower_rad - REST_TOLERANCE_RAD..=limit.upper_rad + REST_TOLERANCE_RAD;
            if !tolerated.contains(position) {
                return Err(Refusal::PositionLimit);
            }
        }
        self.trajectory = Trajectory::rest(&self.joints.position_rad, limits, now_us);
        // Whether or not the motors take the goal, power may be on from here.
        self.powered = true;
        if !self.drive(now_us, motors) {
            self.cutting = true;
            let _ = self.cut_power(motors);
            return Err(Refusal::Motors);
        }
        self.fed_us = now_us;
        self.mode = Mode::Active;
        Ok(())
    }

    fn command(
        &mut self,
        now_us: u64,
        limits: &[JointLimits],
        goal_rad: &[f32],
        horizon_us: u32,
    ) -> Result<(), Refusal> {
        if self.mode != Mode::Active {
            return Err(Refusal::WrongMode);
        }
        self.trajectory.head_for(goal_rad, limits, now_us, horizon_us)?;
        self.fed_us = now_us;
        Ok(())
    }

    fn deactivate<M: Motors>(&mut self, motors: &mut M) -> Result<(), Refusal> {
        if self.mode == Mode::Active {
            self.mode = Mode::Idle;
        }
        self.cutting = true;
        self.cut_power(motors)
    }

    fn clear_fault<M: Motors>(&mut self, motors: &mut M) -> Result<(), Refusal> {
        if !matches!(self.mode, Mode::Fault(_)) {
            return if self.mode == Mode::Idle { Ok(()) } else { Err(Refusal::WrongMode) };
        }
        self.cutting = true;
        self.cut_power(motors)?;
        self.failures = 0;
        self.mode = Mode::Idle;
        Ok(())
    }

    /// Sends the goal that is due; says whether the motors took it.
    fn drive<M: Motors>(&mut self, now_us: u64, motors: &mut M) -> bool {
        let goal_rad = self.trajectory.at(now_us);
        let taken = motors.drive(&goal_rad).is_ok();
        if taken {
            self.sent_rad = goal_rad;
            self.sent_us = now_us;
        }
        self.count(taken, motors);
        taken
    }

    /// Measures once a poll.
    fn measure<M: Motors>(&mut self, now_us: u64, motors: &mut M) -> Result<(), Refusal> {
        if self.measured {
            return Ok(());
        }
        let mut joints = JointState::default();
        let count = motors.limits().len().min(MAX_JOINTS);
        let sound = motors.measure(&mut joints).is_ok()
            && [&joints.position_rad, &joints.velocity_rad_s, &joints.load]
                .iter()
                .all(|values| values.len() == count && values.iter().all(|value| value.is_finite()));
        self.count(sound, motors);
        if !sound {
            return Err(Refusal::Motors);
        }
        self.joints = joints;
        self.stamp_us = now_us.saturating_sub(self.boot_us);
        self.measured = true;
        Ok(())
    }

    /// Counts failures in a row; the fault cuts the power.
    fn count<M: Motors>(&mut self, success: bool, motors: &mut M) {
        if success {
            self.failures = 0;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.config.motor_failures_max && self.mode != Mode::Fault(Fault::Motors) {
            self.mode = Mode::Fault(Fault::Motors);
            self.cutting = true;
            // Tried again at the next poll if it fails.
            let _ = self.cut_power(motors);
        }
    }

    fn cut_power<M: Motors>(&mut self, motors: &mut M) -> Result<(), Refusal> {
        if motors.disable().is_err() {
            return Err(Refusal::Motors);
        }
        self.cutting = false;
        self.powered = false;
        self.sent_rad.clear();
        Ok(())
    }
}

fn send(message: &DeviceMessage, tx: &mut impl FnMut(&[u8])) {
    let mut frame = [0; MAX_FRAME];
    // Every message fits: a test holds the longest one against MAX_PAYLOAD.
    if let Some(bytes) = encode(message, &mut frame).ok().and_then(|len| frame.get(..len)) {
        tx(bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
