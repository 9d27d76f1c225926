//! Straight lines of the fingertip for tests: inverse kinematics by Newton's method and gravity feed-forward.

use firmware_bridge::Motors;
use sim::{ArmModel, World};

/// The closed jaw, rad.
pub(crate) const CLOSED_RAD: f64 = -0.1745;

/// Joint angles that bring the fingertip to `tip` with the hand's pitch of this project: 85° below the horizon at a
/// radius of 0.10 m falling to 38° at 0.40 m. Roll 0, jaw closed.
pub(crate) fn inverse(model: &ArmModel, [x, y, z]: [f64; 3]) -> [f64; 6] {
    let radius = x.hypot(y);
    let pitch = (85.0 + (radius - 0.10) / 0.30 * (38.0 - 85.0)).to_radians();
    let mut angles = nalgebra::Vector3::new(-0.5, 0.8, 0.6);
    let forward = |a: &nalgebra::Vector3<f64>| {
        let tip = model.tip_pose(&[0.0, a[0], a[1], a[2], 0.0]).translation.vector;
        nalgebra::Vector3::new(tip.x - radius, tip.z - z, a.sum() - pitch)
    };
    for _ in 0..100 {
        let error = forward(&angles);
        let columns: [_; 3] = std::array::from_fn(|i| {
            let mut moved = angles;
            moved[i] += 1e-6;
            (forward(&moved) - error) / 1e-6
        });
        let step = nalgebra::Matrix3::from_columns(&columns).lu().solve(&error).unwrap();
        angles -= step * (0.3 / step.norm().max(0.3));
        if error.norm() < 1e-9 {
            break;
        }
    }
    assert!(forward(&angles).norm() < 1e-6, "out of reach: {x} {y} {z}");
    [-y.atan2(x), angles[0], angles[1], angles[2], 0.0, CLOSED_RAD]
}

/// Torque about each joint that holds the arm against gravity, N·m: the gradient of its potential energy.
pub(crate) fn holding_torques(model: &ArmModel, angles: &[f64]) -> Vec<f64> {
    let energy = |angles: &[f64]| -> f64 {
        let links = model.joints.iter().zip(model.link_poses(angles));
        links.map(|(joint, pose)| joint.link.mass_kg * 9.80665 * (pose * joint.link.center).z).sum()
    };
    let shifted = |i: usize, by: f64| {
        let mut angles = angles.to_vec();
        angles[i] += by;
        energy(&angles)
    };
    (0..angles.len()).map(|i| (shifted(i, 1e-5) - shifted(i, -1e-5)) / 2e-5).collect()
}

/// Goals that would hold the arm at `angles`, had the servos no friction: angles plus gravity over stiffness.
pub(crate) fn compensated(world: &World, angles: &[f64]) -> Vec<f32> {
    let torques = holding_torques(world.model(), angles);
    let stiffness = world.params().kp_nm_per_rad();
    angles.iter().zip(torques).zip(stiffness).map(|((q, torque), kp)| (q + torque / kp) as f32).collect()
}

/// Moves the set-point along a straight line at `speed_m_s`, with a goal every 8 ms; then waits for half a second.
pub(crate) fn line(world: &mut World, from: [f64; 3], to: [f64; 3], speed_m_s: f64) {
    let length = (0..3).map(|i| (to[i] - from[i]).powi(2)).sum::<f64>().sqrt();
    let ticks = (length / speed_m_s / 0.008).ceil() as usize;
    for tick in 1..=ticks + 62 {
        let part = (tick as f64 / ticks as f64).min(1.0);
        let angles = inverse(world.model(), std::array::from_fn(|i| from[i] + part * (to[i] - from[i])));
        let goals = compensated(world, &angles);
        world.drive(&goals).unwrap();
        world.step();
        world.step();
    }
}
