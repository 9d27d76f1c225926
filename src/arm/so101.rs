//! An SO-101 on its own bus: six Feetech STS3215, no microcontroller.
//!
//! A tick is one question about the block 56..=70 of all servos and one telegram of goals: 1.7 ms at 1 Mbit/s. The
//! servos have **no watchdog** of their own.

use super::servo_arm::{Block, Kit, Registers, Servo};
use firmware_bridge::servo::{Protocol, Register, sts3215 as table};

/// The joints' servos but for the gripper's.
const STS3215: Servo =
    Servo { name: "STS3215", model: table::MODEL_NUMBER as i32, settings: &[], current: Some(table::PRESENT_CURRENT) };

/// What keeps the gripper's motor from burning out when it squeezes for minutes, as LeRobot's.
const SPARED: &[(Register, i32)] =
    &[(table::TORQUE_LIMIT, 500), (table::PROTECTION_CURRENT, 250), (table::OVERLOAD_TORQUE, 25)];

/// The kit.
pub static SO101: Kit = Kit {
    name: "SO-101",
    maker: "Feetech",
    protocol: Protocol::Feetech,
    servos: [STS3215, STS3215, STS3215, STS3215, STS3215, Servo { settings: SPARED, ..STS3215 }],
    registers: Registers {
        model: table::MODEL,
        firmware: &[table::FIRMWARE_MAJOR, table::FIRMWARE_MINOR],
        id: table::ID,
        bit_rate: (table::BAUD_RATE, &table::BAUD_RATES),
        homing_offset: table::HOMING_OFFSET,
        min_position: table::MIN_ANGLE,
        max_position: table::MAX_ANGLE,
        lock: Some(table::LOCK),
        torque: table::TORQUE_ENABLE,
        goal: table::GOAL_POSITION,
        position: table::PRESENT_POSITION,
        speed: table::PRESENT_SPEED,
        load: table::PRESENT_LOAD,
        voltage: table::PRESENT_VOLTAGE,
        temperature: table::PRESENT_TEMPERATURE,
        alarms: table::STATUS,
    },
    state: Block::from_to(&table::PRESENT_POSITION, &table::PRESENT_CURRENT),
    // Torque is off in a servo that has started anew.
    alive: (table::TORQUE_ENABLE, 1),
    seldom: None,
    vitals: &[Block::from_to(&table::TORQUE_ENABLE, &table::PRESENT_CURRENT)],
    // Gains as LeRobot's; no profile, because every goal is only a control period away.
    settings: &[
        (table::P_GAIN, 16),
        (table::I_GAIN, 0),
        (table::D_GAIN, 32),
        (table::RETURN_DELAY, 0),
        (table::GOAL_ACCELERATION, 0),
        (table::GOAL_SPEED, 0),
    ],
    watchdog: None,
    counts_turns: false,
    full_turns: &["wrist_roll"],
    alarms: &[
        (table::alarm::VOLTAGE, "voltage"),
        (table::alarm::ENCODER, "encoder"),
        (table::alarm::TEMPERATURE, "temperature"),
        (table::alarm::CURRENT, "current"),
        (table::alarm::OVERLOAD, "overload"),
    ],
    least_v: 6.0,
    delivered_bit_rate: 1_000_000,
};
