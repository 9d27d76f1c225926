//! What puts the object back: the simulator, or a person.

use super::EnvError;

/// How the object gets to where an episode can start.
pub trait Scene: Send {
    /// Makes the world anew with the arm at `joints_rad` without power and the object at rest at `object_m`, all
    /// other chance drawn from `seed`. Returns whether that is possible; nothing has changed if not.
    ///
    /// # Errors
    /// The simulator refused the state.
    fn rebuild(&mut self, joints_rad: &[f32], object_m: Option<[f64; 3]>, seed: u64) -> Result<bool, EnvError>;

    /// Asks for the object to be put at about `object_m`. It need not have happened on return.
    fn ask_for_object_at(&mut self, object_m: [f64; 3]);
}
