//! Which arm on which port: puts together the parts of a rig, simulated or real.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use firmware_bridge::message::Mode;
use hindsight::arm::bus::Bus;
use hindsight::arm::koch::KOCH;
use hindsight::arm::so101::SO101;
use hindsight::arm::{Arm, ArmError, BridgeArm, BridgeOptions, Calibration, Kit, ServoArm, ServoArmOptions, servo_arm};
use hindsight::clock::{Clock, SystemClock};
use hindsight::control::ControlLoop;
use hindsight::env::simulated::{control_config, simulated, simulated_in_real_time};
use hindsight::env::{ArmEnv, EnvError, Scene, SimEnv, Start};
use hindsight::link::{self, Reopening};
use hindsight::task::{Task, TaskKind};
use hindsight::tracker::datagram::DEFAULT_ADDRESS;
use hindsight::tracker::{ObjectSample, STALE_US, Tracker, UdpTracker};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use sim::{ArmModel, Ranges, SimParams};

use super::interrupt::Interrupt;
use super::rollout::Event;
use super::{LossError, UsageError};

/// How long a tracker is given to say where the object is before anything moves, µs.
const FIRST_SAMPLE_US: u64 = 5_000_000;
/// How long the object must be out of sight for a person to be told, µs.
const LOST_US: u64 = 1_000_000;

/// Longest silence of the control thread before the host's watchdog holds an arm whose servos have none, µs: that of
/// the firmware.
const HOST_WATCHDOG_US: u32 = 100_000;

/// Arms that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ArmName {
    /// SO-101: six Feetech STS3215.
    So101,
    /// Koch v1.1: two Dynamixel XL430 and four XL330.
    Koch,
}

impl ArmName {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::So101 => "so101",
            Self::Koch => "koch",
        }
    }

    /// The arm's description.
    pub(super) fn urdf(self) -> &'static str {
        match self {
            Self::So101 => include_str!("../../models/arms/so101.urdf"),
            Self::Koch => include_str!("../../models/arms/koch.urdf"),
        }
    }

    /// The arm.
    ///
    /// # Errors
    /// The embedded description is damaged.
    pub(super) fn model(self) -> Result<ArmModel> {
        Ok(match self {
            Self::So101 => ArmModel::so101()?,
            Self::Koch => ArmModel::koch()?,
        })
    }

    /// Its servos.
    pub(super) fn kit(self) -> &'static Kit {
        match self {
            Self::So101 => &SO101,
            Self::Koch => &KOCH,
        }
    }
}

/// Which arm, where, and what it shall do.
#[derive(Debug, Args)]
pub(super) struct RigArgs {
    /// Which arm
    #[arg(long, value_enum, default_value = "so101")]
    pub arm: ArmName,
    /// A serial port, a pty, unix:PATH, or sim for an arm simulated in this process
    #[arg(long)]
    pub port: String,
    /// What the arm shall do
    #[arg(long, value_enum)]
    pub task: TaskKind,
    /// Calibration of an arm on its own servo bus, as `hindsight calibrate` or LeRobot wrote it [default: every joint
    /// reads 2048 at its zero, as the simulated one does]
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Address to hear the object's tracker on [default: 127.0.0.1:47800]
    #[arg(long, value_name = "ADDRESS")]
    pub tracker: Option<SocketAddr>,
    /// Clear a fault that the arm's firmware has latched; support the arm
    #[arg(long)]
    pub clear_fault: bool,
    /// Simulate an arm that differs from its twin, drawn from this seed
    #[arg(long, value_name = "SEED")]
    pub differ: Option<u64>,
    /// Let an arm simulated in this process move in real time, to watch it
    #[arg(long)]
    pub realtime: bool,
}

/// What is known of the rig before anything is opened.
#[derive(Debug)]
pub(super) struct Setup {
    pub model: ArmModel,
    /// What the host believes of the arm.
    pub twin: SimParams,
    /// What the simulated arm is like.
    pub drawn: SimParams,
    pub task: Task,
}

pub(super) type PortEnv = ArmEnv<Box<dyn Arm + Send>, SystemClock, TableTracker, TableScene>;

/// A rig that is ready to start.
pub(super) enum Rig {
    /// In this process, in virtual time.
    Simulated(Box<SimEnv>),
    /// Behind a port, in real time.
    Real(Box<PortEnv>),
}

impl RigArgs {
    /// Whether the arm is simulated in this process.
    pub(super) fn is_simulated(&self) -> bool {
        self.port == "sim"
    }

    /// Checks the flags against each other and reads the arm's models.
    ///
    /// # Errors
    /// [`UsageError`].
    pub(super) fn setup(&self) -> Result<Setup> {
        let contradiction = if self.is_simulated() {
            let calibrated = ("--calibration", self.calibration.is_some());
            [("--tracker", self.tracker.is_some()), ("--clear-fault", self.clear_fault), calibrated]
                .into_iter()
                .find_map(|(flag, given)| given.then_some((flag, "expected a port of a real arm, found --port sim")))
        } else {
            let behind_a_port = "expected --port sim; to simulate behind a port give it to `hindsight sim`";
            let realtime = self.realtime.then_some(("--realtime", "expected --port sim; a port is real time already"));
            self.differ.map(|_| ("--differ", behind_a_port)).or(realtime)
        };
        let needless = (self.task == TaskKind::Reach && self.tracker.is_some())
            .then_some(("--tracker", "expected a task with an object, found reach"));
        if let Some((flag, why)) = contradiction.or(needless) {
            return Err(UsageError(format!("{flag}: {why}")).into());
        }
        Setup::new(self.arm, self.task, self.differ)
    }

    /// Connects. Nothing moves, and nothing gets power.
    ///
    /// # Errors
    /// The port or the tracker does not answer, or the arm's firmware has latched a fault.
    pub(super) fn open(
        &self,
        setup: &Setup,
        interrupt: &Interrupt,
        lost: &Arc<AtomicBool>,
        events: SyncSender<Event>,
    ) -> Result<Rig> {
        let Setup { model, twin, drawn, task } = setup;
        if self.is_simulated() {
            let arms = std::slice::from_ref(drawn);
            let build = if self.realtime { simulated_in_real_time } else { simulated };
            return Ok(Rig::Simulated(Box::new(build(model, twin, arms, task.clone(), Start::InPlace)?)));
        }
        let (mut arm, latched) = self.connect(model)?;
        if let Some(found) = latched.as_ref().filter(|_| !self.clear_fault) {
            return Err(LossError(format!("{found}: support the arm and say --clear-fault")).into());
        }
        let object = task.kind.object_name();
        let udp = match task.objects {
            Some(_) => Some(UdpTracker::bind(self.tracker.unwrap_or(DEFAULT_ADDRESS), object)?),
            None => None,
        };
        let mut tracker = TableTracker { udp, object, polled_us: 0, since_us: 0, lost: Arc::clone(lost) };
        tracker.wait(interrupt)?;
        if let Some(found) = latched {
            // Last, because it cuts the power: the first reset holds the arm again.
            arm.clear_fault()?;
            eprintln!("cleared: {found}");
        }
        let mut control = ControlLoop::new(
            arm,
            SystemClock,
            model,
            control_config(model, twin, task.kind, None),
            Arc::clone(&interrupt.stop),
        )?;
        control.release_when(Arc::clone(&interrupt.release));
        let scene = TableScene { events, object };
        Ok(Rig::Real(Box::new(ArmEnv::new(task.clone(), Start::InPlace, control, tracker, scene)?)))
    }
}

impl RigArgs {
    /// The arm on the port: its own bus servos, or a microcontroller with this project's firmware, whichever answers;
    /// and the fault that it has latched.
    fn connect(&self, model: &ArmModel) -> Result<(Box<dyn Arm + Send>, Option<ArmError>)> {
        let (found, bus) = servo_arm::detect(link::open(&self.port, SystemClock)?, SystemClock)?;
        if let Some(found) = found {
            let kit = self.arm.kit();
            if kit.protocol != found.protocol {
                let told = |kit: &Kit| format!("{} servos ({})", kit.maker, kit.name);
                let text = format!("--arm {}: expected {}, found {}", self.arm.name(), told(kit), told(found));
                return Err(UsageError(text).into());
            }
            let calibration = match &self.calibration {
                Some(file) => Calibration::load(kit.protocol, file)?,
                None => Calibration::nominal(kit.protocol, &model.limits())?,
            };
            let options = ServoArmOptions::new(calibration, model.limits());
            // As long as the driver bears with a bus on which nobody answers.
            let (port, patience_us) = (self.port.clone(), options.cable_out_max_us);
            let open = move || link::reopen(&port, SystemClock);
            let bus = bus.map_link(|link| Reopening::new(link, SystemClock, patience_us, open));
            let mut arm = ServoArm::connect(kit, bus, options)?;
            let servos = arm.shut_down()?;
            let latched = (!servos.is_empty()).then_some(ArmError::ServoShutdown { servos });
            return Ok(match kit.watchdog {
                Some(_) => (Box::new(arm), latched),
                None => (Box::new(arm.with_watchdog(HOST_WATCHDOG_US)), latched),
            });
        }
        if self.calibration.is_some() {
            let text = "--calibration: expected an arm on its own servo bus; firmware knows its own calibration";
            return Err(UsageError(text.into()).into());
        }
        let arm = BridgeArm::connect(bus.into_link(), SystemClock, BridgeOptions::default())?;
        let latched = match arm.mode() {
            Mode::Fault(fault) => Some(ArmError::Fault(fault)),
            _ => None,
        };
        Ok((Box::new(arm), latched))
    }
}

/// The servos on a port, whichever arm's they are.
///
/// # Errors
/// The port does not open, or no servo answers on it.
pub(super) fn servos_on(port: &str) -> Result<(&'static Kit, Bus<link::Port<SystemClock>, SystemClock>)> {
    match servo_arm::detect(link::open(port, SystemClock)?, SystemClock)? {
        (Some(kit), bus) => Ok((kit, bus)),
        (None, _) => bail!("no servo answers on {port}; `hindsight doctor --port {port}` says more"),
    }
}

impl Setup {
    /// The arm's models and the task; with `differ`, an arm drawn from this seed.
    ///
    /// # Errors
    /// An embedded file is damaged.
    pub(super) fn new(arm: ArmName, task: TaskKind, differ: Option<u64>) -> Result<Self> {
        let model = arm.model()?;
        let twin = match arm {
            ArmName::So101 => SimParams::so101_with(task.prop())?,
            ArmName::Koch if task != TaskKind::Reach => {
                let name = task.name();
                let text = format!("--task {name}: expected reach, which a koch can do; found one for a so101's reach");
                return Err(UsageError(text).into());
            }
            ArmName::Koch => SimParams::koch()?,
        };
        let drawn = match differ {
            Some(_) if arm == ArmName::Koch => {
                let text = "--differ: expected a so101; how far a koch may differ from its twin is not known";
                return Err(UsageError(text.into()).into());
            }
            Some(seed) => twin.draw(&Ranges::so101_with(task.prop())?, &mut Pcg64Mcg::seed_from_u64(seed)),
            None => twin.clone(),
        };
        let task = Task::new(task, twin.object.rest_height_m()).on(&model.reach);
        Ok(Self { model, twin, drawn, task })
    }
}

/// Where a table's object is, and whether it is in sight.
#[derive(Debug)]
pub(super) struct TableTracker {
    /// `None` for a task without an object.
    udp: Option<UdpTracker>,
    /// What it is called.
    object: &'static str,
    polled_us: u64,
    /// Since when the object has been looked for, µs.
    since_us: u64,
    /// Shared with the thread that tells people.
    lost: Arc<AtomicBool>,
}

impl TableTracker {
    /// Waits for the object to be seen.
    fn wait(&mut self, interrupt: &Interrupt) -> Result<()> {
        let Some(udp) = &self.udp else { return Ok(()) };
        let (address, object) = (udp.address()?, self.object);
        let until_us = SystemClock.now_us() + FIRST_SAMPLE_US;
        while self.poll(SystemClock.now_us()).is_none() {
            if SystemClock.now_us() > until_us {
                bail!(
                    "the tracker has not told on {address} within {} s where the {object} is; start it, or check \
                     that it sees the {object}. Nothing has moved",
                    FIRST_SAMPLE_US / 1_000_000
                );
            }
            if interrupt.is_stopped() {
                bail!("stopped before anything moved");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Tracker for TableTracker {
    fn poll(&mut self, now_us: u64) -> Option<ObjectSample> {
        let sample = self.udp.as_mut()?.poll(now_us);
        // While the arm travels between episodes nobody looks.
        let is_first = now_us.saturating_sub(self.polled_us) > STALE_US;
        self.polled_us = now_us;
        if sample.is_some() || is_first {
            self.since_us = now_us;
        }
        self.lost.store(now_us.saturating_sub(self.since_us) > LOST_US, Ordering::Relaxed);
        sample
    }
}

/// Tells a person when the object goes out of sight, and when it is back.
#[derive(Debug)]
pub(super) struct Sight {
    lost: Arc<AtomicBool>,
    object: &'static str,
    told: bool,
}

impl Sight {
    /// Of an object of that name, about which `lost` says whether it is out of sight.
    pub(super) fn new(lost: Arc<AtomicBool>, object: &'static str) -> Self {
        Self { lost, object, told: false }
    }

    /// What to tell now, if anything.
    pub(super) fn change(&mut self) -> Option<String> {
        let (lost, object) = (self.lost.load(Ordering::Relaxed), self.object);
        if std::mem::replace(&mut self.told, lost) == lost {
            return None;
        }
        Some(if lost {
            format!("the {object} is out of the tracker's sight; the arm holds until it is seen again")
        } else {
            format!("the {object} is seen again")
        })
    }
}

/// A table with a person beside it.
#[derive(Debug)]
pub(super) struct TableScene {
    events: SyncSender<Event>,
    object: &'static str,
}

impl Scene for TableScene {
    fn rebuild(&mut self, _: &[f32], _: Option<[f64; 3]>, _: u64) -> Result<bool, EnvError> {
        Ok(false)
    }

    fn ask_for_object_at(&mut self, object_m: [f64; 3]) {
        let [x, y, _] = object_m.map(|m| 100.0 * m);
        let side = if y < 0.0 { "right" } else { "left" };
        let text = format!(
            "please put the {} back, about {x:.0} cm ahead of the base and {:.0} cm to its {side}; the arm waits",
            self.object,
            y.abs()
        );
        // The control thread does not wait for the printer.
        let _ = self.events.try_send(Event::Note(text));
    }
}
