//! A person's hand on a joint, such as while an arm is calibrated.

use crate::servo::Drive;

/// How fast a hand moves a joint, rad/s: a careful person's.
const SPEED_RAD_S: f64 = 1.0;
/// How firm its grip is, N·m/rad, and how much it calms the joint, N·m·s/rad: critically damped with the inertia of
/// a servo's rotor.
const GRIP_NM_RAD: f64 = 60.0;
const CALM_NM_S_RAD: f64 = 2.6;
/// Its strength, N·m: 20 N at 20 cm. More than a servo's 2.94, so that it can also be held against one.
const STRENGTH_NM: f64 = 4.0;

/// A hand on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hand {
    at_rad: f64,
    goal_rad: f64,
}

impl Hand {
    /// Takes hold at `from_rad` to go to `goal_rad`.
    pub(super) fn new(from_rad: f64, goal_rad: f64) -> Self {
        Self { at_rad: from_rad, goal_rad }
    }

    /// Where the hand is, rad.
    pub(super) fn at_rad(&self) -> f64 {
        self.at_rad
    }

    /// Moves on by `dt_s`, and pushes a joint that is at `joint_rad`.
    pub(super) fn push(&mut self, joint_rad: f64, dt_s: f64) -> Drive {
        let step = SPEED_RAD_S * dt_s;
        self.at_rad += (self.goal_rad - self.at_rad).clamp(-step, step);
        let torque_nm = (GRIP_NM_RAD * (self.at_rad - joint_rad)).clamp(-STRENGTH_NM, STRENGTH_NM);
        Drive { torque_nm, damping: CALM_NM_S_RAD }
    }
}
