//! Moves bytes between the host and an arm: serial port, pty, unix socket, or a simulated arm in memory.
//!
//! [`open`] takes what a person writes after `--port`; [`loopback`] is the way to a simulated arm in this process.

pub mod loopback;
pub mod reopen;
pub mod serial;
pub mod unix;

pub use loopback::{Loopback, SimHandle, VirtualClock};
pub use reopen::Reopening;
pub use serial::Serial;
pub use unix::Unix;

use crate::clock::Clock;
use std::io;

/// A two-way stream of bytes. Anything may wrap it: a fault injector, a recorder.
pub trait Link {
    /// Why bytes could not be moved.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The far end is gone.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Waits for bytes until `deadline_us` on the host's [`crate::clock::Clock`], and returns how many were put
    /// into `buf`; 0 when the deadline passed.
    ///
    /// # Errors
    /// The far end is gone.
    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, Self::Error>;

    /// Throws away what has arrived and was not read.
    ///
    /// # Errors
    /// The far end is gone.
    fn discard_input(&mut self) -> Result<(), Self::Error>;

    /// Goes on at another speed, bit/s, where the line has one.
    ///
    /// # Errors
    /// The port does not know this speed, or is gone.
    fn set_bit_rate(&mut self, _bit_rate: u32) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Opens a port by its name: `unix:PATH` for a unix socket, else the path of a serial port or of a pty. Deadlines are
/// read on `clock`.
///
/// # Errors
/// [`LinkError::Open`].
pub fn open<C: Clock>(port: &str, clock: C) -> Result<Port<C>, LinkError> {
    match port.strip_prefix("unix:") {
        Some(path) => Unix::open(path, clock).map(Port::Unix),
        None => Serial::open(port, clock).map(Port::Serial),
    }
}

/// As [`open`], for a port that was open before, on a thread that has no time to look for others.
///
/// # Errors
/// [`LinkError::Vanished`] for a serial port, [`LinkError::Open`] for a socket.
pub fn reopen<C: Clock>(port: &str, clock: C) -> Result<Port<C>, LinkError> {
    match port.strip_prefix("unix:") {
        Some(path) => Unix::open(path, clock).map(Port::Unix),
        None => Serial::reopen(port, clock).map(Port::Serial),
    }
}

/// A port that was opened by its name.
#[derive(Debug)]
pub enum Port<C> {
    /// Serial port or pty.
    Serial(Serial<C>),
    /// Unix socket.
    Unix(Unix<C>),
}

impl<C: Clock> Link for Port<C> {
    type Error = LinkError;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        match self {
            Self::Serial(link) => link.write_all(bytes),
            Self::Unix(link) => link.write_all(bytes),
        }
    }

    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, LinkError> {
        match self {
            Self::Serial(link) => link.read(buf, deadline_us),
            Self::Unix(link) => link.read(buf, deadline_us),
        }
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        match self {
            Self::Serial(link) => link.discard_input(),
            Self::Unix(link) => link.discard_input(),
        }
    }

    fn set_bit_rate(&mut self, bit_rate: u32) -> Result<(), LinkError> {
        match self {
            Self::Serial(link) => link.set_bit_rate(bit_rate),
            Self::Unix(link) => link.set_bit_rate(bit_rate),
        }
    }
}

/// Why a port moves no bytes.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The port could not be opened.
    #[error("cannot open port {port}: {reason}; {remedy}")]
    Open {
        /// Name of the port.
        port: String,
        /// What the system says.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The port was open and is gone.
    #[error("port {port} is gone ({source}); check the cable and the power, or start the simulated arm again")]
    Vanished {
        /// Name of the port.
        port: String,
        /// What the system says.
        source: io::Error,
    },
    /// The far end takes no bytes.
    #[error("port {port} took no bytes for {waited_ms} ms; nothing reads at its far end: check that the arm is on")]
    Stuck {
        /// Name of the port.
        port: String,
        /// How long the driver waited, ms.
        waited_ms: u64,
    },
}

/// Longest wait for the far end to take bytes, ms.
const WRITE_TIMEOUT_MS: u64 = 100;

/// Sorts what the system says about an open port.
fn classify(port: &str, source: io::Error) -> LinkError {
    match source.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            LinkError::Stuck { port: port.to_owned(), waited_ms: WRITE_TIMEOUT_MS }
        }
        _ => LinkError::Vanished { port: port.to_owned(), source },
    }
}
