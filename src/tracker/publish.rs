//! Sends an object's pose to a host, as a camera's tracker does.

use super::TrackerError;
use super::datagram::{Datagram, MAX_BYTES};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Sends datagrams about one object. Nobody has to listen.
#[derive(Debug)]
pub struct Publisher {
    socket: UdpSocket,
    address: SocketAddr,
    name: String,
    buffer: Vec<u8>,
}

impl Publisher {
    /// Will send to `address` about the object called `name`.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn new(address: SocketAddr, name: &str) -> Result<Self, TrackerError> {
        let any = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let open = || {
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|cause| TrackerError::Send { address, cause })?;
        Ok(Self { socket, address, name: name.to_owned(), buffer: Vec::with_capacity(MAX_BYTES) })
    }

    /// Sends where the object was at Unix time `unix_s`: position in the base frame, m, and orientation
    /// [x, y, z, w]. Never waits; if the system has no room the datagram is dropped, as it may be on any network.
    ///
    /// # Errors
    /// The address cannot be reached.
    pub fn publish(&mut self, unix_s: f64, position: [f64; 3], orientation: [f64; 4]) -> Result<(), TrackerError> {
        let failed = |cause| TrackerError::Send { address: self.address, cause };
        let datagram = Datagram { name: self.name.as_str().into(), stamp: unix_s, position, orientation };
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, &datagram).map_err(|error| failed(error.into()))?;
        match self.socket.send_to(&self.buffer, self.address) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(failed(error)),
            Ok(_) => Ok(()),
        }
    }
}
