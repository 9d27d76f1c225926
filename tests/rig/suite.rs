//! What every arm does. Each test begins with the arm at rest and without power, and leaves it so.

use crate::place::{Loop, Rig};
use firmware_bridge::JointCommand;
use firmware_bridge::message::Fault;
use hindsight::arm::{Arm, ArmError, Calibration};
use hindsight::clock::Clock;
use hindsight::control::{PERIOD_US, SetPoint, Tick};
use hindsight::task::distance_m;

/// Ticks in a second.
const SECOND: u32 = 1_000_000 / PERIOD_US;
/// Ticks over which speeds are taken: a quarter of a second, beside which it does not matter when a tick came late.
const WINDOW: usize = SECOND as usize / 4;
/// A joint that has not moved: free play, rounding, and how far a servo gives way under the arm's weight, rad.
const STILL_RAD: f32 = 0.06;
/// How near the fingertip comes to its goal, m.
const NEAR_M: f64 = 0.03;

fn positions(arm: &mut dyn Arm) -> Vec<f32> {
    arm.read().unwrap().joints.position_rad.to_vec()
}

fn assert_still(before: &[f32], after: &[f32], limit_rad: f32, what: &str) {
    for (joint, (before, after)) in before.iter().zip(after).enumerate() {
        assert!((before - after).abs() < limit_rad, "{what}: joint {joint} went from {before} to {after} rad");
    }
}

/// Leads the joints from where they are to `goal` in `ticks` periods.
fn lead(rig: &Rig, arm: &mut dyn Arm, goal: &[f32], ticks: u32) {
    let (from, limits, mut clock) = (positions(arm), arm.capabilities().limits.clone(), rig.clock());
    let mut due_us = clock.now_us();
    for tick in 1..=ticks {
        due_us += u64::from(PERIOD_US);
        clock.sleep_until_us(due_us);
        arm.read().unwrap();
        let share = tick as f32 / ticks as f32;
        // An arm may rest a little beyond its limits, where no goal may be.
        let position_rad = (from.iter().zip(goal).zip(&limits))
            .map(|((from, goal), limits)| (from + share * (goal - from)).clamp(limits.lower_rad, limits.upper_rad))
            .collect();
        arm.write(&JointCommand { position_rad }).unwrap();
    }
}

/// The fingertip's first point of work, and one beside it.
fn points(rig: &Rig) -> [SetPoint; 2] {
    let [x, y, z] = rig.model.reach.start_tip_m;
    [[x, y, z], [x - 0.02, y + 0.05, z + 0.02]].map(|position_m| SetPoint { position_m, jaw_rad: 0.3 })
}

/// Raises the arm from its rest.
fn raised(rig: &Rig) -> Loop {
    let mut control = rig.control();
    control.start().unwrap();
    control.move_to(points(rig)[0]).unwrap();
    control
}

pub(crate) fn it_connects_and_reads_every_joint_within_its_limits(rig: &Rig) {
    let mut arm = rig.connect().unwrap();
    let limits = arm.capabilities().limits.clone();
    assert_eq!(limits.len(), rig.model.joints.len());
    for _ in 0..SECOND {
        let reading = arm.read().unwrap();
        assert_eq!(reading.joints.position_rad.len(), limits.len());
        for (joint, (at, limits)) in reading.joints.position_rad.iter().zip(&limits).enumerate() {
            let range = limits.lower_rad - 0.1..=limits.upper_rad + 0.1;
            assert!(range.contains(at), "joint {joint} is at {at} rad, outside {range:?}: calibrate the arm");
        }
    }
    let health = arm.health();
    assert!(health.lost * 20 <= health.asked, "the line loses answers: {health:?}");
    drop(arm);
    assert!(!rig.is_powered(), "nobody has switched the power on");
}

pub(crate) fn its_motors_are_cool_and_its_supply_is_sound(rig: &Rig) {
    let (kit, servos) = rig.vitals();
    for servo in servos {
        let servo = servo.expect("every servo answers");
        assert!(servo.temperature_c < 60.0 && servo.voltage_v >= kit.least_v, "{servo:?}");
        assert!(servo.alarms.is_empty(), "{servo:?}");
    }
}

pub(crate) fn power_comes_on_without_a_jump(rig: &Rig) {
    let mut arm = rig.connect().unwrap();
    let before = positions(&mut *arm);
    arm.activate().unwrap();
    lead(rig, &mut *arm, &before, SECOND);
    assert_still(&before, &positions(&mut *arm), STILL_RAD, "when the power came on");
    arm.deactivate().unwrap();
}

pub(crate) fn it_goes_where_it_is_told_and_no_quicker_than_its_joints_may(rig: &Rig) {
    let mut control = raised(rig);
    let limits = rig.model.limits();
    let [first, second] = points(rig);
    for goal in [second, first] {
        let mut ticks: Vec<Tick> = Vec::new();
        for _ in 0..2 * SECOND {
            ticks.push(control.tick(goal, None).unwrap().clone());
        }
        for pair in ticks.windows(WINDOW) {
            let (before, after) = (&pair[0], &pair[WINDOW - 1]);
            let time_s = (after.stamp_us - before.stamp_us) as f32 * 1e-6;
            for (joint, limit) in limits.iter().enumerate() {
                let most = limit.velocity_rad_s;
                let sent = (after.sent.position_rad[joint] - before.sent.position_rad[joint]).abs() / time_s;
                let moved = (after.measured_rad()[joint] - before.measured_rad()[joint]).abs() / time_s;
                assert!(sent <= 1.05 * most, "joint {joint} was sent on at {sent} rad/s");
                assert!(moved <= 1.2 * most, "joint {joint} turned at {moved} rad/s");
            }
        }
        let at = control.planner().kinematics().forward(&control.last().measured_rad()).position_m;
        let off_m = distance_m(&at, &goal.position_m);
        assert!(off_m < NEAR_M, "the fingertip is {off_m} m from where it was told to go");
    }
    control.stop().unwrap();
}

pub(crate) fn the_loop_keeps_its_rate(rig: &Rig) {
    let mut control = raised(rig);
    for _ in 0..3 * SECOND {
        control.tick(points(rig)[0], None).unwrap();
    }
    let stats = control.stats();
    control.stop().unwrap();
    eprintln!("{rig}: {stats:?}");
    assert!(stats.rate_hz >= 100.0, "{stats:?}");
}

pub(crate) fn every_way_out_leaves_it_without_power(rig: &Rig) {
    let mut control = raised(rig);
    control.stop().unwrap();
    let at = control.last().measured_rad();
    assert_still(&rig.model.reach.rest_rad, &at, 0.2, "parked");
    drop(control);
    assert!(!rig.is_powered(), "parked and released");

    let mut arm = rig.connect().unwrap();
    arm.activate().unwrap();
    arm.deactivate().unwrap();
    arm.deactivate().unwrap();
    drop(arm);
    assert!(!rig.is_powered(), "deactivated, twice");

    let mut arm = rig.connect().unwrap();
    arm.activate().unwrap();
    drop(arm);
    assert!(!rig.is_powered(), "dropped");

    let mut control = rig.control();
    control.start().unwrap();
    drop(control);
    assert!(!rig.is_powered(), "the loop was dropped");
}

pub(crate) fn a_host_that_falls_silent_finds_it_stopped_where_it_was(rig: &Rig) {
    let mut arm = rig.connect().unwrap();
    arm.activate().unwrap();
    // The pan turns level: nothing falls when the power goes off.
    let mut goal = positions(&mut *arm);
    goal[0] += 0.15;
    lead(rig, &mut *arm, &goal, SECOND / 2);
    let before = positions(&mut *arm);
    let mut clock = rig.clock();
    let silent_us =
        4 * u64::from(arm.capabilities().watchdog_us.expect("a watchdog; skip this test where there is none"));
    let until_us = clock.now_us() + silent_us;
    clock.sleep_until_us(until_us);
    let told = arm.read();
    assert!(matches!(told, Err(ArmError::Fault(Fault::Watchdog))), "{told:?}");
    arm.clear_fault().unwrap();
    assert_still(&before, &positions(&mut *arm), STILL_RAD, "while the host was silent");
    // It goes on, and back to where it was.
    arm.activate().unwrap();
    goal[0] -= 0.15;
    lead(rig, &mut *arm, &goal, SECOND / 2);
    arm.deactivate().unwrap();
}

pub(crate) fn another_arms_calibration_is_refused(rig: &Rig) {
    let own = rig.calibration.as_ref().expect("a calibration; skip this test where there is none");
    let mut file: serde_json::Value = serde_json::from_str(&own.to_json().unwrap()).unwrap();
    let offset = file["elbow_flex"]["homing_offset"].as_i64().unwrap();
    file["elbow_flex"]["homing_offset"] = (offset + if offset > 0 { -9 } else { 9 }).into();
    let other = Calibration::from_json(own.protocol(), &file.to_string()).unwrap();
    match rig.connect_as(Some(other)).map(|_| ()) {
        Err(ArmError::OtherCalibration { joints }) => assert_eq!(joints, ["elbow_flex"]),
        told => panic!("{told:?}"),
    }
    rig.connect().unwrap();
}
