//! `hindsight episodes recover`: what is whole in a damaged file, as a file of its own.

use anyhow::{Context, Result};
use clap::Args;
use hindsight::episode::read;
use hindsight::episode::wire::Topic;
use hindsight::episode::writer::EpisodeFile;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::super::{Common, Finish, output};

/// Write every whole record of a damaged file into a new one
#[derive(Debug, Args)]
pub(super) struct Recover {
    /// The damaged file; it is only read
    file: PathBuf,
    /// File for what is whole
    #[arg(long)]
    out: PathBuf,
}

impl Recover {
    /// Writes the new file and says what is lost; ends with data lost unless the file was whole.
    ///
    /// # Errors
    /// Nothing is whole, or the new file exists or cannot be written.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let size = std::fs::metadata(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?.len();
        let recovered = read(&self.file)?;
        let episode = &recovered.episode;
        let mut file = EpisodeFile::create(&self.out, &episode.start, &Topic::RECORDED)?;
        recovered.attachments.iter().try_for_each(|attachment| file.attach(attachment))?;
        let mut faults = episode.faults.iter().peekable();
        let mut bus = recovered.bus.iter().peekable();
        for tick in &episode.ticks {
            while let Some(fault) = faults.next_if(|fault| fault.stamp_us <= tick.stamp_us) {
                file.fault(fault)?;
            }
            file.tick(tick)?;
            while let Some(bus) = bus.next_if(|bus| bus.stamp_us <= tick.stamp_us) {
                file.bus(bus)?;
            }
        }
        bus.try_for_each(|bus| file.bus(bus))?;
        faults.try_for_each(|fault| file.fault(fault))?;
        file.finish(episode.end.as_ref())?;
        let ticks = episode.ticks.len();
        let lost_bytes = recovered.damage.as_ref().map_or(0, |damage| size.saturating_sub(damage.offset));
        let lost_ticks = recorded_ticks(&self.file).map(|recorded| recorded.saturating_sub(ticks as u64));
        let is_whole = recovered.damage.is_none() && recovered.is_complete();
        output::say(common, &format!("{ticks} ticks and {} faults recovered", episode.faults.len()));
        if !is_whole {
            let why = recovered.damage.as_ref().map_or("it has no end".into(), ToString::to_string);
            let count = match lost_ticks {
                Some(lost) => format!("{lost} ticks are lost"),
                None => "how many ticks were to come is not known: there is no summary beside the file".into(),
            };
            output::say(common, &format!("{why}; {count}; the damaged part has {lost_bytes} bytes"));
        }
        let report = json!({
            "ticks": ticks,
            "faults": episode.faults.len(),
            "lost_ticks": lost_ticks,
            "damaged_bytes": lost_bytes,
            "damage": recovered.damage.as_ref().map(ToString::to_string),
            "whole": is_whole,
        });
        output::finish(common, &report);
        Ok(if is_whole { Finish::Done } else { Finish::WithLoss })
    }
}

/// Ticks that were recorded, as the summary beside the file has them.
fn recorded_ticks(file: &Path) -> Option<u64> {
    let text = std::fs::read(file.with_extension("json")).ok()?;
    serde_json::from_slice::<Value>(&text).ok()?.get("ticks")?.as_u64()
}
