//! What an arm's lengths and stops leave of the table: where the fingertip may go, how the hand is held there, and how
//! the arm rests.

use std::f64::consts::{FRAC_PI_2, PI};

/// Angles of six joints, rad.
type Pose = [f32; 6];

/// An arm's reach. Base frame: origin where the pan axis meets the table; m, rad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// Pose in which the arm rests when the power is cut: gravity holds it there, clear of the table.
    pub rest_rad: Pose,
    /// Fingertip's place at the start of an episode: over the middle of the region.
    pub start_tip_m: [f64; 3],
    /// Smallest and largest corner of the box that the fingertip's set-point keeps to.
    pub box_m: [[f64; 3]; 2],
    /// Distances from the pan axis between which every height of the box is reached on the pitch profile.
    pub radius_m: [f64; 2],
    /// Pitch of the hand below the horizon: distance from the pan axis and pitch at the near and at the far end of a
    /// straight line, that goes on beyond them within `pitch_rad`.
    pub near: (f64, f64),
    /// The far end.
    pub far: (f64, f64),
    /// Flattest and steepest pitch.
    pub pitch_rad: [f64; 2],
    /// How much flatter the hand is a metre higher, rad/m, at the near and at the far end.
    pub relief_rad_m: [f64; 2],
    /// Smallest and largest corner of the goals of the task reach.
    pub goals_m: [[f64; 3]; 2],
}

impl Reach {
    /// The SO-101's. It rests with the upper arm leant back on its stop, the forearm on the upper arm's motor with the
    /// elbow at its stop, and the hand down in front. Nearer than its radii the wrist's and the elbow's limits meet,
    /// further out the arm is stretched straight.
    pub const SO101: Self = Self {
        rest_rad: [0.0, -1.70, 1.64, 0.65, 0.0, 0.0],
        start_tip_m: [0.22, 0.0, 0.08],
        // The jaws reach 6–7 mm beyond the fingertip, so that 12 mm leave 5 mm for a sagging arm.
        box_m: [[0.11, -0.17, 0.012], [0.39, 0.17, 0.12]],
        radius_m: [0.11, 0.395],
        near: (0.10, 85.0 * PI / 180.0),
        far: (0.40, 38.0 * PI / 180.0),
        pitch_rad: [30.0 * PI / 180.0, FRAC_PI_2],
        relief_rad_m: [6.0, 2.5],
        goals_m: [[0.16, -0.10, 0.03], [0.32, 0.10, 0.11]],
    };

    /// The Koch's, whose arm is a third shorter. It rests with the upper arm leant back on its stop, the elbow on its
    /// stop, and the hand in front, held by the wrist's friction.
    pub const KOCH: Self = Self {
        rest_rad: [0.0, 0.58, 1.43, 0.55, 0.0, 0.0],
        start_tip_m: [0.19, 0.0, 0.08],
        box_m: [[0.11, -0.13, 0.012], [0.27, 0.13, 0.12]],
        radius_m: [0.11, 0.275],
        near: (0.10, 85.0 * PI / 180.0),
        far: (0.28, 35.0 * PI / 180.0),
        pitch_rad: [20.0 * PI / 180.0, FRAC_PI_2],
        relief_rad_m: [4.0, 4.0],
        goals_m: [[0.14, -0.10, 0.03], [0.25, 0.10, 0.11]],
    };

    /// Pitch of the hand below the horizon for a fingertip at `radius_m` from the pan axis, rad: steep near the base and
    /// flat far away, because no single pitch reaches a useful piece of the table.
    #[must_use]
    pub fn pitch_for_radius(&self, radius_m: f64) -> f64 {
        let slope = (self.far.1 - self.near.1) / (self.far.0 - self.near.0);
        (self.near.1 + slope * (radius_m - self.near.0)).clamp(self.pitch_rad[0], self.pitch_rad[1])
    }

    /// Pitch of the hand below the horizon for a fingertip `height_m` above the table, rad.
    ///
    /// That of [`Reach::pitch_for_radius`] where the arm pushes, and flatter higher up: the steep hand would take the
    /// wrist to its limit near the base, and stretch the arm far from it.
    #[must_use]
    pub fn pitch(&self, radius_m: f64, height_m: f64) -> f64 {
        let far = ((radius_m - self.near.0) / (self.far.0 - self.near.0)).clamp(0.0, 1.0);
        let [near_rad_m, far_rad_m] = self.relief_rad_m;
        let relief = near_rad_m + (far_rad_m - near_rad_m) * far;
        self.pitch_for_radius(radius_m) - relief * (height_m - self.box_m[0][2]).max(0.0)
    }
}
