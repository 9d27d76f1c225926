//! Learning from misses: DDPG with hindsight relabelling.
//!
//! In the order that data passes through: a goal is chosen (`curriculum`), episodes are stored whole ([`replay`],
//! [`recorded`]), drawn into a [`batch`] with goals substituted ([`hindsight`]), turned into inputs ([`features`],
//! [`normalizer`]), and learned from by the [`agent`] ([`ddpg`], over [`network`] and [`adam`]; `foresight` tells luck from
//! what an imitated action was good for). The [`trainer`] turns the wheel, [`evaluate`](mod@evaluate) says what came of it,
//! [`checkpoint`] keeps the agent and [`onnx`] its policy; [`import`] takes in one from elsewhere. [`mod@fit`] makes the
//! simulator behave as one very arm.

pub mod actor;
pub mod adam;
pub mod agent;
pub mod batch;
pub mod checkpoint;
mod collector;
mod curriculum;
pub mod ddpg;
mod descent;
pub mod evaluate;
pub mod features;
pub mod finetune;
pub mod fit;
mod foresight;
pub mod hindsight;
pub mod hyper;
pub mod import;
mod matmul;
pub mod network;
pub mod normalizer;
pub mod onnx;
pub mod presets;
pub mod recorded;
pub mod replay;
mod schedule;
pub mod trainer;

pub use actor::Actor;
pub use agent::Agent;
pub use checkpoint::CheckpointError;
pub use collector::CollectError;
pub use evaluate::{Comparison, Evaluation, evaluate};
pub use finetune::{FinetuneConfig, FinetuneError, FinetuneProgress, Finetuned, Workplace, finetune};
pub use fit::{Candidates, Fit, FitBudget, FitError, FitProgress, fit};
pub use hindsight::{Relabel, Strategy};
pub use hyper::{Hyper, HyperError};
pub use import::{ImportError, InputOrder};
pub use onnx::PolicyCard;
pub use recorded::{RecordedEpisodes, RecordedError};
pub use trainer::{Budget, Memo, Progress, SnapshotError, TrainError, Trainer};
