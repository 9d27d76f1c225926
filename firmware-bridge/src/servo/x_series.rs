//! Registers of Dynamixel servos of the X series: XL430-W250, XL330-M288 and XL330-M077.
//!
//! Source: the control tables in ROBOTIS' e-manual. Left out: indirect addresses and data (168 and up).

use super::register::Access::{Read, ReadWrite};
use super::register::Memory::{Eeprom, Ram};
use super::register::Sign::{Twos, Unsigned};
use super::register::{Register, Scale, registers};
use core::f32::consts::TAU;

/// Counts of the encoder in a turn.
pub const COUNTS_PER_TURN: u16 = 4096;

/// Lines' speeds, bit/s, by the code in register 8; XL330 knows the first seven.
pub const BAUD_RATES: [u32; 8] = [9_600, 57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 4_500_000];

/// Why an instruction was refused: bits 0..=6 of the error byte.
pub mod refusal {
    /// The servo could not do what it was told.
    pub const RESULT: u8 = 1;
    /// Unknown instruction, or `Action` without a `RegWrite`.
    pub const INSTRUCTION: u8 = 2;
    /// Wrong CRC.
    pub const CRC: u8 = 3;
    /// A value outside of the register's range.
    pub const RANGE: u8 = 4;
    /// Fewer bytes than the register has.
    pub const LENGTH: u8 = 5;
    /// A value outside of the limits that other registers set.
    pub const LIMIT: u8 = 6;
    /// A register that is read-only, not there, or in the EEPROM while the torque is on.
    pub const ACCESS: u8 = 7;
}

/// Bit of the error byte: `HARDWARE_ERROR` is not 0.
pub const ALERT: u8 = 1 << 7;

/// Bits of `HARDWARE_ERROR` and of `SHUTDOWN`.
pub mod hardware_error {
    /// Supply outside of its limits.
    pub const VOLTAGE: u8 = 1;
    /// Hotter than the limit.
    pub const TEMPERATURE: u8 = 1 << 2;
    /// Encoder.
    pub const ENCODER: u8 = 1 << 3;
    /// Electrical shock to the circuit, or too little power for the motor.
    pub const ELECTRICAL: u8 = 1 << 4;
    /// Loaded beyond its means for too long.
    pub const OVERLOAD: u8 = 1 << 5;
}

/// A kind of servo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// What is written on it.
    pub name: &'static str,
    /// What it says it is (register 0).
    pub number: u16,
    /// All registers, by address.
    pub registers: &'static [Register],
}

const PULSE: Scale = Scale { factor: TAU / COUNTS_PER_TURN as f32, unit: "rad" };
/// A count is 0.229 turns a minute.
const SPEED: Scale = Scale { factor: 0.229 * TAU / 60.0, unit: "rad/s" };
/// A count is 214.577 turns/min².
const ACCELERATION: Scale = Scale { factor: 214.577 * TAU / 3600.0, unit: "rad/s²" };
const PWM: Scale = Scale { factor: 0.001_13, unit: "1" };
const PER_MILLE: Scale = Scale { factor: 0.001, unit: "1" };
const AMPERE: Scale = Scale { factor: 0.001, unit: "A" };
const VOLT: Scale = Scale { factor: 0.1, unit: "V" };
const CELSIUS: Scale = Scale { factor: 1.0, unit: "°C" };
const DELAY: Scale = Scale { factor: 2e-6, unit: "s" };
const WATCHDOG: Scale = Scale { factor: 0.02, unit: "s" };
const MILLISECOND: Scale = Scale { factor: 0.001, unit: "s" };
/// A count is 1.977 mV/ms.
const SLOPE: Scale = Scale { factor: 1.977, unit: "V/s" };
const NONE: Scale = Scale::NONE;

// What all have; where models differ, the default or the range is `None` here and in their tables below.
// Ranges hold the value for "off" as well: 0 of the watchdog, 255 of the shadow id. The watchdog reads −1 once it has
// stopped the servo. Profiles are of velocity unless bit 2 of `drive mode` is set.
registers! {
    // name, address, bytes, access, memory, default, range, sign, scale
    MODEL_NUMBER "model number" 0 2 Read Eeprom None, None, Unsigned, NONE;
    MODEL_INFORMATION "model information" 2 4 Read Eeprom None, None, Unsigned, NONE;
    FIRMWARE_VERSION "firmware version" 6 1 Read Eeprom None, None, Unsigned, NONE;
    ID "id" 7 1 ReadWrite Eeprom Some(1), Some((0, 252)), Unsigned, NONE;
    BAUD_RATE "baud rate" 8 1 ReadWrite Eeprom Some(1), None, Unsigned, NONE;
    RETURN_DELAY "return delay" 9 1 ReadWrite Eeprom Some(250), Some((0, 254)), Unsigned, DELAY;
    DRIVE_MODE "drive mode" 10 1 ReadWrite Eeprom Some(0), None, Unsigned, NONE;
    OPERATING_MODE "operating mode" 11 1 ReadWrite Eeprom Some(3), Some((0, 16)), Unsigned, NONE;
    SHADOW_ID "shadow id" 12 1 ReadWrite Eeprom Some(255), Some((0, 255)), Unsigned, NONE;
    PROTOCOL_TYPE "protocol type" 13 1 ReadWrite Eeprom Some(2), None, Unsigned, NONE;
    HOMING_OFFSET "homing offset" 20 4 ReadWrite Eeprom Some(0), Some((-1_044_479, 1_044_479)), Twos, PULSE;
    MOVING_THRESHOLD "moving threshold" 24 4 ReadWrite Eeprom Some(10), Some((0, 1023)), Unsigned, SPEED;
    TEMPERATURE_LIMIT "temperature limit" 31 1 ReadWrite Eeprom None, Some((0, 100)), Unsigned, CELSIUS;
    MAX_VOLTAGE "max voltage" 32 2 ReadWrite Eeprom None, None, Unsigned, VOLT;
    MIN_VOLTAGE "min voltage" 34 2 ReadWrite Eeprom None, None, Unsigned, VOLT;
    PWM_LIMIT "pwm limit" 36 2 ReadWrite Eeprom Some(885), Some((0, 885)), Unsigned, PWM;
    CURRENT_LIMIT "current limit" 38 2 ReadWrite Eeprom Some(1750), Some((0, 1750)), Unsigned, AMPERE;
    VELOCITY_LIMIT "velocity limit" 44 4 ReadWrite Eeprom None, None, Unsigned, SPEED;
    MAX_POSITION "max position" 48 4 ReadWrite Eeprom Some(4095), Some((0, 4095)), Unsigned, PULSE;
    MIN_POSITION "min position" 52 4 ReadWrite Eeprom Some(0), Some((0, 4095)), Unsigned, PULSE;
    STARTUP "startup" 60 1 ReadWrite Eeprom Some(0), Some((0, 3)), Unsigned, NONE;
    PWM_SLOPE "pwm slope" 62 1 ReadWrite Eeprom Some(140), Some((1, 255)), Unsigned, SLOPE;
    SHUTDOWN "shutdown" 63 1 ReadWrite Eeprom None, None, Unsigned, NONE;
    TORQUE_ENABLE "torque enable" 64 1 ReadWrite Ram Some(0), Some((0, 1)), Unsigned, NONE;
    LED "led" 65 1 ReadWrite Ram Some(0), Some((0, 1)), Unsigned, NONE;
    STATUS_RETURN_LEVEL "status return level" 68 1 ReadWrite Ram Some(2), Some((0, 2)), Unsigned, NONE;
    REGISTERED "registered" 69 1 Read Ram Some(0), None, Unsigned, NONE;
    HARDWARE_ERROR "hardware error" 70 1 Read Ram Some(0), None, Unsigned, NONE;
    VELOCITY_I_GAIN "velocity i gain" 76 2 ReadWrite Ram None, Some((0, 16_383)), Unsigned, NONE;
    VELOCITY_P_GAIN "velocity p gain" 78 2 ReadWrite Ram None, Some((0, 16_383)), Unsigned, NONE;
    POSITION_D_GAIN "position d gain" 80 2 ReadWrite Ram None, Some((0, 16_383)), Unsigned, NONE;
    POSITION_I_GAIN "position i gain" 82 2 ReadWrite Ram None, Some((0, 16_383)), Unsigned, NONE;
    POSITION_P_GAIN "position p gain" 84 2 ReadWrite Ram None, Some((0, 16_383)), Unsigned, NONE;
    FEEDFORWARD_2ND "feedforward 2nd" 88 2 ReadWrite Ram Some(0), Some((0, 16_383)), Unsigned, NONE;
    FEEDFORWARD_1ST "feedforward 1st" 90 2 ReadWrite Ram Some(0), Some((0, 16_383)), Unsigned, NONE;
    BUS_WATCHDOG "bus watchdog" 98 1 ReadWrite Ram Some(0), Some((0, 127)), Twos, WATCHDOG;
    GOAL_PWM "goal pwm" 100 2 ReadWrite Ram None, Some((-885, 885)), Twos, PWM;
    GOAL_CURRENT "goal current" 102 2 ReadWrite Ram None, Some((-1750, 1750)), Twos, AMPERE;
    GOAL_VELOCITY "goal velocity" 104 4 ReadWrite Ram None, None, Twos, SPEED;
    PROFILE_ACCELERATION "profile acceleration" 108 4 ReadWrite Ram Some(0), Some((0, 32_767)), Unsigned, ACCELERATION;
    PROFILE_VELOCITY "profile velocity" 112 4 ReadWrite Ram Some(0), Some((0, 32_767)), Unsigned, SPEED;
    GOAL_POSITION "goal position" 116 4 ReadWrite Ram None, None, Twos, PULSE;
    REALTIME_TICK "realtime tick" 120 2 Read Ram None, None, Unsigned, MILLISECOND;
    MOVING "moving" 122 1 Read Ram Some(0), None, Unsigned, NONE;
    MOVING_STATUS "moving status" 123 1 Read Ram Some(0), None, Unsigned, NONE;
    PRESENT_PWM "present pwm" 124 2 Read Ram None, None, Twos, PWM;
    PRESENT_LOAD "present load" 126 2 Read Ram None, None, Twos, PER_MILLE;
    PRESENT_CURRENT "present current" 126 2 Read Ram None, None, Twos, AMPERE;
    PRESENT_VELOCITY "present velocity" 128 4 Read Ram None, None, Twos, SPEED;
    PRESENT_POSITION "present position" 132 4 Read Ram None, None, Twos, PULSE;
    VELOCITY_TRAJECTORY "velocity trajectory" 136 4 Read Ram None, None, Twos, SPEED;
    POSITION_TRAJECTORY "position trajectory" 140 4 Read Ram None, None, Twos, PULSE;
    PRESENT_VOLTAGE "present voltage" 144 2 Read Ram None, None, Unsigned, VOLT;
    PRESENT_TEMPERATURE "present temperature" 146 1 Read Ram None, None, Unsigned, CELSIUS;
    BACKUP_READY "backup ready" 147 1 Read Ram None, None, Unsigned, NONE;
}

/// XL430-W250, for 12 V.
pub const XL430_W250: Model = Model {
    name: "XL430-W250",
    number: 1060,
    registers: &[
        MODEL_NUMBER.with(1060),
        MODEL_INFORMATION,
        FIRMWARE_VERSION,
        ID,
        BAUD_RATE.within(0, 7),
        RETURN_DELAY,
        DRIVE_MODE.within(0, 13),
        OPERATING_MODE,
        SHADOW_ID,
        PROTOCOL_TYPE.within(1, 2),
        HOMING_OFFSET,
        MOVING_THRESHOLD,
        TEMPERATURE_LIMIT.with(72),
        MAX_VOLTAGE.with(140).within(60, 140),
        MIN_VOLTAGE.with(60).within(60, 140),
        PWM_LIMIT,
        VELOCITY_LIMIT.with(265).within(0, 1023),
        MAX_POSITION,
        MIN_POSITION,
        STARTUP,
        SHUTDOWN.with(52),
        TORQUE_ENABLE,
        LED,
        STATUS_RETURN_LEVEL,
        REGISTERED,
        HARDWARE_ERROR,
        VELOCITY_I_GAIN.with(1000),
        VELOCITY_P_GAIN.with(100),
        POSITION_D_GAIN.with(4000),
        POSITION_I_GAIN.with(0),
        POSITION_P_GAIN.with(640),
        FEEDFORWARD_2ND,
        FEEDFORWARD_1ST,
        BUS_WATCHDOG,
        GOAL_PWM,
        GOAL_VELOCITY,
        PROFILE_ACCELERATION,
        PROFILE_VELOCITY,
        GOAL_POSITION,
        REALTIME_TICK,
        MOVING,
        MOVING_STATUS,
        PRESENT_PWM,
        PRESENT_LOAD,
        PRESENT_VELOCITY,
        PRESENT_POSITION,
        VELOCITY_TRAJECTORY,
        POSITION_TRAJECTORY,
        PRESENT_VOLTAGE,
        PRESENT_TEMPERATURE,
        BACKUP_READY,
    ],
};

/// XL330-M288, for 5 V.
pub const XL330_M288: Model = Model {
    name: "XL330-M288",
    number: 1200,
    registers: &[
        MODEL_NUMBER.with(1200),
        MODEL_INFORMATION,
        FIRMWARE_VERSION,
        ID,
        BAUD_RATE.within(0, 6),
        RETURN_DELAY,
        DRIVE_MODE.within(0, 5),
        OPERATING_MODE,
        SHADOW_ID,
        PROTOCOL_TYPE.within(2, 22),
        HOMING_OFFSET,
        MOVING_THRESHOLD,
        TEMPERATURE_LIMIT.with(70),
        MAX_VOLTAGE.with(70).within(31, 70),
        MIN_VOLTAGE.with(35).within(31, 70),
        PWM_LIMIT,
        CURRENT_LIMIT,
        VELOCITY_LIMIT.with(445).within(0, 2047),
        MAX_POSITION,
        MIN_POSITION,
        STARTUP,
        PWM_SLOPE,
        SHUTDOWN.with(53),
        TORQUE_ENABLE,
        LED,
        STATUS_RETURN_LEVEL,
        REGISTERED,
        HARDWARE_ERROR,
        VELOCITY_I_GAIN.with(1600),
        VELOCITY_P_GAIN.with(180),
        POSITION_D_GAIN.with(0),
        POSITION_I_GAIN.with(0),
        POSITION_P_GAIN.with(400),
        FEEDFORWARD_2ND,
        FEEDFORWARD_1ST,
        BUS_WATCHDOG,
        GOAL_PWM,
        GOAL_CURRENT,
        GOAL_VELOCITY,
        PROFILE_ACCELERATION,
        PROFILE_VELOCITY,
        GOAL_POSITION,
        REALTIME_TICK,
        MOVING,
        MOVING_STATUS,
        PRESENT_PWM,
        PRESENT_CURRENT,
        PRESENT_VELOCITY,
        PRESENT_POSITION,
        VELOCITY_TRAJECTORY,
        POSITION_TRAJECTORY,
        PRESENT_VOLTAGE,
        PRESENT_TEMPERATURE,
        BACKUP_READY,
    ],
};

/// XL330-M077, for 5 V and faster.
pub const XL330_M077: Model = Model {
    name: "XL330-M077",
    number: 1190,
    registers: &[
        MODEL_NUMBER.with(1190),
        MODEL_INFORMATION,
        FIRMWARE_VERSION,
        ID,
        BAUD_RATE.within(0, 6),
        RETURN_DELAY,
        DRIVE_MODE.within(0, 5),
        OPERATING_MODE,
        SHADOW_ID,
        PROTOCOL_TYPE.within(2, 22),
        HOMING_OFFSET,
        MOVING_THRESHOLD,
        TEMPERATURE_LIMIT.with(70),
        MAX_VOLTAGE.with(70).within(31, 70),
        MIN_VOLTAGE.with(35).within(31, 70),
        PWM_LIMIT,
        CURRENT_LIMIT,
        VELOCITY_LIMIT.with(1620).within(0, 2047),
        MAX_POSITION,
        MIN_POSITION,
        STARTUP,
        PWM_SLOPE,
        SHUTDOWN.with(53),
        TORQUE_ENABLE,
        LED,
        STATUS_RETURN_LEVEL,
        REGISTERED,
        HARDWARE_ERROR,
        VELOCITY_I_GAIN.with(400),
        VELOCITY_P_GAIN.with(40),
        POSITION_D_GAIN.with(0),
        POSITION_I_GAIN.with(400),
        POSITION_P_GAIN.with(400),
        FEEDFORWARD_2ND,
        FEEDFORWARD_1ST,
        BUS_WATCHDOG,
        GOAL_PWM,
        GOAL_CURRENT,
        GOAL_VELOCITY,
        PROFILE_ACCELERATION,
        PROFILE_VELOCITY,
        GOAL_POSITION,
        REALTIME_TICK,
        MOVING,
        MOVING_STATUS,
        PRESENT_PWM,
        PRESENT_CURRENT,
        PRESENT_VELOCITY,
        PRESENT_POSITION,
        VELOCITY_TRAJECTORY,
        POSITION_TRAJECTORY,
        PRESENT_VOLTAGE,
        PRESENT_TEMPERATURE,
        BACKUP_READY,
    ],
};
