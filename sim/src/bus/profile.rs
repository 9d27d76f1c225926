//! The way of a servo's set-point to its goal, within the registers' speed and acceleration.

/// Where the set-point is, counts as in the register of the goal, and its speed, counts/s.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Profile {
    pub(super) target: f64,
    speed: f64,
}

impl Profile {
    /// At rest.
    pub(super) fn at(target: f64) -> Self {
        Self { target, speed: 0.0 }
    }

    /// Goes on towards `goal` for `dt_s`, no faster than `speed` counts/s, with no more than `acceleration` counts/s².
    pub(super) fn follow(&mut self, goal: f64, speed: f64, acceleration: f64, dt_s: f64) {
        let away = goal - self.target;
        // As fast as still allows to stop at the goal.
        let wanted = (2.0 * acceleration * away.abs()).sqrt().min(speed).min(away.abs() / dt_s).copysign(away);
        let change = acceleration * dt_s;
        self.speed = wanted.clamp(self.speed - change, self.speed + change);
        self.target += self.speed * dt_s;
    }
}
