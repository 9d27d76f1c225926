//! How an arm's motors, its table and the object behave: the numbers that differ from one arm to the next.
//!
//! [`SimParams`] are plain numbers, so that a fit can turn any of them; [`Ranges`] say how far a real arm may be
//! from its twin.

mod ranges;

use serde::{Deserialize, Serialize};

pub use ranges::Ranges;

/// Behaviour of one simulated arm with its table and object. Default: [`SimParams::so101`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimParams {
    /// What all motors share that are not told of in `servos`.
    pub motor: MotorParams,
    /// One servo a joint, in the order of the arm's joints.
    pub servos: Vec<ServoParams>,
    /// From a goal's arrival at the motors until the servos act on it. Default 8 ± 2 ms.
    pub command_latency: Latency,
    /// From a measurement at the joints until it can be read. Default 4 ± 1.5 ms.
    pub feedback_latency: Latency,
    /// Largest error of a reported angle besides rounding, in encoder counts, uniform. Default 0.5.
    pub encoder_noise_counts: f64,
    /// Coulomb friction between the arm and the table, without unit. Default 0.3; a larger one makes a finger
    /// that scrapes the table stick.
    pub table_finger_friction: f64,
    /// The thing to be moved.
    pub object: ObjectParams,
}

/// What lies on which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prop {
    /// A puck on a table of usual friction.
    #[default]
    Puck,
    /// The same puck on a slippery table.
    GlidingPuck,
    /// A cube that fits between the jaws.
    Cube,
}

impl Prop {
    /// Whether it looks the same however it is turned about its vertical axis.
    #[must_use]
    pub fn is_round(self) -> bool {
        matches!(self, Self::Puck | Self::GlidingPuck)
    }
}

/// A geared direct-current motor. The defaults are the data sheet's of a Feetech STS3215 at 12 V; the rotor's inertia
/// is that of the arm's public model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MotorParams {
    /// Torque at standstill under full duty and nominal voltage, N·m. Default 2.94.
    pub stall_torque_nm: f64,
    /// Speed without load under full duty and nominal voltage, rad/s. Default 4.82. Together with the stall torque
    /// it makes the back-EMF damping of 0.61 N·m·s/rad.
    pub free_speed_rad_s: f64,
    /// Rotor inertia seen through the gears, kg·m². Default 0.028; more makes the joints sluggish.
    pub armature_kgm2: f64,
}

/// A position servo. Nothing here is a derivative gain: back-EMF alone gives the lag measured on the real one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServoParams {
    /// Position gain as written to the servo's register; duty is [`DUTY_PER_GAIN_RAD`] × gain × error. Default 16;
    /// half of it doubles lag and sag.
    pub p_gain: f64,
    /// Supply voltage as a fraction of the nominal one. Default 1.
    pub voltage: f64,
    /// Largest duty, in 0..=1. Default 1, the gripper's 0.5.
    pub duty_limit: f64,
    /// Free play of the gears from end to end, rad. Default 0.0157 (0.9°).
    pub backlash_rad: f64,
    /// Dry friction of the joint, N·m. Default 0.052; makes the joint rest within ± friction / stiffness.
    pub friction_nm: f64,
    /// The servo's motor, where it is another than the arm's others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub motor: Option<MotorParams>,
}

/// Duty per unit of position gain and radian of error, of a Feetech STS3215: its control law is about
/// `duty = 0.166 · P · error`, clipped.
pub const DUTY_PER_GAIN_RAD: f64 = 0.166;

/// A delay drawn anew each time from mean ± jitter, uniform; never negative, and order is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Mean, µs.
    pub mean_us: f64,
    /// Largest deviation from the mean, µs.
    pub jitter_us: f64,
}

/// The thing on the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectParams {
    /// Its shape. By default the puck's: a cylinder of radius 0.03 and height 0.02.
    pub shape: ObjectShape,
    /// Mass, kg. Default 0.05.
    pub mass_kg: f64,
    /// Coulomb friction with the table, without unit. Default 0.3; less makes the puck slide on after a push.
    pub table_friction: f64,
    /// Coulomb friction with the fingers, without unit. Default 0.5; less makes the puck slip off sideways.
    pub finger_friction: f64,
}

/// Shape of the thing on the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum ObjectShape {
    /// An upright cylinder.
    Cylinder {
        /// Radius, m.
        radius_m: f64,
        /// Height, m.
        height_m: f64,
    },
    /// A cube that lies on one of its faces.
    Cube {
        /// Length of an edge, m.
        edge_m: f64,
    },
}

/// Why parameters cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// Not TOML, or a field is missing, unknown or of another type.
    #[error("simulation parameters: {0}")]
    Parse(#[from] toml::de::Error),
    /// A number is outside what makes sense.
    #[error("simulation parameter {field}: expected {expected}, found {found}")]
    Value {
        /// Path of the field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: f64,
    },
}

/// The layout of a parameter file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    nominal: SimParams,
    ranges: Ranges,
    gliding_puck: PropFile,
    cube: PropFile,
}

/// What a prop changes in `nominal` and `ranges`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PropFile {
    object: ObjectParams,
    mass_kg: [f64; 2],
    table_friction: [f64; 2],
    finger_friction: [f64; 2],
}

/// The SO-101's parameters, embedded so that the program needs no file beside it.
const SO101_TOML: &str = include_str!("../../models/arms/so101.toml");

/// The Koch's.
const KOCH_TOML: &str = include_str!("../../models/arms/koch.toml");

/// The layout of a file without ranges.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NominalFile {
    nominal: SimParams,
}

impl SimParams {
    /// The nominal SO-101 of `models/arms/so101.toml`.
    ///
    /// # Errors
    /// The embedded file is damaged; a test keeps it sound.
    pub fn so101() -> Result<Self, ParamsError> {
        Self::so101_with(Prop::Puck)
    }

    /// The nominal SO-101 with `prop` on its table.
    ///
    /// # Errors
    /// As [`SimParams::so101`].
    pub fn so101_with(prop: Prop) -> Result<Self, ParamsError> {
        Ok(parse(SO101_TOML)?.with(prop).0)
    }

    /// The nominal Koch v1.1 of `models/arms/koch.toml`.
    ///
    /// # Errors
    /// As [`SimParams::so101`].
    pub fn koch() -> Result<Self, ParamsError> {
        let file: NominalFile = toml::from_str(KOCH_TOML)?;
        file.nominal.check()?;
        Ok(file.nominal)
    }

    /// Reads the `nominal` table of a parameter file; the layout is that of `models/arms/so101.toml`.
    ///
    /// # Errors
    /// See [`ParamsError`].
    pub fn from_toml(text: &str) -> Result<Self, ParamsError> {
        Ok(parse(text)?.nominal)
    }

    /// Stiffness of each joint's servo below saturation, N·m/rad: what a host needs for gravity feed-forward.
    pub fn kp_nm_per_rad(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        let stall_nm = |s: &ServoParams| s.motor.as_ref().unwrap_or(&self.motor).stall_torque_nm;
        self.servos.iter().map(move |s| DUTY_PER_GAIN_RAD * s.p_gain * s.voltage * stall_nm(s))
    }

    /// The motor of servo number `index`.
    pub fn motor_of(&self, index: usize) -> &MotorParams {
        self.servos.get(index).and_then(|servo| servo.motor.as_ref()).unwrap_or(&self.motor)
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`ParamsError::Value`] for the first number that cannot be simulated.
    pub fn check(&self) -> Result<(), ParamsError> {
        for motor in self.servos.iter().filter_map(|servo| servo.motor.as_ref()).chain([&self.motor]) {
            positive("motor.stall_torque_nm", motor.stall_torque_nm)?;
            positive("motor.free_speed_rad_s", motor.free_speed_rad_s)?;
            positive("motor.armature_kgm2", motor.armature_kgm2)?;
        }
        for servo in &self.servos {
            positive("servos.p_gain", servo.p_gain)?;
            positive("servos.voltage", servo.voltage)?;
            within("servos.duty_limit", servo.duty_limit, 1.0, "0..=1")?;
            within("servos.backlash_rad", servo.backlash_rad, 0.2, "0..=0.2 rad")?;
            within("servos.friction_nm", servo.friction_nm, f64::MAX, "0 or more")?;
        }
        for latency in [self.command_latency, self.feedback_latency] {
            within("latency.mean_us", latency.mean_us, MAX_LATENCY_US, "0..=100000 µs")?;
            within("latency.jitter_us", latency.jitter_us, MAX_LATENCY_US, "0..=100000 µs")?;
        }
        within("encoder_noise_counts", self.encoder_noise_counts, 100.0, "0..=100 counts")?;
        positive("table_finger_friction", self.table_finger_friction)?;
        self.object.check()
    }
}

impl ObjectParams {
    /// Height over the table of its centre where it lies, m.
    #[must_use]
    pub fn rest_height_m(&self) -> f64 {
        match self.shape {
            ObjectShape::Cylinder { height_m, .. } => height_m / 2.0,
            ObjectShape::Cube { edge_m } => edge_m / 2.0,
        }
    }

    fn check(&self) -> Result<(), ParamsError> {
        match self.shape {
            ObjectShape::Cylinder { radius_m, height_m } => {
                positive("object.shape.radius_m", radius_m)?;
                positive("object.shape.height_m", height_m)?;
            }
            ObjectShape::Cube { edge_m } => positive("object.shape.edge_m", edge_m)?,
        }
        positive("object.mass_kg", self.mass_kg)?;
        positive("object.table_friction", self.table_friction)?;
        positive("object.finger_friction", self.finger_friction)
    }
}

impl File {
    fn with(self, prop: Prop) -> (SimParams, Ranges) {
        let Self { mut nominal, mut ranges, gliding_puck, cube } = self;
        let found = match prop {
            Prop::Puck => return (nominal, ranges),
            Prop::GlidingPuck => gliding_puck,
            Prop::Cube => cube,
        };
        nominal.object = found.object;
        ranges.mass_kg = found.mass_kg;
        ranges.table_friction = found.table_friction;
        ranges.finger_friction = found.finger_friction;
        (nominal, ranges)
    }
}

/// Longest mean or jitter of a latency that the delay lines hold, µs.
const MAX_LATENCY_US: f64 = 100_000.0;

fn parse(text: &str) -> Result<File, ParamsError> {
    let file: File = toml::from_str(text)?;
    file.nominal.check()?;
    file.gliding_puck.object.check()?;
    file.cube.object.check()?;
    Ok(file)
}

fn positive(field: &'static str, found: f64) -> Result<(), ParamsError> {
    if found.is_finite() && found > 0.0 {
        return Ok(());
    }
    Err(ParamsError::Value { field, expected: "a finite number above 0", found })
}

fn within(field: &'static str, found: f64, largest: f64, expected: &'static str) -> Result<(), ParamsError> {
    if (0.0..=largest).contains(&found) {
        return Ok(());
    }
    Err(ParamsError::Value { field, expected, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nominal_stiffness_is_7_8_newton_metres_a_radian() {
        let params = SimParams::so101().unwrap();
        assert_eq!(params.kp_nm_per_rad().len(), 6);
        assert!(params.kp_nm_per_rad().all(|kp| (kp - 7.81).abs() < 0.01));
    }

    #[test]
    fn bad_parameters_are_refused_by_name() {
        let unknown = SimParams::from_toml(&SO101_TOML.replacen("radius_m", "diameter_m", 1)).unwrap_err().to_string();
        assert!(unknown.contains("diameter_m"), "{unknown}");
        let negative = SimParams::from_toml(&SO101_TOML.replacen("mass_kg = 0.05", "mass_kg = -1.0", 1));
        let message = negative.unwrap_err().to_string();
        assert!(message.contains("object.mass_kg") && message.contains("-1"), "{message}");
        let mut nan = SimParams::so101().unwrap();
        nan.servos[2].backlash_rad = f64::NAN;
        assert!(nan.check().is_err());
    }
}
