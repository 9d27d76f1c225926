//! The same for a Koch's Dynamixel servos, and what only they have: a watchdog, refusals, and a shutdown that lasts.

use super::faults::grid;
use super::*;
use firmware_bridge::servo::x_series as table;
use hindsight::clock::{Clock, SystemClock};
use hindsight::link::{self, Link};

fn off() -> (Bench, Handle) {
    let bench = Bench::koch();
    let handle = bench.powered_off(Faults::default());
    (bench, handle)
}

#[test]
fn a_bad_bus_costs_a_koch_ticks_at_most_and_never_a_jump_or_power_that_stays_on() {
    grid(&Bench::koch(), include_str!("../../docs/koch.md"));
}

#[test]
fn the_emulated_servos_say_what_robotis_sdk_would_read() {
    let (_, handle) = off();
    let mut link = handle.link();
    let mut says = |question: &[u8]| {
        let mut answer = vec![0; 256];
        link.write_all(question).unwrap();
        let until_us = handle.lock().time_us() + 20_000;
        let count = link.read(&mut answer, until_us).unwrap();
        answer.truncate(count);
        answer
    };
    let hex =
        |text: &str| -> Vec<u8> { text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect() };
    // The CRCs are those of ROBOTIS' SDK 4.1.0. Ping; model 1060, firmware 52.
    let ping = says(&hex("ff ff fd 00 01 03 00 01 19 4e"));
    assert_eq!(ping, hex("ff ff fd 00 01 07 00 55 00 24 04 34 a1 5f"));
    // Homing offset −2448, which the mode for several turns obeys.
    says(&hex("ff ff fd 00 03 06 00 03 0b 00 04 7a e1"));
    handle.lock().world_mut().reset(&[0.0; 6], None, 1).unwrap();
    let kept = says(&hex("ff ff fd 00 03 09 00 03 14 00 70 f6 ff ff 0e 85"));
    assert_eq!(kept, hex("ff ff fd 00 03 04 00 55 00 52 8c"));
    wait(&handle, 8_000);
    let torque_on = says(&hex("ff ff fd 00 03 06 00 03 40 00 01 f8 e4"));
    assert_eq!(torque_on, hex("ff ff fd 00 03 04 00 55 00 52 8c"));
    // The EEPROM is closed while the torque is on: error 7.
    let refused = says(&hex("ff ff fd 00 03 09 00 03 14 00 70 f6 ff ff 0e 85"));
    assert_eq!(refused, hex("ff ff fd 00 03 04 00 55 07 43 0c"));
}

#[test]
fn power_comes_on_in_a_koch_without_a_jump_though_its_goals_are_stale() {
    let (bench, handle) = off();
    let mut moved = bench.model.reach.rest_rad;
    moved[0] = 0.6;
    handle.lock().world_mut().reset(&moved, None, 1).unwrap();
    wait(&handle, 100_000);
    let before = pose(&handle);
    let mut arm = bench.connected(&handle).unwrap();
    assert!(bench.register(&handle, 1, &table::GOAL_POSITION) < 2100, "the emulator's goals are stale");
    arm.activate().unwrap();
    for _ in 0..60 {
        wait(&handle, 8_000);
        arm.read().unwrap();
    }
    for (joint, (before, after)) in before.iter().zip(pose(&handle)).enumerate() {
        assert!((before - after).abs() < 0.03, "joint {joint} went from {before} to {after}");
    }
    for (id, mode) in [(1, 4), (2, 4), (3, 4), (4, 4), (5, 4), (6, 5)] {
        assert_eq!(bench.register(&handle, id, &table::OPERATING_MODE), mode);
        assert_eq!(bench.register(&handle, id, &table::TORQUE_ENABLE), 1);
        assert_eq!(bench.register(&handle, id, &table::BUS_WATCHDOG), 5);
        assert_eq!(bench.register(&handle, id, &table::RETURN_DELAY), 0);
    }
    assert_eq!(bench.register(&handle, 3, &table::POSITION_P_GAIN), 1500);
    drop(arm);
    for id in 1..=6 {
        assert_eq!(bench.register(&handle, id, &table::TORQUE_ENABLE), 0);
        assert_eq!(bench.register(&handle, id, &table::BUS_WATCHDOG), 0, "other programs know nothing of it");
    }
}

#[test]
fn an_arm_whose_host_is_gone_stops_by_itself_and_is_taken_over_without_a_jump() {
    let (bench, handle) = off();
    let mut arm = bench.connected(&handle).unwrap();
    assert_eq!(arm.capabilities().watchdog_us, Some(100_000));
    arm.activate().unwrap();
    // Half a second of motion is on its way when the host dies: no drop, no farewell.
    let mut goal = bench.model.reach.rest_rad;
    goal[0] = 1.0;
    let command = JointCommand { position_rad: goal.into_iter().collect() };
    for _ in 0..10 {
        wait(&handle, 8_000);
        arm.read().unwrap();
        arm.write(&command).unwrap();
    }
    std::mem::forget(arm);
    // The watchdog's 100 ms, and the way that the joints still swing.
    wait(&handle, 400_000);
    let stopped = pose(&handle);
    wait(&handle, 3_000_000);
    for (joint, (then, now)) in stopped.iter().zip(pose(&handle)).enumerate() {
        assert!((then - now).abs() < 0.02, "joint {joint} went on from {then} to {now}");
    }
    for id in 1..=6 {
        assert_eq!(bench.register(&handle, id, &table::BUS_WATCHDOG), -1);
        assert_eq!(bench.register(&handle, id, &table::TORQUE_ENABLE), 1, "it holds");
    }
    let refused = bench.bus(&handle).write(1, &table::GOAL_POSITION, 2048, TRIES).unwrap_err();
    assert!(matches!(refused, BusError::Refused { id: 1, .. }), "{refused}");

    let mut arm = bench.connected(&handle).unwrap();
    arm.activate().unwrap();
    wait(&handle, 50_000);
    for (then, now) in stopped.iter().zip(pose(&handle)) {
        assert!((then - now).abs() < 0.03);
    }
    // A host that hangs finds its arm stopped, and says so instead of going on.
    wait(&handle, 200_000);
    assert!(matches!(arm.read(), Err(ArmError::Fault(_))));
    arm.clear_fault().unwrap();
    arm.activate().unwrap();
    arm.read().unwrap();
}

#[test]
fn a_servo_that_shuts_itself_down_ends_the_run_and_starts_anew_once_the_fault_is_cleared() {
    let (bench, handle) = off();
    let mut bus = bench.bus(&handle);
    // The elbow rests on its stop; the goal lies behind it.
    bus.write(3, &table::OPERATING_MODE, 4, TRIES).unwrap();
    let present = bus.read(3, &table::PRESENT_POSITION, TRIES).unwrap();
    bus.write(3, &table::GOAL_POSITION, present + 900, TRIES).unwrap();
    bus.write(3, &table::TORQUE_ENABLE, 1, TRIES).unwrap();
    wait(&handle, 3_000_000);
    let overload = i32::from(table::hardware_error::OVERLOAD);
    assert_eq!(bus.read(3, &table::HARDWARE_ERROR, TRIES).unwrap(), overload);
    assert_eq!(bus.read(3, &table::TORQUE_ENABLE, TRIES).unwrap(), 0);
    let refused = bus.write(3, &table::TORQUE_ENABLE, 1, TRIES).unwrap_err();
    assert!(matches!(refused, BusError::Refused { id: 3, .. }), "{refused}");

    let mut arm = bench.connected(&handle).unwrap();
    assert_eq!(arm.shut_down().unwrap(), ["elbow_flex (id 3, overload)"]);
    arm.activate().unwrap_err();
    arm.clear_fault().unwrap();
    assert_eq!(arm.shut_down().unwrap(), [""; 0]);
    arm.activate().unwrap();
    arm.read().unwrap();
    // While it runs: the first reading after the alert tells.
    handle.lock().world_mut().reset(&bench.model.reach.rest_rad, None, 1).unwrap();
    arm.deactivate().unwrap();
}

#[test]
fn a_koch_keeps_its_calibration_and_finds_its_turn_again_without_power() {
    let (bench, handle) = off();
    let mut bus = bench.bus(&handle);
    // The horns are screwed on anywhere: encoders run over the end of their turn on the way.
    for (joint, zero) in [700.0, 3_900.0, 100.0, 4_000.0, 2_500.0, 3_800.0].into_iter().enumerate() {
        handle.lock().mount(joint, zero);
    }
    let refused = bus.write(1, &table::HOMING_OFFSET, 2_000_000, TRIES).unwrap_err();
    assert!(matches!(refused, BusError::Register(_)), "{refused}");
    let limits = bench.model.limits();
    let [middle, low, high]: [[f32; 6]; 3] = [
        std::array::from_fn(|joint| f32::midpoint(limits[joint].lower_rad, limits[joint].upper_rad)),
        // Clear of the table at every stop.
        std::array::from_fn(|joint| if joint == 3 { limits[3].upper_rad } else { limits[joint].lower_rad }),
        std::array::from_fn(|joint| if joint == 3 { limits[3].lower_rad } else { limits[joint].upper_rad }),
    ];
    let pose_by_hand = |to: &[f32; 6], share: f32| {
        let joints: Vec<f32> = (middle.iter().zip(to).zip(&limits))
            .map(|((middle, to), l)| (middle + share * (to - middle)).clamp(l.lower_rad, l.upper_rad))
            .collect();
        handle.lock().world_mut().reset(&joints, None, 1).unwrap();
        wait(&handle, 12_000);
    };
    calibrate::release(&KOCH, &mut bus).unwrap();
    pose_by_hand(&middle, 0.0);
    let mut measured = calibrate::home(&KOCH, &mut bus).unwrap();
    for (to, share) in [(low, 0.5), (low, 1.0), (low, 0.5), (middle, 0.0), (high, 0.5), (high, 1.0)] {
        pose_by_hand(&to, share);
        calibrate::follow(&KOCH, &mut bus, &mut measured).unwrap();
    }
    let calibration = calibrate::finish(&KOCH, &mut bus, &measured).unwrap();
    let text = calibration.to_json().unwrap();
    assert_eq!(Calibration::from_json(Protocol::Dynamixel, &text).unwrap(), calibration);

    // Where the power comes back, a servo takes its encoder's angle, and has forgotten whole turns.
    for to in [low, high] {
        pose_by_hand(&to, 0.8);
        (0..6).for_each(|joint| handle.lock().brown_out(joint));
        wait(&handle, 500_000);
        let options = ServoArmOptions::new(calibration.clone(), limits.clone());
        let mut arm = ServoArm::connect(&KOCH, bench.bus(&handle), options).unwrap();
        // Without power it falls; here it is caught.
        pose_by_hand(&to, 0.8);
        let (seen, truth) = (arm.read().unwrap().joints.position_rad, pose(&handle));
        for (joint, (seen, truth)) in seen.iter().zip(truth).enumerate() {
            assert!((f64::from(*seen) - truth).abs() < 0.03, "joint {joint}: {seen} instead of {truth}");
        }
        arm.activate().unwrap();
        for _ in 0..20 {
            wait(&handle, 8_000);
            let at = arm.read().unwrap().joints.position_rad;
            arm.write(&JointCommand { position_rad: at.iter().copied().collect() }).unwrap();
        }
        assert!(handle.lock().world().joint_velocities().iter().all(|speed| speed.abs() < 0.5), "no jump");
    }
    let kept = handle.lock().eeprom();
    let other = bench.powered_off(Faults::default());
    assert!(other.lock().restore(&kept));
    assert_eq!(bench.register(&other, 3, &table::HOMING_OFFSET), calibration.joints()[2].homing_offset);
}

#[test]
fn a_policy_learned_on_another_arm_reaches_over_a_kochs_bus_what_a_koch_can_reach() {
    let bench = Bench::koch();
    let task = Task::new(TaskKind::Reach, bench.params.object.rest_height_m()).on(&bench.model.reach);
    let policy = || OnnxPolicy::load("models/policies/reach.onnx".as_ref(), task.layout());
    let handle = bench.powered_off(Faults::default());
    let arm = bench.connected(&handle).unwrap();
    let config = control_config(&bench.model, &bench.params, TaskKind::Reach, Some(sim::world::STEP_US as u32));
    let control = ControlLoop::new(arm, handle.clock(), &bench.model, config, Default::default()).unwrap();
    let env = ArmEnv::new(task.clone(), Start::InPlace, control, Bare, Bare).unwrap();
    let mut envs: Vec<Box<dyn GoalEnv>> = vec![Box::new(env)];
    let seeds: Vec<u64> = (0..40).collect();
    let reached = evaluate(&mut envs, policy, &seeds).unwrap();
    println!("a Koch reaches {} of {}", reached.successes(), seeds.len());
    let still = evaluate(&mut envs, || Ok(StillPolicy), &seeds).unwrap();
    println!("doing nothing reaches {} of {}", still.successes(), seeds.len());
    assert!(reached.successes() >= 38, "{} of {}", reached.successes(), seeds.len());
    assert!(still.successes() <= 4, "doing nothing reaches {}", still.successes());
}

#[test]
fn a_host_that_is_killed_leaves_an_arm_that_its_servos_have_stopped() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("koch");
    let port = link.to_str().unwrap();
    let _simulated = simulated(&["--arm", "koch", "--protocol", "dynamixel", "--link", port]);
    // On a machine that is busy for 100 ms the watchdog acts early, and the host ends by itself.
    let killed = (0..TRIES).any(|_| {
        let mut host = std::process::Command::new(env!("CARGO_BIN_EXE_hindsight"));
        host.args(["run", "--arm", "koch", "--port", port, "--task", "reach", "--policy", "reach"]);
        host.args(["--episodes", "100"]);
        let mut host = Simulated(host.stdout(std::process::Stdio::piped()).spawn().unwrap());
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(host.0.stdout.take().unwrap()));
        // Dropped, it is killed with SIGKILL: nothing is said to the servos.
        lines.any(|line| line.is_ok_and(|line| line.contains("episode")))
    });
    assert!(killed, "an episode was run");

    // The silence that the watchdog waits for, and more.
    let mut clock = SystemClock;
    let killed_us = clock.now_us();
    clock.sleep_until_us(killed_us + 400_000);
    let until_us = clock.now_us() + 10_000_000;
    let mut bus = loop {
        match link::open(port, SystemClock) {
            Ok(link) => break Bus::new(link, SystemClock, Protocol::Dynamixel),
            // A port whose client was killed is locked for a moment.
            Err(error) => assert!(clock.now_us() < until_us, "{error}"),
        }
        let now_us = clock.now_us();
        clock.sleep_until_us(now_us + 20_000);
    };
    for id in 1..=6 {
        assert_eq!(bus.read(id, &table::BUS_WATCHDOG, 10).unwrap(), -1, "servo {id}");
        assert_eq!(bus.read(id, &table::TORQUE_ENABLE, 10).unwrap(), 1, "servo {id} holds");
        let [goal, at] = [table::GOAL_POSITION, table::PRESENT_POSITION].map(|r| bus.read(id, &r, 10).unwrap());
        assert!((goal - at).abs() < 60, "servo {id} is at {at}, and its goal at {goal}");
    }
}
