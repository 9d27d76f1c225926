//! A position servo of one joint: P control on encoder counts, saturated duty, back-EMF and free play.
//!
//! The encoder sits on the motor's side of the gears' free play. While the teeth touch, the motor's torque reaches the
//! joint and the shaft leads the joint by half of the play in the direction of that torque. When the torque changes
//! sign the shaft runs through the gap at the speed that its duty gives it, while the joint feels nothing but its dry
//! friction. The rotor's inertia stays with the joint throughout, which keeps the model free of chatter at 4 ms: the
//! gap is one number, and torque is transmitted only in the direction in which the teeth press.

use crate::params::{DUTY_PER_GAIN_RAD, MotorParams, ServoParams};
use std::f64::consts::TAU;

/// Encoder counts in a turn of a Feetech STS3215.
pub const COUNTS_PER_TURN: f64 = 4096.0;

/// A servo's state and the constants of its motor.
#[derive(Debug, Clone)]
pub(crate) struct Servo {
    duty_per_count: f64,
    /// Duty that an error of a radian adds in a second, and that 1 rad/s takes away.
    integral: f64,
    derivative: f64,
    duty_limit: f64,
    /// Duty that the error has added so far.
    summed: f64,
    /// Torque at standstill a unit of duty, N·m.
    stall_nm: f64,
    /// Back-EMF, N·m·s/rad.
    damping: f64,
    half_play_rad: f64,
    /// Shaft's angle minus joint's angle, rad.
    gap_rad: f64,
    /// Drive as a fraction of full duty.
    duty: f64,
    /// Whether the teeth touched in the last step.
    engaged: bool,
}

/// What the motor does to its joint during a physics step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drive {
    /// Torque at standstill, N·m.
    pub(crate) torque_nm: f64,
    /// Loss of torque with speed, N·m·s/rad; to be integrated implicitly.
    pub(crate) damping: f64,
}

/// Nothing: the power is off or the shaft is inside the free play.
const COASTING: Drive = Drive { torque_nm: 0.0, damping: 0.0 };

impl Servo {
    pub(crate) fn new(motor: &MotorParams, servo: &ServoParams) -> Self {
        Self {
            duty_per_count: duty_per_count(servo.p_gain),
            integral: 0.0,
            derivative: 0.0,
            duty_limit: servo.duty_limit,
            summed: 0.0,
            stall_nm: motor.stall_torque_nm * servo.voltage,
            damping: motor.stall_torque_nm / motor.free_speed_rad_s,
            half_play_rad: servo.backlash_rad / 2.0,
            gap_rad: 0.0,
            duty: 0.0,
            engaged: false,
        }
    }

    /// Sets other gains and another largest duty.
    pub(crate) fn set(&mut self, p_gain: f64, integral: f64, derivative: f64, duty_limit: f64) {
        (self.duty_per_count, self.duty_limit) = (duty_per_count(p_gain), duty_limit);
        (self.integral, self.derivative) = (integral, derivative);
    }

    /// Advances the shaft by `dt_s` with the joint at `joint_rad` turning at `speed_rad_s`, and returns what the joint
    /// feels. Without a goal the power is off.
    pub(crate) fn step(&mut self, goal_counts: Option<f64>, joint_rad: f64, speed_rad_s: f64, dt_s: f64) -> Drive {
        let Some(goal) = goal_counts else {
            (self.duty, self.summed) = (0.0, 0.0);
            self.engaged = true;
            return COASTING;
        };
        let error = goal - counts(joint_rad + self.gap_rad);
        let (limit, brake) = (self.duty_limit, self.derivative * speed_rad_s);
        // No more is summed up than the motor can do.
        self.summed = (self.summed + self.integral * angle_rad(error) * dt_s).clamp(-limit, limit);
        self.duty = (self.duty_per_count * error + self.summed - brake).clamp(-limit, limit);
        let torque_nm = self.stall_nm * self.duty;
        // The shaft's speed relative to the joint if nothing held it back.
        let lead = torque_nm / self.damping - speed_rad_s;
        self.gap_rad = (self.gap_rad + lead * dt_s).clamp(-self.half_play_rad, self.half_play_rad);
        self.engaged = self.gap_rad.abs() >= self.half_play_rad && lead * self.gap_rad >= 0.0;
        if self.engaged { Drive { torque_nm, damping: self.damping } } else { COASTING }
    }

    /// Shaft's angle as the encoder has it, in whole counts.
    pub(crate) fn shaft_counts(&self, joint_rad: f64) -> f64 {
        counts(joint_rad + self.gap_rad)
    }

    /// Shaft's speed, rad/s.
    pub(crate) fn shaft_speed_rad_s(&self, speed_rad_s: f64) -> f64 {
        if self.engaged { speed_rad_s } else { self.stall_nm * self.duty / self.damping }
    }

    /// Drive as a fraction of full duty, which is what such a servo reports as its load.
    pub(crate) fn duty(&self) -> f64 {
        self.duty
    }
}

fn duty_per_count(p_gain: f64) -> f64 {
    DUTY_PER_GAIN_RAD * p_gain * TAU / COUNTS_PER_TURN
}

/// Whole encoder counts nearest to an angle.
pub(crate) fn counts(angle_rad: f64) -> f64 {
    (angle_rad * (COUNTS_PER_TURN / TAU)).round()
}

/// Angle of a number of encoder counts, rad.
pub(crate) fn angle_rad(counts: f64) -> f64 {
    counts * (TAU / COUNTS_PER_TURN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::SimParams;

    const DT_S: f64 = 0.004;

    fn servo(backlash_rad: f64) -> Servo {
        let params = SimParams::so101().unwrap();
        Servo::new(&params.motor, &ServoParams { backlash_rad, ..params.servos[0].clone() })
    }

    #[test]
    fn duty_is_0_166_p_times_the_error_and_saturates() {
        let mut servo = servo(0.0);
        let drive = servo.step(Some(counts(0.1)), 0.0, 0.0, DT_S);
        let expected = 0.166 * 16.0 * angle_rad(counts(0.1));
        assert!((servo.duty() - expected).abs() < 1e-12);
        assert!((drive.torque_nm - 2.94 * expected).abs() < 1e-9);
        assert!((drive.damping - 0.61).abs() < 0.001);
        servo.step(Some(counts(3.0)), 0.0, 0.0, DT_S);
        assert_eq!(servo.duty(), 1.0);
    }

    #[test]
    fn an_error_below_half_a_count_moves_nothing() {
        assert_eq!(servo(0.0).step(Some(counts(0.0007)), 0.0, 0.0, DT_S).torque_nm, 0.0);
    }

    #[test]
    fn a_reversal_reaches_the_joint_only_after_the_free_play() {
        let play = 0.0157;
        let mut servo = servo(play);
        servo.step(Some(counts(1.0)), 0.0, 0.0, DT_S);
        assert!((servo.shaft_counts(0.0) - counts(play / 2.0)).abs() < 0.5);
        let mut silent = 0;
        while servo.step(Some(counts(-0.1)), 0.0, 0.0, DT_S) == COASTING {
            silent += 1;
            assert!(silent < 100);
        }
        // 0.9° at about a quarter of 4.82 rad/s.
        assert!((2..=5).contains(&silent), "{silent}");
        assert_eq!(servo.shaft_counts(0.0), counts(-play / 2.0));
    }

    #[test]
    fn without_power_the_joint_coasts() {
        assert_eq!(servo(0.01).step(None, 0.3, 1.0, DT_S), COASTING);
    }
}
