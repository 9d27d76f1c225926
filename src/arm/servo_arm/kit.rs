//! What one kind of arm's servos have in common and where they differ from another's: registers, settings, alarms.
//! Data alone; what is done with it is the driver's.

use super::COUNT;
use firmware_bridge::servo::{Protocol, Register};

/// An arm as it is sold: six servos with the ids 1 to 6, from the base on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kit {
    /// For people.
    pub name: &'static str,
    /// Who makes the servos, for people.
    pub maker: &'static str,
    /// Which bytes the servos speak.
    pub protocol: Protocol,
    /// One a joint.
    pub servos: [Servo; COUNT],
    /// What all of them have.
    pub registers: Registers,
    /// What a tick asks of every servo: position, speed and load at least.
    pub state: Block,
    /// What is asked now and then, between ticks: a servo whose register does not hold this value has lost its power,
    /// or has stopped, since it was activated.
    pub alive: (Register, i32),
    /// What is asked more seldom, if it is not in `state`.
    pub seldom: Option<Block>,
    /// All that people are shown.
    pub vitals: &'static [Block],
    /// What every servo is set to before it gets power, in this order.
    pub settings: &'static [(Register, i32)],
    /// The servos' own watchdog: value that arms it, and the silence of the bus after which it stops a servo, µs.
    pub watchdog: Option<(Register, i32, u32)>,
    /// Whether a position goes on over the end of a turn, so that it may be a whole number of turns off.
    pub counts_turns: bool,
    /// Joints that turn all the way round and whose range is not measured, as LeRobot has it.
    pub full_turns: &'static [&'static str],
    /// Names of the bits of `registers.alarms`.
    pub alarms: &'static [(u8, &'static str)],
    /// Supply below which the motors lack torque, V.
    pub least_v: f32,
    /// Line's speed as delivered, bit/s.
    pub delivered_bit_rate: u32,
}

/// One servo of a kit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Servo {
    /// What is written on it.
    pub name: &'static str,
    /// Model number that it gives.
    pub model: i32,
    /// What it is set to besides, after the kit's settings.
    pub settings: &'static [(Register, i32)],
    /// Where it says what current it draws, if it does.
    pub current: Option<Register>,
}

/// The registers that the driver, the calibration and people need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Registers {
    /// Model number.
    pub model: Register,
    /// Firmware's version, from its first part on.
    pub firmware: &'static [Register],
    /// Id.
    pub id: Register,
    /// Line's speed, and what it is by the register's value, bit/s.
    pub bit_rate: (Register, &'static [u32]),
    /// Homing offset.
    pub homing_offset: Register,
    /// Lowest position.
    pub min_position: Register,
    /// Highest.
    pub max_position: Register,
    /// Whether the memory that lasts is locked, where there is such a lock.
    pub lock: Option<Register>,
    /// Torque: 0 off, 1 on.
    pub torque: Register,
    /// Goal.
    pub goal: Register,
    /// Position.
    pub position: Register,
    /// Speed.
    pub speed: Register,
    /// Drive as a share of full duty.
    pub load: Register,
    /// Supply.
    pub voltage: Register,
    /// Temperature.
    pub temperature: Register,
    /// What the servo complains of.
    pub alarms: Register,
}

/// Neighbouring registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Address of the first byte.
    pub address: u16,
    /// Bytes.
    pub len: u16,
}

impl Block {
    /// From the first byte of `first` to the last of `last`.
    #[must_use]
    pub const fn from_to(first: &Register, last: &Register) -> Self {
        Self { address: first.address, len: last.end() - first.address }
    }

    /// What `data`, the block's bytes, holds of `register`; `None` where it is not in it.
    #[must_use]
    pub fn find(&self, register: &Register, data: &[u8]) -> Option<i32> {
        let at = usize::from(register.address.checked_sub(self.address)?);
        register.decode(data.get(at..at + usize::from(register.size))?).ok()
    }
}

impl Kit {
    /// The names of what is set in `bits` of the register for alarms.
    #[must_use]
    pub fn alarms(&self, bits: u8) -> Vec<&'static str> {
        self.alarms.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect()
    }
}
