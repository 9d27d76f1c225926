//! Learning from misses: DDPG with hindsight relabelling.
//!
//! In the order that data passes through: episodes are stored whole ([`replay`]), drawn into a [`batch`] with goals
//! substituted ([`hindsight`]), turned into inputs ([`features`], [`normalizer`]), and learned from by the [`agent`]
//! ([`ddpg`], over [`network`] and [`adam`]). The [`trainer`] turns the wheel.

pub mod actor;
pub mod adam;
pub mod agent;
pub mod batch;
mod collector;
pub mod ddpg;
mod descent;
pub mod features;
pub mod hindsight;
pub mod hyper;
mod matmul;
pub mod network;
pub mod normalizer;
pub mod replay;
pub mod trainer;

pub use actor::Actor;
pub use agent::Agent;
pub use collector::CollectError;
pub use hindsight::{Relabel, Strategy};
pub use hyper::{Hyper, HyperError};
pub use trainer::{Budget, Progress, TrainError, Trainer};
