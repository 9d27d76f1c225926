//! What a host and the microcontroller of an arm share: joints in SI units, messages, frames, and the
//! firmware's state machine. No allocation, no panics, no `unsafe`; time is always an argument.
//!
//! In the order that bytes pass through: [`frame`] cuts a byte stream into checked packets, [`message`] says
//! what a packet means, [`firmware`] acts on it and drives [`motors`], whose numbers are [`joint`]s.
//!
//! [`servo`] has the packets and registers of the bus servos that such arms are made of.
//!
//! `Firmware` on a board needs a clock, a stream of bytes and an implementation of [`Motors`], and nothing else.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod firmware;
pub mod frame;
pub mod joint;
pub mod message;
pub mod motors;
pub mod servo;
mod trajectory;

pub use firmware::Firmware;
pub use joint::{JointCommand, JointLimits, JointState, MAX_JOINTS, PerJoint};
pub use motors::Motors;
