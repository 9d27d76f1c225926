//! Asks the servos of a half-duplex bus for registers, within deadlines.
//!
//! What a servo says about alarms is kept, never an error: an arm with a hot motor must still be parked and released.

use super::ArmError;
use crate::clock::Clock;
use crate::link::Link;
use crate::link::serial::BAUD;
use firmware_bridge::servo::{
    BROADCAST, Decoder, Instruction, MAX_PACKET, PacketError, Protocol, Register, RegisterError, x_series,
};

/// Longest wait for a single servo's answer outside of a control tick, µs, besides the time on the wire: beyond the 16
/// ms of an adapter with FTDI's default latency.
const ANSWER_US: u64 = 20_000;
/// Bits on the wire, at most, of a question about a register and its answer.
const BITS: u64 = 400;

/// Why a servo did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The line failed.
    #[error(transparent)]
    Link(Box<dyn std::error::Error + Send + Sync>),
    /// It does not answer.
    #[error("servo {id} did not answer {tries} times; check its cable, its supply and its id")]
    NoAnswer {
        /// Which servo.
        id: u8,
        /// How often it was asked.
        tries: u32,
    },
    /// It answers with something else than what was asked for.
    #[error(
        "servo {id} answered {found} bytes instead of {expected}; check its firmware, and that no other servo has its id"
    )]
    Length {
        /// Which servo.
        id: u8,
        /// Bytes that were asked for.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// It says that it will not do it.
    #[error("servo {id} refused: {reason}")]
    Refused {
        /// Which servo.
        id: u8,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A value that a register cannot hold.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A question that the protocol cannot put.
    #[error(transparent)]
    Packet(#[from] PacketError),
}

impl From<BusError> for ArmError {
    fn from(error: BusError) -> Self {
        Self::link(error)
    }
}

/// What happened on the bus since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusCounts {
    /// Answers that were waited for.
    pub asked: u64,
    /// Answers that did not come in time.
    pub lost: u64,
    /// Bytes that seemed to be a packet and were damaged.
    pub damaged: u64,
    /// Answers that nobody had asked for: late ones.
    pub unexpected: u64,
    /// Questions that were put again.
    pub retries: u64,
}

/// One servo's part of an answer to [`Bus::sync_read`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Alarms: the error byte.
    pub error: u8,
    /// The registers' bytes.
    pub data: heapless::Vec<u8, 32>,
}

/// A bus and the host's end of it.
#[derive(Debug)]
pub struct Bus<L: Link, C: Clock> {
    link: L,
    clock: C,
    protocol: Protocol,
    decoder: Decoder,
    counts: BusCounts,
    sent_us: u64,
    bit_rate: u32,
}

impl<L: Link, C: Clock> Bus<L, C> {
    /// A bus over `link`, whose deadlines are read on `clock`.
    pub fn new(link: L, clock: C, protocol: Protocol) -> Self {
        Self {
            link,
            clock,
            protocol,
            decoder: Decoder::new(protocol),
            counts: BusCounts::default(),
            sent_us: 0,
            bit_rate: BAUD,
        }
    }

    /// Speaks another language from now on.
    pub fn speak(&mut self, protocol: Protocol) {
        (self.protocol, self.decoder) = (protocol, Decoder::new(protocol));
    }

    /// Goes on at another speed of the line, bit/s.
    ///
    /// # Errors
    /// [`BusError::Link`].
    pub fn set_bit_rate(&mut self, bit_rate: u32) -> Result<(), BusError> {
        self.link.set_bit_rate(bit_rate).map_err(link)?;
        self.bit_rate = bit_rate;
        Ok(())
    }

    /// Time on the wire, at most, of a question about a register and its answer, µs.
    fn wire_us(&self) -> u64 {
        BITS * 1_000_000 / u64::from(self.bit_rate.max(1))
    }

    /// Which language is spoken.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// When something was last sent, µs.
    pub fn sent_us(&self) -> u64 {
        self.sent_us
    }

    /// What happened on the bus.
    pub fn counts(&self) -> BusCounts {
        self.counts
    }

    /// Host's clock, µs.
    pub fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    /// The same bus over a line made of this one's.
    pub fn map_link<K: Link>(self, change: impl FnOnce(L) -> K) -> Bus<K, C> {
        let Self { link, clock, protocol, .. } = self;
        Bus::new(change(link), clock, protocol)
    }

    /// The line, to go on with it in another way.
    pub fn into_link(self) -> L {
        self.link
    }

    /// Whether servo `id` answers within `timeout_us` and the time on the wire.
    ///
    /// # Errors
    /// [`BusError::Link`].
    pub fn ping(&mut self, id: u8, timeout_us: u64) -> Result<bool, BusError> {
        let mut answer = [None];
        self.ask(id, &Instruction::Ping, 0, &[id], &mut answer, timeout_us + self.wire_us())?;
        Ok(answer[0].is_some())
    }

    /// Reads a register; asks up to `tries` times.
    ///
    /// # Errors
    /// See [`BusError`].
    pub fn read(&mut self, id: u8, register: &Register, tries: u32) -> Result<i32, BusError> {
        let instruction = Instruction::Read { address: register.address, len: register.size.into() };
        let answer = self.insist(id, &instruction, register.size.into(), tries)?;
        Ok(register.decode(&answer.data)?)
    }

    /// Writes a register, in counts, and waits for the acknowledgement; tries up to `tries` times.
    ///
    /// # Errors
    /// See [`BusError`]. The value may have been stored all the same.
    pub fn write(&mut self, id: u8, register: &Register, value: i32, tries: u32) -> Result<(), BusError> {
        let data = register.encode(value)?;
        self.insist(id, &Instruction::Write { address: register.address, data: &data }, 0, tries).map(|_| ())
    }

    /// Reads `len` bytes from `address` on of all `ids`, waiting until `deadline_us`. Servos whose answers are good
    /// have them in `answers`; those of the others stay as they are.
    ///
    /// # Errors
    /// [`BusError::Link`], [`BusError::Packet`].
    pub fn sync_read(
        &mut self,
        address: u16,
        len: u16,
        ids: &[u8],
        answers: &mut [Option<Answer>],
        deadline_us: u64,
    ) -> Result<(), BusError> {
        let timeout_us = deadline_us.saturating_sub(self.clock.now_us());
        self.ask(BROADCAST, &Instruction::SyncRead { address, len, ids }, len.into(), ids, answers, timeout_us)
    }

    /// Writes a register of several servos at once; none acknowledges it.
    ///
    /// # Errors
    /// See [`BusError`]; nothing is sent where a value does not fit.
    pub fn sync_write(&mut self, register: &Register, values: &[(u8, i32)]) -> Result<(), BusError> {
        let mut entries: heapless::Vec<u8, { MAX_PACKET / 2 }> = heapless::Vec::new();
        for &(id, value) in values {
            let stored = entries.push(id).is_ok() && entries.extend_from_slice(&register.encode(value)?).is_ok();
            if !stored {
                return Err(PacketError::NoRoom.into());
            }
        }
        let (address, len) = (register.address, register.size.into());
        self.send(BROADCAST, &Instruction::SyncWrite { address, len, entries: &entries })
    }

    /// Lets a servo start anew, whether or not it says that it does.
    ///
    /// # Errors
    /// [`BusError::Link`].
    pub fn reboot(&mut self, id: u8) -> Result<(), BusError> {
        self.ask(id, &Instruction::Reboot, 0, &[id], &mut [None], ANSWER_US)
    }

    /// Counts a question that is put again.
    pub(super) fn count_retry(&mut self) {
        self.counts.retries += 1;
    }

    fn send(&mut self, id: u8, instruction: &Instruction<'_>) -> Result<(), BusError> {
        let mut packet = [0; MAX_PACKET];
        let len = instruction.encode(self.protocol, id, &mut packet)?;
        self.sent_us = self.clock.now_us();
        self.link.write_all(&packet[..len]).map_err(link)
    }

    fn insist(&mut self, id: u8, instruction: &Instruction<'_>, len: usize, tries: u32) -> Result<Answer, BusError> {
        for attempt in 0..tries {
            self.counts.retries += u64::from(attempt > 0);
            let mut answer = [None];
            self.ask(id, instruction, len, &[id], &mut answer, ANSWER_US + self.wire_us())?;
            let [answer] = answer;
            match answer {
                // What was damaged on the way to the servo is sent again.
                Some(answer)
                    if self.is_refusal(&answer)
                        && (answer.error & !x_series::ALERT != x_series::refusal::CRC || attempt + 1 == tries) =>
                {
                    return Err(BusError::Refused { id, reason: refusal(answer.error) });
                }
                Some(answer) if answer.data.len() == len && !self.is_refusal(&answer) => return Ok(answer),
                Some(answer) if attempt + 1 == tries => {
                    return Err(BusError::Length { id, expected: len, found: answer.data.len() });
                }
                _ => {}
            }
        }
        Err(BusError::NoAnswer { id, tries })
    }

    /// Whether a servo says that it has not done as it was told; Feetech's never do.
    fn is_refusal(&self, answer: &Answer) -> bool {
        self.protocol == Protocol::Dynamixel && answer.error & !x_series::ALERT != 0
    }

    /// Puts a question and collects the answers of `ids`, each of `len` bytes if it is more than one that is asked.
    fn ask(
        &mut self,
        id: u8,
        instruction: &Instruction<'_>,
        len: usize,
        ids: &[u8],
        answers: &mut [Option<Answer>],
        timeout_us: u64,
    ) -> Result<(), BusError> {
        // Half duplex: what is still waiting is late, and an answer to something else.
        self.link.discard_input().map_err(link)?;
        self.decoder = Decoder::new(self.protocol);
        self.send(id, instruction)?;
        self.counts.asked += ids.len() as u64;
        let until_us = self.clock.now_us() + timeout_us;
        let mut missing = ids.len();
        let mut buf = [0; 256];
        while missing > 0 {
            let count = self.link.read(&mut buf, until_us).map_err(link)?;
            let mut bytes = &buf[..count];
            while !bytes.is_empty() {
                bytes = self.decoder.push(bytes);
                missing -= self.collect(len, ids, answers);
            }
            if count == 0 || self.clock.now_us() > until_us {
                // A packet that broke off may hide those behind it.
                while missing > 0 && self.decoder.skip() {
                    missing -= self.collect(len, ids, answers);
                }
                break;
            }
        }
        self.counts.lost += missing as u64;
        Ok(())
    }

    /// Takes in the packets that are whole; how many servos have answered in them.
    fn collect(&mut self, len: usize, ids: &[u8], answers: &mut [Option<Answer>]) -> usize {
        let mut good = 0;
        while let Some(packet) = self.decoder.next_packet() {
            let Ok(packet) = packet else {
                self.counts.damaged += 1;
                continue;
            };
            let slot = ids.iter().position(|asked| *asked == packet.id).and_then(|index| answers.get_mut(index));
            match (packet.status(), slot) {
                (Ok(status), Some(slot @ None)) if ids.len() == 1 || status.data.len() == len => {
                    let data = heapless::Vec::from_slice(status.data).unwrap_or_default();
                    *slot = Some(Answer { error: status.error, data });
                    good += 1;
                }
                _ => self.counts.unexpected += 1,
            }
        }
        good
    }
}

/// What a Dynamixel's error byte says, for people.
fn refusal(error: u8) -> &'static str {
    use x_series::refusal::{ACCESS, CRC, INSTRUCTION, LENGTH, LIMIT, RANGE, RESULT};
    match error & !x_series::ALERT {
        RESULT => "it could not do it; a servo that has shut itself down obeys again once its fault is cleared",
        INSTRUCTION => "it does not know the instruction; update its firmware",
        CRC => "the question arrived damaged; check the cable",
        RANGE => "the value is outside of the register's range, or its bus watchdog has stopped it",
        LENGTH => "the question had too few bytes; check the model of the servo",
        LIMIT => "the value is outside of the servo's own limits; calibrate the arm again",
        ACCESS => "the register cannot be written, or not while the torque is on",
        _ => "for a reason that it alone knows; check its model and firmware",
    }
}

fn link(error: impl std::error::Error + Send + Sync + 'static) -> BusError {
    BusError::Link(Box::new(error))
}
