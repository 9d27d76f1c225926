//! `hindsight episodes`: looks into recorded episodes, a file a subcommand. Recordings are only read.

mod check;
mod export;
mod import;
mod list;
mod merge;
mod recover;
mod replay;
mod resim;
mod show;
mod split;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use firmware_bridge::JointLimits;
use hindsight::episode::Folder;
use sim::ArmModel;
use std::path::{Path, PathBuf};

use super::rig::ArmName;
use super::{Common, Finish};

/// Look into recorded episodes
#[derive(Debug, Args)]
pub(super) struct Episodes {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with episodes
    Check(check::Check),
    /// Write episodes for other tools: a LeRobot dataset, all ticks as one table, or views in three dimensions
    Export(export::Export),
    /// Take in a LeRobot dataset (version 3.0) of the same arm, to learn from
    Import(import::Import),
    /// List the episodes of a folder with their figures
    List(list::List),
    /// Copy the episodes of several folders into one
    Merge(merge::Merge),
    /// Write every whole record of a damaged file into a new one
    Recover(recover::Recover),
    /// Let an arm do again what it did in recorded episodes, and tell how far it is from where it was
    Replay(replay::Replay),
    /// Put recorded inputs through policy and safety filter again, and tell of the first difference
    Resim(resim::Resim),
    /// Tell of one episode, and draw it
    Show(show::Show),
    /// Copy a folder's episodes into two, drawn at random
    Split(split::Split),
}

impl Episodes {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// Whatever it could not do.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        match &self.command {
            Command::Check(command) => command.run(common),
            Command::Export(command) => command.run(common),
            Command::Import(command) => command.run(common),
            Command::List(command) => command.run(common),
            Command::Merge(command) => command.run(common),
            Command::Recover(command) => command.run(common),
            Command::Replay(command) => command.run(common),
            Command::Resim(command) => command.run(common),
            Command::Show(command) => command.run(common),
            Command::Split(command) => command.run(common),
        }
    }
}

/// The episode files of a folder, or the one file that was named.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() { Ok(vec![path.to_owned()]) } else { Ok(Folder::open(path)?.files()?) }
}

/// The arm of this name; `None` if it is not known.
fn model(arm: &str) -> Result<Option<ArmModel>> {
    ArmName::from_str(arm, true).ok().map(ArmName::model).transpose()
}

/// Limits of the joints of an arm; none if the arm is not known.
fn limits(arm: &str) -> Result<Vec<JointLimits>> {
    Ok(model(arm)?.map_or_else(Vec::new, |model| model.limits()))
}

/// Copies episodes, byte for byte and with their summaries, to the next numbers of `to`, and says how many.
fn copy<'a>(files: impl Iterator<Item = &'a PathBuf>, to: &Folder) -> Result<u64> {
    let mut copied = 0;
    for file in files {
        let target = to.next_file()?;
        for extension in ["mcap", "json"] {
            let (source, target) = (file.with_extension(extension), target.with_extension(extension));
            if extension == "mcap" || source.is_file() {
                std::fs::copy(&source, &target)
                    .with_context(|| format!("cannot copy {} to {}", source.display(), target.display()))?;
            }
        }
        copied += 1;
    }
    Ok(copied)
}

/// The last part of a path, for tables.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
