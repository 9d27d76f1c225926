//! What people do with an arm before it moves: look at it, give its servos ids, calibrate it.

use super::*;

#[test]
fn people_can_look_at_the_servos_behind_a_port_and_are_told_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("arm");
    let port = link.to_str().unwrap();
    let simulated = simulated(&["--protocol", "feetech", "--task", "reach", "--link", port]);
    // On a machine that is busy for 40 ms a servo may answer too late, and then it is told so.
    let watched = (0..TRIES).any(|_| {
        let (code, seen) = program(&["monitor", "--port", port, "--count", "1", "--json"]);
        let gripper = &seen["servos"][5];
        let is_off = (&gripper["joint"], &gripper["torque"]) == (&"gripper".into(), &false.into());
        code == Some(0) && seen["servos"].as_array().is_some_and(|servos| servos.len() == 6) && is_off
    });
    assert!(watched);

    let grade = |report: &serde_json::Value, what: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["what"] == what).map(|finding| finding["grade"].clone())
    };
    let healthy = (0..TRIES).any(|_| {
        let (_, report) = program(&["doctor", "--port", port, "--json"]);
        ["port", "servos", "firmware"].iter().all(|what| grade(&report, what) == Some("good".into()))
    });
    assert!(healthy);
    let file = place.path().join("arm.json");
    let calibrated = |name: &str, expected: &str| {
        let arguments = ["doctor", "--port", port, "--calibration", name, "--json"];
        (0..TRIES).any(|_| grade(&program(&arguments).1, "calibration") == Some(expected.into()))
    };
    Calibration::nominal(Protocol::Feetech, &model().limits()).unwrap().save(&file).unwrap();
    assert!(calibrated(file.to_str().unwrap(), "good"));
    let text = std::fs::read_to_string(&file).unwrap().replacen("\"homing_offset\": 0", "\"homing_offset\": 9", 1);
    std::fs::write(&file, text).unwrap();
    assert!(calibrated(file.to_str().unwrap(), "bad"));
    assert!(calibrated(place.path().join("none.json").to_str().unwrap(), "bad"));
    let arguments = ["doctor", "--port", port, "--task", "reach", "--policy", "push", "--json"];
    let (code, report) = program(&arguments);
    assert_eq!((code, grade(&report, "policy")), (Some(1), Some("bad".into())), "{report}");
    drop(simulated);
    let (code, report) = program(&["doctor", "--port", port, "--json"]);
    assert_eq!((code, grade(&report, "port")), (Some(1), Some("bad".into())), "{report}");
}

#[test]
fn an_arm_whose_servos_are_mounted_anyhow_is_calibrated_by_hand_and_moves_as_before() {
    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    // As if the horns had been screwed on anywhere: the servos' counts are off by hundreds, one wraps.
    for (id, offset) in [(1, 700), (2, -900), (3, 1200), (4, -300), (5, 400), (6, -1500)] {
        bus.write(id, &table::HOMING_OFFSET, offset, TRIES).unwrap();
    }
    let limits = model().limits();
    let pose_by_hand = |share: f32| {
        let joints: Vec<f32> = limits.iter().map(|l| (1.0 - share) * l.lower_rad + share * l.upper_rad).collect();
        handle.lock().world_mut().reset(&joints, None, 1).unwrap();
        wait(&handle, 12_000);
    };
    calibrate::release(&SO101, &mut bus).unwrap();
    pose_by_hand(0.5);
    let mut measured = calibrate::home(&SO101, &mut bus).unwrap();
    // Slowly: a quarter of a turn between two readings is followed, more than half of one would not be.
    for share in [0.5, 0.25, 0.0, 0.25, 0.5, 0.75, 1.0] {
        pose_by_hand(share);
        calibrate::follow(&SO101, &mut bus, &mut measured).unwrap();
    }
    let calibration = calibrate::finish(&SO101, &mut bus, &measured).unwrap();
    handle.lock().world_mut().reset(&REST_RAD, None, 1).unwrap();
    wait(&handle, 500_000);

    let nominal = connected(&handle).unwrap_err();
    assert!(matches!(nominal, ArmError::OtherCalibration { .. }), "{nominal}");
    let options = ServoArmOptions::new(calibration, limits.clone());
    let mut arm = ServoArm::connect(&SO101, bus, options).unwrap();
    let (seen, truth) = (arm.read().unwrap().joints.position_rad, pose(&handle));
    for (joint, (seen, truth)) in seen.iter().zip(truth).enumerate() {
        // A hand that reaches a stop gives a little, and the wrist's roll has its zero in the middle of the turn,
        // 2.8° from the model's. The servos' own counts are off by 0.4 to 2.3 rad.
        assert!((f64::from(*seen) - truth).abs() < 0.06, "joint {joint}: {seen} instead of {truth}");
    }
    // A middle that is none: the range runs over the servo's wrap, and is refused.
    let mut bus = self::bus(&handle);
    pose_by_hand(0.95);
    let mut measured = calibrate::home(&SO101, &mut bus).unwrap();
    for share in [0.75, 0.5, 0.25, 0.0] {
        pose_by_hand(share);
        calibrate::follow(&SO101, &mut bus, &mut measured).unwrap();
    }
    let error = calibrate::finish(&SO101, &mut bus, &measured).unwrap_err();
    assert!(error.to_string().contains("wrap"), "{error}");
}

#[test]
fn a_servo_gets_its_id_only_when_it_is_alone_on_the_bus() {
    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    let nine = Address { id: 9, bit_rate: 1_000_000 };
    let error = setup::give(&SO101, &mut bus, nine).unwrap_err();
    assert!(matches!(&error, SetupError::NotAlone { found } if *found == [1, 2, 3, 4, 5, 6]), "{error}");
    (1..6).for_each(|joint| handle.lock().silence(joint, 1_000_000_000));
    assert_eq!(setup::give(&SO101, &mut bus, nine).unwrap(), Address { id: 1, ..nine });
    assert_eq!(setup::scan(&mut bus).unwrap(), [9]);
    assert_eq!(setup::give(&SO101, &mut bus, nine).unwrap(), nine);
    handle.lock().silence(0, 60_000_000);
    let error = setup::give(&SO101, &mut bus, Address { id: 1, ..nine }).unwrap_err();
    assert!(matches!(&error, SetupError::NotAlone { found } if found.is_empty()), "{error}");
    handle.lock().brown_out(0);
    wait(&handle, 500_000);
    assert_eq!(bus.read(9, &table::LOCK, TRIES).unwrap(), 1, "the id outlives the power, and is locked");
}

#[test]
fn a_servo_is_found_at_any_speed_and_keeps_the_one_that_it_is_given() {
    for (bench, delivered) in [(Bench::so101(), 1_000_000), (Bench::koch(), 57_600)] {
        let handle = bench.powered_off(Faults::default());
        let mut bus = bench.bus(&handle);
        handle.lock().deliver(3);
        let mut address = Address { id: 4, bit_rate: 1_000_000 };
        let new = Address { id: 1, bit_rate: delivered };
        assert_eq!(setup::give(bench.kit, &mut bus, address).unwrap(), new);
        for bit_rate in [115_200, 57_600, 1_000_000] {
            let before = address;
            address = Address { bit_rate, ..before };
            assert_eq!(setup::give(bench.kit, &mut bus, address).unwrap(), before);
            handle.lock().brown_out(3);
            wait(&handle, 500_000);
            assert!(bus.ping(4, 5_000).unwrap(), "the speed outlives the power");
            bus.set_bit_rate(before.bit_rate).unwrap();
            assert!(!bus.ping(4, 5_000).unwrap(), "what is sent at another speed is noise to it");
            let found = setup::find_at_other_speed(&mut bus).unwrap().map(|(kit, rate)| (kit.name, rate));
            assert_eq!(found, (bit_rate != 1_000_000).then_some((bench.kit.name, bit_rate)));
            bus.speak(bench.kit.protocol);
            assert!(bus.ping(4, 5_000).unwrap(), "the bus is where it was found, or as arms are driven");
        }
        let error = setup::give(bench.kit, &mut bus, Address { bit_rate: 9_601, ..address }).unwrap_err();
        assert!(matches!(error, SetupError::BitRate { found: 9_601, .. }), "{error}");
    }
}

#[test]
fn a_new_servo_behind_a_port_is_set_up_and_answers_at_its_new_speed_alone() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("koch");
    let port = link.to_str().unwrap();
    let _simulated = simulated(&["--arm", "koch", "--protocol", "dynamixel", "--delivered", "gripper", "--link", port]);
    // A machine that is busy for 3 ms at the wrong moment lets a servo go unnoticed.
    let set_up = |more: &[&str], expected: serde_json::Value| {
        let arguments = [&["setup", "--arm", "koch", "--port", port, "--joint", "gripper", "--json"], more].concat();
        (0..TRIES).any(|_| {
            let (code, told) = program(&arguments);
            code == Some(0) && told["servos"][0]["before"] == expected
        })
    };
    assert!(set_up(&[], serde_json::json!({ "id": 1, "bit_rate": 57_600 })));
    assert!(set_up(&["--baud", "115200"], serde_json::json!({ "id": 6, "bit_rate": 1_000_000 })));
    let findings = |report: serde_json::Value| report["findings"].to_string();
    assert!((0..TRIES).any(|_| findings(program(&["doctor", "--port", port, "--json"]).1).contains("at 115200 bit/s")));
    assert!(set_up(&[], serde_json::json!({ "id": 6, "bit_rate": 115_200 })));
    assert_eq!(program(&["setup", "--arm", "koch", "--port", port, "--baud", "9601", "--json"]).0, Some(2));
}

#[test]
fn an_older_firmware_in_one_servo_is_told_with_a_remedy() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("arm");
    let port = link.to_str().unwrap();
    let arguments = ["--protocol", "feetech", "--task", "reach", "--faults", "old_firmware=4", "--link", port];
    let _simulated = simulated(&arguments);
    let told = (0..TRIES).any(|_| {
        let (_, report) = program(&["doctor", "--port", port, "--json"]);
        report["findings"].as_array().unwrap().iter().any(|finding| {
            let says = |key: &str, text: &str| finding[key].as_str().is_some_and(|found| found.contains(text));
            says("what", "firmware")
                && says("grade", "doubtful")
                && says("found", "3.9 (ids 4)")
                && says("remedy", "FD")
        })
    });
    assert!(told);
}

#[test]
fn tricks_played_on_servos_behind_a_port_are_found_by_whoever_looks() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("arm");
    let port = link.to_str().unwrap();
    let mut simulated = simulated(&["--protocol", "feetech", "--task", "reach", "--hand", "--link", port]);
    let mut hands = simulated.0.stdin.take().unwrap();
    let mut play = |line: &str| std::io::Write::write_all(&mut hands, format!("{line}\n").as_bytes()).unwrap();
    // What is asked is done within a step of the simulation, and the program takes longer to look.
    let found = |what: &str, text: &str| {
        (0..TRIES).any(|_| {
            let (_, report) = program(&["doctor", "--port", port, "--json"]);
            report["findings"].as_array().unwrap().iter().any(|finding| {
                finding["what"] == what && finding["found"].as_str().is_some_and(|found| found.contains(text))
            })
        })
    };
    play("shoulder_lift overload");
    assert!(found("2 shoulder_lift", "overload"));
    play("shoulder_lift brown-out");
    play("gripper silent 3600");
    assert!(found("servos", "6 (gripper)"));
    play("unplug 3600");
    assert!(found("arm", "no arm answered"));
}
