//! What ties the ticks of a bus servo to the angle of its joint. The file that keeps it is LeRobot's.
//!
//! A servo counts 0..=4095 ticks in a turn and wraps. Its homing offset moves the wrap to where the joint cannot go:
//! `present = actual - offset` at Feetech's, `present = actual + offset` at Dynamixel's. The range is what the joint
//! can reach after that. [`Unwrapped`] follows a hand that turns a joint, and [`Measured`] makes a calibration of it.

use firmware_bridge::JointLimits;
use firmware_bridge::servo::{Protocol, Register, sts3215, x_series};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::f32::consts::TAU;
use std::path::{Path, PathBuf};

/// Joints of an SO-101 and of a Koch v1.1 from the base on, as LeRobot names them; their servos have the ids 1..=6.
pub const JOINTS: [&str; 6] = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"];

/// Ticks in a turn.
pub const TURN: i32 = sts3215::COUNTS_PER_TURN as i32;
/// What a joint reads in the middle of its range, once homed.
pub const MIDDLE: i32 = (TURN - 1) / 2;
/// Narrowest range that is believed, ticks: 10°, a fifth of what the narrowest joint of these arms has.
pub const NARROWEST: i32 = TURN / 36;

/// Why a calibration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The servo cannot store the homing offset.
    #[error(
        "{joint}: expected a homing offset within {min}..={max}, as more is cut off by the servo; found {found}; turn \
         the joint a few degrees and take its middle again, and see that the servo is not in multi-turn mode"
    )]
    Offset {
        /// Name of the joint.
        joint: String,
        /// Smallest that the register stores, ticks.
        min: i32,
        /// Largest.
        max: i32,
        /// The offset.
        found: i32,
    },
    /// The range leaves the turn, where ticks jump from 4095 to 0.
    #[error(
        "{joint}: expected a range within 0..=4095 that grows; found {min}..={max}, which runs over the servo's wrap; \
         put the joint in the middle between its stops and calibrate it again"
    )]
    Wraps {
        /// Name of the joint.
        joint: String,
        /// Lower end, ticks.
        min: i32,
        /// Upper end.
        max: i32,
    },
    /// The range is too narrow to be that of a joint.
    #[error(
        "{joint}: expected a range of at least {expected} ticks; found {found}; move the joint by hand from stop to \
         stop while the range is taken"
    )]
    Narrow {
        /// Name of the joint.
        joint: String,
        /// Least, ticks.
        expected: i32,
        /// Between the ends.
        found: i32,
    },
    /// No servo can have the id, or two have the same.
    #[error("{joint}: expected an id of its own within 1..=252; found {found}; give the ids with `hindsight setup`")]
    Id {
        /// Name of the joint.
        joint: String,
        /// The id.
        found: u8,
    },
    /// The file names other joints.
    #[error("expected the joints {expected}; found {found}; check which arm the calibration is of")]
    Joints {
        /// Names that belong there.
        expected: String,
        /// Names in the file.
        found: String,
    },
    /// The file is no calibration.
    #[error(
        "expected a calibration as LeRobot writes it (id, drive_mode 0 or 1, homing_offset, range_min, range_max a \
         joint); found {0}; calibrate the arm again, or export the file anew"
    )]
    Format(#[from] serde_json::Error),
    /// The file cannot be read or written.
    #[error("calibration {}: {source}; make one with `hindsight calibrate`, or give its path", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// One joint's servo and range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointCalibration {
    /// Id of the servo.
    pub id: u8,
    /// Whether the joint turns against the servo's count. Dynamixel servos turn their count themselves.
    #[serde(rename = "drive_mode", serialize_with = "as_number", deserialize_with = "from_number")]
    pub reversed: bool,
    /// Register `homing offset`, ticks.
    pub homing_offset: i32,
    /// Lowest that the joint can read, ticks.
    pub range_min: i32,
    /// Highest.
    pub range_max: i32,
}

/// An arm's joints, in the order of [`JOINTS`]; every value fits its register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    protocol: Protocol,
    joints: [JointCalibration; JOINTS.len()],
}

impl JointCalibration {
    /// Whether the joint turns all the way round, and so has no range of its own.
    #[must_use]
    pub const fn is_full_turn(&self) -> bool {
        self.range_min == 0 && self.range_max == TURN - 1
    }

    fn check(&self, joint: &str, protocol: Protocol) -> Result<(), CalibrationError> {
        let joint = || joint.to_owned();
        if !(1..=252).contains(&self.id) {
            return Err(CalibrationError::Id { joint: joint(), found: self.id });
        }
        let (min, max) = homing_register(protocol).bounds();
        if !(min..=max).contains(&self.homing_offset) {
            return Err(CalibrationError::Offset { joint: joint(), min, max, found: self.homing_offset });
        }
        let (min, max) = (self.range_min, self.range_max);
        if min < 0 || max >= TURN || min > max {
            return Err(CalibrationError::Wraps { joint: joint(), min, max });
        }
        if max - min < NARROWEST {
            return Err(CalibrationError::Narrow { joint: joint(), expected: NARROWEST, found: max - min });
        }
        Ok(())
    }
}

impl Calibration {
    /// Takes joints in the order of [`JOINTS`] for an arm whose servos speak `protocol`.
    ///
    /// # Errors
    /// What a servo could not store, and what no joint is like.
    pub fn new(protocol: Protocol, joints: [JointCalibration; JOINTS.len()]) -> Result<Self, CalibrationError> {
        for (at, (joint, name)) in joints.iter().zip(JOINTS).enumerate() {
            joint.check(name, protocol)?;
            if joints[..at].iter().any(|other| other.id == joint.id) {
                return Err(CalibrationError::Id { joint: name.to_owned(), found: joint.id });
            }
        }
        Ok(Self { protocol, joints })
    }

    /// What an arm of `limits` is taken for that nobody has calibrated: every joint reads 2048 at its zero.
    ///
    /// # Errors
    /// As [`new`](Self::new), for limits that are no joints'.
    pub fn nominal(protocol: Protocol, limits: &[JointLimits]) -> Result<Self, CalibrationError> {
        let ticks = |angle_rad: f32| (TURN / 2 + (angle_rad * TURN as f32 / TAU).round() as i32).clamp(0, TURN - 1);
        let mut ids = 1..;
        let joints = std::array::from_fn(|joint| {
            let limits = limits.get(joint).copied();
            let [range_min, range_max] =
                limits.map_or([0, 0], |limits| [limits.lower_rad, limits.upper_rad].map(ticks));
            JointCalibration { id: ids.next().unwrap_or(0), reversed: false, homing_offset: 0, range_min, range_max }
        });
        Self::new(protocol, joints)
    }

    /// The joints, in the order of [`JOINTS`].
    #[must_use]
    pub const fn joints(&self) -> &[JointCalibration; JOINTS.len()] {
        &self.joints
    }

    /// Which bytes the arm's servos speak.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The angle, rad, at which joint number `joint` reads `ticks`. The middle of the range is the middle of the
    /// model's `limits`; where the joint turns all the way round it is 0.
    ///
    /// # Panics
    /// There is no such joint.
    #[must_use]
    pub fn radians(&self, joint: usize, ticks: i32, limits: &JointLimits) -> f32 {
        let (middle_ticks, middle_rad) = self.middle(joint, limits);
        middle_rad + self.radians_a_tick(joint) * (ticks as f32 - middle_ticks)
    }

    /// The ticks within the range that are nearest to an angle of joint number `joint`, rad; as
    /// [`radians`](Self::radians).
    ///
    /// # Panics
    /// There is no such joint.
    #[must_use]
    pub fn ticks(&self, joint: usize, angle_rad: f32, limits: &JointLimits) -> i32 {
        let (middle_ticks, middle_rad) = self.middle(joint, limits);
        let ticks = (middle_ticks + (angle_rad - middle_rad) / self.radians_a_tick(joint)).round() as i32;
        ticks.clamp(self.joints[joint].range_min, self.joints[joint].range_max)
    }

    fn middle(&self, joint: usize, limits: &JointLimits) -> (f32, f32) {
        let joint = &self.joints[joint];
        let middle_rad = if joint.is_full_turn() { 0.0 } else { f32::midpoint(limits.lower_rad, limits.upper_rad) };
        ((joint.range_min + joint.range_max) as f32 / 2.0, middle_rad)
    }

    fn radians_a_tick(&self, joint: usize) -> f32 {
        let is_turned_here = self.joints[joint].reversed && self.protocol == Protocol::Feetech;
        if is_turned_here { -TAU / TURN as f32 } else { TAU / TURN as f32 }
    }

    /// Reads LeRobot's JSON.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for what is no such file.
    pub fn from_json(protocol: Protocol, text: &str) -> Result<Self, CalibrationError> {
        let mut entries: BTreeMap<String, JointCalibration> = serde_json::from_str(text)?;
        let found = entries.keys().cloned().collect::<Vec<_>>().join(", ");
        let joints: Vec<_> = JOINTS.iter().filter_map(|name| entries.remove(*name)).collect();
        match <[_; JOINTS.len()]>::try_from(joints) {
            Ok(joints) if entries.is_empty() => Self::new(protocol, joints),
            _ => Err(CalibrationError::Joints { expected: JOINTS.join(", "), found }),
        }
    }

    /// Writes LeRobot's JSON.
    ///
    /// # Errors
    /// [`CalibrationError::Format`], which cannot happen.
    pub fn to_json(&self) -> Result<String, CalibrationError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), and when there is none.
    pub fn load(protocol: Protocol, path: &Path) -> Result<Self, CalibrationError> {
        let failed = |source| CalibrationError::File { path: path.to_owned(), source };
        Self::from_json(protocol, &std::fs::read_to_string(path).map_err(failed)?)
    }

    /// Writes the file at `path`, and its folder where there is none; what was there is replaced in one step.
    ///
    /// # Errors
    /// [`CalibrationError::File`].
    pub fn save(&self, path: &Path) -> Result<(), CalibrationError> {
        let failed = |source| CalibrationError::File { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let beside = path.with_extension("json.new");
        std::fs::write(&beside, self.to_json()? + "\n").map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }
}

impl Serialize for Calibration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(JOINTS.iter().zip(&self.joints))
    }
}

/// Follows ticks that jump between 4095 and 0, as long as the joint turns less than half a turn between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwrapped(i32);

impl Unwrapped {
    /// Begins at a reading.
    #[must_use]
    pub const fn new(ticks: i32) -> Self {
        Self(ticks)
    }

    /// Takes the next reading and gives it without jumps.
    pub fn follow(&mut self, ticks: i32) -> i32 {
        let ahead = (ticks - self.0).rem_euclid(TURN);
        self.0 += if ahead < TURN / 2 { ahead } else { ahead - TURN };
        self.0
    }
}

/// A joint's homing offset and the range it was moved through since, as a hand moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    homing_offset: i32,
    at: Unwrapped,
    min: i32,
    max: i32,
}

impl Measured {
    /// Takes the middle of a joint that reads `actual` ticks with a homing offset of 0.
    ///
    /// # Errors
    /// [`CalibrationError::Offset`].
    pub fn middle(protocol: Protocol, joint: &str, actual: i32) -> Result<Self, CalibrationError> {
        let found = match protocol {
            Protocol::Feetech => actual - MIDDLE,
            Protocol::Dynamixel => MIDDLE - actual,
        };
        let (min, max) = homing_register(protocol).bounds();
        if !(min..=max).contains(&found) {
            return Err(CalibrationError::Offset { joint: joint.to_owned(), min, max, found });
        }
        Ok(Self { homing_offset: found, at: Unwrapped::new(MIDDLE), min: MIDDLE, max: MIDDLE })
    }

    /// The homing offset, ticks.
    #[must_use]
    pub const fn homing_offset(&self) -> i32 {
        self.homing_offset
    }

    /// Lowest and highest reading so far, ticks, unwrapped: one that leaves 0..=4095 cannot be stored.
    #[must_use]
    pub const fn range(&self) -> (i32, i32) {
        (self.min, self.max)
    }

    /// Takes a reading with the homing offset in force; gives it unwrapped.
    pub fn follow(&mut self, present: i32) -> i32 {
        let ticks = self.at.follow(present);
        (self.min, self.max) = (self.min.min(ticks), self.max.max(ticks));
        ticks
    }

    /// The joint's calibration; with `full_turn` the range is the whole turn, whatever was measured.
    ///
    /// # Errors
    /// [`CalibrationError::Wraps`] and [`CalibrationError::Narrow`].
    pub fn finish(
        &self,
        protocol: Protocol,
        joint: &str,
        id: u8,
        full_turn: bool,
    ) -> Result<JointCalibration, CalibrationError> {
        let (range_min, range_max) = if full_turn { (0, TURN - 1) } else { (self.min, self.max) };
        let joint_calibration =
            JointCalibration { id, reversed: false, homing_offset: self.homing_offset, range_min, range_max };
        joint_calibration.check(joint, protocol).map(|()| joint_calibration)
    }
}

const fn homing_register(protocol: Protocol) -> Register {
    match protocol {
        Protocol::Feetech => sts3215::HOMING_OFFSET,
        Protocol::Dynamixel => x_series::HOMING_OFFSET,
    }
}

fn as_number<S: Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(u8::from(*flag))
}

fn from_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match u8::deserialize(deserializer)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(serde::de::Error::custom(format!("drive_mode {other}"))),
    }
}

#[cfg(test)]
mod tests;
