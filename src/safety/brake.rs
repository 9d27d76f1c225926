//! Braking in discrete time: which speed still stops in a given distance.
//!
//! A motion advances by `speed · dt` a step, and a step later may be slower by `a · dt` at most. Counted with the
//! step that is taken at `speed` itself, it covers `dt · Σ max(speed − k·a·dt, 0)` over k = 0, 1, 2… until it rests.

/// Largest speeds and accelerations of one axis (m or rad), both positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Largest speed, /s.
    pub speed: f64,
    /// Largest acceleration, /s².
    pub acceleration: f64,
}

/// Largest speed, /s, that covers no more than `distance` until it rests when braking at `acceleration` from the
/// next step of `dt_s` on. Zero for a negative distance.
#[must_use]
pub fn stopping_speed(distance: f64, acceleration: f64, dt_s: f64) -> f64 {
    if distance.is_nan() || distance <= 0.0 {
        return 0.0;
    }
    // From speed m·a·dt the distance is a·dt²·m(m+1)/2; between two such speeds it is linear.
    let quantum = acceleration * dt_s * dt_s;
    let steps = (((1.0 + 8.0 * distance / quantum).sqrt() - 1.0) / 2.0).floor();
    (distance / dt_s + acceleration * dt_s * steps * (steps + 1.0) / 2.0) / (steps + 1.0)
}

/// Distance that a motion at `speed` covers after the step taken at that speed, until it rests, when braking at
/// `acceleration`.
#[must_use]
pub fn stopping_distance(speed: f64, acceleration: f64, dt_s: f64) -> f64 {
    let change = acceleration * dt_s;
    let steps = (speed / change).floor().max(0.0);
    dt_s * (steps * speed - change * steps * (steps + 1.0) / 2.0)
}

/// Speeds, /s, that an axis at `position` with `velocity` may take in a step of `dt_s`: within `bounds`, and such that
/// it can still stop within `limits`. Never empty if the same was ensured a step before; where it would be (a speed
/// bound that was lowered), braking wins.
#[must_use]
pub fn window(position: f64, velocity: f64, limits: (f64, f64), bounds: Bounds, dt_s: f64) -> (f64, f64) {
    let change = bounds.acceleration * dt_s;
    let down = stopping_speed(position - limits.0, bounds.acceleration, dt_s).min(bounds.speed);
    let up = stopping_speed(limits.1 - position, bounds.acceleration, dt_s).min(bounds.speed);
    let lowest = (velocity - change).max(-down).min(velocity + change);
    let highest = (velocity + change).min(up).max(velocity - change);
    (lowest.min(highest), highest)
}

/// `position + velocity · dt_s`, kept from rounding across `limits` if it was within them.
#[must_use]
pub fn advance(position: f64, velocity: f64, limits: (f64, f64), dt_s: f64) -> f64 {
    (position + velocity * dt_s).clamp(limits.0.min(position), limits.1.max(position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn distance_until_rest(mut speed: f64, acceleration: f64, dt_s: f64) -> f64 {
        let mut distance = 0.0;
        while speed > 0.0 {
            distance += speed * dt_s;
            speed -= acceleration * dt_s;
        }
        distance
    }

    proptest! {
        #[test]
        fn the_stopping_speed_uses_up_the_distance_and_no_more(
            distance in 1e-9..2.0_f64, acceleration in 0.5..100.0_f64, dt_s in 0.001..0.02_f64,
        ) {
            let speed = stopping_speed(distance, acceleration, dt_s);
            let covered = distance_until_rest(speed, acceleration, dt_s);
            prop_assert!((covered - distance).abs() < 1e-9, "{covered} {distance}");
            let after = stopping_distance(speed, acceleration, dt_s);
            prop_assert!((speed * dt_s + after - distance).abs() < 1e-9, "{after} {distance}");
        }
    }

    #[test]
    fn there_is_no_way_into_a_limit_that_is_already_passed() {
        let bounds = Bounds { speed: 2.0, acceleration: 10.0 };
        let (lowest, highest) = window(1.5, 0.0, (-1.0, 1.0), bounds, 0.008);
        assert!(lowest < 0.0 && highest == 0.0);
        assert_eq!(stopping_speed(f64::NAN, 10.0, 0.008), 0.0);
    }
}
