//! `hindsight episodes list`: a line an episode.

use anyhow::Result;
use clap::Args;
use hindsight::episode::index::Entry;
use hindsight::episode::inspect::Figures;
use hindsight::episode::{Folder, Index, ReadError};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::{Common, Finish, output};

/// List the episodes of a folder with their figures
#[derive(Debug, Args)]
pub(super) struct List {
    /// Folder of recorded episodes, or one file
    source: PathBuf,
    /// Read every file again, whatever the folder's index.json says
    #[arg(long)]
    reindex: bool,
}

impl List {
    /// Prints the table. A file that cannot be read, or is cut off, is marked and ends it with data lost.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let (index, unreadable) = self.look(common)?;
        let (mut rows, mut table) = (BTreeMap::new(), BTreeMap::new());
        let (mut whole, mut contacts, mut hits) = (unreadable.is_empty(), 0, 0);
        for (name, entry) in &index {
            let figures = &entry.figures;
            whole &= entry.whole;
            contacts += u64::from(figures.contact);
            hits += u64::from(figures.success == Some(true));
            table.insert(name, line(name, figures, entry.whole));
            rows.insert(name, json!({ "file": name, "whole": entry.whole, "figures": figures }));
        }
        for (name, error) in &unreadable {
            table.insert(name, format!("{name:20} {error}"));
            rows.insert(name, json!({ "file": name, "whole": false, "error": error.to_string() }));
        }
        let share = |count: u64| if rows.is_empty() { 0.0 } else { count as f64 / rows.len() as f64 };
        let (contact_fraction, success_rate) = (share(contacts), share(hits));
        output::say(
            common,
            &format!(
                "{:20} {:>7} {:>5} {:>8} {:>7} {:>7} {:>9} {:>5}",
                "file", "length", "goal", "distance", "contact", "changed", "rate", "gaps"
            ),
        );
        table.values().for_each(|line| output::say(common, line));
        let count = rows.len();
        output::say(
            common,
            &format!(
                "{count} episodes, {:.1} % at the goal, contact in {:.1} %",
                100.0 * success_rate,
                100.0 * contact_fraction
            ),
        );
        output::finish(
            common,
            &json!({
                "episodes": rows.into_values().collect::<Vec<_>>(),
                "success_rate": success_rate,
                "contact_fraction": contact_fraction,
            }),
        );
        Ok(if whole { Finish::Done } else { Finish::WithLoss })
    }

    /// What is known of every file by its name, and why nothing is known of some.
    fn look(&self, common: &Common) -> Result<(BTreeMap<String, Entry>, BTreeMap<String, ReadError>)> {
        if self.source.is_file() {
            let name = super::name(&self.source);
            return Ok(match Entry::of(&self.source) {
                Ok(entry) => ([(name, entry)].into(), BTreeMap::new()),
                Err(error) => (BTreeMap::new(), [(name, error)].into()),
            });
        }
        let folder = Folder::open(&self.source)?;
        let bar = output::progress("episodes", folder.files()?.len() as u64);
        let indexed = Index::update(&folder, self.reindex, |more| bar.inc(more))?;
        bar.finish_and_clear();
        if self.reindex {
            output::say(common, &format!("{} files read anew", indexed.read));
        }
        Ok((indexed.index.episodes, indexed.unreadable))
    }
}

fn line(name: &str, figures: &Figures, is_whole: bool) -> String {
    let goal = match figures.success {
        Some(true) => "hit",
        Some(false) => "miss",
        None => "-",
    };
    let contact = if figures.contact { "yes" } else { "no" };
    let distance = figures.final_distance_m.map_or("-".into(), |m| format!("{:.1} cm", 100.0 * m));
    let rate = figures.rate_hz.map_or("-".into(), |hz| format!("{hz:.1} Hz"));
    let cut = if is_whole { "" } else { "  damaged or cut off" };
    format!(
        "{name:20} {:5.2} s {goal:>5} {distance:>8} {contact:>7} {:>7} {rate:>9} {:>5}{cut}",
        figures.length_s, figures.interventions, figures.gaps
    )
}
