//! `hindsight collect`: a policy drives an arm, and every episode is recorded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use firmware_bridge::JointLimits;
use hindsight::episode::{Attachment, EpisodeStart, Folder};
use hindsight::policy::NoisyPolicy;
use hindsight::task::Region;
use serde_json::json;

use super::choice::Choice;
use super::drive::Plan;
use super::rig::{RigArgs, Setup};
use super::rollout::{self, Record};
use super::{Common, Finish, UsageError, report};

/// Let a policy drive an arm and record every episode
#[derive(Debug, Args)]
pub(super) struct Collect {
    #[command(flatten)]
    rig: RigArgs,
    /// An ONNX file, the name of a policy in this program, or expert, random or still [default: the task's]
    #[arg(long)]
    policy: Option<String>,
    /// How many episodes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    episodes: u64,
    /// Folder for the episodes; those that are there stay, and new ones have the next numbers
    #[arg(long)]
    out: PathBuf,
    /// Deviation of the noise on the policy's actions, which are in −1..1
    #[arg(long, default_value_t = 0.1)]
    noise: f64,
    /// Share of actions that are drawn at random instead
    #[arg(long, default_value_t = 0.1)]
    epsilon: f64,
}

impl Collect {
    /// Records the episodes; the arm ends parked and without power.
    ///
    /// # Errors
    /// Before anything moves: wrong use, a policy for something else, no arm. After: see [`report::conclude`].
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        for (flag, value) in [("--noise", self.noise), ("--epsilon", self.epsilon)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(UsageError(format!("{flag} {value}: expected a number from 0 to 1")).into());
            }
        }
        let setup = self.rig.setup()?;
        let choice = Choice::find(self.policy.as_deref(), self.rig.task)?;
        let policy = choice.load(&setup.task, common.seed)?;
        // Another stream than the random policy's.
        let mut policy = NoisyPolicy::new(policy, self.noise as f32, self.epsilon as f32, !common.seed);
        let label = EpisodeStart {
            arm: self.rig.arm.name().into(),
            policy: choice.name().into(),
            policy_sha256: choice.sha256(),
            software: concat!("hindsight ", env!("CARGO_PKG_VERSION")).into(),
            metadata: self.metadata(&setup)?,
            ..EpisodeStart::default()
        };
        let attachments = self.attachments(&setup)?;
        let folder = Folder::create_to_record(&self.out)?;
        let plan = Plan { episodes: self.episodes, seed: common.seed, goal_m: None, recorded: true };
        let record = Record { folder, label, attachments };
        let session = rollout::run(&self.rig, &setup, &mut policy, &plan, Some(&record), common)?;
        let files: Vec<String> = session.recordings.iter().map(|r| r.path.display().to_string()).collect();
        let more = json!({ "files": files, "noise": self.noise, "epsilon": self.epsilon });
        report::conclude(common, self.rig.task, session, begun, more)
    }

    /// What somebody needs who reads an episode years later: the arm's description, what ties its servos' ticks to
    /// angles, and the task's numbers.
    fn attachments(&self, setup: &Setup) -> Result<Vec<Attachment>> {
        let file = |name: &str, media_type: &str, bytes: Vec<u8>| Attachment {
            name: name.into(),
            media_type: media_type.into(),
            bytes,
        };
        let arm = self.rig.arm;
        let mut files = vec![file(&format!("{}.urdf", arm.name()), "application/xml", arm.urdf().into())];
        if let Some(calibration) = &self.rig.calibration {
            let bytes = std::fs::read(calibration).with_context(|| format!("cannot read {}", calibration.display()))?;
            files.push(file("calibration.json", "application/json", bytes));
        }
        let (task, limits) = (&setup.task, setup.model.limits());
        let region = |region: &Region| json!({ "lower_m": region.lower, "upper_m": region.upper });
        let limit = |limit: &JointLimits| json!({ "lower_rad": limit.lower_rad, "upper_rad": limit.upper_rad, "velocity_rad_s": limit.velocity_rad_s });
        let settings = json!({
            "task": task.kind.name(),
            "goals": region(&task.goals),
            "objects": task.objects.as_ref().map(region),
            "success_radius_m": task.success_radius_m,
            "limits": limits.iter().map(limit).collect::<Vec<_>>(),
        });
        files.push(file("settings.json", "application/json", serde_json::to_vec_pretty(&settings)?));
        Ok(files)
    }

    /// What else is worth keeping with an episode.
    fn metadata(&self, setup: &Setup) -> Result<BTreeMap<String, String>> {
        let mut metadata = BTreeMap::from([
            ("noise".to_owned(), self.noise.to_string()),
            ("epsilon".to_owned(), self.epsilon.to_string()),
            ("place".to_owned(), if self.rig.is_simulated() { "simulator" } else { "port" }.to_owned()),
        ]);
        if self.rig.is_simulated() {
            metadata.insert("arm_params".into(), params(&setup.drawn)?);
            metadata.insert("twin_params".into(), params(&setup.twin)?);
        }
        Ok(metadata)
    }
}

fn params(params: &sim::SimParams) -> Result<String> {
    serde_json::to_string(params).context("cannot write the simulated arm's parameters")
}
