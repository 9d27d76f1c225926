//! Angles as LeRobot's datasets of this arm have them.

use sim::ArmModel;

/// Between radians and LeRobot's units, joint by joint: factor and offset.
#[derive(Debug, Clone)]
pub(super) struct JointUnits(Vec<(f64, f64)>);

impl JointUnits {
    /// LeRobot puts 0° in the middle of a joint's calibrated range (`MotorNormMode.DEGREES`); the gripper's range is
    /// 0 to 100 (`RANGE_0_100`). The ranges are taken to be the model's.
    pub(super) fn of(model: &ArmModel) -> Self {
        let ranges = model.joints.iter().map(|joint| {
            let limits = joint.limits;
            (f64::from(limits.lower_rad), f64::from(limits.upper_rad))
        });
        let last = model.joints.len() - 1;
        let units = ranges.enumerate().map(|(joint, (lower, upper))| {
            if joint == last {
                let factor = 100.0 / (upper - lower);
                (factor, -lower * factor)
            } else {
                let factor = 180.0 / std::f64::consts::PI;
                (factor, -0.5 * (lower + upper) * factor)
            }
        });
        Self(units.collect())
    }

    /// Angles in rad in LeRobot's units.
    pub(super) fn of_rad<'a>(&'a self, rad: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        rad.iter().zip(&self.0).map(|(rad, (factor, offset))| (f64::from(*rad) * factor + offset) as f32)
    }

    /// Angles in LeRobot's units in rad.
    pub(super) fn to_rad<'a>(&'a self, values: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        values.iter().zip(&self.0).map(|(value, (factor, offset))| (value - offset) / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joints_are_in_lerobots_units_and_come_back() {
        let model = ArmModel::so101().unwrap();
        let ends = |end: fn(&firmware_bridge::JointLimits) -> f32| -> Vec<f32> {
            model.joints.iter().map(|joint| end(&joint.limits)).collect()
        };
        let units = JointUnits::of(&model);
        let (lower_rad, upper_rad) = (ends(|limits| limits.lower_rad), ends(|limits| limits.upper_rad));
        let lower: Vec<f32> = units.of_rad(&lower_rad).collect();
        let upper: Vec<f32> = units.of_rad(&upper_rad).collect();
        assert!(lower.iter().zip(&upper).take(5).all(|(a, b)| (a + b).abs() < 1e-3 && *b > 90.0));
        assert!(lower[5].abs() < 1e-3 && (upper[5] - 100.0).abs() < 1e-3);
        let straight: Vec<f32> = units.of_rad(&[std::f32::consts::FRAC_PI_2; 5]).collect();
        assert!((straight[0] - 90.0).abs() < 1.0, "{straight:?}");
        let back: Vec<f64> = units.to_rad(&upper.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()).collect();
        assert!(back.iter().zip(&upper_rad).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-6), "{back:?}");
    }
}
