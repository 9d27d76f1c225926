//! The driver: power, goals, and a policy that does not notice the bus.

use super::*;

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
fn a_jaw_that_squeezes_for_long_gives_way_until_less_is_asked_for_or_nothing_is_held() {
    for bench in [Bench::so101(), Bench::koch()] {
        let handle = bench.powered_off(Faults::default());
        let blocked_rad = 0.6;
        handle.lock().world_mut().take_by_hand(5, Some(blocked_rad)).unwrap();
        wait(&handle, 1_500_000);
        let mut arm = bench.connected(&handle).unwrap();
        arm.activate().unwrap();
        let mut goal = arm.read().unwrap().joints.position_rad;
        let mut follow = |jaw_rad: f32, time_us: u64| {
            goal[5] = jaw_rad;
            for _ in 0..time_us / 8_000 {
                wait(&handle, 8_000);
                arm.read().unwrap();
                arm.write(&JointCommand { position_rad: goal.clone() }).unwrap();
            }
            wait(&handle, 8_000);
            let joints = arm.read().unwrap().joints;
            let sent = arm.write(&JointCommand { position_rad: goal.clone() }).unwrap().position_rad[5];
            (sent, joints.position_rad[5], joints.load[5].abs(), arm.servo_health())
        };
        let name = bench.kit.name;
        let (sent, _, load, health) = follow(0.0, 800_000);
        assert!(sent == 0.0 && load > 0.3 && health.eased == 0, "{name}: {sent} {load} {health:?}");
        // For longer than the servos would bear it.
        let (sent, at, load, health) = follow(0.0, 5_000_000);
        assert!((at - sent - 0.07).abs() < 0.01 && load < 0.25, "{name}: {sent} {at} {load}");
        assert!((at - blocked_rad as f32).abs() < 0.1, "{name}: it still presses");
        assert_eq!((health.eased, health.alarms), (1, [0; 6]), "{name}");
        // Less is asked for, and obeyed at once.
        let (sent, ..) = follow(blocked_rad as f32, 100_000);
        assert_eq!(sent, blocked_rad as f32, "{name}");
        assert_eq!(follow(0.0, 3_000_000).3.eased, 2, "{name}");
        // What it held is gone: it closes as it was told.
        handle.lock().world_mut().take_by_hand(5, None).unwrap();
        let (sent, at, ..) = follow(0.0, 1_500_000);
        assert!(sent == 0.0 && at.abs() < 0.05, "{name}: {sent} {at}");
    }
}

#[test]
fn a_jaw_that_gives_way_does_not_drop_its_cube() {
    let kind = TaskKind::PickAndPlace;
    let twin = SimParams::so101_with(kind.prop()).unwrap();
    let bench = Bench { params: twin.clone(), ..Bench::so101() };
    let handle = bench.powered_off(Faults::default());
    let cube = [0.22, 0.0, 0.0];
    handle.lock().world_mut().reset(&REST_RAD, Some(cube), 1).unwrap();
    wait(&handle, 500_000);
    let arm = bench.connected(&handle).unwrap();
    let config = control_config(&bench.model, &twin, kind, Some(sim::world::STEP_US as u32));
    let mut control = ControlLoop::new(arm, handle.clock(), &bench.model, config, Default::default()).unwrap();
    control.start().unwrap();
    // The fixed jaw beside the cube, 10 mm of room, as the scripted expert has it.
    let point = |z: f64, jaw_rad: f32| SetPoint { position_m: [0.22, 0.0275, z], jaw_rad };
    control.move_to(point(0.065, 0.8)).unwrap();
    control.move_to(point(0.014, 0.8)).unwrap();
    let mut hold = |goal: SetPoint, ticks: u32| {
        for _ in 0..ticks {
            control.tick(goal, None).unwrap();
        }
        let height_m = handle.lock().world().object().unwrap().position[2];
        (height_m, control.last().reading.joints.load[5].abs(), control.arm().servo_health())
    };
    hold(point(0.014, -0.1), 80);
    let (height_m, load, health) = hold(point(0.12, -0.1), 60);
    assert!(height_m > 0.08 && load > 0.3 && health.eased == 0, "{height_m} {load} {health:?}");
    let (height_m, load, health) = hold(point(0.12, -0.1), 125 * 20);
    assert!(height_m > 0.1, "the cube is at {height_m} m");
    assert!(load < 0.25 && health.eased == 1 && health.alarms == [0; 6], "{load} {health:?}");
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
