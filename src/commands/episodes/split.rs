//! `hindsight episodes split`: a folder in two, such as one to train on and one to test with.

use anyhow::Result;
use clap::Args;
use hindsight::episode::Folder;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use serde_json::json;
use std::path::PathBuf;

use super::super::{Common, Finish, UsageError, output};

/// Copy a folder's episodes into two, drawn at random
#[derive(Debug, Args)]
pub(super) struct Split {
    /// Folder of recorded episodes
    source: PathBuf,
    /// Share of the episodes that goes to the first folder
    #[arg(long, default_value_t = 0.8)]
    share: f64,
    /// First and second folder for the copies
    #[arg(long, num_args = 2, value_names = ["FIRST", "SECOND"], required = true)]
    out: Vec<PathBuf>,
}

impl Split {
    /// Copies every episode to one of the folders; the same seed draws the same ones.
    ///
    /// # Errors
    /// Wrong use, a folder cannot be listed, or a file not be copied.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err(UsageError(format!("--share {}: expected a number from 0 to 1", self.share)).into());
        }
        let mut files = super::files(&self.source)?;
        files.shuffle(&mut Pcg64Mcg::seed_from_u64(common.seed));
        let count = (self.share * files.len() as f64).round() as usize;
        let (first, second) = files.split_at_mut(count);
        let mut counts = Vec::new();
        for (part, out) in [first, second].into_iter().zip(&self.out) {
            // Drawn at random, copied in the order of recording.
            part.sort();
            counts.push(super::copy(part.iter(), &Folder::create(out)?)?);
            output::say(common, &format!("{} episodes copied to {}", part.len(), out.display()));
        }
        output::finish(common, &json!({ "episodes": counts }));
        Ok(Finish::Done)
    }
}
