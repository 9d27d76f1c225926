//! `hindsight episodes check`: all that is wrong, in one run.

use anyhow::{Result, bail};
use clap::Args;
use hindsight::episode::inspect::{Severity, findings};
use hindsight::episode::read;
use serde_json::json;
use std::path::PathBuf;

use super::super::{Common, Finish, output};

/// Say what is wrong with episodes
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Folder of recorded episodes, or one file
    source: PathBuf,
}

impl Check {
    /// Checks every file: damage, stamps, limits, duplicated frames, saturated actions. Ends with data lost if
    /// something is missing.
    ///
    /// # Errors
    /// All data are there, but some are wrong; or the folder cannot be listed.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let files = super::files(&self.source)?;
        let bar = output::progress("check", files.len() as u64);
        let (mut worst, mut rows) = (None, Vec::new());
        for file in &files {
            let name = super::name(file);
            match read(file) {
                Ok(recovered) => {
                    let found = findings(&recovered, &super::limits(&recovered.episode.start.arm)?);
                    for finding in &found {
                        worst = worst.max(Some(finding.severity));
                        bar.suspend(|| output::say(common, &format!("{name}: {}", finding.what)));
                    }
                    rows.push(json!({ "file": name, "findings": found }));
                }
                Err(error) => {
                    worst = worst.max(Some(Severity::Lost));
                    bar.suspend(|| output::say(common, &format!("{name}: {error}")));
                    rows.push(json!({ "file": name, "error": error.to_string() }));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let count = rows.len();
        output::finish(common, &json!({ "files": rows, "worst": worst }));
        match worst {
            Some(Severity::Lost) => Ok(Finish::WithLoss),
            Some(Severity::Wrong) => bail!("some of the {count} episodes are not as they should be; leave them out"),
            Some(Severity::Notice) | None => {
                output::say(common, &format!("{count} episodes are whole and right"));
                Ok(Finish::Done)
            }
        }
    }
}
