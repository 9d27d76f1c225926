//! Unix sockets: a simulated arm in another process, or an emulated microcontroller.

use super::{Link, LinkError, WRITE_TIMEOUT_MS, classify};
use crate::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connected stream socket.
#[derive(Debug)]
pub struct Unix<C> {
    path: String,
    stream: UnixStream,
    clock: C,
}

impl<C: Clock> Unix<C> {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// [`LinkError::Open`].
    pub fn open(path: &str, clock: C) -> Result<Self, LinkError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(Duration::from_millis(WRITE_TIMEOUT_MS)))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self { path: path.to_owned(), stream, clock }),
            Err::<_, io::Error>(error) => Err(LinkError::Open {
                port: format!("unix:{path}"),
                reason: error.to_string(),
                remedy: "start the program that listens at this socket first".to_owned(),
            }),
        }
    }

    /// Whether there is something to read, or the far end is gone, before `timeout_us` has passed.
    fn wait(&self, timeout_us: u64) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout_us / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: ((timeout_us % 1_000_000) * 1_000) as i64,
        };
        // The socket's own timeout would be rounded up to the kernel's tick, 4 ms or more.
        Ok(poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&timeout))? > 0)
    }
}

impl<C: Clock> Link for Unix<C> {
    type Error = LinkError;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.stream.write_all(bytes).map_err(|error| classify(&self.path, error))
    }

    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, LinkError> {
        loop {
            let left_us = deadline_us.saturating_sub(self.clock.now_us());
            let result = match self.wait(left_us) {
                Ok(false) => return Ok(0),
                Ok(true) => self.stream.read(buf),
                Err(error) => Err(error),
            };
            match result {
                Ok(0) => return Err(classify(&self.path, io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => return Ok(count),
                // A signal; the deadline stands.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(classify(&self.path, error)),
            }
        }
    }

    fn discard_input(&mut self) -> Result<(), LinkError> {
        while self.read(&mut [0; 256], 0)? > 0 {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::open;
    use std::os::unix::net::UnixListener;

    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now_us(&self) -> u64 {
            0
        }

        fn sleep_until_us(&mut self, _: u64) {}
    }

    #[test]
    fn bytes_cross_and_a_far_end_that_hangs_up_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let port = format!("unix:{}", path.display());
        let error = open(&port, Still).unwrap_err();
        assert!(matches!(error, LinkError::Open { .. }), "{error}");

        let listener = UnixListener::bind(&path).unwrap();
        let mut near = open(&port, Still).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"there").unwrap();
        let mut heard = [0; 5];
        far.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"there");
        let mut buf = [0; 8];
        assert_eq!(near.read(&mut buf, 0).unwrap(), 0, "the deadline has passed");
        far.write_all(b"stale").unwrap();
        near.discard_input().unwrap();
        far.write_all(b"back").unwrap();
        assert_eq!(near.read(&mut buf, 3_600_000_000).unwrap(), 4);
        drop(far);
        let error = near.read(&mut buf, 3_600_000_000).unwrap_err();
        assert!(matches!(error, LinkError::Vanished { .. }), "{error}");
    }
}
