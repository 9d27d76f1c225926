//! `hindsight episodes merge`: several folders in one.

use anyhow::Result;
use clap::Args;
use hindsight::episode::Folder;
use serde_json::json;
use std::path::PathBuf;

use super::super::{Common, Finish, output};

/// Copy the episodes of several folders into one
#[derive(Debug, Args)]
pub(super) struct Merge {
    /// Folders of recorded episodes
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// Folder for the copies; those that are there stay, and new ones have the next numbers
    #[arg(long)]
    out: PathBuf,
}

impl Merge {
    /// Copies byte for byte, so that a file's hash still names it.
    ///
    /// # Errors
    /// A folder cannot be listed, or a file not be copied.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        // All are listed before anything is copied: one of them may be the target.
        let lists = self.sources.iter().map(|source| super::files(source)).collect::<Result<Vec<_>>>()?;
        let copied = super::copy(lists.iter().flatten(), &Folder::create(&self.out)?)?;
        output::say(common, &format!("{copied} episodes copied to {}", self.out.display()));
        output::finish(common, &json!({ "episodes": copied }));
        Ok(Finish::Done)
    }
}
