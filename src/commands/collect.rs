//! `hindsight collect`: a policy drives an arm, and every episode is recorded.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use hindsight::episode::EpisodeStart;
use hindsight::policy::NoisyPolicy;
use serde_json::json;

use super::choice::Choice;
use super::drive::Plan;
use super::record::Record;
use super::rig::RigArgs;
use super::{Common, Finish, UsageError, report, rollout};

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
        let acts = EpisodeStart {
            policy: choice.name().into(),
            policy_sha256: choice.sha256(),
            metadata: [("noise", self.noise), ("epsilon", self.epsilon)]
                .map(|(key, value)| (key.to_owned(), value.to_string()))
                .into(),
            ..EpisodeStart::default()
        };
        let record = Record::new(&self.out, &self.rig, &setup, acts)?;
        let plan = Plan { episodes: self.episodes, seed: common.seed, goal_m: None, recorded: true };
        let session = rollout::run(&self.rig, &setup, &mut policy, &plan, Some(&record), common)?;
        let files: Vec<String> = session.recordings.iter().map(|r| r.path.display().to_string()).collect();
        let more = json!({ "files": files, "noise": self.noise, "epsilon": self.epsilon });
        report::conclude(common, self.rig.task, session, begun, more)
    }
}
