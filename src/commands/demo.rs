//! `hindsight demo`: the whole loop on a simulated arm that differs from its twin.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use hindsight::env::simulated::{simulated, simulated_many};
use hindsight::env::{GoalEnv, GoalObservation, Outcome, Start};
use hindsight::episode::{EpisodeStart, Folder, relabel};
use hindsight::learn::evaluate::{Comparison, Evaluation, evaluate};
use hindsight::learn::{Actor, Agent, Relabel};
use hindsight::policy::{Policy, RandomPolicy, StillPolicy};
use hindsight::task::{Task, TaskKind};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde_json::json;
use sim::params::Ranges;
use sim::{ArmModel, SimParams};

use super::output::{self, percent};
use super::plot::{self, Bar, Path2, Side};
use super::{Common, Finish};

/// Show the whole loop on a simulated arm that differs from its twin
#[derive(Debug, Args)]
pub struct Demo {
    /// Folder for episodes, policy and picture [default: demo, or the first free of demo-2, demo-3, …]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Episodes to collect on the arm
    #[arg(long, default_value_t = 60)]
    collect: u64,
    /// Episodes of each evaluation
    #[arg(long, default_value_t = 200)]
    episodes: u64,
    /// Minutes of learning
    #[arg(long, default_value_t = 4.0)]
    minutes: f64,
}

/// Evaluation episodes have seeds of their own.
const EVALUATION_SEED: u64 = 3 << 40;
/// Episodes whose paths are drawn.
const DRAWN: u64 = 24;

impl Demo {
    /// Runs the demonstration and writes episodes, policy and picture.
    ///
    /// # Errors
    /// The folder exists, or cannot be written.
    pub fn run(&self, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        let folder = self.folder()?;
        let model = ArmModel::so101()?;
        let twin = SimParams::so101()?;
        let arm = twin.draw(&Ranges::so101()?, &mut Pcg64Mcg::seed_from_u64(common.seed));
        let task = Task::new(TaskKind::Push, twin.object.height_m / 2.0);
        let stage = Stage { model: &model, twin: &twin, arm: &arm, task: &task };
        let incumbent = super::rig::builtin_agent("push")?;
        output::say(common, &differences(&twin, &arm));

        let seeds: Vec<u64> = (0..self.episodes).map(|i| EVALUATION_SEED + i).collect();
        let before = stage.evaluate("before", &seeds, || Actor::new(&incumbent, 1))?;
        output::say(common, &format!("before      {}", rate(&before)));
        let still = stage.evaluate("do nothing", &seeds, || StillPolicy)?;
        output::say(common, &format!("do nothing  {}", rate(&still)));
        let random = stage.evaluate("random", &seeds, || RandomPolicy::new(common.seed))?;
        output::say(common, &format!("random      {}", rate(&random)));
        Ok(Finish::Done)
    }

    /// An empty folder of the demonstration's own.
    fn folder(&self) -> Result<PathBuf> {
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => (1..)
                .map(|n| if n == 1 { PathBuf::from("demo") } else { PathBuf::from(format!("demo-{n}")) })
                .find(|folder| !folder.exists())
                .unwrap_or_default(),
        };
        std::fs::create_dir_all(folder.parent().unwrap_or(Path::new("."))).and_then(|()| std::fs::create_dir(&folder))
            .with_context(|| format!("cannot make the folder {}; choose another --out", folder.display()))?;
        Ok(folder)
    }
}
