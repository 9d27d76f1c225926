//! Promise: an arm on its own servo bus is driven as safely as one behind our firmware, whatever its bus does. Driver
//! against emulated servos, byte by byte, in virtual time.

use firmware_bridge::JointCommand;
use firmware_bridge::message::Refusal;
use firmware_bridge::servo::{Protocol, Register, sts3215 as table};
use hindsight::arm::bus::{Bus, BusError};
use hindsight::arm::koch::KOCH;
use hindsight::arm::servo_arm::calibrate;
use hindsight::arm::servo_arm::setup::{self, SetupError};
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

#[test]
fn power_comes_on_without_a_jump_though_the_servos_goals_are_stale() {
    let handle = powered_off(Faults::default());
    let mut arm = connected(&handle).unwrap();
    let before = pose(&handle);
    assert!((1..=6).all(|id| register(&handle, id, &table::GOAL_POSITION) == 0), "the emulator's goals are stale");
    arm.activate().unwrap();
    wait(&handle, 500_000);
    for (joint, (before, after)) in before.iter().zip(pose(&handle)).enumerate() {
        assert!((before - after).abs() < 0.02, "joint {joint} went from {before} to {after}");
    }
    assert!((1..=6).all(|id| register(&handle, id, &table::TORQUE_ENABLE) == 1));

    // The same servos without that care: what the test could not see if the emulator were kind.
    arm.deactivate().unwrap();
    let mut bus = bus(&handle);
    bus.write(1, &table::GOAL_POSITION, 0, TRIES).unwrap();
    bus.write(1, &table::TORQUE_ENABLE, 1, TRIES).unwrap();
    wait(&handle, 500_000);
    assert!((pose(&handle)[0] - before[0]).abs() > 0.5, "a stale goal moves a servo");
}

#[test]
fn the_power_goes_off_with_the_driver_and_the_grippers_motor_is_spared() {
    let handle = powered_off(Faults::default());
    let mut arm = connected(&handle).unwrap();
    arm.activate().unwrap();
    assert_eq!(register(&handle, 6, &table::TORQUE_LIMIT), 500);
    assert_eq!(register(&handle, 6, &table::OVERLOAD_TORQUE), 25);
    assert_eq!(register(&handle, 1, &table::P_GAIN), 16);
    drop(arm);
    assert!((1..=6).all(|id| register(&handle, id, &table::TORQUE_ENABLE) == 0));
}

#[test]
fn goals_that_are_wrong_are_refused_and_goals_that_are_far_are_approached_at_the_limit() {
    let handle = powered_off(Faults::default());
    let mut arm = connected(&handle).unwrap();
    let command = |position_rad: &[f32]| JointCommand { position_rad: position_rad.iter().copied().collect() };
    let early = arm.write(&command(&REST_RAD)).unwrap_err();
    assert!(matches!(early, ArmError::Refused(Refusal::WrongMode)), "{early}");
    arm.activate().unwrap();
    let start = arm.read().unwrap().joints.position_rad;
    let mut wrong = REST_RAD;
    wrong[2] = f32::NAN;
    assert!(matches!(arm.write(&command(&wrong)), Err(ArmError::Refused(Refusal::NotFinite))));
    assert!(matches!(arm.write(&command(&REST_RAD[..5])), Err(ArmError::Refused(Refusal::JointCount))));

    wait(&handle, 8_000);
    let mut far = REST_RAD;
    far[0] = 1.5;
    let limits = &arm.capabilities().limits.clone();
    let sent = arm.write(&command(&far)).unwrap();
    let step = sent.position_rad[0] - start[0];
    assert!(step > 0.0 && step <= limits[0].velocity_rad_s * 0.05, "{step}");
    for _ in 0..200 {
        wait(&handle, 8_000);
        far[0] = 100.0;
        arm.read().unwrap();
        arm.write(&command(&far)).unwrap();
    }
    arm.read().unwrap();
    let reached = arm.write(&command(&far)).unwrap().position_rad[0];
    assert_eq!(reached, limits[0].upper_rad, "no further than the limit");

    // Who does not look does not move the arm.
    wait(&handle, 100_000);
    assert_eq!(arm.write(&command(&REST_RAD)).unwrap().position_rad[0], reached);
}

#[test]
fn what_is_missing_or_foreign_is_named() {
    let handle = powered_off(Faults::default());
    handle.lock().silence(3, u64::MAX / 2);
    let error = connected(&handle).unwrap_err();
    let ArmError::MissingServos { missing, .. } = &error else { panic!("{error}") };
    assert_eq!(missing, &["wrist_flex (id 4)"]);

    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    bus.write(4, &table::HOMING_OFFSET, 30, TRIES).unwrap();
    let error = connected(&handle).unwrap_err();
    let ArmError::OtherCalibration { joints } = &error else { panic!("{error}") };
    assert_eq!(joints, &["wrist_flex"]);
    assert!(matches!(bus.read(9, &table::MODEL, TRIES), Err(BusError::NoAnswer { id: 9, tries: TRIES })));
    assert!(matches!(bus.write(1, &table::HOMING_OFFSET, 2048, TRIES), Err(BusError::Register(_))), "it would wrap");
}

#[test]
fn servos_say_who_they_are_when_all_are_asked() {
    let handle = powered_off(Faults::default());
    let mut link = handle.link();
    link.write_all(&[0xFF, 0xFF, 0xFE, 0x02, 0x01, 0xFE]).unwrap();
    let (mut heard, mut buf) = (Vec::new(), [0; 64]);
    while heard.len() < 36 {
        let until_us = handle.lock().time_us() + 20_000;
        let count = link.read(&mut buf, until_us).unwrap();
        assert_ne!(count, 0, "{heard:?}");
        heard.extend_from_slice(&buf[..count]);
    }
    let ids: Vec<u8> = heard.chunks(6).map(|status| status[2]).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn settings_last_only_where_the_memory_was_unlocked() {
    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    bus.write(1, &table::P_GAIN, 20, TRIES).unwrap();
    bus.write(1, &table::LOCK, 0, TRIES).unwrap();
    bus.write(1, &table::HOMING_OFFSET, -1000, TRIES).unwrap();
    bus.write(1, &table::LOCK, 1, TRIES).unwrap();
    wait(&handle, 8_000);
    assert_eq!(bus.read(1, &table::P_GAIN, TRIES).unwrap(), 20);
    let before = bus.read(1, &table::PRESENT_POSITION, TRIES).unwrap();
    handle.lock().brown_out(0);
    assert!(!bus.ping(1, 5_000).unwrap(), "it starts anew");
    wait(&handle, 400_000);
    assert_eq!(bus.read(1, &table::P_GAIN, TRIES).unwrap(), 32, "as delivered");
    assert_eq!(bus.read(1, &table::HOMING_OFFSET, TRIES).unwrap(), -1000);
    assert_eq!(bus.read(1, &table::PRESENT_POSITION, TRIES).unwrap(), before);
    let kept = handle.lock().eeprom();
    let other = powered_off(Faults::default());
    assert!(other.lock().restore(&kept));
    assert_eq!(register(&other, 1, &table::HOMING_OFFSET), -1000);
}

#[test]
fn a_servo_that_presses_for_long_gives_way_and_says_so_until_it_is_released() {
    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    // The elbow rests on its stop; the goal lies behind it.
    let present = bus.read(3, &table::PRESENT_POSITION, TRIES).unwrap();
    bus.write(3, &table::GOAL_POSITION, present + 800, TRIES).unwrap();
    bus.write(3, &table::TORQUE_ENABLE, 1, TRIES).unwrap();
    wait(&handle, 1_500_000);
    assert!(bus.read(3, &table::PRESENT_LOAD, TRIES).unwrap() > 900);
    assert_eq!(bus.read(3, &table::STATUS, TRIES).unwrap(), 0);
    wait(&handle, 1_500_000);
    assert_eq!(bus.read(3, &table::STATUS, TRIES).unwrap(), i32::from(table::alarm::OVERLOAD));
    assert!(bus.read(3, &table::PRESENT_LOAD, TRIES).unwrap() <= 200);
    bus.write(3, &table::TORQUE_ENABLE, 0, TRIES).unwrap();
    wait(&handle, 8_000);
    assert_eq!(bus.read(3, &table::STATUS, TRIES).unwrap(), 0);
}

/// What a bus does to a run, and when.
struct Trouble {
    name: &'static str,
    faults: Faults,
    strike: fn(&mut ServoBus),
}

/// How a run under a fault went.
struct Run {
    ticks: u32,
    retries: u64,
    stale: u64,
    brown_outs: u64,
    /// Quickest that a joint turned, rad/s, and that a goal moved.
    speed_rad_s: f64,
    goal_rad_s: f64,
    ended: String,
}

/// Drives the fingertip in circles for [`TICKS`] ticks, or until the driver gives up.
fn run(bench: &Bench, trouble: &Trouble) -> Run {
    let handle = bench.powered_off(Faults::default());
    let arm = bench.connected(&handle).unwrap();
    let reach = &bench.model.reach;
    let config = ControlConfig {
        physics_step_us: Some(sim::world::STEP_US as u32),
        rest_rad: reach.rest_rad,
        ..ControlConfig::default()
    };
    let mut control = ControlLoop::new(arm, handle.clock(), &bench.model, config, Default::default()).unwrap();
    control.start().unwrap();
    let [x, _, z] = reach.start_tip_m;
    control.move_to(SetPoint { position_m: [x, 0.0, z], jaw_rad: 0.0 }).unwrap();
    handle.lock().set_faults(trouble.faults);
    let mut result = Run {
        ticks: 0,
        retries: 0,
        stale: 0,
        brown_outs: 0,
        speed_rad_s: 0.0,
        goal_rad_s: 0.0,
        ended: "as planned".into(),
    };
    let mut last: Option<(u64, Vec<f32>)> = None;
    for tick in 0..TICKS {
        if tick == 300 {
            (trouble.strike)(&mut handle.lock());
        }
        let angle = f64::from(tick) * 0.02;
        let position_m = [x + 0.04 * angle.cos() - 0.04, 0.04 * angle.sin(), z];
        if let Err(error) = control.tick(SetPoint { position_m, jaw_rad: 0.0 }, None).map(|_| ()) {
            result.ended = error.to_string();
            break;
        }
        result.ticks += 1;
        let (now_us, sent) = (handle.lock().time_us(), control.last().sent.position_rad.to_vec());
        // A servo that is powered again is held where it has sunk to: another goal, but no motion.
        let health = control.arm().servo_health();
        let brown_outs = health.brown_outs + health.halts;
        let powered_again = std::mem::replace(&mut result.brown_outs, brown_outs) != brown_outs;
        if let Some((then_us, before)) = last.replace((now_us, sent.clone())).filter(|_| !powered_again) {
            let dt_s = (now_us - then_us) as f64 * 1e-6;
            let steps = sent.iter().zip(&before).map(|(a, b)| f64::from((a - b).abs()) / dt_s);
            result.goal_rad_s = steps.fold(result.goal_rad_s, f64::max);
        }
        let device = handle.lock();
        let speeds = device.world().joint_velocities().iter().map(|speed| speed.abs());
        result.speed_rad_s = speeds.fold(result.speed_rad_s, f64::max);
    }
    let health = control.arm().servo_health();
    (result.retries, result.stale) = (health.bus.retries, health.stale);
    // The cable is put back, the bus is sound again; then the power must be off.
    if control.abort().is_err() {
        handle.lock().set_faults(Faults::default());
        wait(&handle, 3_000_000);
        control.abort().unwrap();
    }
    handle.lock().set_faults(Faults::default());
    wait(&handle, 500_000);
    assert!(
        (1..=6).all(|id| bench.register(&handle, id, &bench.kit.registers.torque) == 0),
        "{}: still powered",
        trouble.name
    );
    result
}

#[test]
fn a_bad_bus_costs_ticks_at_most_and_never_a_jump_or_power_that_stays_on() {
    grid(&Bench::so101(), include_str!("../docs/servo-bus.md"));
}

/// Runs every trouble, and holds the table in `page` to what came of it.
fn grid(bench: &Bench, page: &str) {
    let rate = |faults: Faults, name| Trouble { name, faults, strike: |_| {} };
    let once = |name, strike| Trouble { name, faults: Faults::default(), strike };
    let none = Faults::default();
    let troubles = [
        rate(none, "none"),
        rate(Faults { lost: 0.001, ..none }, "lost 0.1 %"),
        rate(Faults { lost: 0.005, ..none }, "lost 0.5 %"),
        rate(Faults { lost: 0.01, ..none }, "lost 1 %"),
        rate(Faults { lost: 0.05, ..none }, "lost 5 %"),
        rate(Faults { corrupt: 0.001, ..none }, "corrupt 0.1 %"),
        rate(Faults { corrupt: 0.005, ..none }, "corrupt 0.5 %"),
        rate(Faults { corrupt: 0.01, ..none }, "corrupt 1 %"),
        rate(Faults { corrupt: 0.05, ..none }, "corrupt 5 %"),
        rate(Faults { truncated: 0.01, ..none }, "cut short 1 %"),
        rate(Faults { late: 0.01, late_us: 12_000, ..none }, "12 ms late 1 %"),
        rate(Faults { late: 0.05, late_us: 12_000, ..none }, "12 ms late 5 %"),
        once("elbow silent for 0.5 s", |bus| bus.silence(2, 500_000)),
        once("elbow silent for 3 s", |bus| bus.silence(2, 3_000_000)),
        once("pan browns out", |bus| bus.brown_out(0)),
        once("all brown out", |bus| (0..6).for_each(|joint| bus.brown_out(joint))),
        once("unplugged for 0.3 s", |bus| bus.unplug(300_000)),
        once("unplugged for 1 s", |bus| bus.unplug(1_000_000)),
        once("unplugged for 4 s", |bus| bus.unplug(4_000_000)),
    ];
    let mut stale_rows = Vec::new();
    for trouble in &troubles {
        let run = run(bench, trouble);
        let Run { ticks, retries, stale, brown_outs, speed_rad_s, goal_rad_s, ended } = &run;
        let name = trouble.name;
        let row = format!(
            "| {name} | {ticks} | {retries} | {stale} | {brown_outs} | {speed_rad_s:.2} | {goal_rad_s:.2} | {ended} |"
        );
        if !page.lines().any(|line| says_the_same(line, &row)) {
            stale_rows.push(row);
        }
        // Half of what the servos can; a bus without faults needs 1 rad/s.
        let most_rad_s = 0.5 * f64::from(bench.model.joints[0].limits.velocity_rad_s);
        assert!(*goal_rad_s <= most_rad_s, "{name}: a goal jumped at {goal_rad_s} rad/s");
        // Without any power it falls.
        let fastest_rad_s = if name == "all brown out" { 2.0 * most_rad_s } else { 2.0 };
        assert!(*speed_rad_s <= fastest_rad_s, "{name}: a joint turned at {speed_rad_s} rad/s");
        match name {
            "elbow silent for 3 s" | "unplugged for 4 s" => {
                assert!((300..TICKS).contains(ticks), "{name}: {ticks}");
                assert!(ended.contains("answered for"), "{name}: {ended}");
            }
            _ => assert_eq!(*ticks, TICKS, "{name}: {ended}"),
        }
        let is_stopped = bench.kit.watchdog.is_some() && matches!(name, "unplugged for 0.3 s" | "unplugged for 1 s");
        let is_off = name.ends_with("out") && !name.contains("for");
        assert_eq!(is_off || is_stopped, *brown_outs > 0, "{name}: {brown_outs}");
        assert!(name == "none" || *stale + *retries > 0 || name.contains("0.1 %"), "{name}: nothing happened");
    }
    assert!(
        stale_rows.is_empty(),
        "the page's table says otherwise; after a review, put in\n{}",
        stale_rows.join("\n")
    );
}

/// Whether two rows are equal, but for speeds that another machine's sine may round otherwise.
fn says_the_same(line: &str, row: &str) -> bool {
    let (line, row): (Vec<&str>, Vec<&str>) = (line.split(" | ").collect(), row.split(" | ").collect());
    let near = |(a, b): (&&str, &&str)| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) if a.contains('.') => (x - y).abs() < 0.03,
        _ => a == b,
    };
    line.len() == row.len() && line.iter().zip(&row).all(near)
}

#[path = "servo_bus/koch.rs"]
mod koch;

/// The program, simulating servos behind a pty for as long as it lives.
struct Simulated(std::process::Child);

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hindsight")).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = told.lines().last().unwrap_or("null");
    (output.status.code(), serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {told}")))
}

#[test]
fn people_can_look_at_the_servos_behind_a_port_and_are_told_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("arm");
    let port = link.to_str().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hindsight"));
    command.args(["sim", "--protocol", "feetech", "--task", "reach", "--link", port]);
    let mut simulated = Simulated(command.stderr(std::process::Stdio::piped()).spawn().unwrap());
    let mut told = String::new();
    let stderr = simulated.0.stderr.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut told).unwrap();
    assert!(told.contains("simulating so101"), "{told}");

    // On a machine that is busy for 40 ms a servo may answer too late, and then it is told so.
    let watched = (0..TRIES).any(|_| {
        let (code, seen) = program(&["monitor", "--port", port, "--count", "1", "--json"]);
        let gripper = &seen["servos"][5];
        let is_off = (&gripper["joint"], &gripper["torque"]) == (&"gripper".into(), &false.into());
        code == Some(0) && seen["servos"].as_array().is_some_and(|servos| servos.len() == 6) && is_off
    });
    assert!(watched);

    let grade = |report: &serde_json::Value, what: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["what"] == what).map(|finding| finding["grade"].clone())
    };
    let healthy = (0..TRIES).any(|_| {
        let (_, report) = program(&["doctor", "--port", port, "--json"]);
        ["port", "servos", "firmware"].iter().all(|what| grade(&report, what) == Some("good".into()))
    });
    assert!(healthy);
    let file = place.path().join("arm.json");
    let calibrated = |name: &str, expected: &str| {
        let arguments = ["doctor", "--port", port, "--calibration", name, "--json"];
        (0..TRIES).any(|_| grade(&program(&arguments).1, "calibration") == Some(expected.into()))
    };
    Calibration::nominal(Protocol::Feetech, &model().limits()).unwrap().save(&file).unwrap();
    assert!(calibrated(file.to_str().unwrap(), "good"));
    let text = std::fs::read_to_string(&file).unwrap().replacen("\"homing_offset\": 0", "\"homing_offset\": 9", 1);
    std::fs::write(&file, text).unwrap();
    assert!(calibrated(file.to_str().unwrap(), "bad"));
    assert!(calibrated(place.path().join("none.json").to_str().unwrap(), "bad"));
    let arguments = ["doctor", "--port", port, "--task", "reach", "--policy", "push", "--json"];
    let (code, report) = program(&arguments);
    assert_eq!((code, grade(&report, "policy")), (Some(1), Some("bad".into())), "{report}");
    drop(simulated);
    let (code, report) = program(&["doctor", "--port", port, "--json"]);
    assert_eq!((code, grade(&report, "port")), (Some(1), Some("bad".into())), "{report}");
}

#[test]
fn an_arm_whose_servos_are_mounted_anyhow_is_calibrated_by_hand_and_moves_as_before() {
    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    // As if the horns had been screwed on anywhere: the servos' counts are off by hundreds, one wraps.
    for (id, offset) in [(1, 700), (2, -900), (3, 1200), (4, -300), (5, 400), (6, -1500)] {
        bus.write(id, &table::HOMING_OFFSET, offset, TRIES).unwrap();
    }
    let limits = model().limits();
    let pose_by_hand = |share: f32| {
        let joints: Vec<f32> = limits.iter().map(|l| (1.0 - share) * l.lower_rad + share * l.upper_rad).collect();
        handle.lock().world_mut().reset(&joints, None, 1).unwrap();
        wait(&handle, 12_000);
    };
    calibrate::release(&SO101, &mut bus).unwrap();
    pose_by_hand(0.5);
    let mut measured = calibrate::home(&SO101, &mut bus).unwrap();
    // Slowly: a quarter of a turn between two readings is followed, more than half of one would not be.
    for share in [0.5, 0.25, 0.0, 0.25, 0.5, 0.75, 1.0] {
        pose_by_hand(share);
        calibrate::follow(&SO101, &mut bus, &mut measured).unwrap();
    }
    let calibration = calibrate::finish(&SO101, &mut bus, &measured).unwrap();
    handle.lock().world_mut().reset(&REST_RAD, None, 1).unwrap();
    wait(&handle, 500_000);

    let nominal = connected(&handle).unwrap_err();
    assert!(matches!(nominal, ArmError::OtherCalibration { .. }), "{nominal}");
    let options = ServoArmOptions::new(calibration, limits.clone());
    let mut arm = ServoArm::connect(&SO101, bus, options).unwrap();
    let (seen, truth) = (arm.read().unwrap().joints.position_rad, pose(&handle));
    for (joint, (seen, truth)) in seen.iter().zip(truth).enumerate() {
        // A hand that reaches a stop gives a little, and the wrist's roll has its zero in the middle of the turn,
        // 2.8° from the model's. The servos' own counts are off by 0.4 to 2.3 rad.
        assert!((f64::from(*seen) - truth).abs() < 0.06, "joint {joint}: {seen} instead of {truth}");
    }
    // A middle that is none: the range runs over the servo's wrap, and is refused.
    let mut bus = self::bus(&handle);
    pose_by_hand(0.95);
    let mut measured = calibrate::home(&SO101, &mut bus).unwrap();
    for share in [0.75, 0.5, 0.25, 0.0] {
        pose_by_hand(share);
        calibrate::follow(&SO101, &mut bus, &mut measured).unwrap();
    }
    let error = calibrate::finish(&SO101, &mut bus, &measured).unwrap_err();
    assert!(error.to_string().contains("wrap"), "{error}");
}

#[test]
fn a_servo_gets_its_id_only_when_it_is_alone_on_the_bus() {
    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    let error = setup::give_id(&SO101, &mut bus, 9).unwrap_err();
    assert!(matches!(&error, SetupError::NotAlone { found } if *found == [1, 2, 3, 4, 5, 6]), "{error}");
    (1..6).for_each(|joint| handle.lock().silence(joint, 1_000_000_000));
    assert_eq!(setup::give_id(&SO101, &mut bus, 9).unwrap(), 1);
    assert_eq!(setup::scan(&mut bus).unwrap(), [9]);
    assert_eq!(setup::give_id(&SO101, &mut bus, 9).unwrap(), 9);
    handle.lock().brown_out(0);
    let error = setup::give_id(&SO101, &mut bus, 1).unwrap_err();
    assert!(matches!(&error, SetupError::NotAlone { found } if found.is_empty()), "{error}");
    wait(&handle, 500_000);
    assert_eq!(bus.read(9, &table::LOCK, TRIES).unwrap(), 1, "the id outlives the power, and is locked");
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

#[test]
fn a_policy_learned_behind_the_firmware_reaches_as_well_over_the_servo_bus_even_a_bad_one() {
    let twin = SimParams::so101().unwrap();
    let task = Task::new(TaskKind::Reach, twin.object.rest_height_m());
    let policy = || OnnxPolicy::load("models/policies/reach.onnx".as_ref(), task.layout());
    for faults in [Faults::default(), Faults { lost: 0.01, corrupt: 0.005, ..Faults::default() }] {
        let handle = powered_off(Faults::default());
        let arm = connected(&handle).unwrap();
        handle.lock().set_faults(faults);
        let config = control_config(&model(), &twin, TaskKind::Reach, Some(sim::world::STEP_US as u32));
        let control = ControlLoop::new(arm, handle.clock(), &model(), config, Default::default()).unwrap();
        let env = ArmEnv::new(task.clone(), Start::InPlace, control, Bare, Bare).unwrap();
        let mut envs: Vec<Box<dyn GoalEnv>> = vec![Box::new(env)];
        let seeds: Vec<u64> = (0..20).collect();
        let reached = evaluate(&mut envs, policy, &seeds).unwrap();
        assert!(reached.successes() >= 19, "{faults:?}: {} of {}", reached.successes(), seeds.len());
        let still = evaluate(&mut envs, || Ok(StillPolicy), &seeds).unwrap();
        assert!(still.successes() <= 2, "{faults:?}: doing nothing reaches {}", still.successes());
    }
}
