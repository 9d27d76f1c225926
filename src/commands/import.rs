//! `hindsight import`: an actor that was trained elsewhere, as a policy of this program.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use hindsight::learn::presets::Preset;
use hindsight::learn::{Agent, InputOrder, PolicyCard};
use hindsight::task::{Task, TaskKind};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde_json::json;
use sim::SimParams;

use super::{Common, Finish, UsageError, output};

/// Take in an actor that was trained elsewhere, to run it and to make it better
#[derive(Debug, Args)]
pub(super) struct Import {
    /// ONNX file of dense layers with ReLU between them and Tanh at the end, such as a stable-baselines3 actor's
    policy: PathBuf,
    /// The task that it was trained for
    #[arg(long, value_enum)]
    task: TaskKind,
    /// The policy's file; the learner's state goes beside it
    #[arg(long)]
    out: PathBuf,
    /// How a single input is ordered (docs/import.md); inputs named observation, achieved_goal and desired_goal need no
    /// order
    #[arg(long, value_enum)]
    input_order: Option<InputOrder>,
    /// Overwrite files of an earlier import
    #[arg(long)]
    force: bool,
}

impl Import {
    /// Writes the policy and, with critics that have learned nothing yet, the learner's state.
    ///
    /// # Errors
    /// Wrong use, or no actor that can be taken in; nothing was written.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        if self.out.extension().is_none_or(|extension| extension != "onnx") {
            return Err(UsageError(format!("--out {}: expected a file that ends in .onnx", self.out.display())).into());
        }
        let state = self.out.with_extension("agent");
        if let Some(file) = [&self.out, &state].into_iter().find(|file| file.exists() && !self.force) {
            let text = format!("{} exists; choose another --out, or say --force", file.display());
            return Err(UsageError(text).into());
        }
        let bytes = std::fs::read(&self.policy).with_context(|| format!("cannot read {}", self.policy.display()))?;
        let layout = Task::new(self.task, SimParams::so101()?.object.rest_height_m()).layout();
        let (hyper, mut rng) = (Preset::of_task(self.task).hyper, Pcg64Mcg::seed_from_u64(common.seed));
        let agent = Agent::from_onnx(&bytes, layout, self.input_order, hyper, &mut rng)
            .with_context(|| format!("in {}", self.policy.display()))?;
        let card = PolicyCard {
            task: self.task.name().into(),
            layout: format!("fetch-{}", layout.observation),
            seed: common.seed,
        };
        std::fs::write(&self.out, agent.to_onnx(&card))
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        agent.save(&state)?;
        let sizes = agent.actor().sizes();
        output::say(common, &format!("layers      {sizes:?}\nwritten     {}", self.out.display()));
        let report = json!({ "task": self.task.name(), "layers": sizes, "out": self.out, "seed": common.seed });
        output::finish(common, &report);
        Ok(Finish::Done)
    }
}
