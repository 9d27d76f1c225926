//! What the bridge driver promises, against the firmware itself over simple motors in virtual time.

use firmware_bridge::message::{Fault, Mode, Refusal};
use firmware_bridge::{JointCommand, JointLimits, JointState, Motors};
use hindsight::arm::{Arm, ArmError, BridgeArm, BridgeOptions};
use hindsight::clock::Clock;
use hindsight::link::{Link, Loopback, SimHandle, VirtualClock};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sim::device::{Device, Plant};
use std::cell::Cell;
use std::rc::Rc;

const PERIOD_US: u64 = 8_000;
const START_RAD: [f32; 2] = [0.25, -0.5];

/// Motors that are where they are told to be.
#[derive(Debug)]
struct Bench {
    time_us: u64,
    position_rad: [f32; 2],
    powered: bool,
    broken: bool,
}

impl Motors for Bench {
    type Error = ();

    fn limits(&self) -> &[JointLimits] {
        &[JointLimits { lower_rad: -1.0, upper_rad: 1.0, velocity_rad_s: 2.0 }; 2]
    }

    fn measure(&mut self, state: &mut JointState) -> Result<(), ()> {
        state.position_rad = self.position_rad.into_iter().collect();
        state.velocity_rad_s = [0.0; 2].into_iter().collect();
        state.load = [0.0; 2].into_iter().collect();
        if self.broken { Err(()) } else { Ok(()) }
    }

    fn drive(&mut self, goal_rad: &[f32]) -> Result<(), ()> {
        self.position_rad.copy_from_slice(goal_rad);
        self.powered = true;
        if self.broken { Err(()) } else { Ok(()) }
    }

    fn disable(&mut self) -> Result<(), ()> {
        self.powered = false;
        Ok(())
    }
}

impl Plant for Bench {
    fn step(&mut self) {
        self.time_us += 4_000;
    }

    fn time_us(&self) -> u64 {
        self.time_us
    }
}

fn bench() -> SimHandle<Device<Bench>> {
    let world = Bench { time_us: 0, position_rad: START_RAD, powered: true, broken: false };
    SimHandle::new(Device::new(world, 0xb007))
}

type Bridge = BridgeArm<Loopback<Device<Bench>>, VirtualClock<Device<Bench>>>;

fn connected(handle: &SimHandle<Device<Bench>>) -> Bridge {
    BridgeArm::connect(handle.link(), handle.clock(), BridgeOptions::default()).unwrap()
}

fn active(handle: &SimHandle<Device<Bench>>) -> Bridge {
    let mut arm = connected(handle);
    arm.activate().unwrap();
    arm
}

fn command(position_rad: [f32; 2]) -> JointCommand {
    JointCommand { position_rad: position_rad.into_iter().collect() }
}

#[test]
fn a_handshake_brings_limits_and_state_and_moves_nothing() {
    let handle = bench();
    let mut arm = connected(&handle);
    let capabilities = arm.capabilities();
    assert_eq!((capabilities.limits.len(), capabilities.watchdog_us), (2, Some(100_000)));
    assert_eq!(arm.mode(), Mode::Idle);
    assert_eq!(arm.read().unwrap().joints.position_rad, START_RAD);
    assert!(!handle.lock().world().powered);
}

#[test]
fn a_tick_of_read_and_write_follows_the_goal_one_period_behind() {
    let handle = bench();
    let (mut arm, mut clock) = (active(&handle), handle.clock());
    let mut goal = START_RAD;
    for tick in 1..200 {
        clock.sleep_until_us(tick * PERIOD_US);
        let reading = arm.read().unwrap();
        assert_eq!(reading.stamp_us, clock.now_us());
        for (measured, goal) in reading.joints.position_rad.iter().zip(goal) {
            assert!((measured - goal).abs() < 1e-5, "tick {tick}: {measured} instead of {goal}");
        }
        let sent = arm.write(&command([goal[0] + 0.003, goal[1] - 0.001])).unwrap();
        assert_eq!(sent.position_rad, reading.joints.position_rad, "the goal of the command before");
        goal = [goal[0] + 0.003, goal[1] - 0.001];
    }
    assert_eq!(clock.now_us(), 199 * PERIOD_US, "answers take no virtual time");
    assert_eq!(arm.counts().lost + arm.counts().damaged + arm.counts().stale, 0);
}

#[test]
fn the_answer_to_a_command_serves_as_the_next_reading_while_it_is_fresh() {
    let handle = bench();
    let (mut arm, mut clock) = (active(&handle), handle.clock());
    arm.write(&command(START_RAD)).unwrap();
    let messages = arm.counts().messages;
    let stamp_us = arm.read().unwrap().stamp_us;
    assert_eq!((arm.counts().messages, stamp_us), (messages, clock.now_us()));
    arm.write(&command(START_RAD)).unwrap();
    clock.sleep_until_us(clock.now_us() + PERIOD_US);
    assert_eq!(arm.read().unwrap().stamp_us, clock.now_us(), "an old answer does not pass for a new reading");
    assert_eq!(arm.counts().messages, messages + 2);
}

#[test]
fn a_silent_host_finds_a_latched_fault_and_a_new_one_clears_it() {
    let handle = bench();
    let (mut arm, mut clock) = (active(&handle), handle.clock());
    clock.sleep_until_us(clock.now_us() + 150_000);
    assert!(matches!(arm.read(), Err(ArmError::Fault(Fault::Watchdog))));
    assert!(matches!(arm.write(&command(START_RAD)), Err(ArmError::Fault(Fault::Watchdog))));
    assert!(handle.lock().world().powered, "held until somebody says otherwise");

    // As if the process had been killed: no drop, no goodbye.
    std::mem::forget(arm);
    let mut arm = connected(&handle);
    assert_eq!(arm.mode(), Mode::Fault(Fault::Watchdog));
    arm.read().unwrap();
    assert!(matches!(arm.activate(), Err(ArmError::Fault(Fault::Watchdog))));
    assert!(handle.lock().world().powered, "a refused activation drops no arm");
    arm.clear_fault().unwrap();
    assert!(!handle.lock().world().powered);
    arm.activate().unwrap();
    arm.write(&command(START_RAD)).unwrap();
}

#[test]
fn a_reset_of_the_microcontroller_is_noticed_and_can_be_recovered_from() {
    let handle = bench();
    let mut arm = active(&handle);
    arm.write(&command(START_RAD)).unwrap();
    handle.lock().reboot();
    for _ in 0..2 {
        let error = arm.write(&command(START_RAD)).unwrap_err();
        assert!(matches!(error, ArmError::Rebooted { before: 0xb007, now: 0xb008 }), "{error}");
    }
    arm.deactivate().unwrap();
    arm.reconnect().unwrap();
    arm.activate().unwrap();
    arm.write(&command(START_RAD)).unwrap();
}

#[test]
fn failing_motors_end_in_a_fault_without_power() {
    let handle = bench();
    let (mut arm, mut clock) = (active(&handle), handle.clock());
    handle.lock().world_mut().broken = true;
    clock.sleep_until_us(clock.now_us() + 2 * PERIOD_US);
    assert!(matches!(arm.read(), Err(ArmError::Fault(Fault::Motors))));
    assert!(!handle.lock().world().powered);
    handle.lock().world_mut().broken = false;
    arm.clear_fault().unwrap();
    arm.activate().unwrap();

    let handle = bench();
    handle.lock().world_mut().broken = true;
    let mut arm = connected(&handle);
    assert!(matches!(arm.read(), Err(ArmError::Refused(Refusal::Motors))), "nothing was measured yet");
}

#[test]
fn a_refused_command_is_an_error_that_says_why() {
    let handle = bench();
    let mut arm = connected(&handle);
    let error = arm.write(&command(START_RAD)).unwrap_err();
    assert!(matches!(error, ArmError::Refused(Refusal::WrongMode)), "{error}");
    arm.activate().unwrap();
    let error = arm.write(&command([f32::NAN, 0.0])).unwrap_err();
    assert!(matches!(error, ArmError::Refused(Refusal::NotFinite)), "{error}");
    arm.deactivate().unwrap();
    handle.lock().world_mut().position_rad = [0.0, 1.5];
    match arm.activate() {
        Err(ArmError::OutsideLimits { joint: 1, position_rad: 1.5, limits }) => assert_eq!(limits.upper_rad, 1.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn power_goes_off_with_the_driver_and_twice_is_harmless() {
    let handle = bench();
    let mut arm = active(&handle);
    assert!(handle.lock().world().powered);
    arm.deactivate().unwrap();
    let messages = arm.counts().messages;
    arm.deactivate().unwrap();
    assert_eq!(arm.counts().messages, messages);
    arm.activate().unwrap();
    drop(arm);
    assert!(!handle.lock().world().powered);
}

/// What a bad cable does to the bytes that come back.
#[derive(Debug)]
struct BadCable {
    link: Loopback<Device<Bench>>,
    rng: Pcg64Mcg,
    /// Share of reads that are lost, and of reads that are damaged.
    lost: Rc<Cell<f64>>,
    damaged: f64,
    gone: Rc<Cell<bool>>,
}

#[derive(Debug, thiserror::Error)]
#[error("unplugged")]
struct Unplugged;

impl Link for BadCable {
    type Error = Unplugged;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Unplugged> {
        if self.gone.get() {
            return Err(Unplugged);
        }
        self.link.write_all(bytes).map_err(|_| Unplugged)
    }

    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, Unplugged> {
        if self.gone.get() {
            return Err(Unplugged);
        }
        let count = self.link.read(buf, deadline_us).map_err(|_| Unplugged)?;
        if count > 0 && self.rng.random_bool(self.lost.get()) {
            return self.read(buf, deadline_us);
        }
        if count > 0 && self.rng.random_bool(self.damaged) {
            let at = self.rng.random_range(0..count);
            self.rng.fill_bytes(&mut buf[at..=at]);
        }
        Ok(count)
    }

    fn discard_input(&mut self) -> Result<(), Unplugged> {
        self.link.discard_input().map_err(|_| Unplugged)
    }
}

fn bad_cable(handle: &SimHandle<Device<Bench>>, lost: f64, damaged: f64) -> BadCable {
    let rng = Pcg64Mcg::seed_from_u64(1);
    BadCable { link: handle.link(), rng, lost: Rc::new(Cell::new(lost)), damaged, gone: Rc::default() }
}

#[test]
fn lost_and_damaged_answers_cost_stale_readings_and_never_a_tick() {
    let handle = bench();
    let cable = bad_cable(&handle, 0.1, 0.1);
    let mut clock = handle.clock();
    let mut arm = BridgeArm::connect(cable, handle.clock(), BridgeOptions::default()).unwrap();
    arm.activate().unwrap();
    let start_us = clock.now_us();
    let (mut goal, mut stale) = (START_RAD[0], 0);
    for tick in 1..=2_000 {
        clock.sleep_until_us(start_us + tick * PERIOD_US);
        let reading = arm.read().unwrap();
        stale += u64::from(reading.stamp_us < start_us + tick * PERIOD_US);
        goal += if tick % 200 < 100 { 0.004 } else { -0.004 };
        arm.write(&command([goal, START_RAD[1]])).unwrap();
        assert!(clock.now_us() <= start_us + (tick + 1) * PERIOD_US, "tick {tick} overran");
    }
    let counts = arm.counts();
    assert!(counts.lost > 400 && counts.damaged > 200 && stale > 100, "{counts:?}, {stale}");
    assert_eq!(counts.stale, stale, "{counts:?}, {stale}");
    assert_eq!(handle.lock().mode(), Mode::Active);
}

#[test]
fn a_long_silence_is_an_error_before_the_watchdog_acts() {
    let handle = bench();
    let cable = bad_cable(&handle, 0.0, 0.0);
    let lost = Rc::clone(&cable.lost);
    let mut clock = handle.clock();
    let mut arm = BridgeArm::connect(cable, handle.clock(), BridgeOptions::default()).unwrap();
    arm.activate().unwrap();
    // A pause without messages is no silence of the arm.
    arm.deactivate().unwrap();
    clock.sleep_until_us(10_000_000);
    arm.activate().unwrap();
    lost.set(1.0);
    let start_us = clock.now_us();
    let error = loop {
        match arm.write(&command(START_RAD)) {
            Ok(sent) => assert_eq!(sent.position_rad, START_RAD, "the last one known"),
            Err(error) => break error,
        }
        assert!(clock.now_us() < start_us + 100_000, "no error before the watchdog's time");
    };
    assert!(matches!(error, ArmError::NoAnswer { .. }), "{error}");
}

#[test]
fn an_unplugged_cable_is_an_error_at_once_and_the_arm_stops_by_itself() {
    let handle = bench();
    let cable = bad_cable(&handle, 0.0, 0.0);
    let gone = Rc::clone(&cable.gone);
    let mut clock = handle.clock();
    let mut arm = BridgeArm::connect(cable, handle.clock(), BridgeOptions::default()).unwrap();
    arm.activate().unwrap();
    arm.write(&command(START_RAD)).unwrap();
    gone.set(true);
    let before_us = clock.now_us();
    clock.sleep_until_us(before_us + PERIOD_US);
    assert!(matches!(arm.read(), Err(ArmError::Link(_))));
    assert!(matches!(arm.write(&command(START_RAD)), Err(ArmError::Link(_))));
    assert!(matches!(arm.deactivate(), Err(ArmError::Link(_))));
    drop(arm);
    assert_eq!(clock.now_us(), before_us + PERIOD_US, "nothing waited");
    clock.sleep_until_us(before_us + 120_000);
    assert_eq!(handle.lock().mode(), Mode::Fault(Fault::Watchdog));
}
