//! What may be sent to the arm: pure functions of (state, request, time step), without memory of their own.
//!
//! Two layers, in the order that a request passes through them:
//!
//! 1. [`PointFilter`], on the fingertip's set-point: a request is clipped to the [`Workspace`] and to the table's
//!    clearance, and approached with bounded speed and acceleration. This is also the motion profile between two
//!    steps of a policy, so being on the way is no intervention; being clipped is.
//! 2. [`JointFilter`], on the joint angles that the kinematics made of it: limits of angle, speed and acceleration,
//!    and the height of the fingertip. A request that keeps them is passed on unchanged, bit by bit.
//!
//! **An acceleration limit must not break a position limit.** Both layers keep an invariant instead of clamping: *from
//! the present position and velocity, braking as hard as allowed stops before the limit.* A new velocity is taken
//! only if the invariant still holds after it, and since braking itself keeps the invariant, there is always a
//! velocity to take. [`brake`] has the arithmetic in discrete time, where the textbook's v²/2a would overshoot.
//!
//! NaN, infinity and a stale object mean *hold*: brake to rest and stay there until a good request comes.
//!
//! This filter is never the only barrier: the firmware enforces limits of its own and stops a silent host's arm.

pub mod brake;
mod joints;
mod point;

pub use joints::{JointFilter, JointMotion};
pub use point::{PointFilter, PointMotion, Workspace};

use std::fmt;

/// What a filter changed, as a set of named bits. The bits are part of the episode log; never renumber them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Interventions(u16);

impl Interventions {
    /// A number was NaN or infinite: held.
    pub const NOT_FINITE: Self = Self(1 << 0);
    /// The set-point was outside the workspace: clipped to it.
    pub const WORKSPACE: Self = Self(1 << 1);
    /// The set-point, or the way in which the joints would take the fingertip, was too low: kept above the table.
    pub const TABLE: Self = Self(1 << 2);
    /// The object was not seen for too long: held.
    pub const STALE_OBJECT: Self = Self(1 << 3);
    /// No joint angles reach the set-point: held.
    pub const UNREACHABLE: Self = Self(1 << 4);
    /// A joint angle was outside its limits: clipped to them.
    pub const JOINT_LIMIT: Self = Self(1 << 5);
    /// A joint would have been too fast: slowed.
    pub const VELOCITY: Self = Self(1 << 6);
    /// A joint's speed would have changed too quickly: smoothed.
    pub const ACCELERATION: Self = Self(1 << 7);
    /// A joint is still on its way to a request from which it was held back before.
    pub const CATCHING_UP: Self = Self(1 << 8);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::NOT_FINITE, "not_finite"),
        (Self::WORKSPACE, "workspace"),
        (Self::TABLE, "table"),
        (Self::STALE_OBJECT, "stale_object"),
        (Self::UNREACHABLE, "unreachable"),
        (Self::JOINT_LIMIT, "joint_limit"),
        (Self::VELOCITY, "velocity"),
        (Self::ACCELERATION, "acceleration"),
        (Self::CATCHING_UP, "catching_up"),
    ];

    /// Nothing was changed.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// The set with these bits; bits without a name are dropped.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & Self::NAMES.iter().fold(0, |all, (set, _)| all | set.0))
    }

    /// The set as bits, for a log.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether nothing was changed.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Names of what is in the set, for people and for JSON.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(set, _)| self.contains(*set)).map(|(_, name)| name)
    }
}

impl std::ops::BitOr for Interventions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Interventions {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Interventions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// Outcome of a filter: the state after this step, whose position is what to apply, and what was changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filtered<S> {
    /// Where the filtered motion is now; pass it to the next call.
    pub state: S,
    /// What was changed.
    pub interventions: Interventions,
}

#[cfg(test)]
mod promises;

#[cfg(test)]
mod tests {
    use super::Interventions as I;

    #[test]
    fn interventions_are_logged_as_stable_bits_and_read_as_names() {
        let set = I::WORKSPACE | I::VELOCITY;
        assert_eq!(set.bits(), 0b100_0010);
        assert_eq!(set.to_string(), "workspace, velocity");
        assert_eq!(I::from_bits(set.bits() | 1 << 15), set);
        assert!(set.contains(I::VELOCITY) && !set.contains(I::TABLE) && I::none().is_empty());
    }
}
