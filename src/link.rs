//! Moves bytes between the host and an arm: serial port, pty, unix socket, or a simulated arm in memory.

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
}
