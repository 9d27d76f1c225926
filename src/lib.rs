//! Drives a robot arm, records its episodes, and learns from its misses.
//!
//! The rooms, in the order that data passes through them: a [`policy`] turns an observation ([`mod@env`], [`task`],
//! [`tracker`]) into a Cartesian action, [`kinematics`] into joint angles, [`safety`] into angles that may be sent,
//! the [`control`] loop sends them at a fixed period ([`clock`]) to an [`arm`] over a [`link`], everything is logged
//! as an [`episode`], and [`learn`] makes a better policy out of the episodes.

pub mod arm;
pub mod clock;
pub mod control;
pub mod env;
pub mod episode;
pub mod kinematics;
pub mod learn;
pub mod link;
pub mod policy;
pub mod safety;
pub mod task;
pub mod tracker;
