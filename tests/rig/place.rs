//! Where the suite runs: arms emulated in this process in virtual time, or one real arm on a port.

use firmware_bridge::message::Mode;
use firmware_bridge::servo::Register;
use hindsight::arm::bus::Bus;
use hindsight::arm::koch::KOCH;
use hindsight::arm::servo_arm::{self, IDS, Vitals};
use hindsight::arm::so101::SO101;
use hindsight::arm::{Arm, ArmError, BridgeArm, BridgeOptions, Calibration, Kit, ServoArm, ServoArmOptions};
use hindsight::clock::{Clock, SystemClock};
use hindsight::control::{ControlConfig, ControlLoop};
use hindsight::env::simulated::control_config;
use hindsight::link::{self, Link, SimHandle};
use hindsight::task::TaskKind;
use sim::bus::Faults;
use sim::{ArmModel, Device, FarEnd, ServoBus, SimParams, World};

/// Names by which `skips.toml` calls the arms.
pub(crate) const ARMS: [&str; 3] = ["so101", "koch", "firmware"];

/// Silence after which the host's watchdog holds a real SO-101, µs, as `hindsight run` has it.
const WATCHDOG_US: u32 = 100_000;
const TRIES: u32 = 10;

pub(crate) type Loop = ControlLoop<Box<dyn Arm>, Time>;

/// An arm that rests in its rest pose, without power.
pub(crate) struct Rig {
    /// One of [`ARMS`].
    pub arm: &'static str,
    pub model: ArmModel,
    twin: SimParams,
    pub calibration: Option<Calibration>,
    place: Place,
}

enum Place {
    Servos(&'static Kit, SimHandle<ServoBus>),
    Firmware(SimHandle<Device>),
    /// Port, and the servos that answer on it.
    Port(String, Option<&'static Kit>),
}

/// The rig's time.
pub(crate) struct Time(Box<dyn Clock>);

impl Clock for Time {
    fn now_us(&self) -> u64 {
        self.0.now_us()
    }

    fn sleep_until_us(&mut self, deadline_us: u64) {
        self.0.sleep_until_us(deadline_us);
    }
}

impl std::fmt::Display for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Port(port, _) => write!(f, "the {} on {port}", self.arm),
            _ => write!(f, "an emulated {}", self.arm),
        }
    }
}

/// The real arm, if one is named, else all emulated ones.
pub(crate) fn rigs() -> Vec<Rig> {
    let told = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (told("HINDSIGHT_PORT"), told("HINDSIGHT_ARM")) {
        (None, None) => ARMS.into_iter().map(Rig::emulated).collect(),
        (Some(port), Some(arm)) => vec![Rig::on(port, &arm, told("HINDSIGHT_CALIBRATION"))],
        _ => panic!("expected both HINDSIGHT_PORT and HINDSIGHT_ARM (so101 or koch), or neither"),
    }
}

impl Rig {
    fn of(arm: &'static str, place: Place, file: Option<String>) -> Self {
        let (model, twin) = match arm {
            "koch" => (ArmModel::koch().unwrap(), SimParams::koch().unwrap()),
            _ => (ArmModel::so101().unwrap(), SimParams::so101().unwrap()),
        };
        let kit = match &place {
            Place::Servos(kit, _) | Place::Port(_, Some(kit)) => Some(kit),
            _ => None,
        };
        let calibration = kit.map(|kit| match file {
            Some(file) => Calibration::load(kit.protocol, file.as_ref()).unwrap(),
            None => Calibration::nominal(kit.protocol, &model.limits()).unwrap(),
        });
        Self { arm, model, twin, calibration, place }
    }

    fn emulated(arm: &'static str) -> Self {
        let (kit, model, params) = match arm {
            "koch" => (&KOCH, ArmModel::koch().unwrap(), SimParams::koch().unwrap()),
            _ => (&SO101, ArmModel::so101().unwrap(), SimParams::so101().unwrap()),
        };
        let mut world = World::new(&model, &params, 1).unwrap();
        world.reset(&model.reach.rest_rad, None, 1).unwrap();
        let place = match arm {
            "firmware" => Place::Firmware(SimHandle::new(settled(Device::new(world, 1)))),
            _ => {
                let bus = ServoBus::new(world, kit.protocol, Faults::default(), 1).unwrap();
                Place::Servos(kit, SimHandle::new(settled(bus)))
            }
        };
        Self::of(arm, place, None)
    }

    fn on(port: String, arm: &str, calibration: Option<String>) -> Self {
        let (kit, _) = servo_arm::detect(link::open(&port, SystemClock).unwrap(), SystemClock).unwrap();
        let name = match kit {
            Some(kit) if std::ptr::eq(kit, &KOCH) => "koch",
            Some(_) => "so101",
            None => "firmware",
        };
        assert!(name == arm || (name, arm) == ("firmware", "so101"), "HINDSIGHT_ARM={arm}: found {name} on {port}");
        let rig = Self::of(name, Place::Port(port, kit), calibration);
        // Left behind by a test that failed; firmware without a fault refuses.
        let _ = rig.connect().unwrap().clear_fault();
        rig
    }

    pub(crate) fn is_real(&self) -> bool {
        matches!(self.place, Place::Port(..))
    }

    pub(crate) fn clock(&self) -> Time {
        Time(match &self.place {
            Place::Servos(_, handle) => Box::new(handle.clock()),
            Place::Firmware(handle) => Box::new(handle.clock()),
            Place::Port(..) => Box::new(SystemClock),
        })
    }

    /// The arm, without power.
    pub(crate) fn connect(&self) -> Result<Box<dyn Arm>, ArmError> {
        self.connect_as(self.calibration.clone())
    }

    /// As [`Rig::connect`], with another calibration.
    pub(crate) fn connect_as(&self, calibration: Option<Calibration>) -> Result<Box<dyn Arm>, ArmError> {
        let options = calibration.map(|calibration| ServoArmOptions::new(calibration, self.model.limits()));
        Ok(match (&self.place, options) {
            (Place::Servos(kit, handle), Some(options)) => {
                let bus = Bus::new(handle.link(), handle.clock(), kit.protocol);
                Box::new(ServoArm::connect(kit, bus, options)?)
            }
            (Place::Port(port, Some(kit)), Some(options)) => {
                let arm = ServoArm::connect(kit, bus_on(port, kit), options)?;
                if kit.watchdog.is_some() { Box::new(arm) } else { Box::new(arm.with_watchdog(WATCHDOG_US)) }
            }
            (Place::Firmware(handle), _) => {
                Box::new(BridgeArm::connect(handle.link(), handle.clock(), BridgeOptions::default())?)
            }
            (Place::Port(port, _), _) => Box::new(firmware_on(port)?),
            (Place::Servos(..), None) => unreachable!("servos have a calibration"),
        })
    }

    /// The control loop around it, not started.
    pub(crate) fn control(&self) -> Loop {
        let step_us = (!self.is_real()).then_some(sim::world::STEP_US as u32);
        let config: ControlConfig = control_config(&self.model, &self.twin, TaskKind::Reach, step_us);
        ControlLoop::new(self.connect().unwrap(), self.clock(), &self.model, config, Default::default()).unwrap()
    }

    /// Whether any motor has power, asked past the driver, which must be gone.
    pub(crate) fn is_powered(&self) -> bool {
        let torque = |kit: &Kit| kit.registers.torque;
        match &self.place {
            Place::Servos(kit, handle) => any(&mut Bus::new(handle.link(), handle.clock(), kit.protocol), &torque(kit)),
            Place::Port(port, Some(kit)) => any(&mut bus_on(port, kit), &torque(kit)),
            Place::Firmware(handle) => handle.lock().mode() != Mode::Idle,
            Place::Port(port, None) => firmware_on(port).unwrap().mode() != Mode::Idle,
        }
    }

    /// How the servos are; the driver must be gone.
    pub(crate) fn vitals(&self) -> (&'static Kit, [Option<Vitals>; IDS.len()]) {
        match &self.place {
            Place::Servos(kit, handle) => {
                let mut bus = Bus::new(handle.link(), handle.clock(), kit.protocol);
                (kit, servo_arm::vitals(kit, &mut bus).unwrap())
            }
            Place::Port(port, Some(kit)) => (kit, servo_arm::vitals(kit, &mut bus_on(port, kit)).unwrap()),
            _ => panic!("expected servos; skip this test on {self}"),
        }
    }
}

fn settled<D: FarEnd>(mut device: D) -> D {
    while device.time_us() < 500_000 {
        device.step();
    }
    device
}

fn bus_on(port: &str, kit: &Kit) -> Bus<link::Port<SystemClock>, SystemClock> {
    Bus::new(link::open(port, SystemClock).unwrap(), SystemClock, kit.protocol)
}

fn firmware_on(port: &str) -> Result<BridgeArm<link::Port<SystemClock>, SystemClock>, ArmError> {
    BridgeArm::connect(link::open(port, SystemClock).unwrap(), SystemClock, BridgeOptions::default())
}

fn any<L: Link, C: Clock>(bus: &mut Bus<L, C>, register: &Register) -> bool {
    IDS.into_iter().any(|id| bus.read(id, register, TRIES).unwrap() != 0)
}
