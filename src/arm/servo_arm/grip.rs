//! A gripper that squeezes gives way before its motor burns out.
//!
//! A motor that stands still turns all of its current into heat. The servos' own protections act late (an STS3215 after
//! 2 s, with an alarm that stays until the torque is off; an XL330 lets go), so the host eases the goal before: the jaw
//! then holds with a spring that is bent by [`MARGIN_RAD`] instead of as much as somebody asks for. A jaw counts as
//! stalled as in ros2_control's gripper controllers: slower than a threshold for a timeout, and here under load as well.

use super::ticks::Joint;

/// Drive of a jaw that squeezes, as a share of full duty: that at which an STS3215 set up as LeRobot does it begins to
/// count the time to its overload.
const SQUEEZE: f32 = 0.25;
/// Jaws that are slower stand still, rad/s.
const STALL_RAD_S: f32 = 0.1;
/// How long a jaw may squeeze, µs: ros2_control's default, and half of what an STS3215 bears.
const STALL_TIMEOUT_US: u64 = 1_000_000;
/// How far the goal may be from a jaw that gives way, rad. With the gains that the driver sets an STS3215 goes on with
/// 19 % of its duty and an XL330 with 16 %, less than [`SQUEEZE`].
const MARGIN_RAD: f32 = 0.07;

/// What the gripper has been doing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Grip {
    /// Since when the jaw has squeezed, µs.
    since_us: Option<u64>,
    /// Where it was when it began to give way, rad, and 1.0 or -1.0 for the direction in which it squeezes.
    eased: Option<(f32, f32)>,
}

impl Grip {
    /// Whether the goal is not the one that is asked for.
    pub(super) fn is_easing(&self) -> bool {
        self.eased.is_some()
    }

    /// The goal for `jaw`, as last heard, of which `asked_rad` is asked at `now_us`. Giving way ends once less is asked
    /// for, or the jaw moves on: what it held is gone.
    pub(super) fn ease(&mut self, asked_rad: f32, jaw: &Joint, now_us: u64) -> f32 {
        let beyond_rad = asked_rad - jaw.position_rad;
        if let Some((eased_rad, direction)) = self.eased {
            let asks_less = beyond_rad * direction <= MARGIN_RAD;
            let moves_on = (jaw.position_rad - eased_rad) * direction > MARGIN_RAD;
            if asks_less || moves_on {
                *self = Self::default();
            }
        }
        let squeezes = jaw.load.abs() > SQUEEZE && jaw.velocity_rad_s.abs() < STALL_RAD_S;
        self.since_us = squeezes.then(|| self.since_us.unwrap_or(now_us));
        if self.since_us.is_some_and(|since_us| now_us - since_us > STALL_TIMEOUT_US) {
            self.eased.get_or_insert((jaw.position_rad, beyond_rad.signum()));
        }
        match self.eased {
            Some(_) => jaw.position_rad + beyond_rad.clamp(-MARGIN_RAD, MARGIN_RAD),
            None => asked_rad,
        }
    }
}
