//! What gravity asks of the motors, from the masses of the links.

use super::JOINTS;
use nalgebra::{Isometry3, Point3, Unit, UnitQuaternion, Vector3};
use sim::ArmModel;

/// Acceleration of free fall, m/s²; the simulator's.
const GRAVITY_M_S2: f64 = 9.81;

/// Links as point masses on their joints, from the base outwards; each joint is carried by the one before.
#[derive(Debug, Clone)]
pub(super) struct Bodies([Body; JOINTS]);

#[derive(Debug, Clone, Copy)]
struct Body {
    origin: Isometry3<f64>,
    axis: Unit<Vector3<f64>>,
    mass_kg: f64,
    center: Point3<f64>,
}

impl Bodies {
    /// The caller has checked that `model` is a chain of [`JOINTS`] joints.
    pub(super) fn new(model: &ArmModel) -> Self {
        Self(std::array::from_fn(|i| {
            let joint = &model.joints[i];
            Body { origin: joint.origin, axis: joint.axis, mass_kg: joint.link.mass_kg, center: joint.link.center }
        }))
    }

    pub(super) fn gravity_torque(&self, position_rad: &[f32]) -> [f64; JOINTS] {
        let mut frame = Isometry3::identity();
        let mut joints = [(Point3::origin(), Vector3::zeros()); JOINTS];
        let mut centers = [Point3::origin(); JOINTS];
        for (i, body) in self.0.iter().enumerate() {
            let angle = position_rad.get(i).copied().map_or(0.0, f64::from);
            frame = frame * body.origin * UnitQuaternion::from_axis_angle(&body.axis, angle);
            joints[i] = (Point3::from(frame.translation.vector), frame * body.axis.into_inner());
            centers[i] = frame * body.center;
        }
        // From the outermost link inwards: a joint carries all masses from its own link on.
        let mut mass = 0.0;
        let mut moment = Vector3::zeros();
        let mut torque = [0.0; JOINTS];
        for i in (0..JOINTS).rev() {
            mass += self.0[i].mass_kg;
            moment += centers[i].coords * self.0[i].mass_kg;
            let (point, axis) = joints[i];
            // d(height of the carried mass)/d(angle) = (axis × arm) · up.
            torque[i] = GRAVITY_M_S2 * axis.cross(&(moment - point.coords * mass)).z;
        }
        torque
    }
}
