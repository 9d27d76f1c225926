//! The state machine.
/// The state machine.
#[derive(Debug)]
pub struct Firmware;
