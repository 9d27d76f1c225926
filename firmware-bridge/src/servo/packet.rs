//! What packets ask and answer, in both directions; see [the wire format](crate::servo).

use super::frame::Writer;

/// Kind of a status packet in Dynamixel's protocol.
const DYNAMIXEL_STATUS: u8 = 0x55;

/// Which bytes a bus speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Feetech's STS and SMS series.
    Feetech,
    /// Protocol 2.0 of ROBOTIS' Dynamixel X series.
    Dynamixel,
}

/// Why bytes are not a packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The checksum is wrong.
    #[error("checksum {found:04x} instead of {expected:04x}; check cable, supply and baud rate")]
    Checksum {
        /// Of the bytes received.
        expected: u16,
        /// What was sent along.
        found: u16,
    },
    /// The next packet began before the end of this one.
    #[error("a packet was cut short; check the cable, and that no two servos have the same id")]
    CutShort,
    /// The length is more than a packet of ours may have.
    #[error("a packet of {0} bytes, more than {max}; check the baud rate", max = super::MAX_PACKET)]
    TooLong(usize),
    /// No instruction, or none of this protocol.
    #[error("{0:02x} is no instruction of this protocol")]
    Instruction(u8),
    /// The parameters do not fit the instruction.
    #[error("{count} bytes of parameters do not fit instruction {code:02x}")]
    Parameters {
        /// The instruction.
        code: u8,
        /// How many bytes came.
        count: usize,
    },
    /// Not a status packet: an echo, or another controller on the bus.
    #[error("kind {0:02x} instead of a status; is there an echo, or a second controller on the bus?")]
    NoStatus(u8),
    /// The packet does not fit into the buffer, or a number not into its field.
    #[error("the packet does not fit its buffer or its fields; the longest has {max} bytes", max = super::MAX_PACKET)]
    NoRoom,
}

/// What a factory reset leaves as it is, in Dynamixel's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// The id.
    Id,
    /// The id and the baud rate.
    IdAndBaudRate,
}

/// What a controller asks of servos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction<'a> {
    /// Are you there?
    Ping,
    /// Send `len` bytes from `address` on.
    Read {
        /// First register.
        address: u16,
        /// Bytes.
        len: u16,
    },
    /// Store `data` from `address` on.
    Write {
        /// First register.
        address: u16,
        /// Bytes to store.
        data: &'a [u8],
    },
    /// As `Write`, but only once `Action` comes.
    RegWrite {
        /// First register.
        address: u16,
        /// Bytes to store.
        data: &'a [u8],
    },
    /// Do the last `RegWrite`.
    Action,
    /// Back to the state of delivery; Feetech's protocol offers no choice and has `None`.
    FactoryReset {
        /// What is left as it is.
        keep: Option<Keep>,
    },
    /// Start anew, registers in RAM at their defaults.
    Reboot,
    /// As `Read`, of several servos, which answer in the order of `ids`.
    SyncRead {
        /// First register.
        address: u16,
        /// Bytes a servo.
        len: u16,
        /// The servos.
        ids: &'a [u8],
    },
    /// As `Write`, to several servos; none answers.
    SyncWrite {
        /// First register.
        address: u16,
        /// Bytes a servo.
        len: u16,
        /// One servo's id and its `len` bytes after the other's; see [`Instruction::entries`].
        entries: &'a [u8],
    },
    /// As `SyncRead`, of different registers; in Dynamixel's protocol only.
    BulkRead {
        /// One servo's id, address and length (5 bytes) after the other's.
        requests: &'a [u8],
    },
}

/// What a servo answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status<'a> {
    /// Feetech: alarms as in register 65, the instruction is obeyed nevertheless. Dynamixel: bit 7 is an alert about
    /// the hardware, bits 0..=6 say why the instruction was refused, if not 0.
    pub error: u8,
    /// What was read; for `Ping` in Dynamixel's protocol model number (2) and firmware version (1).
    pub data: &'a [u8],
}

/// A checked packet, direction unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Servo that is spoken to, or that speaks.
    pub id: u8,
    pub(super) protocol: Protocol,
    pub(super) kind: u8,
    pub(super) params: &'a [u8],
}

/// An instruction taken apart: its code, as many of `words` as [`word_count`] says, and what is left.
type Parts<'a> = (u8, [u16; 2], &'a [u8]);

impl<'a> Instruction<'a> {
    /// Writes this instruction to servo `id` to the beginning of `out`; says how many bytes that is.
    ///
    /// # Errors
    /// [`PacketError::NoRoom`]; [`PacketError::Instruction`] for one that the protocol does not have;
    /// [`PacketError::Parameters`] for entries that are not whole, and for a `keep` that the protocol does not have.
    pub fn encode(&self, protocol: Protocol, id: u8, out: &mut [u8]) -> Result<usize, PacketError> {
        let (code, words, tail) = self.parts();
        // What the other side would not understand is not sent.
        Self::from_parts(protocol, (code, words, tail))?;
        let mut packet = Writer::begin(protocol, id, out);
        packet.body(&[code]);
        for word in words.iter().take(word_count(code)) {
            match (protocol, word.to_le_bytes()) {
                (Protocol::Feetech, [low, 0]) => packet.body(&[low]),
                (Protocol::Feetech, _) => return Err(PacketError::NoRoom),
                (Protocol::Dynamixel, both) => packet.body(&both),
            }
        }
        packet.body(tail);
        packet.finish()
    }

    const fn parts(&self) -> Parts<'a> {
        match *self {
            Self::Ping => (0x01, [0, 0], &[]),
            Self::Read { address, len } => (0x02, [address, len], &[]),
            Self::Write { address, data } => (0x03, [address, 0], data),
            Self::RegWrite { address, data } => (0x04, [address, 0], data),
            Self::Action => (0x05, [0, 0], &[]),
            Self::FactoryReset { keep: None } => (0x06, [0, 0], &[]),
            Self::FactoryReset { keep: Some(Keep::Nothing) } => (0x06, [0, 0], &[0xff]),
            Self::FactoryReset { keep: Some(Keep::Id) } => (0x06, [0, 0], &[0x01]),
            Self::FactoryReset { keep: Some(Keep::IdAndBaudRate) } => (0x06, [0, 0], &[0x02]),
            Self::Reboot => (0x08, [0, 0], &[]),
            Self::SyncRead { address, len, ids } => (0x82, [address, len], ids),
            Self::SyncWrite { address, len, entries } => (0x83, [address, len], entries),
            Self::BulkRead { requests } => (0x92, [0, 0], requests),
        }
    }

    fn from_parts(protocol: Protocol, (code, [address, len], tail): Parts<'a>) -> Result<Self, PacketError> {
        let instruction = match (code, protocol, tail) {
            (0x01, _, []) => Self::Ping,
            (0x02, _, []) => Self::Read { address, len },
            (0x03, _, data) => Self::Write { address, data },
            (0x04, _, data) => Self::RegWrite { address, data },
            (0x05, _, []) => Self::Action,
            (0x06, Protocol::Feetech, []) => Self::FactoryReset { keep: None },
            (0x06, Protocol::Dynamixel, [0xff]) => Self::FactoryReset { keep: Some(Keep::Nothing) },
            (0x06, Protocol::Dynamixel, [0x01]) => Self::FactoryReset { keep: Some(Keep::Id) },
            (0x06, Protocol::Dynamixel, [0x02]) => Self::FactoryReset { keep: Some(Keep::IdAndBaudRate) },
            (0x08, _, []) => Self::Reboot,
            (0x82, _, ids) => Self::SyncRead { address, len, ids },
            (0x83, _, entries) if entries.len().is_multiple_of(usize::from(len) + 1) => {
                Self::SyncWrite { address, len, entries }
            }
            (0x92, Protocol::Dynamixel, requests) if requests.len().is_multiple_of(5) => Self::BulkRead { requests },
            (0x01 | 0x02 | 0x05 | 0x06 | 0x08 | 0x83, _, _) | (0x92, Protocol::Dynamixel, _) => {
                return Err(PacketError::Parameters { code, count: tail.len() });
            }
            _ => return Err(PacketError::Instruction(code)),
        };
        Ok(instruction)
    }

    /// The ids and bytes in the `entries` of a `SyncWrite`; nothing for other instructions.
    pub fn entries(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let (len, entries) = match *self {
            Self::SyncWrite { len, entries, .. } => (usize::from(len), entries),
            _ => (0, &[][..]),
        };
        entries.chunks_exact(len + 1).filter_map(|entry| entry.split_first().map(|(&id, data)| (id, data)))
    }
}

impl Status<'_> {
    /// Writes this status of servo `id` to the beginning of `out`; says how many bytes that is.
    ///
    /// # Errors
    /// [`PacketError::NoRoom`].
    pub fn encode(&self, protocol: Protocol, id: u8, out: &mut [u8]) -> Result<usize, PacketError> {
        let error = [self.error];
        let mut packet = Writer::begin(protocol, id, out);
        match protocol {
            Protocol::Feetech => packet.body(&error),
            Protocol::Dynamixel => {
                packet.body(&[DYNAMIXEL_STATUS]);
                packet.body(&error);
            }
        }
        packet.body(self.data);
        packet.finish()
    }
}

impl<'a> Packet<'a> {
    /// What a servo reads in this packet.
    ///
    /// # Errors
    /// [`PacketError::Instruction`] and [`PacketError::Parameters`].
    pub fn instruction(&self) -> Result<Instruction<'a>, PacketError> {
        let (mut words, mut tail) = ([0; 2], self.params);
        for word in words.iter_mut().take(word_count(self.kind)) {
            (*word, tail) = match (self.protocol, tail) {
                (Protocol::Feetech, [value, rest @ ..]) => (u16::from(*value), rest),
                (Protocol::Dynamixel, [low, high, rest @ ..]) => (u16::from_le_bytes([*low, *high]), rest),
                _ => return Err(PacketError::Parameters { code: self.kind, count: self.params.len() }),
            };
        }
        Instruction::from_parts(self.protocol, (self.kind, words, tail))
    }

    /// What a controller reads in this packet.
    ///
    /// # Errors
    /// [`PacketError::NoStatus`], in Dynamixel's protocol only: in Feetech's every packet can be a status.
    pub fn status(&self) -> Result<Status<'a>, PacketError> {
        match (self.protocol, self.kind, self.params) {
            (Protocol::Feetech, error, data) => Ok(Status { error, data }),
            (Protocol::Dynamixel, DYNAMIXEL_STATUS, &[error, ref data @ ..]) => Ok(Status { error, data }),
            (Protocol::Dynamixel, kind, _) => Err(PacketError::NoStatus(kind)),
        }
    }
}

/// How many numbers the parameters of an instruction begin with.
const fn word_count(code: u8) -> usize {
    match code {
        0x02 | 0x82 | 0x83 => 2,
        0x03 | 0x04 => 1,
        _ => 0,
    }
}
