//! An arm behind a microcontroller that runs our firmware.
//!
//! One round trip a message: [`Arm::write`] waits for the state that answers its command, and the next
//! [`Arm::read`] uses that state if it is fresh, else it asks for one. An answer that is lost or damaged costs a part
//! of one control period: the last reading is used again, with its old stamp, until the arm has been silent for too
//! long.

use super::{Arm, ArmError, Capabilities, Health, Reading, error::excerpt};
use crate::clock::Clock;
use crate::link::Link;
use firmware_bridge::frame::{Decoder, FrameError, MAX_FRAME, encode};
use firmware_bridge::message::{DeviceMessage, HostMessage, Mode, PROTOCOL_VERSION, Refusal};
use firmware_bridge::{JointCommand, PerJoint};

/// How often a hello is repeated: 2 s in all, as long as a board takes that resets when its port is opened.
const HELLO_TRIES: u32 = 10;
const HELLO_TIMEOUT_US: u64 = 200_000;

/// How often activation, clearing and deactivation are repeated, and how long each waits, µs. They are not part of a
/// control tick.
const CONTROL_TRIES: u32 = 10;
const CONTROL_TIMEOUT_US: u64 = 20_000;

/// Bytes kept to show what a foreign port says.
const EXCERPT_MAX: usize = 16;

/// Time limits of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Time in which a command's goal shall be reached, µs: the control period. 8 ms unless told otherwise.
    pub horizon_us: u32,
    /// Longest wait for an answer within a tick, µs; 2 ms unless told otherwise. A tick has at most two waits.
    pub answer_timeout_us: u64,
    /// Age up to which the answer to a command serves as the next reading, µs; 2 ms unless told otherwise. A longer
    /// time saves round trips and gives older readings.
    pub fresh_us: u64,
    /// Longest silence of the arm, µs, before reading and writing fail; 80 ms unless told otherwise. The firmware's
    /// watchdog acts after 100 ms.
    pub silence_max_us: u64,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self { horizon_us: 8_000, answer_timeout_us: 2_000, fresh_us: 2_000, silence_max_us: 80_000 }
    }
}

/// What happened on the line since the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BridgeCounts {
    /// Messages sent.
    pub messages: u64,
    /// Messages whose answer did not come in time.
    pub lost: u64,
    /// Frames that were damaged or no message of ours.
    pub damaged: u64,
    /// Readings that were older than [`BridgeOptions::fresh_us`] when they were handed out.
    pub stale: u64,
}

/// What the arm last said about itself.
#[derive(Debug, Clone)]
struct Answer {
    seq: u32,
    boot_id: u32,
    /// Of the firmware.
    stamp_us: u64,
    mode: Mode,
    refused: Option<Refusal>,
    sent_rad: PerJoint,
}

/// Drives an arm over a [`Link`] whose far end runs [`firmware_bridge::Firmware`]. `clock` is the one that the link
/// reads its deadlines on.
#[derive(Debug)]
pub struct BridgeArm<L: Link, C: Clock> {
    link: L,
    clock: C,
    options: BridgeOptions,
    decoder: Decoder,
    seq: u32,
    capabilities: Capabilities,
    boot_id: u32,
    /// Set by a hello of our version.
    greeted: bool,
    answer: Answer,
    reading: Reading,
    /// The reading has not been handed out.
    unread: bool,
    /// Activated by us, and not deactivated or cleared since.
    active: bool,
    /// The motors may be powered because of us.
    powered: bool,
    /// When the first of the last messages without an answer was sent.
    unanswered_since_us: Option<u64>,
    counts: BridgeCounts,
}

impl<L: Link, C: Clock> BridgeArm<L, C> {
    /// Says hello and reads the arm's limits and state. Nothing moves, and a latched fault stays.
    ///
    /// # Errors
    /// [`ArmError::Silent`], [`ArmError::Foreign`], [`ArmError::Version`] or [`ArmError::Link`].
    pub fn connect(link: L, clock: C, options: BridgeOptions) -> Result<Self, ArmError> {
        let answer =
            Answer { seq: 0, boot_id: 0, stamp_us: 0, mode: Mode::Idle, refused: None, sent_rad: PerJoint::new() };
        let mut arm = Self {
            link,
            clock,
            options,
            decoder: Decoder::new(),
            seq: 0,
            capabilities: Capabilities { limits: Vec::new(), watchdog_us: None },
            boot_id: 0,
            greeted: false,
            answer,
            reading: Reading::default(),
            unread: false,
            active: false,
            powered: false,
            unanswered_since_us: None,
            counts: BridgeCounts::default(),
        };
        arm.reconnect()?;
        Ok(arm)
    }

    /// Says hello again over the same line, after the microcontroller was reset.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn reconnect(&mut self) -> Result<(), ArmError> {
        (self.active, self.powered, self.greeted) = (false, false, false);
        self.link.discard_input().map_err(ArmError::link)?;
        self.decoder = Decoder::new();
        let (mut heard, mut heard_count) = (Vec::new(), 0);
        for _ in 0..HELLO_TRIES {
            self.send(&HostMessage::Hello { version: PROTOCOL_VERSION })?;
            let until_us = self.clock.now_us() + HELLO_TIMEOUT_US;
            while !self.greeted {
                let mut buf = [0; 256];
                let bytes = self.receive(&mut buf, until_us)?;
                heard_count += bytes.len();
                heard.extend(bytes.iter().take(EXCERPT_MAX - heard.len()));
                // A port may also talk without end.
                if bytes.is_empty() || self.clock.now_us() >= until_us {
                    break;
                }
            }
            // The state, for the mode and a first reading.
            if self.greeted && self.exchange(CONTROL_TIMEOUT_US, |seq| HostMessage::Poll { seq })? {
                return Ok(());
            }
        }
        Err(if heard_count == 0 {
            ArmError::Silent { waited_ms: u64::from(HELLO_TRIES) * HELLO_TIMEOUT_US / 1000 }
        } else {
            ArmError::Foreign { count: heard_count, excerpt: excerpt(&heard) }
        })
    }

    /// What the firmware was doing when it last answered.
    pub fn mode(&self) -> Mode {
        self.answer.mode
    }

    /// What happened on the line since the connection.
    pub fn counts(&self) -> BridgeCounts {
        self.counts
    }

    fn send(&mut self, message: &HostMessage) -> Result<(), ArmError> {
        let mut frame = [0; MAX_FRAME];
        let len = encode(message, &mut frame).map_err(ArmError::link)?;
        self.counts.messages += 1;
        self.link.write_all(&frame[..len]).map_err(ArmError::link)
    }

    /// Waits for bytes and takes in what they say; no bytes once the deadline has passed.
    fn receive<'a>(&mut self, buf: &'a mut [u8], until_us: u64) -> Result<&'a [u8], ArmError> {
        let count = self.link.read(buf, until_us).map_err(ArmError::link)?;
        for &byte in &buf[..count] {
            match self.decoder.push(byte) {
                None => {}
                Some(Ok(message)) => self.take_in(message),
                Some(Err(FrameError::Version(firmware))) => {
                    return Err(ArmError::Version { host: PROTOCOL_VERSION, firmware });
                }
                Some(Err(_)) => self.counts.damaged += 1,
            }
        }
        Ok(&buf[..count])
    }

    fn take_in(&mut self, message: DeviceMessage) {
        match message {
            DeviceMessage::Hello { version: _, boot_id, watchdog_us, limits } => {
                self.greeted = true;
                self.boot_id = boot_id;
                self.answer.boot_id = boot_id;
                self.capabilities = Capabilities { limits: limits.to_vec(), watchdog_us: Some(watchdog_us) };
            }
            DeviceMessage::State { seq, boot_id, stamp_us, mode, refused, joints, sent_rad } => {
                let measured_before = self.answer.boot_id == boot_id && self.answer.stamp_us == stamp_us;
                if !measured_before || self.reading.joints != joints {
                    self.reading = Reading { stamp_us: self.clock.now_us(), joints };
                }
                self.unread = true;
                self.answer = Answer { seq, boot_id, stamp_us, mode, refused, sent_rad };
            }
        }
    }

    /// Sends a message; says whether its answer came within `timeout_us`.
    fn exchange(&mut self, timeout_us: u64, message: impl FnOnce(u32) -> HostMessage) -> Result<bool, ArmError> {
        // 0 is the sequence number of no message.
        self.seq = self.seq.checked_add(1).unwrap_or(1);
        let sent_us = self.clock.now_us();
        self.send(&message(self.seq))?;
        let until_us = sent_us + timeout_us;
        let mut buf = [0; 256];
        while self.answer.seq != self.seq {
            let is_late = self.clock.now_us() > until_us;
            if is_late || self.receive(&mut buf, until_us)?.is_empty() {
                self.counts.lost += 1;
                self.unanswered_since_us.get_or_insert(sent_us);
                return Ok(false);
            }
        }
        self.unanswered_since_us = None;
        Ok(true)
    }

    /// Repeats a message until it is answered.
    fn insist(&mut self, message: impl Fn(u32) -> HostMessage) -> Result<(), ArmError> {
        for _ in 0..CONTROL_TRIES {
            if self.exchange(CONTROL_TIMEOUT_US, &message)? {
                return Ok(());
            }
        }
        Err(ArmError::NoAnswer { silent_ms: u64::from(CONTROL_TRIES) * CONTROL_TIMEOUT_US / 1000 })
    }

    /// One exchange within a tick; a lost answer is an error only after a long silence.
    fn exchange_in_tick(&mut self, message: impl FnOnce(u32) -> HostMessage) -> Result<bool, ArmError> {
        let answered = self.exchange(self.options.answer_timeout_us, message)?;
        let now_us = self.clock.now_us();
        let silent_us = self.unanswered_since_us.map_or(0, |since_us| now_us.saturating_sub(since_us));
        if silent_us > self.options.silence_max_us {
            return Err(ArmError::NoAnswer { silent_ms: silent_us / 1000 });
        }
        self.check()?;
        Ok(answered)
    }

    fn check_boot(&self) -> Result<(), ArmError> {
        let (before, now) = (self.boot_id, self.answer.boot_id);
        if before == now { Ok(()) } else { Err(ArmError::Rebooted { before, now }) }
    }

    /// What the last answer says about the arm as a whole.
    fn check(&self) -> Result<(), ArmError> {
        self.check_boot()?;
        match self.answer.mode {
            Mode::Fault(fault) if self.active => Err(ArmError::Fault(fault)),
            Mode::Idle if self.active => Err(ArmError::PowerLost),
            _ => Ok(()),
        }
    }

    fn is_fresh(&self) -> bool {
        self.clock.now_us().saturating_sub(self.reading.stamp_us) <= self.options.fresh_us
    }

    /// Whether the last message was obeyed.
    fn obeyed(&self) -> Result<(), ArmError> {
        match self.answer.refused {
            None => Ok(()),
            Some(refusal) => Err(ArmError::Refused(refusal)),
        }
    }

    fn try_activate(&mut self) -> Result<(), ArmError> {
        self.insist(|seq| HostMessage::Activate { seq })?;
        self.check()?;
        if let Mode::Fault(fault) = self.answer.mode {
            return Err(ArmError::Fault(fault));
        }
        if self.answer.refused == Some(Refusal::PositionLimit) {
            let joints = self.reading.joints.position_rad.iter().zip(&self.capabilities.limits).enumerate();
            let outside = |position_rad: f32, lower_rad: f32, upper_rad: f32| {
                (lower_rad - position_rad).max(position_rad - upper_rad)
            };
            let worst = joints.max_by(|(_, (a, x)), (_, (b, y))| {
                outside(**a, x.lower_rad, x.upper_rad).total_cmp(&outside(**b, y.lower_rad, y.upper_rad))
            });
            if let Some((joint, (&position_rad, &limits))) = worst {
                return Err(ArmError::OutsideLimits { joint, position_rad, limits });
            }
        }
        self.obeyed()
    }
}

impl<L: Link, C: Clock> Arm for BridgeArm<L, C> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn activate(&mut self) -> Result<(), ArmError> {
        // An answer may be lost after the power came on.
        let before = self.powered;
        self.powered = true;
        match self.try_activate() {
            Ok(()) => {
                self.active = true;
                Ok(())
            }
            // The arm is held as before; power that others switched on is not ours to cut.
            Err(error @ ArmError::Fault(_)) => {
                self.powered = before;
                Err(error)
            }
            Err(error) => {
                // The first error says more.
                let _ = self.deactivate();
                Err(error)
            }
        }
    }

    fn read(&mut self) -> Result<Reading, ArmError> {
        if self.unread && self.is_fresh() {
            self.check()?;
        } else {
            self.exchange_in_tick(|seq| HostMessage::Poll { seq })?;
        }
        if self.reading.joints.position_rad.len() != self.capabilities.limits.len() {
            // Nothing was measured since the firmware started.
            return Err(ArmError::Refused(Refusal::Motors));
        }
        self.counts.stale += u64::from(!self.is_fresh());
        self.unread = false;
        Ok(self.reading.clone())
    }

    /// Sends a goal and waits for the firmware's answer. Gives the goal that the firmware was holding the motors to
    /// when the command arrived, after its interpolation: at the end of the horizon of the command before. If the
    /// answer is lost, the last one known.
    fn write(&mut self, command: &JointCommand) -> Result<JointCommand, ArmError> {
        let position_rad = command.position_rad.clone();
        let horizon_us = self.options.horizon_us;
        if self.exchange_in_tick(|seq| HostMessage::Command { seq, position_rad, horizon_us })? {
            self.obeyed()?;
        }
        Ok(JointCommand { position_rad: self.answer.sent_rad.clone() })
    }

    fn health(&self) -> Health {
        let BridgeCounts { messages, lost, damaged, stale, .. } = self.counts;
        Health { asked: messages, lost, damaged, stale, ..Health::default() }
    }

    fn clear_fault(&mut self) -> Result<(), ArmError> {
        self.insist(|seq| HostMessage::ClearFault { seq })?;
        self.check_boot()?;
        self.obeyed()?;
        (self.active, self.powered) = (false, false);
        Ok(())
    }

    fn deactivate(&mut self) -> Result<(), ArmError> {
        self.active = false;
        if !self.powered && self.answer.sent_rad.is_empty() {
            return Ok(());
        }
        for _ in 0..CONTROL_TRIES {
            self.insist(|seq| HostMessage::Deactivate { seq })?;
            if self.answer.sent_rad.is_empty() && self.answer.refused.is_none() {
                self.powered = false;
                return Ok(());
            }
            let now_us = self.clock.now_us();
            self.clock.sleep_until_us(now_us + CONTROL_TIMEOUT_US);
        }
        Err(ArmError::Refused(Refusal::Motors))
    }
}

impl<L: Link, C: Clock> Drop for BridgeArm<L, C> {
    fn drop(&mut self) {
        if self.powered {
            // The firmware's watchdog acts when this fails.
            let _ = self.deactivate();
        }
    }
}
