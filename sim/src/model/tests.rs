use super::*;

fn broken(from: &str, to: &str) -> ModelError {
    assert!(SO101_URDF.contains(from), "the test's pattern {from:?} is gone from the file");
    ArmModel::from_urdf(&SO101_URDF.replacen(from, to, 1)).expect_err("accepted")
}

/// Fingertip positions computed from the public model of the arm, moved into our base frame.
#[test]
fn the_fingertip_is_where_the_public_model_has_it() {
    let arm = ArmModel::so101().unwrap();
    let cases = [
        ([0.0, 0.0, 0.0, 0.0, 0.0], [0.35253, -0.00001, 0.22887]),
        ([0.3, -0.5, 0.7, 0.9, 0.4], [0.19008, -0.06204, 0.06427]),
        ([0.5, 0.0, 0.0, 0.0, 0.0], [0.30937, -0.16902, 0.22887]),
    ];
    for (angles, tip) in cases {
        let found = arm.tip_pose(&angles).translation.vector;
        assert!((found - Vector3::from(tip)).norm() < 2e-5, "{angles:?}: {found}");
    }
}

#[test]
fn the_six_joints_come_in_order_and_the_tip_is_on_the_hand() {
    let arm = ArmModel::so101().unwrap();
    let names: Vec<_> = arm.joints.iter().map(|j| j.name.as_str()).collect();
    assert_eq!(names, ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]);
    assert_eq!(arm.tip_joint, 4);
    assert!(arm.joints.iter().all(|j| !j.link.shapes.is_empty()));
}

#[test]
fn the_jaws_reach_6_to_7_mm_beyond_the_fingertip() {
    let arm = ArmModel::so101().unwrap();
    let (pose, shape) = arm.joints[4].link.shapes.last().copied().unwrap();
    let Shape::Cuboid(half) = shape else { panic!("{shape:?}") };
    let lowest = (0..8)
        .map(|i| {
            let sign = |bit: usize| if i >> bit & 1 == 0 { -1.0 } else { 1.0 };
            (arm.tip.inverse() * pose * Point3::new(sign(0) * half.x, sign(1) * half.y, sign(2) * half.z)).z
        })
        .fold(f64::MIN, f64::max);
    assert!((0.006..0.0075).contains(&lowest), "{lowest}");
}

#[test]
fn a_urdf_outside_the_subset_is_refused_by_name() {
    let mass = broken("<mass value=\"0.103\"/>", "<mass value=\"0\"/>").to_string();
    assert!(mass.contains("mass of link upper_arm"), "{mass}");
    let nan = broken("xyz=\"-0.1349 0.0052 0\"", "xyz=\"NaN 0.0052 0\"").to_string();
    assert!(nan.contains("joint wrist_flex") && nan.contains("finite"), "{nan}");
    let kind = broken("name=\"wrist_roll\" type=\"revolute\"", "name=\"wrist_roll\" type=\"continuous\"");
    assert!(matches!(kind, ModelError::Kind { .. }), "{kind}");
    let limits = broken("lower=\"-1.69\" upper=\"1.69\"", "lower=\"1.69\" upper=\"-1.69\"").to_string();
    assert!(limits.contains("elbow_flex") && limits.contains("lower < upper"), "{limits}");
    let mesh = broken("<box size=\"0.13 0.024 0.06\"/>", "<mesh filename=\"arm.stl\"/>").to_string();
    assert!(mesh.contains("lower_arm") && mesh.contains("arm.stl"), "{mesh}");
    let inertia = broken("ixx=\"2.87438e-05\"", "ixx=\"2.87438e-03\"").to_string();
    assert!(inertia.contains("inertia of link lower_arm"), "{inertia}");
    let branch = broken("<parent link=\"lower_arm\"/>", "<parent link=\"upper_arm\"/>");
    assert!(matches!(branch, ModelError::Chain(_)), "{branch}");
    let orphan = broken("<child link=\"jaw\"/>", "<child link=\"claw\"/>");
    assert!(matches!(orphan, ModelError::Chain(_)), "{orphan}");
    let tip = broken(
        "<link name=\"fingertip\"/>",
        "<link name=\"fingertip\"><inertial><mass value=\"1\"/>\
        <inertia ixx=\"1\" ixy=\"0\" ixz=\"0\" iyy=\"1\" iyz=\"0\" izz=\"1\"/></inertial></link>",
    );
    assert!(matches!(tip, ModelError::Fingertip(_)), "{tip}");
    let frame = broken("<origin xyz=\"0 0 0.0648\"", "<origin xyz=\"0.04 0 0.0648\"").to_string();
    assert!(frame.contains("base frame"), "{frame}");
    assert!(matches!(ArmModel::from_urdf("no urdf").unwrap_err(), ModelError::Parse(_)));
}
