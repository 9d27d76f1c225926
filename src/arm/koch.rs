//! A Koch v1.1 on its own bus: two Dynamixel XL430-W250 in the shoulder, four XL330-M288 behind them.
//!
//! A tick is one question about the block 124..=135, which both models have alike, and one telegram of goals: 2.0 ms at
//! 1 Mbit/s. The servos have a **watchdog**: once no instruction has been on the bus for 100 ms they stop where they
//! are, under power, whether the host hangs, was killed, or has lost its cable.

use super::servo_arm::{Block, Kit, Registers, Servo};
use firmware_bridge::servo::x_series::{self as table, XL330_M288, XL430_W250, hardware_error};
use firmware_bridge::servo::{Protocol, Register};

/// Silence of the bus that stops the servos, in counts of 20 ms: 100 ms, as that of this project's firmware.
const WATCHDOG: i32 = 5;

/// What both models know.
const BIT_RATES: &[u32] = table::BAUD_RATES.split_at(7).0;

const XL430: Servo =
    Servo { name: XL430_W250.name, model: XL430_W250.number as i32, settings: &[EXTENDED_POSITION], current: None };
const XL330: Servo = Servo {
    name: XL330_M288.name,
    model: XL330_M288.number as i32,
    settings: &[EXTENDED_POSITION],
    current: Some(table::PRESENT_CURRENT),
};

/// Position goes on over the end of a turn. In the mode for a single turn no homing offset beyond ±90° is obeyed.
const EXTENDED_POSITION: (Register, i32) = (table::OPERATING_MODE, 4);

/// As delivered the forearm's weight bends it by 5°; gains as LeRobot's.
const ELBOW: &[(Register, i32)] =
    &[EXTENDED_POSITION, (table::POSITION_P_GAIN, 1500), (table::POSITION_I_GAIN, 0), (table::POSITION_D_GAIN, 600)];

/// The gripper closes with no more than half of its motor's current at standstill, so that it can squeeze for long: mode
/// 5 limits the current, which LeRobot chooses as well.
const SPARED: &[(Register, i32)] = &[(table::OPERATING_MODE, 5), (table::GOAL_CURRENT, 700)];

/// The kit.
pub static KOCH: Kit = Kit {
    name: "Koch v1.1",
    maker: "Dynamixel",
    protocol: Protocol::Dynamixel,
    servos: [XL430, XL430, Servo { settings: ELBOW, ..XL330 }, XL330, XL330, Servo { settings: SPARED, ..XL330 }],
    registers: Registers {
        model: table::MODEL_NUMBER,
        firmware: &[table::FIRMWARE_VERSION],
        id: table::ID,
        bit_rate: (table::BAUD_RATE, BIT_RATES),
        homing_offset: table::HOMING_OFFSET,
        min_position: table::MIN_POSITION,
        max_position: table::MAX_POSITION,
        lock: None,
        torque: table::TORQUE_ENABLE,
        goal: table::GOAL_POSITION,
        position: table::PRESENT_POSITION,
        speed: table::PRESENT_VELOCITY,
        load: table::PRESENT_PWM,
        voltage: table::PRESENT_VOLTAGE,
        temperature: table::PRESENT_TEMPERATURE,
        alarms: table::HARDWARE_ERROR,
    },
    state: Block::from_to(&table::PRESENT_PWM, &table::PRESENT_POSITION),
    // Neither stopped by it (−1) nor started anew (0).
    alive: (table::BUS_WATCHDOG, WATCHDOG),
    seldom: Some(Block::from_to(&table::PRESENT_VOLTAGE, &table::PRESENT_TEMPERATURE)),
    vitals: &[
        Block::from_to(&table::TORQUE_ENABLE, &table::HARDWARE_ERROR),
        Block::from_to(&table::GOAL_POSITION, &table::PRESENT_TEMPERATURE),
    ],
    // No profile, because every goal is only a control period away.
    settings: &[
        (table::BUS_WATCHDOG, 0),
        (table::RETURN_DELAY, 0),
        (table::PROFILE_ACCELERATION, 0),
        (table::PROFILE_VELOCITY, 0),
    ],
    watchdog: Some((table::BUS_WATCHDOG, WATCHDOG, 100_000)),
    counts_turns: true,
    full_turns: &["shoulder_pan", "wrist_roll"],
    alarms: &[
        (hardware_error::VOLTAGE, "voltage"),
        (hardware_error::TEMPERATURE, "temperature"),
        (hardware_error::ENCODER, "encoder"),
        (hardware_error::ELECTRICAL, "electrical shock"),
        (hardware_error::OVERLOAD, "overload"),
    ],
    least_v: 4.5,
    delivered_bit_rate: 57_600,
};
