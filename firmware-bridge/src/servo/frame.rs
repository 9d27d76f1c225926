//! Headers, lengths, stuffing and checksums of both protocols; see [the wire format](crate::servo).

use super::MAX_PACKET;
use super::packet::{Packet, PacketError, Protocol};

const FEETECH_HEADER: [u8; 2] = [0xff, 0xff];
const DYNAMIXEL_HEADER: [u8; 4] = [0xff, 0xff, 0xfd, 0x00];
/// What a stuffed byte follows.
const STUFFED: [u8; 3] = [0xff, 0xff, 0xfd];
const STUFFING: u8 = 0xfd;
/// Bytes before the kind.
const FEETECH_HEAD: usize = 4;
const DYNAMIXEL_HEAD: usize = 7;

/// Puts a packet together; what does not fit shows at the end.
pub(super) struct Writer<'a> {
    protocol: Protocol,
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn begin(protocol: Protocol, id: u8, out: &'a mut [u8]) -> Self {
        let mut writer = Self { protocol, out, len: 0 };
        match protocol {
            Protocol::Feetech => {
                writer.raw(&FEETECH_HEADER);
                writer.raw(&[id, 0]);
            }
            Protocol::Dynamixel => {
                writer.raw(&DYNAMIXEL_HEADER);
                writer.raw(&[id, 0, 0]);
            }
        }
        writer
    }

    /// Appends to kind and parameters, stuffed where the protocol wants it.
    pub(super) fn body(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.raw(&[byte]);
            let body = self.out.get(DYNAMIXEL_HEAD..self.len).unwrap_or_default();
            if self.protocol == Protocol::Dynamixel && body.ends_with(&STUFFED) {
                self.raw(&[STUFFING]);
            }
        }
    }

    /// Fills in length and checksum; the whole length, unless something did not fit.
    pub(super) fn finish(mut self) -> Result<usize, PacketError> {
        match self.protocol {
            Protocol::Feetech => {
                let len = u8::try_from(self.len + 1 - FEETECH_HEAD).map_err(|_| PacketError::NoRoom)?;
                self.set(3, len);
                let check = feetech_check(self.out.get(2..self.len).unwrap_or_default());
                self.raw(&[check]);
            }
            Protocol::Dynamixel => {
                let [low, high] =
                    u16::try_from(self.len + 2 - DYNAMIXEL_HEAD).map_err(|_| PacketError::NoRoom)?.to_le_bytes();
                self.set(5, low);
                self.set(6, high);
                let crc = crc16(self.out.get(..self.len).unwrap_or_default());
                self.raw(&crc.to_le_bytes());
            }
        }
        if self.len <= self.out.len().min(MAX_PACKET) { Ok(self.len) } else { Err(PacketError::NoRoom) }
    }

    fn raw(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.set(self.len, byte);
            self.len = self.len.saturating_add(1);
        }
    }

    fn set(&mut self, at: usize, byte: u8) {
        if let Some(slot) = self.out.get_mut(at) {
            *slot = byte;
        }
    }
}

/// Finds packets in a stream of bytes, whatever else is in it.
///
/// ```
/// use firmware_bridge::servo::{Decoder, Instruction, MAX_PACKET, Protocol};
///
/// let mut out = [0; MAX_PACKET];
/// let len = Instruction::Ping.encode(Protocol::Feetech, 1, &mut out)?;
/// let mut decoder = Decoder::new(Protocol::Feetech);
/// let mut bytes = &out[..len];
/// while !bytes.is_empty() {
///     bytes = decoder.push(bytes);
///     while let Some(packet) = decoder.next_packet() {
///         let packet = packet?;
///         assert_eq!((packet.id, packet.instruction()?), (1, Instruction::Ping));
///     }
/// }
/// # Ok::<(), firmware_bridge::servo::PacketError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    protocol: Protocol,
    buf: [u8; MAX_PACKET],
    /// Bytes of `buf` that have been dealt with, and bytes that have come.
    used: usize,
    len: usize,
}

/// What the first waiting bytes are.
enum Scan {
    /// The beginning of a packet, perhaps.
    Unfinished,
    /// A whole packet of so many bytes.
    Packet(usize),
    /// So many bytes that are no packet, and what is wrong if they seemed to be one.
    Noise(usize, Option<PacketError>),
}

impl Decoder {
    /// A decoder that waits for a packet.
    #[must_use]
    pub const fn new(protocol: Protocol) -> Self {
        Self { protocol, buf: [0; MAX_PACKET], used: 0, len: 0 }
    }

    /// Takes as many bytes as there is room for and gives back the others. There is room for at least one whenever
    /// [`next_packet`](Self::next_packet) has given `None`.
    #[must_use = "the bytes that are given back are not taken"]
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let used = core::mem::take(&mut self.used).min(self.len);
        if let Some(come) = self.buf.get_mut(..self.len) {
            come.rotate_left(used);
        }
        self.len -= used;
        let room = self.buf.get_mut(self.len..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        for (slot, &byte) in room.iter_mut().zip(bytes) {
            *slot = byte;
        }
        self.len += count;
        bytes.get(count..).unwrap_or_default()
    }

    /// The next packet, or what is wrong with bytes that seemed to be one; `None` when more must come.
    pub fn next_packet(&mut self) -> Option<Result<Packet<'_>, PacketError>> {
        loop {
            let waiting = self.buf.get(self.used..self.len)?;
            match scan(self.protocol, waiting) {
                Scan::Unfinished => return None,
                Scan::Noise(count, error) => {
                    self.used += count;
                    if let Some(error) = error {
                        return Some(Err(error));
                    }
                }
                Scan::Packet(count) => {
                    let start = self.used;
                    self.used += count;
                    return packet(self.protocol, self.buf.get_mut(start..self.used)?).map(Ok);
                }
            }
        }
    }

    /// Takes the first waiting byte for noise, so that what comes behind it is looked at: to be called, until it says
    /// `false`, when the line has been silent for longer than between two bytes of a packet. `false`: none is waiting.
    pub fn skip(&mut self) -> bool {
        let waits = self.used < self.len;
        self.used += usize::from(waits);
        waits
    }
}

fn scan(protocol: Protocol, waiting: &[u8]) -> Scan {
    let (header, head): (&[u8], _) = match protocol {
        Protocol::Feetech => (&FEETECH_HEADER, FEETECH_HEAD),
        Protocol::Dynamixel => (&DYNAMIXEL_HEADER, DYNAMIXEL_HEAD),
    };
    if waiting.iter().zip(header).any(|(found, expected)| found != expected) {
        return Scan::Noise(1, None);
    }
    let (id, total) = match (protocol, waiting) {
        (Protocol::Feetech, [_, _, id, len, ..]) => (*id, head + usize::from(*len)),
        (Protocol::Dynamixel, [_, _, _, _, id, low, high, ..]) => {
            (*id, head + usize::from(u16::from_le_bytes([*low, *high])))
        }
        // A third FF is the header's, one later.
        (Protocol::Feetech, [_, _, 0xff]) => return Scan::Noise(1, None),
        _ => return Scan::Unfinished,
    };
    let check = match protocol {
        Protocol::Feetech => 1,
        Protocol::Dynamixel => 2,
    };
    if id == 0xff || total <= head + check {
        return Scan::Noise(1, None);
    }
    if total > MAX_PACKET {
        return Scan::Noise(1, Some(PacketError::TooLong(total)));
    }
    if protocol == Protocol::Dynamixel {
        // Stuffing keeps headers out of the body; in the CRC behind it one may begin or end by chance.
        let body = waiting.get(head..waiting.len().min(total - check)).unwrap_or_default();
        if let Some(at) = body.windows(header.len()).position(|window| window == header) {
            return Scan::Noise(head + at, Some(PacketError::CutShort));
        }
    }
    let Some((covered, sent)) = waiting.get(..total).and_then(|whole| whole.split_at_checked(total - check)) else {
        return Scan::Unfinished;
    };
    let (expected, found) = match (protocol, sent) {
        (Protocol::Feetech, &[check]) => {
            (u16::from(feetech_check(covered.get(2..).unwrap_or_default())), u16::from(check))
        }
        (Protocol::Dynamixel, &[low, high]) => (crc16(covered), u16::from_le_bytes([low, high])),
        _ => return Scan::Noise(1, None),
    };
    if expected == found {
        Scan::Packet(total)
    } else {
        Scan::Noise(1, Some(PacketError::Checksum { expected, found }))
    }
}

/// Takes a checked packet apart.
fn packet(protocol: Protocol, whole: &mut [u8]) -> Option<Packet<'_>> {
    match (protocol, whole) {
        (Protocol::Feetech, [_, _, id, _, kind, params @ .., _]) => {
            Some(Packet { id: *id, protocol, kind: *kind, params })
        }
        (Protocol::Dynamixel, [_, _, _, _, id, _, _, body @ .., _, _]) => match unstuffed(body) {
            [kind, params @ ..] => Some(Packet { id: *id, protocol, kind: *kind, params }),
            [] => None,
        },
        _ => None,
    }
}

/// Takes the stuffing out, in place.
fn unstuffed(body: &mut [u8]) -> &[u8] {
    let (mut len, mut before) = (0, [0; 3]);
    for at in 0..body.len() {
        let byte = body.get(at).copied().unwrap_or_default();
        let stuffing = before == STUFFED && byte == STUFFING;
        before = [before[1], before[2], byte];
        if !stuffing && let Some(slot) = body.get_mut(len) {
            *slot = byte;
            len += 1;
        }
    }
    body.get(..len).unwrap_or_default()
}

fn feetech_check(bytes: &[u8]) -> u8 {
    !bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte))
}

/// CRC-16 of Protocol 2.0: polynomial 8005, initial value 0, nothing reflected (CRC-16/UMTS).
fn crc16(bytes: &[u8]) -> u16 {
    const POLYNOMIAL: u16 = 0x8005;
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| (crc << 1) ^ (POLYNOMIAL * (crc >> 15)))
    })
}

#[cfg(test)]
#[test]
fn the_crc_has_the_published_check_value() {
    assert_eq!(crc16(b"123456789"), 0xfee8);
}
