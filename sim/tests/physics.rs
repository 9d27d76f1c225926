//! The physics agrees with closed forms: kinematics, sag under gravity, sliding, stiction, determinism.

use firmware_bridge::Motors;
use sim::{ArmModel, ObjectPose, SimParams, World};

const SEED: u64 = 7;

/// An arm without free play, noise or jitter, so that closed forms apply.
fn ideal() -> SimParams {
    let mut params = SimParams::so101().unwrap();
    for servo in &mut params.servos {
        servo.backlash_rad = 0.0;
    }
    params.encoder_noise_counts = 0.0;
    params.command_latency.jitter_us = 0.0;
    params.feedback_latency.jitter_us = 0.0;
    params
}

fn world(params: &SimParams) -> (ArmModel, World) {
    let model = ArmModel::so101().unwrap();
    let world = World::new(&model, params, SEED).unwrap();
    (model, world)
}

fn run(world: &mut World, seconds: f64) {
    for _ in 0..(seconds / 0.004) as usize {
        world.step();
    }
}

/// Gravity's torque about each joint, N·m, from the model alone: minus the gradient of the potential energy.
fn gravity_torques(model: &ArmModel, angles: &[f64]) -> Vec<f64> {
    let energy = |angles: &[f64]| -> f64 {
        let poses = model.link_poses(angles);
        let links = model.joints.iter().zip(poses);
        links.map(|(joint, pose)| joint.link.mass_kg * 9.80665 * (pose * joint.link.center).z).sum()
    };
    (0..angles.len())
        .map(|i| {
            let (mut up, mut down) = (angles.to_vec(), angles.to_vec());
            up[i] += 1e-5;
            down[i] -= 1e-5;
            -(energy(&up) - energy(&down)) / 2e-5
        })
        .collect()
}

#[test]
fn rapiers_kinematics_are_the_urdfs() {
    let (model, mut world) = world(&ideal());
    let poses = [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.5, -0.7, 0.9, 0.6, -1.2, 1.0],
        [-1.4, 0.8, -0.6, -0.9, 2.0, -0.1],
        [1.8, 1.2, 1.1, 1.5, -2.5, 1.6],
    ];
    for pose in poses {
        world.reset(&pose, None, SEED).unwrap();
        let expected = model.tip_pose(&pose.map(f64::from)).translation.vector;
        let found = nalgebra::Vector3::from(world.tip());
        assert!((found - expected).norm() < 1e-6, "{pose:?}: {found} instead of {expected}");
    }
}

#[test]
fn gravity_makes_each_joint_sag_by_its_torque_over_its_stiffness() {
    let mut params = ideal();
    params.servos.iter_mut().for_each(|s| s.friction_nm = 0.0);
    let (model, mut world) = world(&params);
    let kp: Vec<f64> = params.kp_nm_per_rad().collect();
    for goal in [[0.3, 0.2, 0.1, 0.4, 0.5, 0.6], [-0.5, -0.6, 0.7, 0.9, -0.4, 0.3]] {
        world.reset(&goal, None, SEED).unwrap();
        world.drive(&goal).unwrap();
        run(&mut world, 3.0);
        let angles = world.joint_positions().to_vec();
        for (i, torque) in gravity_torques(&model, &angles).into_iter().enumerate() {
            let sag = angles[i] - f64::from(goal[i]);
            // A count of goal and one of measurement, half each.
            let quantum = std::f64::consts::TAU / 4096.0;
            assert!((sag - torque / kp[i]).abs() < quantum, "joint {i}: {sag} instead of {}", torque / kp[i]);
        }
    }
}

#[test]
fn a_sliding_puck_stops_after_v_squared_over_2_mu_g() {
    for friction in [0.15, 0.3, 0.6] {
        let mut params = ideal();
        params.object.table_friction = friction;
        let (_, mut world) = world(&params);
        // Out of the arm's reach, for it falls.
        world.reset(&[0.0; 6], Some([1.0, 0.0, 0.0]), SEED).unwrap();
        run(&mut world, 0.2);
        let rest = world.object().unwrap();
        let speed = 0.5;
        world.set_object(&ObjectPose { linear_velocity: [0.0, speed, 0.0], ..rest }).unwrap();
        run(&mut world, 1.5);
        let stopped = world.object().unwrap();
        let slid = stopped.position[1] - rest.position[1];
        // The integrator slows the puck before it moves it, which costs half a step of travel.
        let expected = speed * speed / (2.0 * friction * 9.80665) - speed * 0.004 / 2.0;
        assert!((slid / expected - 1.0).abs() < 0.01, "friction {friction}: slid {slid} m instead of {expected} m");
        assert!(stopped.linear_velocity.iter().all(|v| v.abs() < 1e-4));
        assert!((stopped.position[2] - 0.01).abs() < 5e-4, "it lies flat: {:?}", stopped.position);
    }
}

#[test]
fn a_joint_rests_wherever_its_dry_friction_holds_it() {
    let (_, mut world) = world(&ideal());
    // Gravity has no hold on the pan; a push smaller than the friction must not creep.
    world.reset(&[0.0; 6], None, SEED).unwrap();
    let hold = 0.5 * 0.052 / 7.81;
    world.drive(&[hold as f32, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
    run(&mut world, 5.0);
    assert!(world.joint_positions()[0].abs() < 1e-5, "{}", world.joint_positions()[0]);
    let beyond = 3.0 * 0.052 / 7.81;
    world.drive(&[beyond as f32, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
    run(&mut world, 2.0);
    let moved = world.joint_positions()[0];
    assert!((moved - beyond).abs() < 0.052 / 7.81 + 0.0016, "{moved} of {beyond}");
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    let digest = |seed: u64| -> u64 {
        let (_, mut world) = world(&SimParams::so101().unwrap());
        let mut state = Default::default();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bits: u64| hash = (hash ^ bits).wrapping_mul(0x0100_0000_01b3);
        world.reset(&[0.0, -0.3, 0.6, 1.0, 0.0, -0.17], Some([0.25, 0.0, 0.3]), seed).unwrap();
        for tick in 0..500 {
            let swing = (tick as f32 * 0.02).sin();
            world.drive(&[0.5 * swing, -0.3, 0.6 + 0.2 * swing, 1.0, 0.0, -0.17]).unwrap();
            world.step();
            world.step();
            world.measure(&mut state).unwrap();
            state.position_rad.iter().for_each(|v| eat(u64::from(v.to_bits())));
            world.joint_positions().iter().for_each(|v| eat(v.to_bits()));
            world.object().unwrap().position.iter().for_each(|v| eat(v.to_bits()));
        }
        hash
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn an_arm_without_power_sinks_onto_the_table_and_not_through_it() {
    let (_, mut world) = world(&SimParams::so101().unwrap());
    world.reset(&[0.0, 0.0, 0.0, 0.6, 0.0, 0.0], None, SEED).unwrap();
    let start = world.tip()[2];
    run(&mut world, 3.0);
    let end = world.tip()[2];
    assert!(end < start - 0.05, "from {start} to {end}");
    assert!(end > -0.002, "{end}");
    assert!(world.joint_velocities().iter().all(|v| v.abs() < 0.05), "{:?}", world.joint_velocities());
}

#[test]
fn a_ramp_is_followed_85_ms_late() {
    let mut params = SimParams::so101().unwrap();
    params.command_latency = sim::params::Latency { mean_us: 0.0, jitter_us: 0.0 };
    let (_, mut world) = world(&params);
    world.reset(&[-1.0, 0.0, 0.0, 0.0, 0.0, 0.0], None, SEED).unwrap();
    let mut goal = -1.0;
    for _ in 0..375 {
        goal += 0.004;
        world.drive(&[goal, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        world.step();
    }
    let lag = f64::from(goal) - world.joint_positions()[0];
    assert!((0.078..0.095).contains(&lag), "{lag}");
}

#[test]
fn bad_poses_and_goals_are_refused() {
    let (model, mut world) = world(&SimParams::so101().unwrap());
    assert!(world.reset(&[0.0; 5], None, SEED).is_err());
    let message = world.reset(&[0.0, 3.0, 0.0, 0.0, 0.0, 0.0], None, SEED).unwrap_err().to_string();
    assert!(message.contains("shoulder_lift") && message.contains('3'), "{message}");
    assert!(world.reset(&[f32::NAN; 6], None, SEED).is_err());
    assert!(world.reset(&[0.0; 6], Some([f64::NAN, 0.0, 0.0]), SEED).is_err());
    assert!(world.drive(&[f32::INFINITY; 6]).is_err());
    assert!(world.drive(&[0.0; 7]).is_err());
    let mut params = SimParams::so101().unwrap();
    params.servos.pop();
    assert!(World::new(&model, &params, SEED).is_err());
}

#[test]
fn a_hand_takes_a_limp_joint_slowly_to_where_it_shall_be_and_no_further_than_its_stop() {
    let (model, mut world) = world(&SimParams::so101().unwrap());
    for (joint, limits) in model.limits().iter().enumerate() {
        let goal = f64::from(0.5 * (limits.lower_rad + limits.upper_rad)) + 0.2;
        world.take_by_hand(joint, Some(goal)).unwrap();
    }
    let mut quickest = 0.0_f64;
    for _ in 0..1_000 {
        world.step();
        quickest = world.joint_velocities().iter().fold(quickest, |most, speed| most.max(speed.abs()));
    }
    assert!((0.8..1.5).contains(&quickest), "{quickest} rad/s");
    for (limits, position) in model.limits().iter().zip(world.joint_positions()) {
        let goal = f64::from(0.5 * (limits.lower_rad + limits.upper_rad)) + 0.2;
        assert!((position - goal).abs() < 0.03, "{position} instead of {goal}");
    }
    world.take_by_hand(5, Some(9.0)).unwrap();
    run(&mut world, 4.0);
    assert!((world.joint_positions()[5] - f64::from(model.limits()[5].upper_rad)).abs() < 0.05);
    world.take_by_hand(5, None).unwrap();
    assert!(world.take_by_hand(6, None).is_err());
    assert!(world.take_by_hand(0, Some(f64::NAN)).is_err());
}
