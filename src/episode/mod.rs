//! The log: what a robot saw, was told and did, one file an episode.
//!
//! An episode is the unit of storage: a damaged disk or a killed process costs one episode and not a session, an
//! episode can be deleted, copied or left out of training by its file name, and the replay buffer evicts by episode
//! too. [`folder`] names the files, [`index`] remembers what they hold, [`writer`] fills one while the arm moves, [`recorder`] keeps the writing off the
//! control thread, [`reader`] gives back everything whole in a file, however it ended, and [`relabel`] derives training
//! data without touching the log. What the bytes mean stands in [`wire`].
//!
//! A [`Tick`] is written every control period. A policy step is a run of ticks; [`Episode::transitions`] cuts the
//! ticks into the transitions that a learner trains on.

mod convert;
mod decode;
pub mod export;
pub mod folder;
pub mod import;
pub mod index;
pub mod inspect;
mod joint_units;
pub mod reader;
pub mod recorder;
pub mod relabel;
mod scan;
mod schema;
mod transitions;
pub mod wire;
pub mod writer;

use crate::arm::Health;
use firmware_bridge::{JointState, PerJoint};
use serde::Serialize;
use std::collections::BTreeMap;

pub use folder::Folder;
pub use index::Index;
pub use reader::{ReadError, Recovered, read};
pub use recorder::{Pace, RecordError, Recorder};
pub use transitions::Transition;
pub use writer::WriteError;

/// The most numbers that an observation may have in the log; the Fetch layout has 25.
pub const MAX_OBSERVATION: usize = 32;

/// A task's observation, held in place so that filling a [`Tick`] allocates nothing.
pub type Observation = heapless::Vec<f32, MAX_OBSERVATION>;

/// What is known when an episode begins.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EpisodeStart {
    /// Task's name, such as `push`.
    pub task: String,
    /// Arm's name, such as `so101`.
    pub arm: String,
    /// Seed from which the episode's goal and the simulator's draws come.
    pub seed: u64,
    /// Name of the policy that acts.
    pub policy: String,
    /// SHA-256 of the policy's file, lower-case hexadecimal; empty if it has no file.
    pub policy_sha256: String,
    /// Program and version that recorded.
    pub software: String,
    /// Control period, µs; the time between two ticks.
    pub control_period_us: u32,
    /// Control ticks in a policy step.
    pub ticks_per_step: u32,
    /// Wanted position of the task's point (puck or fingertip) at the start, base frame, m.
    pub goal: [f32; 3],
    /// Distance to the goal within which the task counts as done, m.
    pub success_radius_m: f64,
    /// Host's clock at the start, µs.
    pub stamp_us: u64,
    /// Unix time at `stamp_us`, µs; `None` in virtual time, where the same seed must give the same bytes.
    pub wall_us: Option<u64>,
    /// Anything else worth keeping: randomised parameters, the person's name, the puck's colour.
    pub metadata: BTreeMap<String, String>,
}

impl EpisodeStart {
    /// The rule that all tasks share, with the radius that held when this was recorded: 0 within the success radius
    /// of the goal, −1 elsewhere.
    pub fn compute_reward(&self, achieved: &[f32], desired: &[f32]) -> f32 {
        let squared: f64 = achieved.iter().zip(desired).map(|(a, d)| f64::from(a - d).powi(2)).sum();
        if squared.sqrt() < self.success_radius_m { 0.0 } else { -1.0 }
    }
}

/// Everything about one control period.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tick {
    /// Counts from 0 within the episode, without gaps.
    pub index: u64,
    /// Host's monotonic clock when the period really began, µs; not when it should have.
    pub stamp_us: u64,
    /// Policy step that this tick belongs to. The last tick of a whole episode of T steps begins step T: it holds
    /// the final observation and commands nothing.
    pub step: u32,
    /// Whether the policy was asked at this tick; its observation is the step's.
    pub begins_step: bool,
    /// Task's observation, as the task documents it.
    pub observation: Observation,
    /// Filtered position of the task's point, base frame, m.
    pub achieved_goal: [f32; 3],
    /// Wanted position of the task's point, base frame, m.
    pub desired_goal: [f32; 3],
    /// Action that the policy asked for in this step, each number in [−1, 1].
    pub requested_action: [f32; 4],
    /// The part of the step's action that was carried out after safety filtering, as known at this tick. A learner
    /// trains on the value at the step's last tick.
    pub applied_action: [f32; 4],
    /// Joint goal before the safety filter, rad.
    pub requested_rad: PerJoint,
    /// Joint goal after the safety filter, rad.
    pub applied_rad: PerJoint,
    /// Joint goal that the driver really sent, rad; empty if none was sent.
    pub sent_rad: PerJoint,
    /// Measured joints.
    pub joints: JointState,
    /// Age of the measured joints at `stamp_us`, µs.
    pub reading_age_us: u32,
    /// The tracked object; `None` when the task has none or it has not been seen yet.
    pub object: Option<ObjectTrack>,
    /// Which of the safety filter's rules changed the goal, a bit a rule; 0 means none.
    pub interventions: u32,
}

/// Where the tracked object is. Base frame; quaternions are [x, y, z, w].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ObjectTrack {
    /// Position as measured, m.
    pub raw_position: [f64; 3],
    /// Orientation as measured.
    pub raw_orientation: [f64; 4],
    /// Filtered position at the tick, m.
    pub position: [f64; 3],
    /// Filtered orientation at the tick.
    pub orientation: [f64; 4],
    /// Filtered velocity, m/s.
    pub velocity_m_s: [f64; 3],
    /// Filtered angular velocity, rad/s.
    pub angular_velocity_rad_s: [f64; 3],
    /// Age of the measurement at the tick, µs.
    pub age_us: u32,
}

/// How the arm and its line were at some time of an episode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BusHealth {
    /// Host's clock, µs.
    pub stamp_us: u64,
    /// Counted from the connection on.
    #[serde(flatten)]
    pub health: Health,
}

/// Something that went wrong while an episode ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FaultEvent {
    /// Host's clock, µs.
    pub stamp_us: u64,
    /// What happened, for a person to read.
    pub what: String,
}

/// A file kept within an episode's file, such as the arm's description or its calibration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, such as `so101.urdf`.
    pub name: String,
    /// What it is, as a media type, such as `application/json`.
    pub media_type: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// How an episode ended. A file without it was cut off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpisodeEnd {
    /// Why it ended.
    pub reason: EndReason,
    /// Host's clock at the end, µs.
    pub stamp_us: u64,
    /// Whether the goal was achieved at the last step.
    pub success: bool,
    /// Policy steps carried out.
    pub steps: u32,
    /// Distance between the task's point and the goal at the end, m.
    pub final_distance_m: f64,
    /// Ticks that were made but could not be written; 0 unless the reason is [`EndReason::LogOverrun`].
    pub lost_ticks: u64,
}

/// Why an episode ended. The discriminants are the wire's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// All steps were carried out.
    Completed = 1,
    /// A person stopped it.
    Stopped = 2,
    /// The arm or its firmware latched a fault.
    Fault = 3,
    /// The port vanished.
    PortLost = 4,
    /// The disk could not keep up; the log ends before the episode did.
    LogOverrun = 5,
}

/// An episode in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// What was known at the start.
    pub start: EpisodeStart,
    /// Ticks in order, indices without gaps.
    pub ticks: Vec<Tick>,
    /// What went wrong, in order.
    pub faults: Vec<FaultEvent>,
    /// How it ended; `None` if the file was cut off.
    pub end: Option<EpisodeEnd>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An episode of `steps` steps of `per_step` ticks, each number telling where it belongs.
    pub(crate) fn sample(steps: u32, per_step: u32) -> Episode {
        let count = u64::from(steps * per_step) + 1;
        let joints = |k: f32| PerJoint::from_slice(&[k, k + 0.1, k + 0.2, k + 0.3, k + 0.4, k + 0.5]).unwrap();
        let ticks = (0..count)
            .map(|index| {
                let step = (index / u64::from(per_step)) as u32;
                let x = index as f32;
                Tick {
                    index,
                    stamp_us: 5_000_000 + index * 8_000,
                    step,
                    begins_step: index % u64::from(per_step) == 0,
                    observation: (0..25).map(|i| x + i as f32 / 100.0).collect(),
                    achieved_goal: [x, 0.0, 0.01],
                    desired_goal: [0.2, 0.1, 0.01],
                    requested_action: [step as f32, -0.5, 0.25, -1.0],
                    applied_action: [x / 10.0, -0.5, 0.2, -1.0],
                    requested_rad: joints(x),
                    applied_rad: joints(x + 1.0),
                    sent_rad: joints(x + 2.0),
                    joints: JointState {
                        position_rad: joints(x + 3.0),
                        velocity_rad_s: joints(0.0),
                        load: joints(-0.5),
                    },
                    reading_age_us: 900,
                    object: Some(ObjectTrack {
                        position: [0.2, 0.001 * f64::from(x), 0.01],
                        age_us: 16_000,
                        ..Default::default()
                    }),
                    interventions: u32::from(index == 1),
                }
            })
            .collect();
        Episode {
            start: EpisodeStart {
                task: "push".into(),
                arm: "so101".into(),
                seed: 7,
                policy: "push.onnx".into(),
                policy_sha256: "ab".repeat(32),
                software: "hindsight 0.1.0".into(),
                control_period_us: 8_000,
                ticks_per_step: per_step,
                goal: [0.2, 0.1, 0.01],
                success_radius_m: 0.03,
                stamp_us: 5_000_000,
                wall_us: None,
                metadata: [("puck".to_owned(), "red".to_owned())].into(),
            },
            ticks,
            faults: Vec::new(),
            end: Some(EpisodeEnd {
                reason: EndReason::Completed,
                stamp_us: 5_000_000 + count * 8_000,
                success: false,
                steps,
                final_distance_m: 0.4,
                lost_ticks: 0,
            }),
        }
    }
}
