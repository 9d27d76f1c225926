//! LeRobot datasets, version 3.0, of the same arm as episodes to learn from.
//!
//! A dataset that [`super::export`] wrote comes back with its transitions bit by bit (`recorded.rs`). One that a
//! person recorded with LeRobot has joint goals in degrees and nothing of a policy's steps; the arm's kinematics make
//! fingertip displacements of them (`demonstration.rs`), and what that loses is counted in [`Losses`].
//!
//! Either way an episode holds what the dataset holds and no more: goals before and after the safety filter, joints'
//! velocities and loads are empty, an object's measured position is its filtered one, and its velocities are 0 where
//! they are not known. [`SOURCE_KEY`] in its metadata says where it is from.

mod dataset;
mod demonstration;
mod recorded;

use super::folder::FolderError;
use super::joint_units::JointUnits;
use super::recorder::{Pace, Recorder};
use super::writer::WriteError;
use super::{Episode, EpisodeStart, Folder};
use crate::kinematics::Kinematics;
use crate::task::{Task, TaskKind};
use dataset::{Dataset, Feature};
use parquet::errors::ParquetError;
use sim::ArmModel;
use std::io;
use std::path::{Path, PathBuf};

/// Key in an imported episode's metadata: what it was imported from.
pub const SOURCE_KEY: &str = "imported_from";

/// What LeRobot calls the arm that this program calls `so101`. From 0.5 on it says `so_follower` of the SO-100 and the
/// SO-101 alike; which one it was, a person must know.
const ROBOTS: [&str; 3] = ["so101_follower", "so101", "so_follower"];

/// Features that are read if they are there, and what is in them.
const OBJECT: (&str, [&str; 7]) = ("observation.environment_state", ["x_m", "y_m", "z_m", "qx", "qy", "qz", "qw"]);
const GOAL: (&str, [&str; 3]) = ("observation.goal", ["x_m", "y_m", "z_m"]);

/// Why a dataset could not be imported. No episode of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no dataset.
    #[error("{} is no LeRobot dataset: cannot read meta/info.json in it: {cause}; name the folder that holds meta/ and data/", root.display())]
    NoDataset {
        /// The folder.
        root: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {cause}; copy the dataset again", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The dataset is of another version.
    #[error("{} says version {found}, expected {expected}; convert the dataset with LeRobot's own script for that", path.display())]
    Version {
        /// `info.json`.
        path: PathBuf,
        /// The version that is read.
        expected: &'static str,
        /// The version found.
        found: String,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged or no part of a LeRobot dataset: {what}; copy the dataset again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The parts of the dataset disagree.
    #[error("{}: expected {expected} {what}, as meta/info.json says, found {found}; a file is missing or from another dataset", root.display())]
    Counts {
        /// The dataset.
        root: PathBuf,
        /// What was counted.
        what: &'static str,
        /// As described.
        expected: u64,
        /// As found.
        found: u64,
    },
    /// The dataset is of another arm.
    #[error("{} is of robot {found:?}, expected {}; another arm's joints do not fit this one's kinematics", root.display(), ROBOTS.join(" or "))]
    Robot {
        /// The dataset.
        root: PathBuf,
        /// The robot found.
        found: String,
    },
    /// A feature is missing or is something else.
    #[error("{}: feature {name}: expected {expected}, found {found}", root.display())]
    Feature {
        /// The dataset.
        root: PathBuf,
        /// The feature.
        name: &'static str,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// The dataset was recorded for another task.
    #[error("{} holds episodes of task {found:?}, expected {expected:?}; choose that task", root.display())]
    Task {
        /// The dataset.
        root: PathBuf,
        /// The task that was asked for.
        expected: &'static str,
        /// The task found.
        found: String,
    },
    /// Nothing came of it.
    #[error("{} holds no episode that lasts a policy step", .0.display())]
    Empty(PathBuf),
    /// See [`FolderError`].
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// See [`WriteError`].
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ImportError {
    fn json(path: &Path, cause: &serde_json::Error) -> Self {
        Self::Damaged { path: path.to_owned(), what: cause.to_string() }
    }

    fn parquet(path: &Path, cause: &ParquetError) -> Self {
        Self::Damaged { path: path.to_owned(), what: cause.to_string() }
    }
}

/// What came of an import.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imported {
    /// Episodes written.
    pub episodes: u64,
    /// Episodes too short for a policy step; nothing was written of them.
    pub too_short: u64,
    /// Frames read.
    pub frames: u64,
    /// Transitions in the episodes.
    pub transitions: u64,
    /// What was lost; `None` where the dataset held the transitions themselves.
    pub losses: Option<Losses>,
    /// Features that are pictures, which are not taken.
    pub cameras: Vec<String>,
}

/// What a policy's actions cannot say of a demonstration.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Losses {
    /// Steps in which the fingertip was wanted farther away than an action takes it; the rest comes with later steps.
    pub too_fast: u64,
    /// Steps that end where the safety filter would let no policy go.
    pub outside_workspace: u64,
    /// Mean over the steps of the larger of the angles by which the hand's pitch and roll are off those of a policy's
    /// hand there, rad.
    pub hand_off_rad: f64,
    /// Frames with a joint outside the arm's limits, which hints at another calibration or other units.
    pub outside_limits: u64,
    /// Whether episodes have no goal of their own, so that what was achieved at the end is taken for it.
    pub goal_from_end: bool,
}

/// Writes the episodes of the dataset in `root` into the folder `target`, numbered after those that are there.
/// `on_episode` is called after each, with how many there are.
///
/// # Errors
/// See [`ImportError`]; what was written is removed again.
pub fn lerobot(
    root: &Path,
    target: &Path,
    model: &ArmModel,
    kinematics: &Kinematics,
    task: &Task,
    mut on_episode: impl FnMut(u64),
) -> Result<Imported, ImportError> {
    let dataset = Dataset::open(root)?;
    let source = Source::new(&dataset, model, kinematics, task)?;
    let folder = Folder::create(target)?;
    let mut imported = Imported { cameras: dataset.cameras(), ..Imported::default() };
    let mut written = Vec::new();
    let mut losses = demonstration::Tally::default();
    let outcome = dataset.each_episode(&source.features(), |number, frames| {
        imported.frames += frames.len() as u64;
        let episode = match source.has_steps {
            true => recorded::episode(&source, number, &frames)?,
            false => demonstration::episode(&source, number, &frames, &mut losses),
        };
        let transitions = episode.transitions(|_, _| 0.0).count() as u64;
        match transitions {
            0 => imported.too_short += 1,
            _ => {
                let path = folder.next_file()?;
                written.push(path.clone());
                write(&path, episode)?;
                imported.episodes += 1;
                imported.transitions += transitions;
            }
        }
        on_episode(dataset.episodes());
        Ok(())
    });
    let outcome = outcome.and_then(|()| match imported.episodes {
        0 => Err(ImportError::Empty(root.to_owned())),
        _ => Ok(()),
    });
    if let Err(error) = outcome {
        for path in written {
            // Half a dataset would be taken for a whole one; what cannot be removed was not written.
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(path.with_extension("json"));
        }
        return Err(error);
    }
    imported.losses = (!source.has_steps).then(|| losses.finish(!source.has_goal));
    Ok(imported)
}

fn write(path: &Path, episode: Episode) -> Result<(), ImportError> {
    let Episode { start, ticks, end, .. } = episode;
    let mut recorder = Recorder::create(path, start, Pace::Inline)?;
    for tick in ticks {
        // What the file does not take is told by `finish`.
        let _ = recorder.record(tick);
    }
    if let Some(end) = end {
        recorder.finish(end)?;
    }
    Ok(())
}

/// A dataset with what its frames mean.
struct Source<'a> {
    dataset: &'a Dataset,
    model: &'a ArmModel,
    kinematics: &'a Kinematics,
    task: &'a Task,
    units: JointUnits,
    /// Whether a policy's steps are in it.
    has_steps: bool,
    has_object: bool,
    has_goal: bool,
}

impl<'a> Source<'a> {
    fn new(
        dataset: &'a Dataset,
        model: &'a ArmModel,
        kinematics: &'a Kinematics,
        task: &'a Task,
    ) -> Result<Self, ImportError> {
        let root = || dataset.root().to_owned();
        if !ROBOTS.contains(&dataset.robot()) {
            return Err(ImportError::Robot { root: root(), found: dataset.robot().to_owned() });
        }
        let has = |(name, names): (&str, &[&str])| dataset.feature(name).is_some_and(|f| f.names() == names);
        let source = Self {
            dataset,
            model,
            kinematics,
            task,
            units: JointUnits::of(model),
            has_steps: recorded::FEATURES.iter().all(|name| dataset.feature(name).is_some()),
            has_object: has((OBJECT.0, &OBJECT.1)),
            has_goal: has((GOAL.0, &GOAL.1)),
        };
        let joints: Vec<String> = model.joints.iter().map(|joint| format!("{}.pos", joint.name)).collect();
        for name in ["observation.state", "action"] {
            let found = dataset.feature(name).map(Feature::names).unwrap_or_default();
            if found != joints {
                let (expected, found) = (joints.join(", "), described(&found));
                return Err(ImportError::Feature { root: root(), name, expected, found });
            }
        }
        if source.has_steps {
            recorded::check(&source)?;
        } else if task.objects.is_some() && !source.has_object {
            let found = dataset.feature(OBJECT.0).map(Feature::names).unwrap_or_default();
            let expected = format!(
                "{} of the {}, without which {} cannot be learned (reach can)",
                OBJECT.1.join(", "),
                task.kind.object_name(),
                task.kind.name()
            );
            return Err(ImportError::Feature { root: root(), name: OBJECT.0, expected, found: described(&found) });
        }
        Ok(source)
    }

    /// Names of the features to read.
    fn features(&self) -> Vec<&'static str> {
        let mut names = vec!["observation.state", "action"];
        names.extend(self.has_object.then_some(OBJECT.0));
        match self.has_steps {
            true => names.extend(recorded::FEATURES),
            false => names.extend(self.has_goal.then_some(GOAL.0)),
        }
        names
    }

    /// The start of an episode, as far as the dataset tells.
    fn start(&self, number: u64, goal: [f32; 3]) -> EpisodeStart {
        let metadata = [
            (SOURCE_KEY, "LeRobotDataset v3.0".to_owned()),
            ("dataset_episode", number.to_string()),
            ("dataset_fps", self.dataset.fps().to_string()),
        ];
        EpisodeStart {
            task: self.task.kind.name().into(),
            arm: self.model.name.clone(),
            policy: if self.has_steps { "imported".into() } else { "demonstration".into() },
            software: concat!("hindsight ", env!("CARGO_PKG_VERSION")).into(),
            goal,
            success_radius_m: self.task.success_radius_m,
            metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
            ..EpisodeStart::default()
        }
    }

    fn kind(&self) -> TaskKind {
        self.task.kind
    }
}

fn described(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
