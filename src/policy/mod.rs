//! Policies: what to do, given what is seen and wanted.
//!
//! [`OnnxPolicy`] acts from a file; [`PushExpert`], [`SlideExpert`] and [`PickExpert`] from rules, to show that a task
//! can be done; [`StillPolicy`] and [`RandomPolicy`] are the floors that a learned one has to be compared with.
//! [`NoisyPolicy`] explores around any; [`RecordedPolicy`] repeats an episode.

mod expert;
mod floor;
mod graph;
mod noisy;
mod onnx;
mod recorded;

pub use expert::{PickExpert, PushExpert, SlideExpert};
pub use floor::{RandomPolicy, StillPolicy};
pub(crate) use graph::{check as check_graph, columns};
pub use noisy::NoisyPolicy;
pub(crate) use noisy::gaussian;
pub use onnx::OnnxPolicy;
pub use recorded::RecordedPolicy;

use crate::env::GoalObservation;
use std::path::PathBuf;

/// Turns an observation into an action.
pub trait Policy: Send {
    /// Writes an action into `action`, each number in [−1, 1]. No allocation after the first call.
    ///
    /// # Errors
    /// See [`PolicyError`].
    fn act(&mut self, observation: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError>;
}

impl<P: Policy + ?Sized> Policy for Box<P> {
    fn act(&mut self, observation: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        (**self).act(observation, action)
    }
}

/// Why a policy cannot act.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {}: {source}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not an ONNX model.
    #[error("not an ONNX model: {0}; a policy is a file that `hindsight train` wrote")]
    NotOnnx(String),
    /// The file is a model, but nothing that is run here.
    #[error("expected a model of dense layers, found {0}; export the policy with `hindsight train`")]
    Unsupported(String),
    /// The file is a policy for something else.
    #[error("the policy's {what}: expected {expected}, found {found}; choose a policy that was trained for this task")]
    Shape {
        /// What does not fit.
        what: &'static str,
        /// What this task needs.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A number that must be finite is not.
    #[error("{0} is NaN or infinite; nothing was sent to the arm")]
    NotFinite(String),
    /// The observation or the action has another length than the policy was loaded for.
    #[error("{what} has {found} numbers, expected {expected}; load the policy with the task's layout")]
    Length {
        /// Which vector.
        what: &'static str,
        /// What the policy was loaded for.
        expected: usize,
        /// What it was given.
        found: usize,
    },
    /// The model failed while running.
    #[error("the policy's model failed: {0}")]
    Run(String),
}

/// Refuses a vector of another length.
pub(crate) fn check_length(what: &'static str, vector: &[f32], expected: usize) -> Result<(), PolicyError> {
    if vector.len() == expected { Ok(()) } else { Err(PolicyError::Length { what, expected, found: vector.len() }) }
}
