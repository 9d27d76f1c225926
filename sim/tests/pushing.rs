//! The nominal arm pushes the puck where a push should send it.

mod reach;

use reach::{CLOSED_RAD, compensated, holding_torques, inverse, line};
use sim::{ArmModel, SimParams, World};

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
        let goals = compensated(&world, &pose);
        for _ in 0..500 {
            firmware_bridge::Motors::drive(&mut world, &goals).unwrap();
            world.step();
        }
        let error = (world.tip()[2] - 0.08).abs();
        assert!(error < 0.006, "r {radius}: {error}");
        assert!((world.joint_positions()[5] - CLOSED_RAD).abs() < 0.02);
    }
}
