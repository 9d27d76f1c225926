//! params
/// Parameters.
#[derive(Debug)]
pub struct SimParams;
