//! `hindsight episodes export`: episodes for other people's tools.

use anyhow::Result;
use clap::{Args, ValueEnum};
use hindsight::episode::export::{lerobot, ticks};
use hindsight::episode::read;
use hindsight::kinematics::Kinematics;
use serde_json::json;
use sim::ArmModel;
use std::path::PathBuf;

use super::super::{Common, Finish, output};

/// Write episodes for other tools: a LeRobot dataset, or all ticks as one table
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Folder of recorded episodes, or one file
    source: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value = "lerobot")]
    format: Format,
    /// Frames a second of a LeRobot dataset; tables hold every tick
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// New folder of the dataset, or new file of the table
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// LeRobotDataset 3.0, resampled to a constant rate
    Lerobot,
    /// One Parquet file, a row a tick
    Parquet,
    /// One CSV file, a row a tick
    Csv,
}

impl Export {
    /// Writes the episodes. Files that cannot be read are named on stderr and end it with data lost.
    ///
    /// # Errors
    /// The target exists or cannot be written, or the episodes do not go together.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let files = super::files(&self.source)?;
        let bar = output::progress("episodes", files.len() as u64);
        let table = |kind| ticks::export(&files, &self.out, kind, || bar.inc(1));
        let exported = match self.format {
            Format::Csv => table(ticks::Kind::Csv)?,
            Format::Parquet => table(ticks::Kind::Parquet)?,
            Format::Lerobot => {
                // That of the first; what is of another arm is told then.
                let first = files.iter().find_map(|file| read(file).ok());
                let known = first.map(|first| super::model(&first.episode.start.arm)).transpose()?.flatten();
                let model = known.map_or_else(ArmModel::so101, Ok)?;
                let kinematics = Kinematics::new(&model)?;
                lerobot::export(&files, &self.out, &model, &kinematics, self.rate, || bar.inc(1))?
            }
        };
        bar.finish_and_clear();
        for error in &exported.skipped {
            eprintln!("skipped: {error}");
        }
        let (episodes, rows, incomplete) = (exported.episodes, exported.rows, exported.incomplete);
        let place = self.out.display();
        output::say(common, &format!("{episodes} episodes ({incomplete} cut off), {rows} rows, written to {place}"));
        let skipped = exported.skipped.len();
        output::finish(
            common,
            &json!({ "episodes": episodes, "incomplete": incomplete, "skipped": skipped, "rows": rows }),
        );
        Ok(if skipped == 0 && incomplete == 0 { Finish::Done } else { Finish::WithLoss })
    }
}
