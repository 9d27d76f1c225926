//! The nominal arm pushes and grasps: contact between fingers, object and table.

mod reach;

use firmware_bridge::Motors;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use reach::{CLOSED_RAD, compensated, holding_torques, inverse, line};
use sim::{ArmModel, ObjectShape, Ranges, SimParams, World};

fn world() -> World {
    World::new(&ArmModel::so101().unwrap(), &SimParams::so101().unwrap(), 1).unwrap()
}

/// A push through the puck's centre at a tip height of 1.5 cm carries it along, in every direction and all over the
/// region. An open-loop push is not stable sideways, so the puck may be off the line by its radius.
#[test]
fn a_straight_push_moves_the_puck_in_every_direction() {
    let mut world = world();
    for (x, y) in [(0.18, -0.08), (0.18, 0.08), (0.24, 0.0), (0.30, -0.08), (0.30, 0.08)] {
        for (dx, dy) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)] {
            let at = |along: f64, z: f64| [x + along * dx, y + along * dy, z];
            let start = at(-0.055, 0.06);
            let pose = inverse(world.model(), start);
            world.reset(&pose.map(|q| q as f32), Some([x, y, 0.0]), 1).unwrap();
            line(&mut world, start, at(-0.055, 0.015), 0.15);
            let before = world.object().unwrap().position;
            let approach = (before[0] - x).hypot(before[1] - y);
            assert!(approach < 0.002, "({x}, {y}) towards ({dx}, {dy}): moved {approach} m by the approach");
            line(&mut world, at(-0.055, 0.015), at(0.02, 0.015), 0.15);
            let after = world.object().unwrap().position;
            let along = (after[0] - x) * dx + (after[1] - y) * dy;
            let across = (after[0] - x) * dy - (after[1] - y) * dx;
            assert!(along > 0.03, "({x}, {y}) towards ({dx}, {dy}): only {along} m");
            assert!(across.abs() < 0.03, "({x}, {y}) towards ({dx}, {dy}): {across} m aside");
            assert!((after[2] - 0.01).abs() < 0.003, "it lies flat, not at {} m", after[2]);
        }
    }
}

#[test]
fn gravity_compensation_leaves_what_friction_and_free_play_account_for() {
    let mut world = world();
    for radius in [0.16, 0.22, 0.30] {
        let pose = inverse(world.model(), [radius, 0.0, 0.08]);
        assert!(holding_torques(world.model(), &pose)[1].abs() > 0.1);
        world.reset(&pose.map(|q| q as f32), None, 1).unwrap();
        hold(&mut world, &pose, 2.0);
        let error = (world.tip()[2] - 0.08).abs();
        assert!(error < 0.006, "r {radius}: {error}");
        assert!((world.joint_positions()[5] - CLOSED_RAD).abs() < 0.02);
    }
}

/// A cylinder of 35 mm between the jaws is lifted and for 10 s neither slips nor creeps.
#[test]
fn a_grasped_object_is_held() {
    let mut params = SimParams::so101().unwrap();
    params.object.shape = ObjectShape::Cylinder { radius_m: 0.0175, height_m: 0.035 };
    let model = ArmModel::so101().unwrap();
    let mut world = World::new(&model, &params, 1).unwrap();
    let (mut low, mut high) = (inverse(&model, [0.12, 0.0, 0.02]), inverse(&model, [0.12, 0.0, 0.08]));
    low[5] = 0.75;
    // The fingertip is on the face of the fixed finger, on the base's side of the object.
    world.reset(&low.map(|q| q as f32), Some([0.141, 0.0, 0.0]), 1).unwrap();
    hold(&mut world, &low, 0.5);
    (low[5], high[5]) = (CLOSED_RAD, CLOSED_RAD);
    hold(&mut world, &low, 1.0);
    hold(&mut world, &high, 1.0);
    let before = world.object().unwrap().position;
    assert!(before[2] > 0.06, "not lifted: {before:?}");
    hold(&mut world, &high, 10.0);
    let after = world.object().unwrap().position;
    assert!((0..3).all(|i| (after[i] - before[i]).abs() < 1e-3), "slipped from {before:?} to {after:?}");
}

fn hold(world: &mut World, pose: &[f64; 6], seconds: f64) {
    let goals = compensated(world, pose);
    for _ in 0..(seconds / 0.008) as usize {
        world.drive(&goals).unwrap();
        world.step();
        world.step();
    }
}

/// No drawn arm, however stiff, loose or heavy its load, rattles when it stands still.
#[test]
fn every_drawn_arm_comes_to_rest() {
    let (nominal, ranges) = (SimParams::so101().unwrap(), Ranges::so101().unwrap());
    let model = ArmModel::so101().unwrap();
    for seed in 0..30 {
        let mut params = nominal.draw(&ranges, &mut Pcg64Mcg::seed_from_u64(seed));
        if seed == 0 {
            params.servos.iter_mut().for_each(|servo| servo.p_gain = 32.0);
        }
        let mut world = World::new(&model, &params, seed).unwrap();
        let start = inverse(&model, [0.22, 0.0, 0.08]);
        world.reset(&start.map(|q| q as f32), None, seed).unwrap();
        line(&mut world, [0.22, 0.0, 0.08], [0.30, 0.10, 0.05], 0.3);
        hold(&mut world, &inverse(&model, [0.30, 0.10, 0.05]), 1.5);
        let fastest = world.joint_velocities().iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        assert!(fastest < 0.01, "arm {seed} still turns at {fastest} rad/s: {params:?}");
    }
}
