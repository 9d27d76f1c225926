//! Registers of the Feetech STS3215 (STS / SMS series, magnetic encoder).
//!
//! Source: Feetech's memory table of the STS series. Sign bits, and the defaults of the gains, are those that
//! LeRobot's driver and Feetech's `SCServo` library use. `None` as a default: it differs between the variants for
//! 7.4 V and 12 V, or the table gives none. Writing address 55 (lock) as 0 makes writes to the EEPROM last.

use super::register::Access::{Read, ReadWrite};
use super::register::Memory::{Eeprom, Ram};
use super::register::Sign::{Magnitude, Unsigned};
use super::register::{Register, Scale, registers};
use core::f32::consts::TAU;

/// What the servo says it is (registers 3 and 4).
pub const MODEL_NUMBER: u16 = 777;

/// Counts of the encoder in a turn.
pub const COUNTS_PER_TURN: u16 = 4096;

/// Lines' speeds, bit/s, by the code in register 6. Feetech's table; LeRobot and rustypot list 57600, 38400 and 19200
/// for the codes 5..=7.
pub const BAUD_RATES: [u32; 8] = [1_000_000, 500_000, 250_000, 128_000, 115_200, 76_800, 57_600, 38_400];

/// Bits of the error byte, of the register `status` and of the conditions in registers 19 and 20.
pub mod alarm {
    /// Supply outside of registers 14 and 15.
    pub const VOLTAGE: u8 = 1;
    /// Encoder.
    pub const ENCODER: u8 = 1 << 1;
    /// Hotter than register 13.
    pub const TEMPERATURE: u8 = 1 << 2;
    /// More current than register 28 for the time in register 38.
    pub const CURRENT: u8 = 1 << 3;
    /// More torque than register 36 for the time in register 35.
    pub const OVERLOAD: u8 = 1 << 5;
}

const COUNT: Scale = Scale { factor: TAU / COUNTS_PER_TURN as f32, unit: "rad" };
/// With bit 2 of `phase` set, as delivered: one count a second; without, 50.
const SPEED: Scale = Scale { factor: TAU / COUNTS_PER_TURN as f32, unit: "rad/s" };
/// A count is 100 encoder counts/s².
const ACCELERATION: Scale = Scale { factor: 100.0 * TAU / COUNTS_PER_TURN as f32, unit: "rad/s²" };
const PER_MILLE: Scale = Scale { factor: 0.001, unit: "1" };
const PER_CENT: Scale = Scale { factor: 0.01, unit: "1" };
const VOLT: Scale = Scale { factor: 0.1, unit: "V" };
const AMPERE: Scale = Scale { factor: 0.0065, unit: "A" };
const CELSIUS: Scale = Scale { factor: 1.0, unit: "°C" };
const DELAY: Scale = Scale { factor: 2e-6, unit: "s" };
const HUNDREDTH: Scale = Scale { factor: 0.01, unit: "s" };
const NONE: Scale = Scale::NONE;

// Torque limit begins at `max torque`; torque: 0 off, 1 on, 2 damping, 128 takes the present position for 2048. The
// vendor's table calls 80..=86 factory parameters; LeRobot writes 85, so they are not read-only.
registers! {
    // name, address, bytes, access, memory, default, range, sign, scale
    FIRMWARE_MAJOR "firmware major" 0 1 Read Eeprom None, None, Unsigned, NONE;
    FIRMWARE_MINOR "firmware minor" 1 1 Read Eeprom None, None, Unsigned, NONE;
    MODEL "model number" 3 2 Read Eeprom Some(777), None, Unsigned, NONE;
    ID "id" 5 1 ReadWrite Eeprom Some(1), Some((0, 253)), Unsigned, NONE;
    BAUD_RATE "baud rate" 6 1 ReadWrite Eeprom Some(0), Some((0, 7)), Unsigned, NONE;
    RETURN_DELAY "return delay" 7 1 ReadWrite Eeprom Some(0), Some((0, 254)), Unsigned, DELAY;
    RESPONSE_LEVEL "response level" 8 1 ReadWrite Eeprom Some(1), Some((0, 1)), Unsigned, NONE;
    MIN_ANGLE "min angle" 9 2 ReadWrite Eeprom Some(0), Some((0, 4094)), Unsigned, COUNT;
    MAX_ANGLE "max angle" 11 2 ReadWrite Eeprom Some(4095), Some((0, 4095)), Unsigned, COUNT;
    MAX_TEMPERATURE "max temperature" 13 1 ReadWrite Eeprom Some(70), Some((0, 100)), Unsigned, CELSIUS;
    MAX_VOLTAGE "max voltage" 14 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, VOLT;
    MIN_VOLTAGE "min voltage" 15 1 ReadWrite Eeprom Some(40), Some((0, 254)), Unsigned, VOLT;
    MAX_TORQUE "max torque" 16 2 ReadWrite Eeprom Some(1000), Some((0, 1000)), Unsigned, PER_MILLE;
    PHASE "phase" 18 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, NONE;
    UNLOAD_CONDITION "unload condition" 19 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, NONE;
    LED_CONDITION "led condition" 20 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, NONE;
    P_GAIN "p gain" 21 1 ReadWrite Eeprom Some(32), Some((0, 254)), Unsigned, NONE;
    D_GAIN "d gain" 22 1 ReadWrite Eeprom Some(32), Some((0, 254)), Unsigned, NONE;
    I_GAIN "i gain" 23 1 ReadWrite Eeprom Some(0), Some((0, 254)), Unsigned, NONE;
    START_FORCE "start force" 24 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, PER_MILLE;
    INTEGRAL_LIMIT "integral limit" 25 1 ReadWrite Eeprom Some(0), Some((0, 254)), Unsigned, NONE;
    DEAD_ZONE_CW "dead zone cw" 26 1 ReadWrite Eeprom Some(1), Some((0, 16)), Unsigned, COUNT;
    DEAD_ZONE_CCW "dead zone ccw" 27 1 ReadWrite Eeprom Some(1), Some((0, 16)), Unsigned, COUNT;
    PROTECTION_CURRENT "protection current" 28 2 ReadWrite Eeprom Some(511), Some((0, 2047)), Unsigned, AMPERE;
    ANGULAR_RESOLUTION "angular resolution" 30 1 ReadWrite Eeprom Some(1), Some((1, 128)), Unsigned, NONE;
    HOMING_OFFSET "homing offset" 31 2 ReadWrite Eeprom Some(0), Some((-2047, 2047)), Magnitude(11), COUNT;
    MODE "mode" 33 1 ReadWrite Eeprom Some(0), Some((0, 3)), Unsigned, NONE;
    PROTECTIVE_TORQUE "protective torque" 34 1 ReadWrite Eeprom Some(20), Some((0, 254)), Unsigned, PER_CENT;
    PROTECTION_TIME "protection time" 35 1 ReadWrite Eeprom Some(200), Some((0, 254)), Unsigned, HUNDREDTH;
    OVERLOAD_TORQUE "overload torque" 36 1 ReadWrite Eeprom Some(80), Some((0, 254)), Unsigned, PER_CENT;
    SPEED_P_GAIN "speed p gain" 37 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, NONE;
    OVERCURRENT_TIME "overcurrent time" 38 1 ReadWrite Eeprom Some(200), Some((0, 254)), Unsigned, HUNDREDTH;
    SPEED_I_GAIN "speed i gain" 39 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, NONE;
    TORQUE_ENABLE "torque enable" 40 1 ReadWrite Ram Some(0), Some((0, 128)), Unsigned, NONE;
    GOAL_ACCELERATION "goal acceleration" 41 1 ReadWrite Ram Some(0), Some((0, 254)), Unsigned, ACCELERATION;
    GOAL_POSITION "goal position" 42 2 ReadWrite Ram Some(0), Some((-32767, 32767)), Magnitude(15), COUNT;
    GOAL_TIME "goal time" 44 2 ReadWrite Ram None, Some((-1000, 1000)), Magnitude(10), NONE;
    GOAL_SPEED "goal speed" 46 2 ReadWrite Ram None, Some((-32767, 32767)), Magnitude(15), SPEED;
    TORQUE_LIMIT "torque limit" 48 2 ReadWrite Ram None, Some((0, 1000)), Unsigned, PER_MILLE;
    LOCK "lock" 55 1 ReadWrite Ram Some(1), Some((0, 1)), Unsigned, NONE;
    PRESENT_POSITION "present position" 56 2 Read Ram None, None, Magnitude(15), COUNT;
    PRESENT_SPEED "present speed" 58 2 Read Ram None, None, Magnitude(15), SPEED;
    PRESENT_LOAD "present load" 60 2 Read Ram None, None, Magnitude(10), PER_MILLE;
    PRESENT_VOLTAGE "present voltage" 62 1 Read Ram None, None, Unsigned, VOLT;
    PRESENT_TEMPERATURE "present temperature" 63 1 Read Ram None, None, Unsigned, CELSIUS;
    PENDING "pending" 64 1 Read Ram Some(0), None, Unsigned, NONE;
    STATUS "status" 65 1 Read Ram Some(0), None, Unsigned, NONE;
    MOVING "moving" 66 1 Read Ram Some(0), None, Unsigned, NONE;
    TARGET_POSITION "target position" 67 2 Read Ram Some(0), None, Magnitude(15), COUNT;
    PRESENT_CURRENT "present current" 69 2 Read Ram None, None, Magnitude(15), AMPERE;
    MOVING_THRESHOLD "moving threshold" 80 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, NONE;
    MAX_SPEED "max speed" 84 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, NONE;
    MAX_ACCELERATION "max acceleration" 85 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, ACCELERATION;
    ACCELERATION_MULTIPLIER "acceleration multiplier" 86 1 ReadWrite Eeprom None, Some((0, 254)), Unsigned, NONE;
}

/// All registers, by address.
pub const REGISTERS: &[Register] = &[
    FIRMWARE_MAJOR,
    FIRMWARE_MINOR,
    MODEL,
    ID,
    BAUD_RATE,
    RETURN_DELAY,
    RESPONSE_LEVEL,
    MIN_ANGLE,
    MAX_ANGLE,
    MAX_TEMPERATURE,
    MAX_VOLTAGE,
    MIN_VOLTAGE,
    MAX_TORQUE,
    PHASE,
    UNLOAD_CONDITION,
    LED_CONDITION,
    P_GAIN,
    D_GAIN,
    I_GAIN,
    START_FORCE,
    INTEGRAL_LIMIT,
    DEAD_ZONE_CW,
    DEAD_ZONE_CCW,
    PROTECTION_CURRENT,
    ANGULAR_RESOLUTION,
    HOMING_OFFSET,
    MODE,
    PROTECTIVE_TORQUE,
    PROTECTION_TIME,
    OVERLOAD_TORQUE,
    SPEED_P_GAIN,
    OVERCURRENT_TIME,
    SPEED_I_GAIN,
    TORQUE_ENABLE,
    GOAL_ACCELERATION,
    GOAL_POSITION,
    GOAL_TIME,
    GOAL_SPEED,
    TORQUE_LIMIT,
    LOCK,
    PRESENT_POSITION,
    PRESENT_SPEED,
    PRESENT_LOAD,
    PRESENT_VOLTAGE,
    PRESENT_TEMPERATURE,
    PENDING,
    STATUS,
    MOVING,
    TARGET_POSITION,
    PRESENT_CURRENT,
    MOVING_THRESHOLD,
    MAX_SPEED,
    MAX_ACCELERATION,
    ACCELERATION_MULTIPLIER,
];
