//! The hand's roll, which with the pitch of the arm's [`sim::Reach`] leaves a policy three numbers to choose.

use std::f64::consts::FRAC_PI_2;

/// Roll of the hand while it pushes, rad: the jaws open in the vertical plane of the arm, with the fixed jaw below.
///
/// The closed fingers of an SO-101 are a post of about 2 × 1.6 cm. With this roll the post is symmetric to the arm's
/// plane, so that pushing to the left and to the right are alike, and the fixed jaw, in which the fingertip lies,
/// is the one next to the table: the moving jaw lies above it and cannot scrape.
pub const PUSH_ROLL_RAD: f64 = 0.0;

/// Roll of the hand while it grasps, rad: the jaws open to the sides, so that they close on what stands between them.
/// The fixed jaw, in which the fingertip lies, is the left one as seen from the base.
pub const GRASP_ROLL_RAD: f64 = FRAC_PI_2;
