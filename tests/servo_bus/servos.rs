//! The emulated servos themselves.

use super::*;

#[test]
fn servos_say_who_they_are_when_all_are_asked() {
    let handle = powered_off(Faults::default());
    let mut link = handle.link();
    link.write_all(&[0xFF, 0xFF, 0xFE, 0x02, 0x01, 0xFE]).unwrap();
    let (mut heard, mut buf) = (Vec::new(), [0; 64]);
    while heard.len() < 36 {
        let until_us = handle.lock().time_us() + 20_000;
        let count = link.read(&mut buf, until_us).unwrap();
        assert_ne!(count, 0, "{heard:?}");
        heard.extend_from_slice(&buf[..count]);
    }
    let ids: Vec<u8> = heard.chunks(6).map(|status| status[2]).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn settings_last_only_where_the_memory_was_unlocked() {
    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    bus.write(1, &table::P_GAIN, 20, TRIES).unwrap();
    bus.write(1, &table::LOCK, 0, TRIES).unwrap();
    bus.write(1, &table::HOMING_OFFSET, -1000, TRIES).unwrap();
    bus.write(1, &table::LOCK, 1, TRIES).unwrap();
    wait(&handle, 8_000);
    assert_eq!(bus.read(1, &table::P_GAIN, TRIES).unwrap(), 20);
    let before = bus.read(1, &table::PRESENT_POSITION, TRIES).unwrap();
    handle.lock().brown_out(0);
    assert!(!bus.ping(1, 5_000).unwrap(), "it starts anew");
    wait(&handle, 400_000);
    assert_eq!(bus.read(1, &table::P_GAIN, TRIES).unwrap(), 32, "as delivered");
    assert_eq!(bus.read(1, &table::HOMING_OFFSET, TRIES).unwrap(), -1000);
    assert_eq!(bus.read(1, &table::PRESENT_POSITION, TRIES).unwrap(), before);
    let kept = handle.lock().eeprom();
    let other = powered_off(Faults::default());
    assert!(other.lock().restore(&kept));
    assert_eq!(register(&other, 1, &table::HOMING_OFFSET), -1000);
}

#[test]
fn a_servo_that_presses_for_long_gives_way_and_says_so_until_it_is_released() {
    let handle = powered_off(Faults::default());
    let mut bus = bus(&handle);
    // The elbow rests on its stop; the goal lies behind it.
    let present = bus.read(3, &table::PRESENT_POSITION, TRIES).unwrap();
    bus.write(3, &table::GOAL_POSITION, present + 800, TRIES).unwrap();
    bus.write(3, &table::TORQUE_ENABLE, 1, TRIES).unwrap();
    wait(&handle, 1_500_000);
    assert!(bus.read(3, &table::PRESENT_LOAD, TRIES).unwrap() > 900);
    assert_eq!(bus.read(3, &table::STATUS, TRIES).unwrap(), 0);
    wait(&handle, 1_500_000);
    assert_eq!(bus.read(3, &table::STATUS, TRIES).unwrap(), i32::from(table::alarm::OVERLOAD));
    assert!(bus.read(3, &table::PRESENT_LOAD, TRIES).unwrap() <= 200);
    bus.write(3, &table::TORQUE_ENABLE, 0, TRIES).unwrap();
    wait(&handle, 8_000);
    assert_eq!(bus.read(3, &table::STATUS, TRIES).unwrap(), 0);
}
