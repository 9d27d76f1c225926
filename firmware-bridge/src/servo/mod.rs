//! The packets and registers of bus servos, for the side that asks and the side that answers. This page is the wire
//! format of both protocols, as far as arms need it.
//!
//! In the order that bytes pass through: [`Decoder`] cuts packets out of a noisy stream, [`packet`] says what they ask
//! and answer, [`register`] gives the bytes inside a meaning, [`sts3215`] and [`x_series`] list what servos have.
//!
//! # Line
//! Half duplex, 8 data bits, no parity, 1 stop bit. A servo speaks only when asked. Words are sent least significant
//! byte first. Bytes below are hexadecimal; `w` is a number of one byte in Feetech's protocol, of two in Dynamixel's.
//!
//! # Frame
//! ```text
//! Feetech STS      FF FF    id len:1 kind params check   len = params + 2; check = !(id + len + kind + params)
//! Dynamixel 2.0    FF FF FD 00 id len:2 kind params crc  len = params + 3, after stuffing
//! ```
//! - Dynamixel stuffs: after every `FF FF FD` in kind and params one `FD` is inserted. The CRC-16 (polynomial 8005,
//!   initial 0000, not reflected) covers all that is sent before it, the stuffing included, and is not stuffed.
//! - A receiver takes an `FF FF FD` without `FD` behind it as it stands: ROBOTIS' Python SDK 4.1.0 does not stuff.
//! - `id` 00..=FC is a servo, FE every servo.
//!
//! # Instructions
//! ```text
//! 01 Ping                                          06 FactoryReset [keep:1 in Dynamixel's]
//! 02 Read       address:w len:w                    08 Reboot
//! 03 Write      address:w data                     82 SyncRead   address:w len:w id*
//! 04 RegWrite   address:w data                     83 SyncWrite  address:w len:w (id data[len])*
//! 05 Action                                        92 BulkRead   (id address:w len:w)*, Dynamixel's only
//! ```
//!
//! # Status
//! ```text
//! Feetech STS      kind is the error byte, params the data: only who speaks tells a status from an instruction
//! Dynamixel 2.0    kind 55, params: error:1 data
//! ```
//!
//! Sources: Feetech's communication protocol manual and memory table of the STS series, ROBOTIS' e-manual of
//! Protocol 2.0; where they leave room, what the vendors' Python SDKs send.
//!
//! Left out: `Fast Sync Read`, which not every servo of an arm knows (XL330 does from firmware 46 on), `Bulk Write`
//! and `Clear`.

mod frame;
pub mod packet;
pub mod register;
pub mod sts3215;
pub mod x_series;

pub use frame::Decoder;
pub use packet::{Instruction, Keep, Packet, PacketError, Protocol, Status};
pub use register::{Register, RegisterError};

/// Id that every servo listens to. None answers to it, but for `Ping` in Dynamixel's protocol.
pub const BROADCAST: u8 = 0xfe;

/// Longest packet that is read or written, bytes: the longest of Feetech's is 259.
pub const MAX_PACKET: usize = 512;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
