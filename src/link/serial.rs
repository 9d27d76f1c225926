//! Serial ports, real ones and ptys.

use super::{Link, LinkError, WRITE_TIMEOUT_MS, classify};
use crate::clock::Clock;
use serialport::{ClearBuffer, SerialPort, TTYPort};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Speed at which ports are opened and arms are driven, bit/s; what is USB on both ends ignores it.
pub const BAUD: u32 = 1_000_000;

/// A serial port, opened for this process alone.
#[derive(Debug)]
pub struct Serial<C> {
    path: String,
    port: TTYPort,
    clock: C,
}

impl<C: Clock> Serial<C> {
    /// Opens the port at `path` in raw mode at [`BAUD`], 8N1, without flow control, and asks an adapter with a
    /// [`latency_timer`] for the shortest.
    ///
    /// # Errors
    /// [`LinkError::Open`].
    pub fn open(path: &str, clock: C) -> Result<Self, LinkError> {
        Self::connect(path, clock).map_err(|error| LinkError::Open {
            port: path.to_owned(),
            reason: error.to_string(),
            remedy: remedy(path),
        })
    }

    /// As [`Serial::open`], for a port that was there: an error comes at once, without a look at which other ports there
    /// are.
    ///
    /// # Errors
    /// [`LinkError::Vanished`].
    pub fn reopen(path: &str, clock: C) -> Result<Self, LinkError> {
        Self::connect(path, clock).map_err(|error| classify(path, error.into()))
    }

    fn connect(path: &str, clock: C) -> serialport::Result<Self> {
        if let Some(file) = latency_timer(path) {
            // Where the system permits it; `hindsight doctor` tells whether it did.
            let _ = std::fs::write(file, "1");
        }
        let builder = serialport::new(path, BAUD).timeout(Duration::from_millis(WRITE_TIMEOUT_MS));
        Ok(Self { path: path.to_owned(), port: TTYPort::open(&builder)?, clock })
    }

    fn set_timeout(&mut self, timeout: Duration) {
        // Keeps a number; asks nothing of the system.
        let _ = self.port.set_timeout(timeout);
    }
}

impl<C: Clock> Link for Serial<C> {
    type Error = LinkError;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.set_timeout(Duration::from_millis(WRITE_TIMEOUT_MS));
        self.port.write_all(bytes).map_err(|error| classify(&self.path, error))
    }

    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, LinkError> {
        loop {
            let left_us = deadline_us.saturating_sub(self.clock.now_us());
            self.set_timeout(Duration::from_micros(left_us));
            match self.port.read(buf) {
                Ok(0) => return Err(classify(&self.path, io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(0),
                // A signal; the deadline stands.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(classify(&self.path, error)),
            }
        }
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        self.port.clear(ClearBuffer::Input).map_err(|error| classify(&self.path, error.into()))
    }

    fn set_bit_rate(&mut self, bit_rate: u32) -> Result<(), LinkError> {
        self.port.set_baud_rate(bit_rate).map_err(|error| classify(&self.path, error.into()))
    }
}

/// The file that holds for how many milliseconds the USB adapter at `path` keeps short answers back: an FTDI's, by
/// Linux's driver, 16 unless it is told otherwise. `None` for a port without such a timer.
#[must_use]
pub fn latency_timer(path: &str) -> Option<PathBuf> {
    let device = std::fs::canonicalize(path).ok()?;
    let file = Path::new("/sys/bus/usb-serial/devices").join(device.file_name()?).join("latency_timer");
    file.exists().then_some(file)
}

/// What to do about a port that does not open.
fn remedy(path: &str) -> String {
    if std::fs::exists(path).unwrap_or(false) {
        return "check that it is a serial port, that no other program has it open, and that you may read and write it \
                (on Linux: membership of the group dialout)"
            .to_owned();
    }
    let names: Vec<String> =
        serialport::available_ports().unwrap_or_default().into_iter().map(|port| port.port_name).collect();
    if names.is_empty() {
        "no serial port was found here: plug the arm in, or start a simulated one with `hindsight sim --link PATH`"
            .to_owned()
    } else {
        format!("ports found here: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::open;

    /// Time stands still: every read has its whole timeout, and 0 when the deadline is 0.
    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now_us(&self) -> u64 {
            0
        }

        fn sleep_until_us(&mut self, _: u64) {}
    }

    fn pair() -> (TTYPort, Serial<Still>) {
        let (far, near) = TTYPort::pair().unwrap();
        let path = near.name().unwrap();
        drop(near);
        (far, Serial::open(&path, Still).unwrap())
    }

    #[test]
    fn bytes_cross_a_pty_unchanged() {
        let (mut far, mut near) = pair();
        let all: Vec<u8> = (0..=255).collect();
        near.write_all(&all).unwrap();
        let mut heard = vec![0; 256];
        far.read_exact(&mut heard).unwrap();
        assert_eq!(heard, all);
        far.write_all(&all).unwrap();
        let (mut buf, mut heard) = ([0; 100], Vec::new());
        while heard.len() < 256 {
            let count = near.read(&mut buf, 10_000_000).unwrap();
            assert_ne!(count, 0);
            heard.extend_from_slice(&buf[..count]);
        }
        assert_eq!(heard, all);
        assert_eq!(near.read(&mut buf, 0).unwrap(), 0, "the deadline has passed");
    }

    #[test]
    fn a_vanished_port_is_told_at_once() {
        let (far, mut near) = pair();
        drop(far);
        // An hour would be the deadline.
        let error = near.read(&mut [0; 8], 3_600_000_000).unwrap_err();
        assert!(matches!(error, LinkError::Vanished { .. }), "{error}");
        let error = near.write_all(b"x").unwrap_err();
        assert!(matches!(error, LinkError::Vanished { .. }), "{error}");
        assert!(near.discard_input().is_err());
    }

    #[test]
    fn what_is_no_port_does_not_open_and_the_error_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("tty");
        let error = open(missing.to_str().unwrap(), Still).unwrap_err().to_string();
        assert!(error.contains("found here"), "{error}");
        let file = folder.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        let error = open(file.to_str().unwrap(), Still).unwrap_err().to_string();
        assert!(error.contains("check that it is a serial port"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }
}
