//! The goal on its way from where it was to where the host wants it.

use crate::firmware::{CATCH_UP_US, GOAL_TOLERANCE_RAD};
use crate::joint::{JointLimits, MAX_JOINTS, PerJoint};
use crate::message::Refusal;

/// One joint's way.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    from_rad: f32,
    to_rad: f32,
    /// Time from `from_rad` to `to_rad`, µs; 0 at rest.
    duration_us: f32,
}

/// Straight ways of all joints that begin together; each takes the horizon, or longer at its speed limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trajectory {
    ways: heapless::Vec<Way, MAX_JOINTS>,
    start_us: u64,
    /// Slow down along the way instead of keeping the speed.
    easing: bool,
}

impl Trajectory {
    /// At rest at `position_rad`, or at the limit where that is outside.
    pub(crate) fn rest(position_rad: &[f32], limits: &[JointLimits], now_us: u64) -> Self {
        let ways = position_rad.iter().zip(limits).take(MAX_JOINTS).map(|(&position, limit)| {
            let rad = clamp(position, limit);
            Way { from_rad: rad, to_rad: rad, duration_us: 0.0 }
        });
        Self { ways: ways.collect(), start_us: now_us, easing: false }
    }

    /// The goal at `now_us`, rad.
    pub(crate) fn at(&self, now_us: u64) -> PerJoint {
        let elapsed_us = now_us.saturating_sub(self.start_us) as f32;
        self.ways.iter().map(|way| way.at(elapsed_us, self.easing)).collect()
    }

    /// Heads for `goal_rad` from wherever the goal is at `now_us`, or changes nothing.
    pub(crate) fn head_for(
        &mut self,
        goal_rad: &[f32],
        limits: &[JointLimits],
        now_us: u64,
        horizon_us: u32,
    ) -> Result<(), Refusal> {
        if goal_rad.len() != self.ways.len() {
            return Err(Refusal::JointCount);
        }
        if !goal_rad.iter().all(|goal| goal.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        let outside = |(goal, limit): (&f32, &JointLimits)| {
            *goal < limit.lower_rad - GOAL_TOLERANCE_RAD || *goal > limit.upper_rad + GOAL_TOLERANCE_RAD
        };
        if goal_rad.iter().zip(limits).any(outside) {
            return Err(Refusal::PositionLimit);
        }
        let longest_us = horizon_us as f32 + CATCH_UP_US as f32;
        let mut ways = heapless::Vec::new();
        for ((&from_rad, &goal), limit) in self.at(now_us).iter().zip(goal_rad).zip(limits) {
            let to_rad = clamp(goal, limit);
            let fastest_us = (to_rad - from_rad).abs() / limit.velocity_rad_s * 1e6;
            // A limit of 0 or NaN lets nothing move.
            let in_time = limit.velocity_rad_s > 0.0 && fastest_us <= longest_us;
            if to_rad != from_rad && !in_time {
                return Err(Refusal::VelocityLimit);
            }
            // As long as `ways` itself, so there is room.
            let _ = ways.push(Way { from_rad, to_rad, duration_us: fastest_us.max(horizon_us as f32) });
        }
        *self = Self { ways, start_us: now_us, easing: false };
        Ok(())
    }

    /// Comes to rest within `within_us`, never faster than now and not beyond the present goal.
    pub(crate) fn stop(&mut self, now_us: u64, within_us: u32) {
        if self.easing {
            return;
        }
        let elapsed_us = now_us.saturating_sub(self.start_us) as f32;
        for way in &mut self.ways {
            let from_rad = way.at(elapsed_us, false);
            let moving = elapsed_us < way.duration_us;
            let speed_rad_us = if moving { (way.to_rad - way.from_rad) / way.duration_us } else { 0.0 };
            // From this speed evenly down to none takes half the distance that it would go in that time.
            let braking_rad = speed_rad_us * within_us as f32 / 2.0;
            let left_rad = way.to_rad - from_rad;
            let way_rad = if braking_rad.abs() < left_rad.abs() { braking_rad } else { left_rad };
            *way = Way { from_rad, to_rad: from_rad + way_rad, duration_us: within_us as f32 };
        }
        self.start_us = now_us;
        self.easing = true;
    }
}

impl Way {
    fn at(&self, elapsed_us: f32, easing: bool) -> f32 {
        if elapsed_us >= self.duration_us {
            return self.to_rad;
        }
        let part = elapsed_us / self.duration_us;
        let done = if easing { part * (2.0 - part) } else { part };
        self.from_rad + (self.to_rad - self.from_rad) * done
    }
}

/// Unlike `f32::clamp`, without a panic if the limits are crossed.
fn clamp(rad: f32, limit: &JointLimits) -> f32 {
    rad.max(limit.lower_rad).min(limit.upper_rad)
}
