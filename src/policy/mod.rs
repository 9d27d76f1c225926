//! Policies: what to do, given what is seen and wanted.

pub mod floor;

pub use floor::{RandomPolicy, StillPolicy};

use crate::env::GoalObservation;

/// Turns an observation into an action.
pub trait Policy: Send {
    /// Writes an action into `action`, each number in [−1, 1]. No allocation after the first call.
    ///
    /// # Errors
    /// See [`PolicyError`].
    fn act(&mut self, observation: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError>;
}

/// Why a policy cannot act.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {}
