//! The fingertip's set-point: where it may be, and how it gets there.

use super::brake::{Bounds, stopping_distance, stopping_speed};
use super::{Filtered, Interventions};
use crate::tracker::STALE_US;
use nalgebra::Vector3;
use sim::Reach;

/// Rounding that does not count as leaving the workspace, m.
const TOLERANCE_M: f64 = 1e-9;

/// Where the fingertip's set-point may be: a box in the base frame, cut off at a distance from the pan axis. It is
/// convex, so that a straight way between two of its points stays inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workspace {
    /// Smallest x, y, z, m.
    pub lower_m: [f64; 3],
    /// Largest x, y, z, m.
    pub upper_m: [f64; 3],
    /// Largest distance from the pan axis, m.
    pub radius_m: f64,
}

impl Default for Workspace {
    /// An SO-101's: x 0.11..=0.39, y ±0.17, z 0.012..=0.12 m, up to 0.395 m from the axis.
    fn default() -> Self {
        Self::of(&Reach::SO101)
    }
}

impl Workspace {
    /// All that an arm reaches.
    #[must_use]
    pub fn of(reach: &Reach) -> Self {
        let [lower_m, upper_m] = reach.box_m;
        Self { lower_m, upper_m, radius_m: reach.radius_m[1] }
    }

    /// A nearby position that is allowed (axis by axis, then straight towards the pan axis), and what was changed.
    /// `position_m` must be finite.
    #[must_use]
    pub fn clip(&self, position_m: [f64; 3]) -> ([f64; 3], Interventions) {
        let mut clipped = position_m;
        for (x, (lower, upper)) in clipped.iter_mut().zip(self.lower_m.into_iter().zip(self.upper_m)) {
            *x = x.max(lower).min(upper);
        }
        let radius = clipped[0].hypot(clipped[1]);
        if radius > self.radius_m {
            clipped[0] *= self.radius_m / radius;
            clipped[1] *= self.radius_m / radius;
        }
        let mut interventions = Interventions::none();
        if position_m[2] < self.lower_m[2] {
            interventions |= Interventions::TABLE;
        }
        if clipped[0] != position_m[0] || clipped[1] != position_m[1] || position_m[2] > self.upper_m[2] {
            interventions |= Interventions::WORKSPACE;
        }
        (clipped, interventions)
    }

    /// How far `position_m` is outside, m; 0 inside.
    #[must_use]
    pub fn distance_outside_m(&self, position_m: [f64; 3]) -> f64 {
        (Vector3::from(self.clip(position_m).0) - Vector3::from(position_m)).norm()
    }
}

/// The set-point on its way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PointMotion {
    /// Where it is, m.
    pub position_m: [f64; 3],
    /// How it moves, m/s.
    pub velocity_m_s: [f64; 3],
}

impl PointMotion {
    /// At rest.
    #[must_use]
    pub fn at(position_m: [f64; 3]) -> Self {
        Self { position_m, velocity_m_s: [0.0; 3] }
    }
}

/// Keeps the set-point in the workspace, and its speed and acceleration bounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointFilter {
    /// Where the set-point may be.
    pub workspace: Workspace,
    /// Bounds of the velocity and acceleration vectors. By default 0.6 m/s, somewhat above what a policy of 3 cm a
    /// step of 80 ms asks for, and 6 m/s², with which a set-point dragged about by a random policy makes the joints
    /// exceed 100 rad/s² in 2 % of its steps. More makes the arm follow a policy sooner, and shakes it more.
    pub bounds: Bounds,
}

impl Default for PointFilter {
    fn default() -> Self {
        Self { workspace: Workspace::default(), bounds: Bounds { speed: 0.6, acceleration: 6.0 } }
    }
}

impl PointFilter {
    /// Moves the set-point by one step of `dt_s` towards `requested_m`, so as to come to rest there; from rest, on a
    /// straight line and without overshoot.
    ///
    /// `object_age_us` is the age of the object's pose, `None` if the task has no object; `pace` in 0..=1 scales
    /// the speed. A set-point in the workspace never leaves it: a step is taken only if braking from there on, which
    /// goes straight ahead, ends inside; otherwise this step brakes. One that starts outside only comes nearer.
    #[must_use]
    pub fn filter(
        &self,
        state: &PointMotion,
        requested_m: [f64; 3],
        object_age_us: Option<u64>,
        pace: f64,
        dt_s: f64,
    ) -> Filtered<PointMotion> {
        let mut interventions = Interventions::none();
        if !requested_m.iter().all(|x| x.is_finite()) {
            interventions |= Interventions::NOT_FINITE;
        }
        if object_age_us.is_some_and(|age| age > STALE_US) {
            interventions |= Interventions::STALE_OBJECT;
        }
        if !interventions.is_empty() {
            return Filtered { state: self.brake(state, dt_s), interventions };
        }
        let (goal, interventions) = self.workspace.clip(requested_m);

        let (position, velocity) = (Vector3::from(state.position_m), Vector3::from(state.velocity_m_s));
        let gap = Vector3::from(goal) - position;
        let distance = gap.norm();
        let speed =
            stopping_speed(distance, self.bounds.acceleration, dt_s).min(self.bounds.speed * pace.clamp(0.0, 1.0));
        let wanted = if distance > 0.0 { gap * (speed / distance) } else { Vector3::zeros() };
        let change = wanted - velocity;
        let most = self.bounds.acceleration * dt_s;
        let taken = if change.norm() <= most { wanted } else { velocity + change * (most / change.norm()) };
        let mut next = PointMotion { position_m: (position + taken * dt_s).into(), velocity_m_s: taken.into() };
        // Land on the goal itself instead of a rounding beside it.
        if (Vector3::from(next.position_m) - Vector3::from(goal)).norm() < TOLERANCE_M {
            next.position_m = goal;
        }
        let allowed = self.workspace.distance_outside_m(state.position_m).max(TOLERANCE_M);
        if self.workspace.distance_outside_m(self.rest(&next, dt_s)) > allowed {
            next = self.brake(state, dt_s);
        }
        Filtered { state: next, interventions }
    }

    /// One step of braking, straight ahead.
    #[must_use]
    pub fn brake(&self, state: &PointMotion, dt_s: f64) -> PointMotion {
        let (position, velocity) = (Vector3::from(state.position_m), Vector3::from(state.velocity_m_s));
        let speed = velocity.norm();
        let slower = (speed - self.bounds.acceleration * dt_s).max(0.0);
        let taken = if slower > 0.0 { velocity * (slower / speed) } else { Vector3::zeros() };
        PointMotion { position_m: (position + taken * dt_s).into(), velocity_m_s: taken.into() }
    }

    /// Where braking from `state` on would end, m.
    fn rest(&self, state: &PointMotion, dt_s: f64) -> [f64; 3] {
        let (position, velocity) = (Vector3::from(state.position_m), Vector3::from(state.velocity_m_s));
        let speed = velocity.norm();
        if speed <= 0.0 {
            return state.position_m;
        }
        (position + velocity * (stopping_distance(speed, self.bounds.acceleration, dt_s) / speed)).into()
    }
}
