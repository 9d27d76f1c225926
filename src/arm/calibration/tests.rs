use super::*;
use proptest::prelude::*;

/// As LeRobot wrote it for an SO-101.
const LEROBOT: &str = r#"{
    "shoulder_pan": {"id": 1, "drive_mode": 0, "homing_offset": -1470, "range_min": 758, "range_max": 3292},
    "shoulder_lift": {"id": 2, "drive_mode": 0, "homing_offset": 157, "range_min": 809, "range_max": 3205},
    "elbow_flex": {"id": 3, "drive_mode": 1, "homing_offset": 1085, "range_min": 870, "range_max": 3076},
    "wrist_flex": {"id": 4, "drive_mode": 0, "homing_offset": -2047, "range_min": 871, "range_max": 3215},
    "wrist_roll": {"id": 5, "drive_mode": 0, "homing_offset": 2047, "range_min": 0, "range_max": 4095},
    "gripper": {"id": 6, "drive_mode": 0, "homing_offset": 1411, "range_min": 2034, "range_max": 3498}
}"#;
const LIMITS: JointLimits = JointLimits { lower_rad: -0.2, upper_rad: 1.8, velocity_rad_s: 5.0 };

fn lerobot() -> Calibration {
    Calibration::from_json(Protocol::Feetech, LEROBOT).unwrap()
}

#[test]
fn a_file_of_lerobot_is_read_and_written_back_with_the_same_meaning() {
    let calibration = lerobot();
    let [.., gripper] = calibration.joints();
    assert_eq!((gripper.id, gripper.homing_offset, gripper.range_min, gripper.range_max), (6, 1411, 2034, 3498));
    let written: serde_json::Value = serde_json::from_str(&calibration.to_json().unwrap()).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(LEROBOT).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/so101.json");
    calibration.save(&path).unwrap();
    assert_eq!(Calibration::load(Protocol::Feetech, &path).unwrap(), calibration);
}

#[test]
fn what_a_servo_cannot_store_is_refused_and_the_error_says_what_to_do() {
    for (from, to, words) in [
        ("-2047", "-2048", &["wrist_flex", "-2047..=2047", "found -2048", "turn the joint"][..]),
        ("\"range_min\": 758", "\"range_min\": -3", &["shoulder_pan", "-3..=3292", "wrap", "calibrate it again"]),
        ("\"range_max\": 3292", "\"range_max\": 4096", &["758..=4096"]),
        ("\"range_max\": 3292", "\"range_max\": 700", &["758..=700"]),
        ("\"range_max\": 3292", "\"range_max\": 800", &["found 42", "from stop to stop"]),
        ("\"id\": 6", "\"id\": 5", &["gripper", "found 5", "hindsight setup"]),
        ("\"id\": 6", "\"id\": 254", &["found 254"]),
        ("\"drive_mode\": 1", "\"drive_mode\": 2", &["drive_mode 2"]),
        ("gripper", "hand", &["expected the joints", "found elbow_flex, hand"]),
        ("gripper", "gripper\": ", &["as LeRobot writes it"]),
    ] {
        let text = LEROBOT.replacen(from, to, 1);
        assert_ne!(text, LEROBOT);
        let error = Calibration::from_json(Protocol::Feetech, &text).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "expected {word:?} in: {error}");
        }
    }
    // Four bytes hold more.
    let text = LEROBOT.replacen("-2047", "-2048", 1);
    assert!(Calibration::from_json(Protocol::Dynamixel, &text).is_ok());
}

#[test]
fn the_middle_of_the_range_is_the_middle_of_the_limits() {
    let calibration = lerobot();
    let (range_min, range_max) = (2034, 3498);
    assert!((calibration.radians(5, i32::midpoint(range_min, range_max), &LIMITS) - 0.8).abs() < 1e-6);
    assert!((calibration.radians(4, 2048, &LIMITS) - TAU / 8192.0).abs() < 1e-6, "a full turn has its zero there");
    // A quarter of a turn up, and reversed down.
    let quarter = |joint, middle: i32| calibration.radians(joint, middle + 1024, &LIMITS) - 0.8;
    assert!((quarter(5, 2766) - TAU / 4.0).abs() < 1e-5);
    assert!((quarter(2, 1973) + TAU / 4.0).abs() < 1e-5);
    // Dynamixel's servos turn their count themselves.
    let dynamixel = Calibration::from_json(Protocol::Dynamixel, LEROBOT).unwrap();
    assert!((dynamixel.radians(2, 1973 + 1024, &LIMITS) - 0.8 - TAU / 4.0).abs() < 1e-5);
}

#[test]
fn a_middle_that_the_register_cannot_make_is_refused() {
    let error = Measured::middle(Protocol::Feetech, "gripper", 4095).unwrap_err();
    assert!(matches!(error, CalibrationError::Offset { found: 2048, max: 2047, .. }), "{error}");
    assert_eq!(Measured::middle(Protocol::Feetech, "gripper", 0).unwrap().homing_offset(), -2047);
    assert_eq!(Measured::middle(Protocol::Dynamixel, "gripper", 4095).unwrap().homing_offset(), -2048);
}

proptest! {
    #[test]
    fn ticks_within_the_range_survive_the_way_to_radians_and_back(
        joint in 0..JOINTS.len(), share in 0.0..=1.0_f64, lower_rad in -3.0..0.0_f32, upper_rad in 0.0..3.0_f32,
    ) {
        let calibration = lerobot();
        let limits = JointLimits { lower_rad, upper_rad, velocity_rad_s: 1.0 };
        let JointCalibration { range_min, range_max, .. } = calibration.joints()[joint];
        let ticks = range_min + (share * f64::from(range_max - range_min)) as i32;
        let angle_rad = calibration.radians(joint, ticks, &limits);
        prop_assert_eq!(calibration.ticks(joint, angle_rad, &limits), ticks);
    }

    #[test]
    fn no_angle_leads_out_of_the_range(joint in 0..JOINTS.len(), angle_rad in proptest::num::f32::ANY) {
        let JointCalibration { range_min, range_max, .. } = lerobot().joints()[joint];
        if !angle_rad.is_nan() {
            let ticks = lerobot().ticks(joint, angle_rad, &LIMITS);
            prop_assert!((range_min..=range_max).contains(&ticks));
        }
    }

    #[test]
    fn a_walk_over_the_wrap_is_followed(
        start in 0..TURN, steps in proptest::collection::vec(-TURN / 2..TURN / 2, 1..50),
    ) {
        let (mut truth, mut unwrapped) = (start, Unwrapped::new(start));
        for step in steps {
            truth += step;
            prop_assert_eq!(unwrapped.follow(truth.rem_euclid(TURN)), truth);
        }
    }

    /// Whatever a hand does, a range is either the true one or refused; 0 and 4095 never take the place of a wrap.
    #[test]
    fn a_measured_range_is_the_true_one_or_refused(
        actual in 0..TURN - 1, steps in proptest::collection::vec(-600..600_i32, 1..40),
    ) {
        let mut measured = Measured::middle(Protocol::Feetech, "elbow_flex", actual).unwrap();
        let (mut at, mut min, mut max) = (MIDDLE, MIDDLE, MIDDLE);
        for step in steps {
            at += step;
            (min, max) = (min.min(at), max.max(at));
            measured.follow(at.rem_euclid(TURN));
        }
        let found = measured.finish(Protocol::Feetech, "elbow_flex", 3, false);
        match found {
            Ok(joint) => {
                prop_assert_eq!((joint.range_min, joint.range_max), (min, max));
                let stored = sts3215::HOMING_OFFSET.encode(joint.homing_offset).unwrap();
                prop_assert_eq!(sts3215::HOMING_OFFSET.decode(&stored).unwrap(), actual - MIDDLE);
            }
            Err(CalibrationError::Wraps { .. }) => prop_assert!(min < 0 || max >= TURN),
            Err(CalibrationError::Narrow { .. }) => prop_assert!(max - min < NARROWEST),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
