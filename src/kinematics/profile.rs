//! The hand's pitch and roll as functions of the fingertip's position, which leave a policy three numbers to choose.

use std::f64::consts::{FRAC_PI_2, PI};

/// Roll of the hand while it pushes, rad: the jaws open in the vertical plane of the arm, with the fixed jaw below.
///
/// The closed fingers of an SO-101 are a post of about 2 × 1.6 cm. With this roll the post is symmetric to the arm's
/// plane, so that pushing to the left and to the right are alike, and the fixed jaw, in which the fingertip lies,
/// is the one next to the table: the moving jaw lies above it and cannot scrape.
pub const PUSH_ROLL_RAD: f64 = 0.0;

/// Roll of the hand while it grasps, rad: the jaws open to the sides, so that they close on what stands between them.
/// The fixed jaw, in which the fingertip lies, is the left one as seen from the base.
pub const GRASP_ROLL_RAD: f64 = FRAC_PI_2;

/// Radius and pitch at the near end of the pitch profile, m and rad (85°).
const NEAR: (f64, f64) = (0.10, 85.0 * PI / 180.0);
/// Radius and pitch at the far end of the pitch profile, m and rad (38°).
const FAR: (f64, f64) = (0.40, 38.0 * PI / 180.0);
/// The profile goes on as a straight line beyond its ends, up to these pitches, rad (30° and 90°).
const PROFILE_PITCH_RAD: (f64, f64) = (30.0 * PI / 180.0, FRAC_PI_2);

/// Radii of the fingertip between which every height from the table to 0.12 m is reached on the profile, m.
///
/// Nearer to the pan axis the wrist's and the elbow's limits meet, further out the arm is stretched straight.
pub const PROFILE_RADIUS_M: (f64, f64) = (0.11, 0.395);
/// How much flatter the hand is a metre higher, rad/m, at the near and at the far end of the profile.
const RELIEF_RAD_M: (f64, f64) = (6.0, 2.5);
/// Height below which the hand is not flattened, m: the lowest the fingertip goes.
const RELIEF_FROM_M: f64 = 0.012;

/// Pitch of the hand below the horizon for a fingertip at `radius_m` from the pan axis, rad.
///
/// Steep near the base and flat far away, because no single pitch reaches a useful piece of the table: 85° at
/// 0.10 m, falling linearly to 38° at 0.40 m and on at the same slope within 30..=90°.
#[must_use]
pub fn pitch_for_radius(radius_m: f64) -> f64 {
    let slope = (FAR.1 - NEAR.1) / (FAR.0 - NEAR.0);
    (NEAR.1 + slope * (radius_m - NEAR.0)).clamp(PROFILE_PITCH_RAD.0, PROFILE_PITCH_RAD.1)
}

/// Pitch of the hand below the horizon for a fingertip `height_m` above the table, rad.
///
/// That of [`pitch_for_radius`] where the arm pushes, and flatter higher up (6 rad/m near the base, 2.5 rad/m far
/// from it): the steep hand would take the wrist to its limit near the base, and stretch the arm far from it.
#[must_use]
pub fn pitch_on_profile(radius_m: f64, height_m: f64) -> f64 {
    let far = ((radius_m - NEAR.0) / (FAR.0 - NEAR.0)).clamp(0.0, 1.0);
    let relief = RELIEF_RAD_M.0 + (RELIEF_RAD_M.1 - RELIEF_RAD_M.0) * far;
    pitch_for_radius(radius_m) - relief * (height_m - RELIEF_FROM_M).max(0.0)
}
