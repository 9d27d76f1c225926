//! The fixed-period loop: read, plan, write, on absolute deadlines.
//!
//! One thread owns the loop. It takes no lock, allocates nothing after [`ControlLoop::new`], and waits for nothing but
//! the clock and the arm. A tick that comes late is counted and not made up for: the next is due a whole period later.
//! Every failure of the arm ends the loop with a typed error; nothing is retried here. Dropping the loop cuts
//! the power.

mod motion;
mod planner;
mod stats;

pub use planner::{Plan, Planner, PlannerConfig, SetPoint};
pub use stats::{Histogram, LatencyStats, LoopStats};

use crate::arm::{Arm, ArmError, Reading};
use crate::clock::Clock;
use crate::kinematics::{JOINTS, KinematicsError};
use firmware_bridge::JointCommand;
use sim::ArmModel;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Default control period, µs: 125 Hz.
pub const PERIOD_US: u32 = 8_000;

/// Pose in which an SO-101 rests when the power is cut, rad.
pub const REST_RAD: [f32; JOINTS] = sim::Reach::SO101.rest_rad;

/// How far outside its limits a joint may be found, rad: beyond, the calibration is wrong and power would do harm.
const LIMIT_TOLERANCE_RAD: f32 = 0.1;

/// What a control loop needs to know besides the arm's model.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlConfig {
    /// Time between two ticks, µs. Default [`PERIOD_US`].
    pub period_us: u32,
    /// Step of the physics, µs, if the arm is simulated; the period must be a whole multiple of it.
    pub physics_step_us: Option<u32>,
    /// Pose to park in before the power is cut, rad. Default [`REST_RAD`].
    pub rest_rad: [f32; JOINTS],
    /// Safety and feed-forward.
    pub planner: PlannerConfig,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self { period_us: PERIOD_US, physics_step_us: None, rest_rad: REST_RAD, planner: PlannerConfig::default() }
    }
}

/// Why a control loop ended. The arm may still be under power: stop or abort the loop, or drop it.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The arm did not obey, or is gone.
    #[error(transparent)]
    Arm(#[from] ArmError),
    /// The arm cannot be controlled, or not be brought to a pose.
    #[error(transparent)]
    Kinematics(#[from] KinematicsError),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// The period does not fit the simulator.
    #[error(
        "expected a control period that is a whole multiple of the physics step of {physics_step_us} µs, found \
         {period_us} µs; choose another period"
    )]
    Period {
        /// Control period, µs.
        period_us: u32,
        /// Physics step, µs.
        physics_step_us: u32,
    },
    /// The arm has another number of joints than the model.
    #[error("expected an arm of {JOINTS} joints, found {found}; check --arm and the port")]
    JointCount {
        /// Joints of the arm.
        found: usize,
    },
    /// A move from pose to pose did not end in time.
    #[error("the arm did not finish a move within {} s; is something in its way?", motion::MOVE_LIMIT_US / 1_000_000)]
    Blocked,
    /// A tick was asked for without power.
    #[error("the arm is not under power; start the loop first")]
    NotStarted,
}

/// All that happened in a tick; the record of a log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tick {
    /// Ticks since [`ControlLoop::new`], from 1.
    pub index: u64,
    /// Host's clock when the tick began, µs.
    pub stamp_us: u64,
    /// What was measured, and when.
    pub reading: Reading,
    /// Age of the measurement when it was handed out, µs; grows while answers of the arm are lost.
    pub reading_age_us: u64,
    /// What was planned.
    pub plan: Plan,
    /// What the driver says was really sent, rad.
    pub sent: JointCommand,
}

impl Tick {
    /// Measured angles, rad; zeros before the first tick.
    #[must_use]
    pub fn measured_rad(&self) -> [f32; JOINTS] {
        measured(&self.reading)
    }
}

fn measured(reading: &Reading) -> [f32; JOINTS] {
    std::array::from_fn(|i| reading.joints.position_rad.get(i).copied().unwrap_or(0.0))
}

/// What a tick moves towards.
#[derive(Debug, Clone, Copy)]
enum Goal {
    Point(SetPoint, Option<u64>, f64),
    Joints([f32; JOINTS]),
}

/// An arm, a clock, and the path from set-points to commands.
#[derive(Debug)]
pub struct ControlLoop<A: Arm, C: Clock> {
    arm: A,
    clock: C,
    planner: Planner,
    config: ControlConfig,
    stop: Arc<AtomicBool>,
    release: Arc<AtomicBool>,
    started: bool,
    deadline_us: u64,
    command: JointCommand,
    tick: Tick,
    periods: Histogram,
    /// Time on the line, a tick.
    exchanges: Histogram,
    /// When the last tick began, if it was the one before.
    last_us: Option<u64>,
    elapsed_us: u64,
    overruns: u64,
}

impl<A: Arm, C: Clock> ControlLoop<A, C> {
    /// A loop around an arm that is connected and without power. Setting `stop` ends the next tick with
    /// [`ControlError::Stopped`].
    ///
    /// # Errors
    /// [`ControlError::Period`], [`ControlError::JointCount`] or [`ControlError::Kinematics`]: the parts do not fit.
    pub fn new(
        arm: A,
        clock: C,
        model: &ArmModel,
        config: ControlConfig,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, ControlError> {
        motion::check_period(config.period_us, config.physics_step_us)?;
        let limits = motion::common_limits(model, &arm.capabilities().limits)?;
        let planner = Planner::new(model, limits, &config.planner)?;
        Ok(Self {
            arm,
            clock,
            planner,
            config,
            stop,
            release: Arc::default(),
            started: false,
            deadline_us: 0,
            command: JointCommand::default(),
            tick: Tick::default(),
            periods: Histogram::default(),
            exchanges: Histogram::default(),
            last_us: None,
            elapsed_us: 0,
            overruns: 0,
        })
    }

    /// Setting `release` ends every move with [`ControlError::Stopped`], also that of [`ControlLoop::stop`] to the
    /// rest pose, so that the power is cut where the arm is.
    pub fn release_when(&mut self, release: Arc<AtomicBool>) {
        self.release = release;
    }

    /// Leaves a latched fault. Cuts the power: start the loop at once if the arm hangs in the air.
    ///
    /// # Errors
    /// [`ControlError::Arm`]: the fault stays.
    pub fn clear_fault(&mut self) -> Result<(), ControlError> {
        self.started = false;
        Ok(self.arm.clear_fault()?)
    }

    /// Powers the arm where it is; it does not move.
    ///
    /// # Errors
    /// [`ArmError::OutsideLimits`] before the power is on, or another [`ControlError::Arm`].
    pub fn start(&mut self) -> Result<(), ControlError> {
        let reading = self.arm.read()?;
        let found = reading.joints.position_rad.len();
        if found != JOINTS {
            return Err(ControlError::JointCount { found });
        }
        let at = measured(&reading);
        for (joint, (&position_rad, &limits)) in at.iter().zip(&self.arm.capabilities().limits).enumerate() {
            let range = limits.lower_rad - LIMIT_TOLERANCE_RAD..=limits.upper_rad + LIMIT_TOLERANCE_RAD;
            if !range.contains(&position_rad) {
                return Err(ArmError::OutsideLimits { joint, position_rad, limits }.into());
            }
        }
        self.arm.activate()?;
        // Where the arm is held now; the first reading may be from before somebody moved it.
        let at = measured(&self.arm.read()?);
        self.planner.reset(&at);
        self.started = true;
        self.deadline_us = self.clock.now_us();
        self.last_us = None;
        Ok(())
    }

    /// One period: waits for its deadline, reads, plans towards `goal`, writes. `object_age_us` is the age of the
    /// object's pose when this is called, `None` if the task has no object.
    ///
    /// # Errors
    /// [`ControlError::Stopped`], [`ControlError::NotStarted`] or [`ControlError::Arm`].
    pub fn tick(&mut self, goal: SetPoint, object_age_us: Option<u64>) -> Result<&Tick, ControlError> {
        self.check_stop()?;
        self.advance(Goal::Point(goal, object_age_us, 1.0))
    }

    /// Brings the fingertip to `goal` at a walking pace and returns when it rests there: in a straight line from a
    /// working pose, from another (such as the rest pose) first up and then straight through joint space.
    ///
    /// # Errors
    /// As [`ControlLoop::tick`]; [`ControlError::Kinematics`] if there is no such pose, before anything moves;
    /// [`ControlError::Blocked`] after 15 s.
    pub fn move_to(&mut self, goal: SetPoint) -> Result<&Tick, ControlError> {
        self.bring(goal, true)
    }

    /// Parks in the rest pose, whatever the stop flag says, and cuts the power.
    ///
    /// # Errors
    /// The arm failed on the way; the power is cut all the same, if the arm still listens.
    pub fn stop(&mut self) -> Result<(), ControlError> {
        let parked = if self.started { self.park() } else { Ok(()) };
        let released = self.abort();
        parked.and(released)
    }

    /// Cuts the power at once. Idempotent.
    ///
    /// # Errors
    /// [`ControlError::Arm`]: the power may still be on.
    pub fn abort(&mut self) -> Result<(), ControlError> {
        self.started = false;
        Ok(self.arm.deactivate()?)
    }

    /// Whether the arm is under power.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The last tick.
    #[must_use]
    pub fn last(&self) -> &Tick {
        &self.tick
    }

    /// Time between two ticks, s.
    #[must_use]
    pub fn period_s(&self) -> f64 {
        f64::from(self.config.period_us) * 1e-6
    }

    /// The path from set-points to commands.
    #[must_use]
    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    /// The loop's clock, for stamps on the same time.
    #[must_use]
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// The arm, such as a simulated one to look at.
    #[must_use]
    pub fn arm(&self) -> &A {
        &self.arm
    }

    /// How regular the loop has been since [`ControlLoop::new`].
    #[must_use]
    pub fn stats(&self) -> LoopStats {
        let at = |q| self.periods.quantile_us(q).unwrap_or(0.0);
        let on_line = |q| self.exchanges.quantile_us(q).unwrap_or(0.0);
        let (periods, elapsed_us) = (self.periods.len() as f64, self.elapsed_us as f64);
        LoopStats {
            rate_hz: if elapsed_us > 0.0 { periods * 1e6 / elapsed_us } else { 0.0 },
            period_p50_us: at(0.5),
            period_p999_us: at(0.999),
            overruns: self.overruns,
            bus_p50_us: on_line(0.5),
            bus_p999_us: on_line(0.999),
        }
    }
}

impl<A: Arm, C: Clock> Drop for ControlLoop<A, C> {
    fn drop(&mut self) {
        // Nobody is left to tell; the firmware's watchdog holds the arm if this does not arrive.
        let _ = self.arm.deactivate();
    }
}

#[cfg(test)]
mod tests;
