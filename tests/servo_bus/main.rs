//! Promise: an arm on its own servo bus is driven as safely as one behind our firmware, whatever its bus does. Driver
//! against emulated servos, byte by byte, in virtual time.

mod driver;
mod faults;
mod koch;
mod people;
mod servos;

use firmware_bridge::JointCommand;
use firmware_bridge::message::Refusal;
use firmware_bridge::servo::{Protocol, Register, sts3215 as table};
use hindsight::arm::bus::{Bus, BusError};
use hindsight::arm::koch::KOCH;
use hindsight::arm::servo_arm::calibrate;
use hindsight::arm::servo_arm::setup::{self, Address, SetupError};
use hindsight::arm::so101::SO101;
use hindsight::arm::{Arm, ArmError, Calibration, Kit, ServoArm, ServoArmOptions};
use hindsight::control::{ControlConfig, ControlLoop, REST_RAD, SetPoint};
use hindsight::env::simulated::control_config;
use hindsight::env::{ArmEnv, EnvError, GoalEnv, Scene, Start};
use hindsight::learn::evaluate;
use hindsight::link::{Link, Loopback, SimHandle, VirtualClock};
use hindsight::policy::{OnnxPolicy, StillPolicy};
use hindsight::task::{Task, TaskKind};
use hindsight::tracker::{ObjectSample, Tracker};
use sim::bus::Faults;
use sim::{ArmModel, FarEnd, ServoBus, SimParams, World};

type Handle = SimHandle<ServoBus>;
type Driver = ServoArm<Loopback<ServoBus>, VirtualClock<ServoBus>>;

const TRIES: u32 = 3;
const TICKS: u32 = 1_000;

/// An arm with its emulated servos.
struct Bench {
    kit: &'static Kit,
    model: ArmModel,
    params: SimParams,
}

impl Bench {
    fn so101() -> Self {
        Self { kit: &SO101, model: model(), params: SimParams::so101().unwrap() }
    }

    fn koch() -> Self {
        Self { kit: &KOCH, model: ArmModel::koch().unwrap(), params: SimParams::koch().unwrap() }
    }

    fn powered_off(&self, faults: Faults) -> Handle {
        let mut world = World::new(&self.model, &self.params, 1).unwrap();
        world.reset(&self.model.reach.rest_rad, None, 1).unwrap();
        let handle = SimHandle::new(ServoBus::new(world, self.kit.protocol, faults, 7).unwrap());
        // The arm settles on its stops.
        wait(&handle, 500_000);
        handle
    }

    fn bus(&self, handle: &Handle) -> Bus<Loopback<ServoBus>, VirtualClock<ServoBus>> {
        Bus::new(handle.link(), handle.clock(), self.kit.protocol)
    }

    fn connected(&self, handle: &Handle) -> Result<Driver, ArmError> {
        let limits = self.model.limits();
        let calibration = Calibration::nominal(self.kit.protocol, &limits).unwrap();
        ServoArm::connect(self.kit, self.bus(handle), ServoArmOptions::new(calibration, limits))
    }

    fn register(&self, handle: &Handle, id: u8, register: &Register) -> i32 {
        self.bus(handle).read(id, register, 10).unwrap()
    }
}

fn model() -> ArmModel {
    ArmModel::so101().unwrap()
}

fn powered_off(faults: Faults) -> Handle {
    Bench::so101().powered_off(faults)
}

fn bus(handle: &Handle) -> Bus<Loopback<ServoBus>, VirtualClock<ServoBus>> {
    Bench::so101().bus(handle)
}

fn connected(handle: &Handle) -> Result<Driver, ArmError> {
    Bench::so101().connected(handle)
}

fn register(handle: &Handle, id: u8, register: &Register) -> i32 {
    bus(handle).read(id, register, 10).unwrap()
}

fn wait(handle: &Handle, time_us: u64) {
    let mut device = handle.lock();
    let until_us = device.time_us() + time_us;
    while device.time_us() < until_us {
        device.step();
    }
}

fn pose(handle: &Handle) -> Vec<f64> {
    handle.lock().world().joint_positions().to_vec()
}

/// The program, simulating servos behind a pty for as long as it lives.
struct Simulated(std::process::Child);

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `hindsight sim` with these arguments, once its port can be opened.
fn simulated(arguments: &[&str]) -> Simulated {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hindsight"));
    command.arg("sim").args(arguments).stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut simulated = Simulated(command.spawn().unwrap());
    let mut told = String::new();
    let stderr = simulated.0.stderr.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut told).unwrap();
    assert!(told.contains("simulating"), "{told}");
    simulated
}

fn program(arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hindsight")).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = told.lines().last().unwrap_or("null");
    (output.status.code(), serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {told}")))
}

/// A table with nothing on it.
struct Bare;

impl Tracker for Bare {
    fn poll(&mut self, _: u64) -> Option<ObjectSample> {
        None
    }
}

impl Scene for Bare {
    fn rebuild(&mut self, _: &[f32], _: Option<[f64; 3]>, _: u64) -> Result<bool, EnvError> {
        Ok(false)
    }

    fn ask_for_object_at(&mut self, _: [f64; 3]) {}
}
