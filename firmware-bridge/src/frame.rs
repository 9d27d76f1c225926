//! Cuts a stream of bytes into checked packets. This page is the wire format of version 1, down to the bit.
//!
//! # Line
//! Any 8-bit clean two-way stream; on a UART 8 data bits, no parity, 1 stop bit, no flow control. Bytes below are
//! hexadecimal and in the order in which they are sent.
//!
//! # Frame
//! ```text
//! 00 | COBS( payload | crc ) | 00
//!      payload  1..=200 bytes, one message
//!      crc      4 bytes, CRC-32 of the payload, least significant byte first
//! ```
//! - A frame begins *and* ends with the delimiter `00`, so an intact frame is understood whatever noise came before
//!   it. Between frames any number of `00` may stand; they mean nothing.
//! - COBS (Cheshire & Baker 1999): the bytes `payload | crc`, with a `00` thought at their end, are cut after each
//!   `00`; each piece is sent as its length (the `00` counted) followed by its bytes without the `00`. As
//!   `payload | crc` has at most 204 bytes, COBS adds exactly one byte, and a length is never above 205 (`CD`).
//! - CRC-32/ISO-HDLC: polynomial 04C11DB7, initial value FFFFFFFF, input and output reflected, final xor FFFFFFFF.
//!   Check value: the CRC of the ASCII text `123456789` is CBF43926.
//! - The longest frame, delimiters included, is 207 bytes ([`MAX_FRAME`]).
//! - A receiver drops a frame that is cut short, too long, wrong in its CRC or not a message, without an answer.
//!
//! # Numbers in a payload (postcard 1)
//! ```text
//! varint   7 bits a byte, least significant first, bit 7 set on all but the last byte;
//!          at most 3 bytes for u16, 5 for u32, 10 for u64
//! f32      IEEE 754, 4 bytes, least significant first
//! [T]      varint count, 0..=8, then that many T
//! T?       00, or 01 and T
//! ```
//!
//! # From the host: [`HostMessage`](crate::message::HostMessage)
//! ```text
//! 00 version:varint u16                                               Hello
//! 01 seq:varint u32                                                   Activate
//! 02 seq:varint u32                                                   Deactivate
//! 03 seq:varint u32, position_rad:[f32], horizon_us:varint u32        Command
//! 04 seq:varint u32                                                   Poll
//! 05 seq:varint u32                                                   ClearFault
//! ```
//!
//! # From the firmware: [`DeviceMessage`](crate::message::DeviceMessage)
//! ```text
//! 00 version:varint u16, boot_id:varint u32, watchdog_us:varint u32,
//!    limits:[lower_rad:f32, upper_rad:f32, velocity_rad_s:f32]        Hello
//! 01 seq:varint u32, boot_id:varint u32, stamp_us:varint u64, mode,
//!    refused:(reason)?, position_rad:[f32], velocity_rad_s:[f32],
//!    load:[f32], sent_rad:[f32]                                       State
//!
//! mode     00 idle | 01 active | 02 00 fault, watchdog | 02 01 fault, motors
//! reason   00 wrong mode | 01 joint count | 02 not finite | 03 position limit | 04 velocity limit
//!          05 no hello | 06 motors
//! ```
//! Every message of the host has one answer, in order: `Hello` has `Hello`, the others `State` with their `seq`.
//!
//! # Versions
//! A `Hello` of every version, past and to come, begins with `00` and the version as a varint, in frames as above;
//! what follows belongs to the version. A receiver reads no further when the version is not its own
//! ([`FrameError::Version`]): both sides can name both versions, whatever else has changed.

use crate::message::PROTOCOL_VERSION;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest payload, bytes; the longest message of this version has 157.
pub const MAX_PAYLOAD: usize = 200;

/// Longest frame with both delimiters, bytes.
pub const MAX_FRAME: usize = MAX_BODY + 3;

/// Longest payload with its CRC, bytes.
const MAX_BODY: usize = MAX_PAYLOAD + CRC_LEN;
const CRC_LEN: usize = 4;
const DELIMITER: u8 = 0;
/// First byte of a `Hello` of either side, in every version.
const HELLO: u8 = 0;

/// Why bytes are not a frame of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A delimiter came before the frame was complete.
    #[error("a frame was cut short; check the cable and the baud rate")]
    CutShort,
    /// No delimiter came within the longest frame.
    #[error(
        "more than {MAX_FRAME} bytes without a delimiter; the far end speaks another protocol or the line is noisy"
    )]
    TooLong,
    /// The checksum is wrong.
    #[error("checksum {found:08x} instead of {expected:08x}; check the cable and the baud rate")]
    Checksum {
        /// CRC of the received payload.
        expected: u32,
        /// CRC that was sent along.
        found: u32,
    },
    /// A sound frame that holds no message of this version.
    #[error("a sound frame holds no known message; host and firmware are not of the same build")]
    Unknown,
    /// A `Hello` of another version.
    #[error("the far end speaks version {0} instead of {PROTOCOL_VERSION}; update the older side")]
    Version(u16),
    /// The message does not fit into the buffer or into a frame.
    #[error("the message does not fit; a buffer of {MAX_FRAME} bytes fits every message")]
    NoRoom,
}

/// Writes `message` as a frame to the beginning of `out` and returns its length; [`MAX_FRAME`] bytes always suffice.
///
/// # Errors
/// [`FrameError::NoRoom`].
pub fn encode<T: Serialize>(message: &T, out: &mut [u8]) -> Result<usize, FrameError> {
    let [first, code, rest @ ..] = out else { return Err(FrameError::NoRoom) };
    let payload_len = match postcard::to_slice(message, rest) {
        Ok(payload) if payload.len() <= MAX_PAYLOAD => payload.len(),
        _ => return Err(FrameError::NoRoom),
    };
    let (payload, tail) = rest.split_at_mut_checked(payload_len).ok_or(FrameError::NoRoom)?;
    let [a, b, c, d, last, ..] = tail else { return Err(FrameError::NoRoom) };
    [*a, *b, *c, *d] = crc32(payload).to_le_bytes();

    // COBS in place, from the end: every zero becomes the distance to the next one.
    let mut distance = 1;
    for byte in [d, c, b, a].into_iter().chain(payload.iter_mut().rev()) {
        if *byte == DELIMITER {
            *byte = distance;
            distance = 1;
        } else {
            distance += 1; // at most MAX_BODY + 1 = 205
        }
    }
    *first = DELIMITER;
    *code = distance;
    *last = DELIMITER;
    Ok(payload_len + CRC_LEN + 3)
}

/// Reads frames from a stream of bytes, one byte at a time.
///
/// ```
/// use firmware_bridge::frame::{Decoder, MAX_FRAME, encode};
/// use firmware_bridge::message::HostMessage;
///
/// let mut frame = [0; MAX_FRAME];
/// let len = encode(&HostMessage::Poll { seq: 7 }, &mut frame)?;
/// let mut decoder = Decoder::new();
/// let got = frame[..len].iter().find_map(|&byte| decoder.push::<HostMessage>(byte));
/// assert_eq!(got, Some(Ok(HostMessage::Poll { seq: 7 })));
/// # Ok::<(), firmware_bridge::frame::FrameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Payload and CRC, decoded so far.
    body: [u8; MAX_BODY],
    /// Bytes of `body` in use; `MAX_BODY + 1` once too many have come.
    len: usize,
    /// Bytes until the next COBS length; 0 when the next byte is one.
    left: u8,
    /// No byte has come since the delimiter.
    empty: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that waits for a frame.
    #[must_use]
    pub const fn new() -> Self {
        Self { body: [0; MAX_BODY], len: 0, left: 0, empty: true }
    }

    /// Takes the next byte; gives a message, or what was wrong, when it ends a frame.
    pub fn push<T: DeserializeOwned>(&mut self, byte: u8) -> Option<Result<T, FrameError>> {
        if byte == DELIMITER {
            let result = (!self.empty).then(|| self.finish());
            (self.len, self.left, self.empty) = (0, 0, true);
            return result;
        }
        if self.left == 0 {
            // A piece ends where the next length stands; the zero at its end was not sent.
            if !self.empty {
                self.append(0);
            }
            self.left = byte - 1;
        } else {
            self.append(byte);
            self.left -= 1;
        }
        self.empty = false;
        None
    }

    fn append(&mut self, byte: u8) {
        match self.body.get_mut(self.len) {
            Some(slot) => {
                *slot = byte;
                self.len += 1;
            }
            None => self.len = MAX_BODY + 1,
        }
    }

    fn finish<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        let body = self.body.get(..self.len).ok_or(FrameError::TooLong)?;
        if self.left != 0 {
            return Err(FrameError::CutShort);
        }
        let (payload, crc) = body.split_last_chunk::<CRC_LEN>().ok_or(FrameError::CutShort)?;
        let (expected, found) = (crc32(payload), u32::from_le_bytes(*crc));
        if expected != found {
            return Err(FrameError::Checksum { expected, found });
        }
        parse(payload)
    }
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    if let [HELLO, rest @ ..] = payload {
        match postcard::take_from_bytes::<u16>(rest) {
            Ok((PROTOCOL_VERSION, _)) => {}
            Ok((other, _)) => return Err(FrameError::Version(other)),
            Err(_) => return Err(FrameError::Unknown),
        }
    }
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::Unknown),
    }
}

/// CRC-32/ISO-HDLC, four bits at a time: a 64-byte table is a fair price on a microcontroller.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL_REFLECTED: u32 = 0xedb8_8320;
    const fn entry(nibble: u32) -> u32 {
        let mut crc = nibble;
        let mut bit = 0;
        while bit < 4 {
            crc = (crc >> 1) ^ (POLYNOMIAL_REFLECTED * (crc & 1));
            bit += 1;
        }
        crc
    }
    const TABLE: [u32; 16] = [
        entry(0),
        entry(1),
        entry(2),
        entry(3),
        entry(4),
        entry(5),
        entry(6),
        entry(7),
        entry(8),
        entry(9),
        entry(10),
        entry(11),
        entry(12),
        entry(13),
        entry(14),
        entry(15),
    ];
    let shift = |crc: u32| (crc >> 4) ^ TABLE.get((crc & 15) as usize).copied().unwrap_or_default();
    !bytes.iter().fold(u32::MAX, |crc, &byte| shift(shift(crc ^ u32::from(byte))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
