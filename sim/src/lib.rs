//! A simulated arm, table and puck that stand in for the hardware behind the same serial bytes.
//!
//! From the metal outwards: [`model`] describes an arm, [`params`] how its motors and its table behave, [`world`]
//! moves them with rigid-body physics and [`servo`] models, and [`device`] puts the firmware in front, so that a
//! line of bytes is all that a host sees; [`bus`] puts bus servos there instead. [`mod@line`] lets other processes see
//! it in real time.

pub mod bus;
mod delay;
pub mod device;
pub mod line;
pub mod model;
mod pace;
pub mod params;
mod reach;
pub mod servo;
pub mod world;

pub use bus::ServoBus;
pub use device::{Device, FarEnd};
pub use line::{Line, LineError, LineReport};
pub use model::{ArmModel, ModelError};
pub use params::{ObjectShape, ParamsError, Prop, Ranges, SimParams};
pub use reach::Reach;
pub use world::{ObjectPose, STEP_US, SimError, World};
