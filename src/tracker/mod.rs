//! Where the object is: samples from a tracker, filtered into an estimate with its age.
//!
//! A [`Tracker`] gives samples as they come, on the host's clock: [`UdpTracker`] from another process in the format
//! of [`datagram`], or a simulated arm in this process. [`ObjectFilter`] turns them into position and velocity at
//! every control tick. [`Publisher`] is the other end of the line.

pub mod datagram;
pub mod filter;
pub mod publish;
pub mod udp;

pub use filter::{ObjectEstimate, ObjectFilter};
pub use publish::Publisher;
pub use udp::{Rejected, TrackerError, UdpTracker};

/// Age from which a sample is stale, µs: the arm holds until the object is seen again.
pub const STALE_US: u64 = 200_000;

/// One measurement of where the object is, in the base frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectSample {
    /// Host's clock when it was measured, µs; not when it arrived.
    pub stamp_us: u64,
    /// Position of the object's centre, m.
    pub position: [f64; 3],
    /// Orientation, [x, y, z, w], of length 1.
    pub orientation: [f64; 4],
}

/// A source of samples. It never waits: the control thread polls it at every tick.
pub trait Tracker {
    /// The newest sample since the last call, if there is one. `now_us` is the host's clock.
    fn poll(&mut self, now_us: u64) -> Option<ObjectSample>;
}
