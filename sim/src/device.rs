//! device
/// The far end of a serial line.
#[derive(Debug)]
pub struct Device;
