//! `hindsight experiment`: ways to learn compared over seeds, as a table and learning curves.

mod plan;
mod report;
mod runs;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::{Common, Finish, output};
use plan::Plan;

/// Compare ways to learn, over several seeds, as a table and pictures
#[derive(Debug, Args)]
pub(crate) struct Experiment {
    /// What to compare: a TOML file as those in docs/paper
    file: PathBuf,
    /// Folder of results; what it holds already of the same experiment is not run again
    #[arg(long)]
    out: PathBuf,
    /// Trainings at a time, each with one thread [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
}

impl Experiment {
    /// Runs what is missing and writes table and pictures.
    ///
    /// # Errors
    /// The plan is wrong, the folder holds another experiment, or a training failed.
    pub(crate) fn run(&self, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        let text =
            std::fs::read_to_string(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let plan = Plan::from_toml(&text).with_context(|| format!("in {}", self.file.display()))?;
        let jobs = match self.jobs {
            Some(jobs) => usize::from(jobs),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let results = runs::run(&plan, &self.out, jobs)?;
        report::write(&plan, &results, &self.out)?;
        output::say(common, &report::table(&plan, &results));
        output::say(common, &format!("written     {}", self.out.display()));
        output::finish(
            common,
            &json!({
                "runs": results.runs.len(),
                "variants": report::summary(&plan, &results),
                "floors": results.floors,
                "elapsed_s": begun.elapsed().as_secs_f64(),
            }),
        );
        Ok(Finish::Done)
    }
}
