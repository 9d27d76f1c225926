//! Observations, laid out as in the Fetch tasks (arXiv 1802.09464) so that a policy's file says what it takes.
//!
//! With an object, 25 numbers:
//!
//! | Index | Meaning | Unit |
//! |---|---|---|
//! | 0..3 | fingertip's position | m |
//! | 3..6 | object's position | m |
//! | 6..9 | object's position less the fingertip's | m |
//! | 9..11 | jaw's angle, twice (Fetch has two fingers) | rad |
//! | 11..14 | object's orientation, roll, pitch, yaw; a round one's yaw is 0 | rad |
//! | 14..17 | object's velocity less the fingertip's | m/s |
//! | 17..20 | object's angular velocity | rad/s |
//! | 20..23 | fingertip's commanded velocity: what would bring it to its set-point in one policy step | m/s |
//! | 23..25 | jaw's velocity, twice | rad/s |
//!
//! Slide has three more, 25..28: the fingertip's measured velocity, m/s. How a round puck is turned decides nothing, and
//! what varies for nothing is in a learner's way: hence its yaw of 0.
//!
//! Without an object, 10: fingertip's position, jaw's angle twice, its commanded velocity, jaw's velocity twice.
//!
//! In one thing this differs from Fetch, where 20..23 is the measured velocity: a real arm follows its set-point
//! late, by one to two policy steps, and without the set-point the next state would not follow from the observation.
//! The measured velocity stands in 14..17 while the object lies still. While it is pushed 14..17 are near 0 at any speed,
//! and how fast it will leave the fingers cannot be seen: hence slide's three more.

use super::TaskKind;
use crate::env::Symmetry;
use nalgebra::{Quaternion, UnitQuaternion};

/// Where the jaw's angle stands in an observation with an object.
pub(crate) const JAW_INDEX: usize = 9;
/// Numbers in an observation without an object.
pub const REACH_SIZE: usize = 10;
/// Numbers in an observation with an object.
pub const OBJECT_SIZE: usize = 25;
/// Numbers in an observation of slide.
pub const SLIDE_SIZE: usize = OBJECT_SIZE + 3;

/// What turns about the pan axis in the observations of `task`.
#[must_use]
pub fn symmetry(task: TaskKind) -> Symmetry {
    match task {
        TaskKind::Reach => Symmetry { vectors: &[0, 5], headings: &[] },
        TaskKind::Push => Symmetry { vectors: &[0, 3, 6, 14, 17, 20], headings: &[] },
        TaskKind::PickAndPlace => Symmetry { vectors: &[0, 3, 6, 14, 17, 20], headings: &[13] },
        TaskKind::Slide => Symmetry { vectors: &[0, 3, 6, 14, 17, 20, 25], headings: &[] },
    }
}

/// Fingertip and jaw as measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Hand {
    /// Fingertip's position in the base frame, m.
    pub position: [f64; 3],
    /// Fingertip's velocity, m/s.
    pub velocity: [f64; 3],
    /// Velocity that would bring the fingertip to its set-point in one policy step, m/s.
    pub commanded_velocity: [f64; 3],
    /// Jaw's angle, rad.
    pub jaw_rad: f64,
    /// Where the jaw shall be, rad; where the policy does not move it, its angle once more.
    pub jaw_set_point_rad: f64,
    /// Jaw's velocity, rad/s.
    pub jaw_rad_s: f64,
}

/// The object as tracked and filtered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object {
    /// Position in the base frame, m.
    pub position: [f64; 3],
    /// Orientation, quaternion [x, y, z, w].
    pub orientation: [f64; 4],
    /// Velocity, m/s.
    pub velocity: [f64; 3],
    /// Angular velocity, rad/s.
    pub angular_velocity: [f64; 3],
}

/// Writes the observation of `hand`, and of `object` if there is one, into `out`, as a policy for `task` sees them.
pub fn write(task: TaskKind, hand: &Hand, object: Option<&Object>, out: &mut Vec<f32>) {
    out.clear();
    let mut put = |numbers: &[f64]| out.extend(numbers.iter().map(|&x| x as f32));
    let jaw = [hand.jaw_rad, hand.jaw_set_point_rad];
    let jaw_velocity = [hand.jaw_rad_s, hand.jaw_rad_s];
    let Some(object) = object else {
        put(&hand.position);
        put(&jaw);
        put(&hand.commanded_velocity);
        put(&jaw_velocity);
        return;
    };
    let less = |a: &[f64; 3], b: &[f64; 3]| [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    let [x, y, z, w] = object.orientation;
    let (roll, pitch, yaw) = UnitQuaternion::from_quaternion(Quaternion::new(w, x, y, z)).euler_angles();
    let yaw = if task.prop().is_round() { 0.0 } else { yaw };
    put(&hand.position);
    put(&object.position);
    put(&less(&object.position, &hand.position));
    put(&jaw);
    put(&[roll, pitch, yaw]);
    put(&less(&object.velocity, &hand.velocity));
    put(&object.angular_velocity);
    put(&hand.commanded_velocity);
    put(&jaw_velocity);
    if task == TaskKind::Slide {
        put(&hand.velocity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_fetch() {
        let hand = Hand {
            position: [1.0, 2.0, 3.0],
            velocity: [0.1, 0.2, 0.3],
            commanded_velocity: [0.4, 0.5, 0.6],
            jaw_rad: 0.5,
            jaw_set_point_rad: 0.55,
            jaw_rad_s: 0.6,
        };
        let object = Object {
            position: [4.0, 6.0, 8.0],
            orientation: [0.0, 0.0, 0.0, 1.0],
            velocity: [1.1, 1.2, 1.3],
            angular_velocity: [7.0, 8.0, 9.0],
        };
        let mut out = Vec::new();
        write(TaskKind::Push, &hand, Some(&object), &mut out);
        let expected = [
            1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 3.0, 4.0, 5.0, 0.5, 0.55, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 7.0, 8.0, 9.0, 0.4,
            0.5, 0.6, 0.6, 0.6,
        ];
        assert_eq!(out.len(), OBJECT_SIZE);
        assert!(out.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-6), "{out:?}");
        write(TaskKind::Slide, &hand, Some(&object), &mut out);
        assert_eq!(out.len(), SLIDE_SIZE);
        assert_eq!(out[OBJECT_SIZE..], [0.1, 0.2, 0.3]);
        let turned = Object { orientation: [0.0, 0.0, 0.5f64.sin(), 0.5f64.cos()], ..object };
        for (task, yaw) in [(TaskKind::PickAndPlace, 1.0), (TaskKind::Push, 0.0), (TaskKind::Slide, 0.0)] {
            write(task, &hand, Some(&turned), &mut out);
            assert!((out[13] - yaw).abs() < 1e-6, "{task:?} {}", out[13]);
        }
        write(TaskKind::Reach, &hand, None, &mut out);
        assert_eq!(out, [1.0, 2.0, 3.0, 0.5, 0.55, 0.4, 0.5, 0.6, 0.6, 0.6]);
    }
}
