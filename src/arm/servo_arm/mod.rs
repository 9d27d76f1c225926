//! An arm on its own servo bus, without a microcontroller. What differs from one kind of arm to another is in its
//! [`Kit`]; everything else is here, once.
//!
//! A tick is one question about all servos and one telegram of goals. Servos whose answers are lost are asked once more
//! while there is time, and keep their last measurement, with its old stamp, until they have been silent for too long.
//!
//! # What stops the arm
//! Where the servos have a watchdog of their own it is armed with the torque: it outlives the host and the cable.
//! Where they have none, they hold their last goal for ever, under power. While this process lives, a thread of its own
//! ([`ServoArm::with_watchdog`]) then holds the arm where it is once the control thread has been silent for too long.
//! Nothing helps such an arm when the process is killed or the cable is pulled: it stays where it was last sent.
//! Whoever needs more puts a microcontroller with this project's firmware between.

pub mod calibrate;
mod grip;
mod kit;
mod power;
pub mod setup;
mod ticks;
mod vitals;

pub use kit::{Block, Kit, Registers, Servo};
pub use vitals::{Vitals, vitals};

use super::bus::{Bus, BusCounts, BusError};
pub use super::calibration::JOINTS;
use super::koch::KOCH;
use super::so101::SO101;
use super::{Arm, ArmError, Calibration, Capabilities, Health, Reading};
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::{JointCommand, JointLimits};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use ticks::Servos;

/// Joints, and servos, of an arm.
pub const COUNT: usize = JOINTS.len();
/// Number of the gripper's joint.
const GRIPPER: usize = COUNT - 1;
/// The servos' ids.
pub const IDS: [u8; COUNT] = [1, 2, 3, 4, 5, 6];
/// The arms that are known.
pub static KITS: [&Kit; 2] = [&SO101, &KOCH];

/// How often a question outside of a tick is put.
const TRIES: u32 = 10;
/// How often the watchdog looks, µs.
const WATCH_US: u64 = 10_000;

/// Time limits and calibration of the driver.
#[derive(Debug, Clone, PartialEq)]
pub struct ServoArmOptions {
    /// What ties the servos' ticks to the joints' angles.
    pub calibration: Calibration,
    /// Limits of each joint that hold whatever the host asks.
    pub limits: Vec<JointLimits>,
    /// Longest wait for all answers within a tick, µs. Default 3 ms.
    pub answer_timeout_us: u64,
    /// Time from a tick's question after which nothing is asked again, µs. Default 5 ms.
    pub read_budget_us: u64,
    /// Silence of a servo, µs, from which on the whole arm is held where it is. Default 80 ms.
    pub hold_after_us: u64,
    /// Longest silence of a servo, µs, before reading fails. Default 600 ms: a servo whose supply broke down for a
    /// moment is back after 350 ms.
    pub silence_max_us: u64,
    /// The same where no servo answers: the cable is out, and a person may be putting it in again. Default 2.5 s.
    pub cable_out_max_us: u64,
    /// Longest time between two commands that a goal may move for, µs. Default 50 ms.
    pub step_max_us: u64,
}

impl ServoArmOptions {
    /// The defaults, with the model's limits.
    #[must_use]
    pub fn new(calibration: Calibration, limits: Vec<JointLimits>) -> Self {
        Self {
            calibration,
            limits,
            answer_timeout_us: 3_000,
            read_budget_us: 5_000,
            hold_after_us: 80_000,
            silence_max_us: 600_000,
            cable_out_max_us: 2_500_000,
            step_max_us: 50_000,
        }
    }
}

/// What the arm's servos have been through since the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServoHealth {
    /// The bus.
    pub bus: BusCounts,
    /// Readings in which a servo's measurement was an old one.
    pub stale: u64,
    /// Servos that had lost their power for a moment and were powered again.
    pub brown_outs: u64,
    /// Servos that their own watchdog had stopped, such as while the cable was out, and that go on.
    pub halts: u64,
    /// How often the gripper has squeezed for too long and was let give way.
    pub eased: u64,
    /// Alarms of each servo, as in its register for them, that were ever on.
    pub alarms: [u8; COUNT],
    /// Hottest that a servo has been, °C.
    pub temperature_max_c: i32,
}

/// Drives an arm over a [`Link`] to its servos' bus. `clock` is the one that the link reads its deadlines on.
#[derive(Debug)]
pub struct ServoArm<L: Link, C: Clock> {
    servos: Arc<Mutex<Servos<L, C>>>,
    capabilities: Capabilities,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl<L: Link, C: Clock> ServoArm<L, C> {
    /// Looks for the six servos of `kit`. Nothing moves; a torque that is on stays on.
    ///
    /// # Errors
    /// [`ArmError::MissingServos`], [`ArmError::ServoModel`], [`ArmError::OtherCalibration`], [`ArmError::Link`].
    pub fn connect(kit: &'static Kit, mut bus: Bus<L, C>, options: ServoArmOptions) -> Result<Self, ArmError> {
        let (mut missing, mut moved) = (Vec::new(), Vec::new());
        for ((id, joint), servo) in IDS.into_iter().zip(JOINTS).zip(&kit.servos) {
            match bus.read(id, &kit.registers.model, TRIES) {
                Ok(model) if model == servo.model => {}
                Ok(found) => return Err(ArmError::ServoModel { id, joint, expected: servo.model, found }),
                Err(BusError::NoAnswer { .. }) => missing.push(format!("{joint} (id {id})")),
                Err(error) => return Err(error.into()),
            }
        }
        if !missing.is_empty() {
            return Err(ArmError::MissingServos { missing, count: COUNT });
        }
        for ((id, joint), calibrated) in IDS.into_iter().zip(JOINTS).zip(options.calibration.joints()) {
            let found = bus.read(id, &kit.registers.homing_offset, TRIES)?;
            if calibrated.id != id || found != calibrated.homing_offset {
                moved.push(joint);
            }
        }
        if !moved.is_empty() {
            return Err(ArmError::OtherCalibration { joints: moved });
        }
        let watchdog_us = kit.watchdog.map(|(.., silence_us)| silence_us);
        let capabilities = Capabilities { limits: options.limits.clone(), watchdog_us };
        let mut servos = Servos::new(kit, bus, options);
        servos.measure_all()?;
        Ok(Self { servos: Arc::new(Mutex::new(servos)), capabilities, watchdog: None })
    }

    /// Which servos have switched themselves off and stay so until [`Arm::clear_fault`]; empty if none has.
    ///
    /// # Errors
    /// As [`Arm::read`].
    pub fn shut_down(&mut self) -> Result<Vec<String>, ArmError> {
        lock(&self.servos).shut_down()
    }

    /// What the servos have been through.
    pub fn servo_health(&self) -> ServoHealth {
        let servos = lock(&self.servos);
        ServoHealth { bus: servos.bus.counts(), ..servos.health }
    }
}

impl<L: Link + Send + 'static, C: Clock + Send + 'static> ServoArm<L, C> {
    /// Lets a thread of its own hold the arm where it is once no command has come for `silence_us`; the next read or
    /// write then gives [`ArmError::Fault`]. For a line in real time only.
    #[must_use]
    pub fn with_watchdog(mut self, silence_us: u32) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (servos, told) = (Arc::clone(&self.servos), Arc::clone(&ended));
        let watch = move || {
            while !told.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_micros(WATCH_US));
                let mut servos = lock(&servos);
                let silent_us = servos.bus.now_us().saturating_sub(servos.written_us);
                if servos.active && !servos.tripped && silent_us > u64::from(silence_us) {
                    // A bus that fails now fails for the control thread as well, which tells.
                    let _ = servos.hold();
                    servos.tripped = true;
                }
            }
        };
        self.capabilities.watchdog_us = Some(silence_us);
        self.watchdog = Some(Watchdog { ended, thread: std::thread::spawn(watch) });
        self
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every question to the bus stands for itself: a panic elsewhere breaks nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<L: Link, C: Clock> Arm for ServoArm<L, C> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn activate(&mut self) -> Result<(), ArmError> {
        let mut servos = lock(&self.servos);
        let activated = servos.activate();
        if activated.is_err() && !servos.tripped {
            // The first error says more.
            let _ = servos.deactivate();
        }
        activated
    }

    fn read(&mut self) -> Result<Reading, ArmError> {
        let mut servos = lock(&self.servos);
        servos.check()?;
        servos.measure_in_tick()?;
        servos.look_after()?;
        Ok(servos.reading())
    }

    fn write(&mut self, command: &JointCommand) -> Result<JointCommand, ArmError> {
        lock(&self.servos).write(command)
    }

    fn health(&self) -> Health {
        let ServoHealth { bus, stale, brown_outs, halts, temperature_max_c, .. } = self.servo_health();
        let BusCounts { asked, lost, damaged, .. } = bus;
        Health { asked, lost, damaged, stale, restarts: brown_outs + halts, temperature_max_c }
    }

    fn clear_fault(&mut self) -> Result<(), ArmError> {
        let mut servos = lock(&self.servos);
        servos.deactivate()?;
        servos.revive()
    }

    fn deactivate(&mut self) -> Result<(), ArmError> {
        lock(&self.servos).deactivate()
    }
}

impl<L: Link, C: Clock> Drop for ServoArm<L, C> {
    fn drop(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.ended.store(true, Ordering::Relaxed);
            watchdog.thread.thread().unpark();
            let _ = watchdog.thread.join();
        }
        // Nobody is left to tell.
        let _ = lock(&self.servos).deactivate();
    }
}

/// Which arm's servos speak on `link`, by whether one of them answers to a ping; `None` if none does. Gives the line
/// back, in their language.
///
/// # Errors
/// [`ArmError::Link`].
pub fn detect<L: Link, C: Clock>(link: L, clock: C) -> Result<(Option<&'static Kit>, Bus<L, C>), ArmError> {
    let mut bus = Bus::new(link, clock, SO101.protocol);
    for _ in 0..3 {
        for kit in KITS {
            bus.speak(kit.protocol);
            for id in IDS {
                if bus.ping(id, 5_000)? {
                    return Ok((Some(kit), bus));
                }
            }
        }
    }
    Ok((None, bus))
}
