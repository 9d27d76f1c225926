//! `hindsight episodes export`: episodes for other people's tools.

use anyhow::Result;
use clap::{Args, ValueEnum};
use hindsight::episode::export::{foxglove, lerobot, ticks};
use hindsight::episode::{Episode, read};
use hindsight::kinematics::Kinematics;
use hindsight::task::TaskKind;
use serde_json::json;
use sim::{ArmModel, SimParams};
use std::path::PathBuf;

use super::super::rig::ArmName;
use super::super::{Common, Finish, output};

/// Write episodes for other tools: a LeRobot dataset, all ticks as one table, or views in three dimensions
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
    /// New folder of the dataset or the views, or new file of the table
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
    /// An MCAP file an episode that Foxglove and Rerun show in three dimensions
    Foxglove,
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
                let model = model_of(&files)?;
                let kinematics = Kinematics::new(&model)?;
                lerobot::export(&files, &self.out, &model, &kinematics, self.rate, || bar.inc(1))?
            }
            Format::Foxglove => {
                let model = model_of(&files)?;
                let kinematics = Kinematics::new(&model)?;
                let urdf = ArmName::from_str(&model.name, true).unwrap_or(ArmName::So101).urdf();
                foxglove::export(&files, &self.out, &model, urdf, &kinematics, twin, || bar.inc(1))?
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

/// The arm of the first episode; what is of another one is told when its turn comes.
fn model_of(files: &[PathBuf]) -> Result<ArmModel> {
    let first = files.iter().find_map(|file| read(file).ok());
    let known = first.map(|first| super::model(&first.episode.start.arm)).transpose()?.flatten();
    Ok(known.map_or_else(ArmModel::so101, Ok)?)
}

/// The simulator of an episode's task, which knows the object's shape.
fn twin(episode: &Episode) -> Option<SimParams> {
    let kind = TaskKind::from_str(&episode.start.task, false).ok()?;
    SimParams::so101_with(kind.prop()).ok()
}
