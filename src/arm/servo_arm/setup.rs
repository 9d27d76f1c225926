//! Giving a servo its id, and the line's speed. New ones all have the id 1, so each is set up alone on the bus.

use super::{Kit, TRIES};
use crate::arm::bus::{Bus, BusError};
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::servo::Register;

/// Largest id that a servo can have.
const ID_MAX: u8 = 252;
/// Speed at which arms are driven, bit/s.
const BIT_RATE: u32 = 1_000_000;
/// Longest wait for each id, µs.
const PING_US: u64 = 3_000;

/// Why a servo has not got its id.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A servo did not do as it was told.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// There is not just one servo.
    #[error(
        "expected one servo alone on the bus, found {}; {}",
        if found.is_empty() { "none".to_owned() } else { format!("the ids {found:?}") },
        if found.is_empty() { "check its cable, its supply, and whether somebody has set it to another speed" } else { "unplug the others" }
    )]
    NotAlone {
        /// Ids that answer.
        found: Vec<u8>,
    },
    /// The servo does not answer to its new id.
    #[error("the servo does not answer to its new id {id}; set it up again")]
    Unchanged {
        /// The id that it should have.
        id: u8,
    },
}

/// Ids that answer, of all that there can be. Takes a second on an empty bus.
///
/// # Errors
/// [`BusError::Link`].
pub fn scan<L: Link, C: Clock>(bus: &mut Bus<L, C>) -> Result<Vec<u8>, BusError> {
    let mut found = Vec::new();
    for id in 0..=ID_MAX {
        if bus.ping(id, PING_US)? {
            found.push(id);
        }
    }
    Ok(found)
}

/// Gives the only servo on the bus the id `id`, and 1 Mbit/s, for good; says which id it had. A servo that is still as
/// delivered is looked for at the speed with which it was.
///
/// # Errors
/// See [`SetupError`].
pub fn give_id<L: Link, C: Clock>(kit: &Kit, bus: &mut Bus<L, C>, id: u8) -> Result<u8, SetupError> {
    let mut bit_rate = BIT_RATE;
    bus.set_bit_rate(bit_rate)?;
    let mut found = scan(bus)?;
    if found.is_empty() && kit.delivered_bit_rate != bit_rate {
        bit_rate = kit.delivered_bit_rate;
        bus.set_bit_rate(bit_rate)?;
        found = scan(bus)?;
    }
    let given = match found.as_slice() {
        &[before] => write(kit, bus, before, id, bit_rate).map(|()| before),
        _ => Err(SetupError::NotAlone { found }),
    };
    bus.set_bit_rate(BIT_RATE)?;
    given
}

/// Writes id and speed of the servo `before`, which listens at `bit_rate`.
fn write<L: Link, C: Clock>(
    kit: &Kit,
    bus: &mut Bus<L, C>,
    before: u8,
    id: u8,
    bit_rate: u32,
) -> Result<(), SetupError> {
    let registers = &kit.registers;
    if before == id && bit_rate == BIT_RATE {
        return Ok(());
    }
    bus.write(before, &registers.torque, 0, TRIES)?;
    if let Some(lock) = &registers.lock {
        bus.write(before, lock, 0, TRIES)?;
    }
    if before != id {
        once(bus, before, &registers.id, id.into())?;
    }
    if bit_rate != BIT_RATE {
        let (register, code) = registers.bit_rate;
        once(bus, id, &register, code)?;
        bus.set_bit_rate(BIT_RATE)?;
    }
    let answers = match &registers.lock {
        Some(lock) => bus.write(id, lock, 1, TRIES),
        None => bus.read(id, &registers.id, TRIES).map(|_| ()),
    };
    answers.map_err(|_| SetupError::Unchanged { id })
}

/// Writes what changes how the servo is spoken to: some acknowledge as they then are.
fn once<L: Link, C: Clock>(bus: &mut Bus<L, C>, id: u8, register: &Register, value: i32) -> Result<(), BusError> {
    match bus.write(id, register, value, 1) {
        Ok(()) | Err(BusError::NoAnswer { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
