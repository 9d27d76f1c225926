//! Giving a servo its id, and the line's speed. New ones all have the id 1, so each is set up alone on the bus.

use super::{IDS, KITS, Kit, TRIES};
use crate::arm::bus::{Bus, BusError};
use crate::clock::Clock;
use crate::link::Link;
use crate::link::serial::BAUD;
use firmware_bridge::servo::Register;

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
        if found.is_empty() { "none at any speed".to_owned() } else { format!("the ids {found:?}") },
        if found.is_empty() { "check its cable, its supply, and --arm" } else { "unplug the others" }
    )]
    NotAlone {
        /// Ids that answer.
        found: Vec<u8>,
    },
    /// The servos do not know this speed.
    #[error("expected one of the servos' speeds {known:?}, found {found} bit/s; nothing was written")]
    BitRate {
        /// Speeds that they know, bit/s.
        known: &'static [u32],
        /// The one that was asked for, bit/s.
        found: u32,
    },
    /// The servo does not answer to its new id.
    #[error("the servo does not answer to its new id {id} at {bit_rate} bit/s; set it up again")]
    Unchanged {
        /// The id that it should have.
        id: u8,
        /// The speed that it should have, bit/s.
        bit_rate: u32,
    },
}

/// Who a servo is on its bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Its id.
    pub id: u8,
    /// Speed at which it listens, bit/s.
    pub bit_rate: u32,
}

/// Ids that answer, of all that there can be. Takes a second on an empty bus, and more where the line is slow.
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

/// Which arm's servos answer at another speed than that at which arms are driven, and at which, bit/s. The bus is at that
/// speed then; where none answers it is as it is driven.
///
/// # Errors
/// [`BusError::Link`].
pub fn find_at_other_speed<L: Link, C: Clock>(bus: &mut Bus<L, C>) -> Result<Option<(&'static Kit, u32)>, BusError> {
    for kit in KITS {
        bus.speak(kit.protocol);
        for &bit_rate in kit.registers.bit_rate.1.iter().filter(|rate| **rate != BAUD) {
            // Not every adapter knows every speed.
            if bus.set_bit_rate(bit_rate).is_err() {
                continue;
            }
            for id in IDS {
                if bus.ping(id, PING_US)? {
                    return Ok(Some((kit, bit_rate)));
                }
            }
        }
    }
    bus.set_bit_rate(BAUD)?;
    Ok(None)
}

/// Gives the only servo on the bus an address for good, and says which it had. It is looked for at the new speed, then
/// at the one with which such servos are delivered, then at all others that they know, quick ones first; the bus
/// stays at the new one.
///
/// # Errors
/// See [`SetupError`].
pub fn give<L: Link, C: Clock>(kit: &Kit, bus: &mut Bus<L, C>, new: Address) -> Result<Address, SetupError> {
    let known = kit.registers.bit_rate.1;
    let Some(code) = known.iter().position(|rate| *rate == new.bit_rate) else {
        return Err(SetupError::BitRate { known, found: new.bit_rate });
    };
    let mut speeds = known.to_vec();
    // Quick ones are soon looked through.
    let likely = [new.bit_rate, kit.delivered_bit_rate];
    speeds.sort_by_key(|rate| (!likely.contains(rate), *rate != new.bit_rate, u32::MAX - rate));
    let mut before = None;
    for bit_rate in speeds {
        match bus.set_bit_rate(bit_rate) {
            // Not every adapter knows every speed.
            Err(_) if bit_rate != new.bit_rate => continue,
            set => set?,
        }
        match scan(bus)?.as_slice() {
            [] => {}
            &[id] => {
                before = Some(Address { id, bit_rate });
                break;
            }
            found => {
                let found = found.to_vec();
                bus.set_bit_rate(new.bit_rate)?;
                return Err(SetupError::NotAlone { found });
            }
        }
    }
    let written = match before {
        Some(before) => write(kit, bus, before, new, code as i32).map(|()| before),
        None => Err(SetupError::NotAlone { found: Vec::new() }),
    };
    bus.set_bit_rate(new.bit_rate)?;
    written
}

/// Writes the new address of a servo, whose speed has this `code`.
fn write<L: Link, C: Clock>(
    kit: &Kit,
    bus: &mut Bus<L, C>,
    before: Address,
    new: Address,
    code: i32,
) -> Result<(), SetupError> {
    let registers = &kit.registers;
    let Address { id, bit_rate } = new;
    if before == new {
        return Ok(());
    }
    bus.write(before.id, &registers.torque, 0, TRIES)?;
    if let Some(lock) = &registers.lock {
        bus.write(before.id, lock, 0, TRIES)?;
    }
    if before.id != id {
        once(bus, before.id, &registers.id, id.into())?;
    }
    if before.bit_rate != bit_rate {
        once(bus, id, &registers.bit_rate.0, code)?;
        bus.set_bit_rate(bit_rate)?;
    }
    let answers = match &registers.lock {
        Some(lock) => bus.write(id, lock, 1, TRIES),
        None => bus.read(id, &registers.id, TRIES).map(|_| ()),
    };
    answers.map_err(|_| SetupError::Unchanged { id, bit_rate })
}

/// Writes what changes how the servo is spoken to: some acknowledge as they then are.
fn once<L: Link, C: Clock>(bus: &mut Bus<L, C>, id: u8, register: &Register, value: i32) -> Result<(), BusError> {
    match bus.write(id, register, value, 1) {
        Ok(()) | Err(BusError::NoAnswer { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
