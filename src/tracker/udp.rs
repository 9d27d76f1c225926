//! Samples from another process: a camera's tracker, or a simulated arm behind a pty.

use super::datagram::{Datagram, Flaw, MAX_AHEAD_S, MAX_BYTES};
use super::{ObjectSample, Tracker};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

/// Datagrams taken at one poll; a flood cannot hold up the control thread for longer than this takes.
const MAX_DATAGRAMS: usize = 32;

/// Why a tracker cannot be listened to.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// The address cannot be used.
    #[error("cannot listen for the tracker on {address}: {cause}; is another host running? If so name another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// Nothing can be sent to the address.
    #[error("cannot send to the host at {address}: {cause}; name an address of this machine or network")]
    Send {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
}

/// Datagrams that were not used, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Not the JSON object that was expected, or too long.
    pub malformed: u64,
    /// About another object.
    pub other_object: u64,
    /// A position or orientation that cannot be.
    pub out_of_range: u64,
    /// Ahead of this machine's clock.
    pub from_future: u64,
    /// Not newer than one that was used.
    pub out_of_order: u64,
}

/// Listens for the datagrams of one object. Whoever can send to the address is believed: the default one can only
/// be reached from this machine.
#[derive(Debug)]
pub struct UdpTracker {
    socket: UdpSocket,
    name: String,
    newest_s: f64,
    rejected: Rejected,
    buffer: [u8; MAX_BYTES + 1],
}

impl UdpTracker {
    /// Listens on `address` for the object called `name`.
    ///
    /// # Errors
    /// The address is taken, or is not this machine's.
    pub fn bind(address: SocketAddr, name: &str) -> Result<Self, TrackerError> {
        let listen = || {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = listen().map_err(|cause| TrackerError::Listen { address, cause })?;
        Ok(Self {
            socket,
            name: name.to_owned(),
            newest_s: f64::NEG_INFINITY,
            rejected: Rejected::default(),
            buffer: [0; MAX_BYTES + 1],
        })
    }

    /// Where it listens; the port is the system's choice if 0 was asked for.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Datagrams that were not used so far.
    pub fn rejected(&self) -> Rejected {
        self.rejected
    }

    /// As [`Tracker::poll`], where this machine's Unix time is `unix_s`.
    fn poll_at(&mut self, now_us: u64, unix_s: f64) -> Option<ObjectSample> {
        if self.newest_s > unix_s + MAX_AHEAD_S {
            // This machine's clock was set back; what was newest by the old one would shut out everything.
            self.newest_s = f64::NEG_INFINITY;
        }
        let mut newest = None;
        for _ in 0..MAX_DATAGRAMS {
            // Nothing there, or an error that the next poll may not have: neither is worth waiting for.
            let Ok((length, _)) = self.socket.recv_from(&mut self.buffer) else { break };
            let bytes = self.buffer.get(..length).filter(|bytes| bytes.len() <= MAX_BYTES).unwrap_or_default();
            match Datagram::parse(bytes, &self.name, unix_s) {
                Ok(datagram) if datagram.stamp > self.newest_s => {
                    self.newest_s = datagram.stamp;
                    newest = Some(ObjectSample {
                        stamp_us: now_us.saturating_sub(((unix_s - datagram.stamp) * 1e6).round() as u64),
                        position: datagram.position,
                        orientation: datagram.orientation,
                    });
                }
                Ok(_) => self.rejected.out_of_order += 1,
                Err(Flaw::Malformed) => self.rejected.malformed += 1,
                Err(Flaw::OtherObject) => self.rejected.other_object += 1,
                Err(Flaw::OutOfRange) => self.rejected.out_of_range += 1,
                Err(Flaw::FromFuture) => self.rejected.from_future += 1,
            }
        }
        newest
    }
}

impl Tracker for UdpTracker {
    fn poll(&mut self, now_us: u64) -> Option<ObjectSample> {
        self.poll_at(now_us, unix_now_s())
    }
}

/// This machine's Unix time, s; 0 if its clock is before 1970.
pub fn unix_now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Publisher;

    const NOW_S: f64 = 1_700_000_000.0;

    fn tracker() -> (UdpTracker, Publisher) {
        let tracker = UdpTracker::bind("127.0.0.1:0".parse().unwrap(), "puck").unwrap();
        let publisher = Publisher::new(tracker.address().unwrap(), "puck").unwrap();
        (tracker, publisher)
    }

    #[test]
    fn a_published_pose_arrives_with_the_time_of_its_measurement() {
        let (mut tracker, mut publisher) = tracker();
        assert_eq!(tracker.poll_at(5_000_000, NOW_S), None);
        publisher.publish(NOW_S - 0.025, [0.2, 0.1, 0.01], [0.0, 0.0, 0.6, 0.8]).unwrap();
        let sample = tracker.poll_at(5_000_000, NOW_S).unwrap();
        assert_eq!(
            sample,
            ObjectSample { stamp_us: 4_975_000, position: [0.2, 0.1, 0.01], orientation: [0.0, 0.0, 0.6, 0.8] }
        );
        assert_eq!(tracker.poll_at(5_000_000, NOW_S), None, "a sample is given once");
    }

    #[test]
    fn only_the_newest_sample_is_given_and_late_ones_are_counted() {
        let (mut tracker, mut publisher) = tracker();
        for (stamp_s, x) in [(NOW_S - 0.03, 0.1), (NOW_S - 0.01, 0.3), (NOW_S - 0.02, 0.2), (NOW_S - 0.01, 0.4)] {
            publisher.publish(stamp_s, [x, 0.0, 0.01], [0.0, 0.0, 0.0, 1.0]).unwrap();
        }
        assert_eq!(tracker.poll_at(1_000_000, NOW_S).unwrap().position[0], 0.3);
        assert_eq!(tracker.rejected(), Rejected { out_of_order: 2, ..Default::default() });
    }

    #[test]
    fn hostile_datagrams_are_counted_and_do_not_hide_a_good_one() {
        let (mut tracker, mut publisher) = tracker();
        let hostile = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |bytes: &[u8]| hostile.send_to(bytes, tracker.address().unwrap()).unwrap();
        send(b"");
        send(&[0xFF; 4000]);
        send(&[b'['; 1000]);
        send(br#"{"name":"cube","stamp":0,"position":[0,0,0],"orientation":[0,0,0,1]}"#);
        send(br#"{"name":"puck","stamp":0,"position":[1e300,0,0],"orientation":[0,0,0,1]}"#);
        send(br#"{"name":"puck","stamp":1e300,"position":[0,0,0],"orientation":[0,0,0,1]}"#);
        publisher.publish(NOW_S, [0.2, 0.1, 0.01], [0.0, 0.0, 0.0, 1.0]).unwrap();
        assert_eq!(tracker.poll_at(1_000_000, NOW_S).unwrap().position, [0.2, 0.1, 0.01]);
        let expected = Rejected { malformed: 3, other_object: 1, out_of_range: 1, from_future: 1, out_of_order: 0 };
        assert_eq!(tracker.rejected(), expected);
    }

    #[test]
    fn a_flood_is_taken_in_portions() {
        let (mut tracker, mut publisher) = tracker();
        for k in 0..40 {
            publisher.publish(NOW_S - 1.0 + f64::from(k) * 0.01, [0.2, 0.1, 0.01], [0.0, 0.0, 0.0, 1.0]).unwrap();
        }
        assert_eq!(tracker.poll_at(1_000_000, NOW_S).unwrap().stamp_us, 310_000);
        assert_eq!(tracker.poll_at(1_000_000, NOW_S).unwrap().stamp_us, 390_000);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_shut_the_tracker_out() {
        let (mut tracker, mut publisher) = tracker();
        for (now_us, unix_s) in [(1_000_000, NOW_S), (1_100_000, NOW_S - 3600.0)] {
            publisher.publish(unix_s, [0.2, 0.1, 0.01], [0.0, 0.0, 0.0, 1.0]).unwrap();
            assert_eq!(tracker.poll_at(now_us, unix_s).unwrap().stamp_us, now_us);
        }
    }

    #[test]
    fn a_taken_address_is_an_error_that_names_it() {
        let (tracker, _) = tracker();
        let address = tracker.address().unwrap();
        let error = UdpTracker::bind(address, "puck").unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}
