//! Position and velocity of the object out of its samples.
//!
//! A fading-memory filter of constant velocity (Morrison 1969; the g–h filter of Brookner, "Tracking and Kalman
//! Filtering Made Easy", §1.2.6, critically damped): for samples `dt` apart, with θ = exp(−dt / τ),
//! g = 1 − θ², h = (1 − θ)². One number, [`MEMORY_S`], trades noise for lag, and uneven sampling needs no care.
//! Rotation goes the same way, with the rotation vector between predicted and measured orientation as the residual.

use super::{ObjectSample, STALE_US};
use crate::episode::ObjectTrack;
use nalgebra::{Quaternion, UnitQuaternion, Vector3};

/// Memory of the filter τ, s. With samples at 60 Hz: g = 0.57, h = 0.12. Longer is smoother and later: at a constant
/// acceleration a the velocity lags by about 2 τ a.
pub const MEMORY_S: f64 = 0.04;

/// A sample farther than this from where the object was foreseen, m, plus [`GATE_SPEED_M_S`] for the time since the
/// last one, is not believed until a second one agrees with it.
pub const GATE_M: f64 = 0.03;

/// See [`GATE_M`], m/s. An arm of this size pushes at 0.4 m/s.
pub const GATE_SPEED_M_S: f64 = 1.0;

/// Longest extrapolation from the newest sample, s. A puck that is let go stops within about this time.
pub const MAX_EXTRAPOLATION_S: f64 = 0.04;

/// Where the object is believed to be at some instant. Base frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectEstimate {
    /// Position, m.
    pub position: [f64; 3],
    /// Orientation [x, y, z, w].
    pub orientation: [f64; 4],
    /// Velocity, m/s; 0 when stale.
    pub velocity_m_s: [f64; 3],
    /// Angular velocity, rad/s; 0 when stale.
    pub angular_velocity_rad_s: [f64; 3],
    /// Age of the newest sample that was believed, µs.
    pub age_us: u64,
    /// That sample, as it was measured.
    pub sample: ObjectSample,
}

impl ObjectEstimate {
    /// Whether the object has not been seen for longer than [`STALE_US`]. Stale means hold.
    pub fn is_stale(&self) -> bool {
        self.age_us > STALE_US
    }
}

impl From<&ObjectEstimate> for ObjectTrack {
    fn from(estimate: &ObjectEstimate) -> Self {
        Self {
            raw_position: estimate.sample.position,
            raw_orientation: estimate.sample.orientation,
            position: estimate.position,
            orientation: estimate.orientation,
            velocity_m_s: estimate.velocity_m_s,
            angular_velocity_rad_s: estimate.angular_velocity_rad_s,
            age_us: u32::try_from(estimate.age_us).unwrap_or(u32::MAX),
        }
    }
}

/// Filters the samples of one object. Deterministic: depends on nothing but the samples and their stamps.
#[derive(Debug, Clone, Default)]
pub struct ObjectFilter {
    state: Option<State>,
    /// A sample that was too far off to be believed at once.
    doubted: Option<ObjectSample>,
    outliers: u64,
}

#[derive(Debug, Clone, Copy)]
struct State {
    sample: ObjectSample,
    position: Vector3<f64>,
    velocity: Vector3<f64>,
    orientation: UnitQuaternion<f64>,
    angular_velocity: Vector3<f64>,
}

impl State {
    fn at_rest(sample: ObjectSample) -> Self {
        Self {
            sample,
            position: sample.position.into(),
            velocity: Vector3::zeros(),
            orientation: quaternion(sample.orientation),
            angular_velocity: Vector3::zeros(),
        }
    }

    fn after(&self, dt_s: f64) -> (Vector3<f64>, UnitQuaternion<f64>) {
        let turn = UnitQuaternion::from_scaled_axis(self.angular_velocity * dt_s);
        (self.position + self.velocity * dt_s, turn * self.orientation)
    }
}

impl ObjectFilter {
    /// Takes a sample. One that is not newer than the last is ignored.
    ///
    /// After a gap of more than [`STALE_US`] the filter begins anew, at rest. A jump (a person moved the object) is
    /// believed when a second sample confirms it, again at rest; a single outlier changes nothing.
    pub fn update(&mut self, sample: &ObjectSample) {
        let Some(state) = &mut self.state else {
            self.state = Some(State::at_rest(*sample));
            return;
        };
        let newest_us = self.doubted.map_or(state.sample.stamp_us, |doubted| doubted.stamp_us);
        if sample.stamp_us <= newest_us {
            return;
        }
        let gap_us = sample.stamp_us - state.sample.stamp_us;
        if gap_us > STALE_US {
            *state = State::at_rest(*sample);
            self.doubted = None;
            return;
        }
        let dt_s = gap_us as f64 * 1e-6;
        let measured = Vector3::from(sample.position);
        let (position, orientation) = state.after(dt_s);
        let residual = measured - position;
        if residual.norm() > GATE_M + GATE_SPEED_M_S * dt_s {
            let is_confirmed = self.doubted.is_some_and(|doubted| {
                let since_s = (sample.stamp_us - doubted.stamp_us) as f64 * 1e-6;
                (measured - Vector3::from(doubted.position)).norm() <= GATE_M + GATE_SPEED_M_S * since_s
            });
            if is_confirmed {
                *state = State::at_rest(*sample);
                self.doubted = None;
            } else {
                self.outliers += 1;
                self.doubted = Some(*sample);
            }
            return;
        }
        self.doubted = None;
        let theta = (-dt_s / MEMORY_S).exp();
        let (g, h) = (1.0 - theta * theta, (1.0 - theta) * (1.0 - theta));
        let turn = (quaternion(sample.orientation) * orientation.inverse()).scaled_axis();
        *state = State {
            sample: *sample,
            position: position + residual * g,
            velocity: state.velocity + residual * (h / dt_s),
            orientation: UnitQuaternion::from_scaled_axis(turn * g) * orientation,
            angular_velocity: state.angular_velocity + turn * (h / dt_s),
        };
    }

    /// The object at `now_us` of the host's clock, extrapolated over at most [`MAX_EXTRAPOLATION_S`]; `None` before
    /// the first sample.
    pub fn estimate(&self, now_us: u64) -> Option<ObjectEstimate> {
        let state = self.state.as_ref()?;
        let age_us = now_us.saturating_sub(state.sample.stamp_us);
        let (position, orientation) = state.after((age_us as f64 * 1e-6).min(MAX_EXTRAPOLATION_S));
        let is_stale = age_us > STALE_US;
        let unless_stale = |v: Vector3<f64>| if is_stale { [0.0; 3] } else { v.into() };
        Some(ObjectEstimate {
            position: position.into(),
            orientation: orientation.into_inner().coords.into(),
            velocity_m_s: unless_stale(state.velocity),
            angular_velocity_rad_s: unless_stale(state.angular_velocity),
            age_us,
            sample: state.sample,
        })
    }

    /// Samples so far that no other confirmed at once.
    pub fn outliers(&self) -> u64 {
        self.outliers
    }
}

fn quaternion([x, y, z, w]: [f64; 4]) -> UnitQuaternion<f64> {
    UnitQuaternion::from_quaternion(Quaternion::new(w, x, y, z))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    const PERIOD_US: u64 = 16_667;

    fn sample(stamp_us: u64, position: [f64; 3], yaw_rad: f64) -> ObjectSample {
        ObjectSample { stamp_us, position, orientation: [0.0, 0.0, (yaw_rad / 2.0).sin(), (yaw_rad / 2.0).cos()] }
    }

    /// Feeds `count` samples of a motion with uniform noise of ± `noise_m`, and returns the filter and the last stamp.
    fn follow(count: u64, noise_m: f64, mut motion: impl FnMut(f64) -> ([f64; 3], f64)) -> (ObjectFilter, u64) {
        let mut rng = Pcg64Mcg::seed_from_u64(5);
        let mut filter = ObjectFilter::default();
        for k in 0..count {
            let (position, yaw_rad) = motion(k as f64 * PERIOD_US as f64 * 1e-6);
            let noisy = position.map(|part| part + noise_m * rng.random_range(-1.0..=1.0));
            filter.update(&sample(k * PERIOD_US, noisy, yaw_rad));
        }
        (filter, (count - 1) * PERIOD_US)
    }

    #[test]
    fn constant_motion_is_found_within_a_third_of_a_second() {
        let (filter, last_us) = follow(20, 0.0, |t| ([0.2 + 0.15 * t, -0.1 * t, 0.01], 0.3 + 0.8 * t));
        let now_us = last_us + 20_000;
        let found = filter.estimate(now_us).unwrap();
        let t = now_us as f64 * 1e-6;
        assert!((found.velocity_m_s[0] - 0.15).abs() < 0.003, "{found:?}");
        assert!((found.velocity_m_s[1] + 0.1).abs() < 0.003, "{found:?}");
        assert!((found.angular_velocity_rad_s[2] - 0.8).abs() < 0.02, "{found:?}");
        assert!((found.position[0] - (0.2 + 0.15 * t)).abs() < 5e-4, "extrapolated to now: {found:?}");
        assert_eq!((found.age_us, found.is_stale()), (20_000, false));
    }

    #[test]
    fn a_millimetre_of_noise_stays_below_three_centimetres_a_second() {
        let mut worst: f64 = 0.0;
        let mut filter = ObjectFilter::default();
        let mut rng = Pcg64Mcg::seed_from_u64(6);
        let (mut sum, mut raw_sum) = (0.0, 0.0);
        for k in 0..3000 {
            let noise = rng.random_range(-1e-3..=1e-3);
            filter.update(&sample(k * PERIOD_US, [0.2 + noise, 0.0, 0.01], 0.0));
            if k > 30 {
                let found = filter.estimate(k * PERIOD_US).unwrap();
                worst = worst.max(found.velocity_m_s[0].abs());
                sum += (found.position[0] - 0.2).powi(2);
                raw_sum += noise * noise;
            }
        }
        assert!(worst < 0.03, "{worst}");
        assert!(sum < 0.7 * raw_sum, "smoother than the samples: {}", sum / raw_sum);
    }

    #[test]
    fn a_stopped_puck_is_seen_to_stop() {
        let (filter, last_us) = follow(60, 0.0, |t| ([0.2 + 0.3 * t.min(0.5), 0.0, 0.01], 0.0));
        let found = filter.estimate(last_us).unwrap();
        assert!(found.velocity_m_s[0].abs() < 2e-3 && (found.position[0] - 0.35).abs() < 2e-4, "{found:?}");
    }

    #[test]
    fn a_single_outlier_changes_nothing_and_a_jump_is_believed_at_the_second_sample() {
        let (mut filter, last_us) = follow(30, 0.0, |_| ([0.2, 0.0, 0.01], 0.0));
        filter.update(&sample(last_us + PERIOD_US, [0.5, 0.5, 0.01], 0.0));
        let doubting = filter.estimate(last_us + PERIOD_US).unwrap();
        assert_eq!((doubting.position, doubting.age_us), ([0.2, 0.0, 0.01], PERIOD_US), "its age goes on");
        filter.update(&sample(last_us + 2 * PERIOD_US, [0.2, 0.0, 0.01], 0.0));
        assert_eq!(filter.estimate(last_us + 2 * PERIOD_US).unwrap().velocity_m_s, [0.0; 3]);
        for k in 3..5 {
            filter.update(&sample(last_us + k * PERIOD_US, [0.3, 0.1, 0.01], 0.0));
        }
        let moved = filter.estimate(last_us + 4 * PERIOD_US).unwrap();
        assert_eq!((moved.position, moved.velocity_m_s), ([0.3, 0.1, 0.01], [0.0; 3]));
        assert_eq!(filter.outliers(), 2);
    }

    #[test]
    fn an_object_not_seen_for_200_ms_is_stale_and_does_not_move_on() {
        let (filter, last_us) = follow(30, 0.0, |t| ([0.2 * t, 0.0, 0.01], 0.0));
        assert!(!filter.estimate(last_us + STALE_US).unwrap().is_stale());
        let stale = filter.estimate(last_us + STALE_US + 1).unwrap();
        assert!(stale.is_stale() && stale.velocity_m_s == [0.0; 3]);
        assert_eq!(stale.position, filter.estimate(last_us + 60_000_000).unwrap().position);
        assert_eq!(ObjectFilter::default().estimate(1), None);
    }

    #[test]
    fn after_a_gap_the_filter_begins_at_rest() {
        let (mut filter, last_us) = follow(30, 0.0, |t| ([0.2 * t, 0.0, 0.01], 0.0));
        let back_us = last_us + STALE_US + 1;
        filter.update(&sample(back_us, [0.3, 0.0, 0.01], 0.0));
        let found = filter.estimate(back_us).unwrap();
        assert_eq!((found.position, found.velocity_m_s, found.age_us), ([0.3, 0.0, 0.01], [0.0; 3], 0));
    }

    #[test]
    fn an_old_sample_and_the_other_sign_of_a_quaternion_change_nothing() {
        let (mut filter, last_us) = follow(30, 0.0, |_| ([0.2, 0.0, 0.01], 0.5));
        let before = filter.estimate(last_us + 1).unwrap();
        filter.update(&sample(last_us, [0.21, 0.0, 0.01], 0.0));
        assert_eq!(filter.estimate(last_us + 1).unwrap(), before);
        let same = sample(last_us + PERIOD_US, [0.2, 0.0, 0.01], 0.5);
        filter.update(&ObjectSample { orientation: same.orientation.map(|part| -part), ..same });
        let found = filter.estimate(last_us + PERIOD_US).unwrap();
        assert!(found.angular_velocity_rad_s.iter().all(|rate| rate.abs() < 1e-9), "{found:?}");
    }
}
