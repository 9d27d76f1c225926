//! The joint angles: limits, speed, acceleration, and the height of the fingertip.

use super::brake::{Bounds, advance, stopping_speed, window};
use super::{Filtered, Interventions};
use crate::kinematics::{JOINTS, Kinematics};
use firmware_bridge::JointLimits;

/// Most steps in which any joint comes to rest; more would be a filter made with absurd bounds.
const STOP_STEPS_MAX: usize = 256;

/// Joint goals on their way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct JointMotion {
    /// Where they are, rad.
    pub position_rad: [f64; JOINTS],
    /// How they move, rad/s.
    pub velocity_rad_s: [f64; JOINTS],
    /// The last good request after clipping, rad; its motion is taken for where the next request is heading.
    pub requested_rad: [f64; JOINTS],
}

impl JointMotion {
    /// At rest at `position_rad`, as if that had been requested.
    #[must_use]
    pub fn at(position_rad: [f64; JOINTS]) -> Self {
        Self { position_rad, velocity_rad_s: [0.0; JOINTS], requested_rad: position_rad }
    }
}

/// Passes on joint goals that are within every bound, and bends the others to the nearest motion that is.
#[derive(Debug, Clone)]
pub struct JointFilter {
    kinematics: Kinematics,
    limits: [(f64, f64); JOINTS],
    bounds: [Bounds; JOINTS],
    clearance_m: f64,
    /// Upper bound of the fingertip's fall a radian of each joint, m.
    levers_m: [f64; JOINTS],
}

impl JointFilter {
    /// `limits` holds the range and the speed of each joint, `acceleration_rad_s2` holds for all of them; the
    /// fingertip at the joint goals stays at least `clearance_m` above the table.
    #[must_use]
    pub fn new(
        kinematics: Kinematics,
        limits: &[JointLimits; JOINTS],
        acceleration_rad_s2: f64,
        clearance_m: f64,
    ) -> Self {
        Self {
            levers_m: kinematics.height_levers_m(),
            kinematics,
            limits: limits.map(|l| (f64::from(l.lower_rad), f64::from(l.upper_rad))),
            bounds: limits.map(|l| Bounds { speed: f64::from(l.velocity_rad_s), acceleration: acceleration_rad_s2 }),
            clearance_m,
        }
    }

    /// Range of each joint, rad.
    #[must_use]
    pub fn limits(&self) -> &[(f64, f64); JOINTS] {
        &self.limits
    }

    /// Moves the goals by one step of `dt_s` towards `requested_rad`.
    ///
    /// Goals that were on the last request and may take the new one are passed on unchanged. Others follow it with
    /// bounded speed and acceleration, and come to rest on it if it rests. A goal that starts outside its
    /// limits, or a fingertip below the clearance, may only move back.
    ///
    /// The braking of [`JointFilter::brake`] is the way out that is kept open: a step is taken only if braking from
    /// there on keeps the fingertip above the clearance, and otherwise this step brakes. Having been checked in the
    /// step before, that braking is good; so the fingertip of the goals never gets below, whatever is requested.
    #[must_use]
    pub fn filter(&self, state: &JointMotion, requested_rad: &[f32; JOINTS], dt_s: f64) -> Filtered<JointMotion> {
        if !requested_rad.iter().all(|x| x.is_finite()) {
            return Filtered { state: self.hold(state, dt_s), interventions: Interventions::NOT_FINITE };
        }
        let mut interventions = Interventions::none();
        let mut next = *state;
        let mut windows = [(0.0, 0.0); JOINTS];
        // Share of the distance left to the last request that is covered in this step: that of the joint which needs
        // longest to come to rest there, so that all arrive together and the fingertip keeps near its path.
        let mut share = 1.0_f64;
        for joint in 0..JOINTS {
            let (limits, bounds) = (self.limits[joint], self.bounds[joint]);
            let (position, velocity) = (state.position_rad[joint], state.velocity_rad_s[joint]);
            let asked = f64::from(requested_rad[joint]);
            next.requested_rad[joint] = asked.clamp(limits.0, limits.1);
            if next.requested_rad[joint] != asked {
                interventions |= Interventions::JOINT_LIMIT;
            }
            let behind = (state.requested_rad[joint] - position).abs();
            if behind > 0.0 {
                share = share.min(stopping_speed(behind, bounds.acceleration, dt_s).min(bounds.speed) * dt_s / behind);
            }
            windows[joint] = window(position, velocity, limits, bounds, dt_s);
        }
        // Follow the request's own motion, and close what is left of the distance to where it was.
        let wanted: [f64; JOINTS] = std::array::from_fn(|joint| {
            let drift = next.requested_rad[joint] - state.requested_rad[joint];
            (drift + (state.requested_rad[joint] - state.position_rad[joint]) * share) / dt_s
        });
        let scale = common_scale(&wanted, &windows);
        for joint in 0..JOINTS {
            let (position, velocity) = (state.position_rad[joint], state.velocity_rad_s[joint]);
            let taken = (wanted[joint] * scale).max(windows[joint].0).min(windows[joint].1);
            let arrived = advance(position, taken, self.limits[joint], dt_s);
            let request = next.requested_rad[joint];
            next.velocity_rad_s[joint] = taken;
            next.position_rad[joint] = if (request - arrived).abs() < 1e-9 {
                request
            } else {
                interventions |= reason(wanted[joint], taken, velocity, windows[joint], self.bounds[joint], dt_s);
                arrived
            };
        }
        if !self.stops_above_table(state, &next, dt_s) {
            interventions |= Interventions::TABLE;
            let requested_rad = next.requested_rad;
            next = JointMotion { requested_rad, ..self.brake(state, dt_s) };
        }
        Filtered { state: next, interventions }
    }

    /// Brakes and stays: what follows is measured from where the goals rest, not from an older request.
    #[must_use]
    pub fn hold(&self, state: &JointMotion, dt_s: f64) -> JointMotion {
        let next = self.brake(state, dt_s);
        JointMotion { requested_rad: next.position_rad, ..next }
    }

    /// One step of braking: all joints slow down in proportion, as fast as the fastest of them may, so that the arm
    /// stays on its course; a joint that this would take to its limit slows down sooner.
    #[must_use]
    pub fn brake(&self, state: &JointMotion, dt_s: f64) -> JointMotion {
        let steps = self.stop_steps(state, dt_s);
        let keep = if steps <= 1.0 { 0.0 } else { 1.0 - 1.0 / steps };
        let mut next = *state;
        for joint in 0..JOINTS {
            let (position, velocity) = (state.position_rad[joint], state.velocity_rad_s[joint]);
            let (lowest, highest) = window(position, velocity, self.limits[joint], self.bounds[joint], dt_s);
            let taken = (velocity * keep).max(lowest).min(highest);
            next.position_rad[joint] = advance(position, taken, self.limits[joint], dt_s);
            next.velocity_rad_s[joint] = taken;
        }
        next
    }

    /// Steps until all joints can rest.
    fn stop_steps(&self, state: &JointMotion, dt_s: f64) -> f64 {
        let mut steps = 0.0_f64;
        for (velocity, bounds) in state.velocity_rad_s.iter().zip(&self.bounds) {
            steps = steps.max((velocity.abs() / (bounds.acceleration * dt_s) - 1e-9).ceil());
        }
        steps
    }

    /// Whether the fingertip stays above the clearance at `next` and while braking from there; where it is below
    /// already at `now`, whether it gets no lower.
    fn stops_above_table(&self, now: &JointMotion, next: &JointMotion, dt_s: f64) -> bool {
        let height_now = self.kinematics.tip_height_m(&now.position_rad);
        let floor = self.clearance_m.min(height_now) - 1e-9;
        let mut height = self.kinematics.tip_height_m(&next.position_rad);
        let mut motion = *next;
        for _ in 0..STOP_STEPS_MAX {
            if height < floor {
                return false;
            }
            let steps = self.stop_steps(&motion, dt_s);
            // No braking takes longer or leads further than this; mostly true well above the table.
            let drop: f64 = motion.velocity_rad_s.iter().zip(self.levers_m).map(|(v, lever)| v.abs() * lever).sum();
            if steps < 1.0 || height - drop * steps * dt_s > floor {
                return true;
            }
            motion = self.brake(&motion, dt_s);
            height = self.kinematics.tip_height_m(&motion.position_rad);
        }
        false
    }
}

/// The factor nearest to 1 that brings all of `wanted` into their `windows`, so that a joint at its bound slows the
/// others down with it; 1 if there is none in 0..=1.
fn common_scale(wanted: &[f64; JOINTS], windows: &[(f64, f64); JOINTS]) -> f64 {
    let (mut least, mut most) = (0.0_f64, 1.0_f64);
    for (&wanted, &(lowest, highest)) in wanted.iter().zip(windows) {
        if wanted.abs() > 1e-12 {
            let (a, b) = (lowest / wanted, highest / wanted);
            least = least.max(a.min(b));
            most = most.min(a.max(b));
        }
    }
    if least <= most { most } else { 1.0 }
}

/// Which bound kept a joint from the velocity that its request wanted; none for one that slows down with the others.
fn reason(wanted: f64, taken: f64, velocity: f64, window: (f64, f64), bounds: Bounds, dt_s: f64) -> Interventions {
    if taken == wanted {
        return Interventions::CATCHING_UP;
    }
    let mut interventions = Interventions::none();
    if wanted.abs() > bounds.speed {
        interventions |= Interventions::VELOCITY;
    }
    if (wanted - velocity).abs() > bounds.acceleration * dt_s {
        interventions |= Interventions::ACCELERATION;
    }
    let outside = wanted < window.0 || wanted > window.1;
    if interventions.is_empty() && outside {
        interventions = Interventions::JOINT_LIMIT;
    }
    interventions
}
