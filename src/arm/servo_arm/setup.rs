//! Giving a servo its id. New ones all have the id 1, so each is set up alone on the bus, at 1 Mbit/s as delivered.

use super::{Kit, TRIES};
use crate::arm::bus::{Bus, BusError};
use crate::clock::Clock;
use crate::link::Link;

/// Largest id that a servo can have.
const ID_MAX: u8 = 252;
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
        if found.is_empty() { "check its cable, its supply, and that it is set to 1 Mbit/s" } else { "unplug the others" }
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

/// Gives the only servo on the bus the id `id`, for good; says which it had.
///
/// # Errors
/// See [`SetupError`].
pub fn give_id<L: Link, C: Clock>(kit: &Kit, bus: &mut Bus<L, C>, id: u8) -> Result<u8, SetupError> {
    let found = scan(bus)?;
    let &[before] = found.as_slice() else { return Err(SetupError::NotAlone { found }) };
    if before != id {
        bus.write(before, &kit.registers.torque, 0, TRIES)?;
        if let Some(lock) = &kit.registers.lock {
            bus.write(before, lock, 0, TRIES)?;
        }
        match bus.write(before, &kit.registers.id, id.into(), 1) {
            // Some acknowledge with the id that they then have.
            Ok(()) | Err(BusError::NoAnswer { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let answers = match &kit.registers.lock {
            Some(lock) => bus.write(id, lock, 1, TRIES),
            None => bus.read(id, &kit.registers.id, TRIES).map(|_| ()),
        };
        answers.map_err(|_| SetupError::Unchanged { id })?;
    }
    Ok(before)
}
