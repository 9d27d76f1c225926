//! `hindsight episodes resim`: recorded inputs once more through policy and safety filter.

use anyhow::{Result, bail};
use clap::Args;
use clap::ValueEnum;
use hindsight::control::Planner;
use hindsight::env::GoalObservation;
use hindsight::env::arm::resim::resim;
use hindsight::env::simulated::control_config;
use hindsight::episode::{Episode, read};
use hindsight::task::{ACTION_SIZE, TaskKind};
use serde_json::json;
use std::path::PathBuf;

use super::super::choice::Choice;
use super::super::rig::{ArmName, Setup};
use super::super::{Common, Finish, output};

/// Put recorded inputs through policy and safety filter again, and tell of the first difference
#[derive(Debug, Args)]
pub(super) struct Resim {
    /// Folder of recorded episodes, or one file
    source: PathBuf,
    /// The policy that acted, if it was a file: its actions are compared too, where no noise was added to them
    #[arg(long)]
    policy: Option<String>,
}

impl Resim {
    /// Compares every tick of every file.
    ///
    /// # Errors
    /// Something differs, a file gives no episode, or the policy is another than the one that acted.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let files = super::files(&self.source)?;
        let bar = output::progress("resim", files.len() as u64);
        let (mut rows, mut differing) = (Vec::new(), 0);
        for file in &files {
            let name = super::name(file);
            let episode = read(file)?.episode;
            let Ok(arm) = ArmName::from_str(&episode.start.arm, true) else {
                bail!("{name}: expected an arm that is known here, found {}", episode.start.arm);
            };
            let Ok(task) = TaskKind::from_str(&episode.start.task, true) else {
                bail!("{name}: expected a task that is known here, found {}", episode.start.task);
            };
            let setup = Setup::new(arm, task, None)?;
            let limits = std::array::from_fn(|joint| setup.model.joints[joint].limits);
            let mut planner =
                Planner::new(&setup.model, limits, &control_config(&setup.model, &setup.twin, task, None).planner)?;
            let found = resim(&episode, task, &mut planner)?;
            let step = self.acts_otherwise(&episode, &setup)?;
            if let Some(found) = &found {
                let text = format!(
                    "{name}: tick {} was {:?} ({}), is {:?} ({})",
                    found.tick,
                    found.recorded_rad,
                    found.recorded_interventions,
                    found.found_rad,
                    found.found_interventions
                );
                bar.suspend(|| output::say(common, &text));
            }
            if let Some(step) = step {
                bar.suspend(|| output::say(common, &format!("{name}: the policy acts otherwise in step {step}")));
            }
            differing += u64::from(found.is_some() || step.is_some());
            rows.push(json!({ "file": name, "tick": found.map(|found| found.tick), "policy_step": step }));
            bar.inc(1);
        }
        bar.finish_and_clear();
        output::finish(common, &json!({ "files": rows, "differing": differing }));
        if differing > 0 {
            bail!("{differing} of {} episodes are not repeated by this program", files.len());
        }
        output::say(common, &format!("{} episodes are repeated bit by bit", files.len()));
        Ok(Finish::Done)
    }

    /// The first step in which the policy that was named does not ask for the recorded action.
    fn acts_otherwise(&self, episode: &Episode, setup: &Setup) -> Result<Option<u32>> {
        let start = &episode.start;
        let is_noisy = ["noise", "epsilon"].iter().any(|key| start.metadata.get(*key).is_none_or(|value| value != "0"));
        let Some(asked) = self.policy.as_deref().filter(|_| !is_noisy) else { return Ok(None) };
        let choice = Choice::find(Some(asked), setup.task.kind)?;
        if choice.sha256() != start.policy_sha256 || start.policy_sha256.is_empty() {
            bail!(
                "expected the policy {} with SHA-256 {:?}, found {}",
                start.policy,
                start.policy_sha256,
                choice.sha256()
            );
        }
        let mut policy = choice.load(&setup.task, start.seed)?;
        for tick in episode.step_ticks().filter(|tick| !tick.sent_rad.is_empty()) {
            let seen = GoalObservation {
                observation: tick.observation.to_vec(),
                achieved_goal: tick.achieved_goal.to_vec(),
                desired_goal: tick.desired_goal.to_vec(),
            };
            let mut action = [0.0; ACTION_SIZE];
            policy.act(&seen, &mut action)?;
            if action.map(|a| a.clamp(-1.0, 1.0)) != tick.requested_action {
                return Ok(Some(tick.step));
            }
        }
        Ok(None)
    }
}
