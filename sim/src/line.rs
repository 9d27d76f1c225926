//! A simulated arm behind a pty, in real time, for any other process.
//!
//! [`Line::open`] makes the pty and a symbolic link to it, [`Line::serve`] moves bytes and lets time pass. Clients may
//! come and go; the line closes, and the link goes, with the value.

use crate::device::FarEnd;
use crate::pace::Pace;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, ioctl_tiocnxcl, tcgetattr, tcsetattr};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Silence after which a client may have been killed, µs.
const CLIENT_GONE_US: u64 = 200_000;

/// Longest wait for bytes before `stop` is looked at, µs.
const WAIT_MAX_US: u64 = 20_000;

/// Why a line cannot be opened or kept up.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Something that is not a link to a pty is in the way.
    #[error("{} exists and is not a link to a pty; it is left alone: choose another path or remove it", .0.display())]
    Occupied(PathBuf),
    /// The link could not be made.
    #[error("cannot make the link {}: {source}; choose a path in a folder that exists and may be written", path.display())]
    Link {
        /// Path of the link.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no pty, or took it away.
    #[error("the pty failed: {0}; check that /dev/ptmx exists and how many ptys are in use")]
    Pty(#[from] io::Error),
}

/// How well a line kept up with real time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineReport {
    /// Physics steps made.
    pub steps: u64,
    /// Longest that the simulation was behind, µs.
    pub lag_max_us: u64,
    /// Real time in which the simulation stood still because it was too far behind to catch up, µs.
    pub lost_us: u64,
}

/// The time that a half-duplex wire takes for its bytes.
struct Wire {
    /// Of a byte with its start and stop bit, ns.
    byte_ns: u64,
    /// When the wire is free again, µs.
    free_us: u64,
    /// What has not arrived at the host, and when it will, µs.
    under_way: VecDeque<(u64, Vec<u8>)>,
}

impl Wire {
    fn new() -> Self {
        Self { byte_ns: 0, free_us: 0, under_way: VecDeque::new() }
    }

    fn set_bit_rate(&mut self, bit_rate: Option<u32>) {
        self.byte_ns = bit_rate.map_or(0, |rate| 10_000_000_000 / u64::from(rate.max(1)));
    }

    /// Sends `count` bytes at `now_us` or when the wire is free; says when the last has arrived, µs.
    fn carry(&mut self, count: usize, now_us: u64) -> u64 {
        self.free_us = self.free_us.max(now_us) + (self.byte_ns * count as u64).div_ceil(1000);
        self.free_us
    }

    /// Lets the wire be silent for `time_us`.
    fn hold(&mut self, time_us: u64, now_us: u64) {
        self.free_us = self.free_us.max(now_us) + time_us;
    }

    /// Time until something arrives at the host, µs.
    fn left_us(&self, now_us: u64) -> u64 {
        self.under_way.front().map_or(u64::MAX, |(arrived_us, _)| arrived_us.saturating_sub(now_us))
    }
}

/// An open pty with a link to it.
#[derive(Debug)]
pub struct Line {
    host_side: OwnedFd,
    /// Kept open so that the pty outlives its clients.
    client_side: OwnedFd,
    name: PathBuf,
    link: PathBuf,
}

impl Line {
    /// Makes a pty in raw mode and the symbolic link `link` to it; an old link to a pty is replaced.
    ///
    /// # Errors
    /// See [`LineError`]; nothing is changed.
    pub fn open(link: &Path) -> Result<Self, LineError> {
        let (host_side, client_side, name) = open_pty().map_err(io::Error::from)?;
        match std::fs::symlink_metadata(link) {
            Ok(_) if !is_pty_link(link) => return Err(LineError::Occupied(link.to_owned())),
            Ok(_) => std::fs::remove_file(link),
            Err(_) => Ok(()),
        }
        .and_then(|()| std::os::unix::fs::symlink(&name, link))
        .map_err(|source| LineError::Link { path: link.to_owned(), source })?;
        Ok(Self { host_side, client_side, name, link: link.to_owned() })
    }

    /// Path of the pty itself.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Moves bytes between clients and `device`, and steps it in real time, until `stop` is set; `after_step` is
    /// called after every physics step. Answers arrive once the line, at the speed that the client has set on its port, has
    /// carried them. Waits without spinning.
    ///
    /// # Errors
    /// [`LineError::Pty`].
    pub fn serve<D: FarEnd>(
        &mut self,
        device: &mut D,
        stop: &AtomicBool,
        mut after_step: impl FnMut(&mut D),
    ) -> Result<LineReport, LineError> {
        let start = Instant::now();
        let now_us = || start.elapsed().as_micros() as u64;
        let mut pace = Pace::new(now_us(), device.time_us());
        let mut report = LineReport::default();
        let mut heard_us = now_us();
        let mut wire = Wire::new();
        while !stop.load(Ordering::Relaxed) {
            // What the host has sent comes first: a firmware that catches up must not take lag for silence.
            if self.exchange(device, &mut wire, &now_us)? {
                heard_us = now_us();
            } else if now_us() - heard_us > CLIENT_GONE_US {
                heard_us = now_us();
                // A client that was killed leaves the pty locked for all but root; one that lives has a file lock too.
                ioctl_tiocnxcl(&self.client_side).map_err(io::Error::from)?;
            }
            let until_us = pace.catch_up(now_us());
            while device.time_us() < until_us {
                device.step();
                after_step(device);
                report.steps += 1;
            }
            (report.lag_max_us, report.lost_us) = (pace.lag_max_us(), pace.lost_us());
            let now_us = now_us();
            self.wait(pace.left_us(device.time_us(), now_us).min(wire.left_us(now_us)).min(WAIT_MAX_US))?;
        }
        Ok(report)
    }

    /// Hands over what has come in, and what goes out once the wire has carried it; says whether anything came.
    fn exchange<D: FarEnd>(&self, device: &mut D, wire: &mut Wire, now_us: &impl Fn() -> u64) -> io::Result<bool> {
        let mut buf = [0; 1024];
        let mut heard = false;
        loop {
            match rustix::io::read(&self.host_side, &mut buf) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(count) => {
                    // What the client has set, which is the host's side of the line.
                    device.set_bit_rate(tcgetattr(&self.client_side)?.output_speed());
                    wire.set_bit_rate(device.bit_rate());
                    wire.carry(count, now_us());
                    device.receive(&buf[..count]);
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            heard = true;
            loop {
                let count = device.read(&mut buf);
                if count == 0 {
                    break;
                }
                wire.hold(device.delay_us(), now_us());
                let arrived_us = wire.carry(count, now_us());
                wire.under_way.push_back((arrived_us, buf[..count].to_vec()));
            }
        }
        while wire.left_us(now_us()) == 0 {
            let (_, bytes) = wire.under_way.pop_front().unwrap_or_default();
            match rustix::io::write(&self.host_side, &bytes) {
                // A client that does not read loses bytes, as on any serial line.
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(heard)
    }

    /// Waits for bytes, for at most `timeout_us`.
    fn wait(&self, timeout_us: u64) -> io::Result<()> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: (timeout_us * 1000).min(999_999_999) as i64 };
        match poll(&mut [PollFd::new(&self.host_side, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Another line may have taken the link over.
        if std::fs::read_link(&self.link).is_ok_and(|target| target == self.name) {
            let _ = std::fs::remove_file(&self.link);
        }
    }
}

fn open_pty() -> rustix::io::Result<(OwnedFd, OwnedFd, PathBuf)> {
    let host_side = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    fcntl_setfd(&host_side, FdFlags::CLOEXEC)?;
    grantpt(&host_side)?;
    unlockpt(&host_side)?;
    let name = ptsname(&host_side, Vec::new())?;
    let client_side =
        rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut termios = tcgetattr(&client_side)?;
    termios.make_raw();
    tcsetattr(&client_side, OptionalActions::Now, &termios)?;
    ioctl_fionbio(&host_side, true)?;
    Ok((host_side, client_side, PathBuf::from(name.to_string_lossy().into_owned())))
}

/// A link into the folder of ptys, whether or not the pty still exists: numbers are used again.
fn is_pty_link(path: &Path) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target.starts_with("/dev/pts") || target.starts_with("/dev/ttys"))
}
