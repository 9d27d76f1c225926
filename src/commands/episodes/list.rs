//! `hindsight episodes list`: a line an episode.

use anyhow::Result;
use clap::Args;
use hindsight::episode::inspect::Figures;
use hindsight::episode::read;
use serde_json::json;
use std::path::PathBuf;

use super::super::{Common, Finish, output};

/// List the episodes of a folder with their figures
#[derive(Debug, Args)]
pub(super) struct List {
    /// Folder of recorded episodes, or one file
    source: PathBuf,
}

impl List {
    /// Prints the table. A file that cannot be read, or is cut off, is marked and ends it with data lost.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let files = super::files(&self.source)?;
        let bar = output::progress("episodes", files.len() as u64);
        let (mut rows, mut table) = (Vec::new(), Vec::new());
        let (mut whole, mut contacts, mut hits) = (true, 0, 0);
        for file in &files {
            let name = super::name(file);
            match read(file) {
                Ok(recovered) => {
                    let figures = Figures::of(&recovered.episode);
                    let is_whole = recovered.is_complete() && recovered.damage.is_none();
                    whole &= is_whole;
                    contacts += u64::from(figures.contact);
                    hits += u64::from(figures.success == Some(true));
                    table.push(line(&name, &figures, is_whole));
                    rows.push(json!({ "file": name, "whole": is_whole, "figures": figures }));
                }
                Err(error) => {
                    whole = false;
                    table.push(format!("{name:20} {error}"));
                    rows.push(json!({ "file": name, "whole": false, "error": error.to_string() }));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let share = |count: u64| if rows.is_empty() { 0.0 } else { count as f64 / rows.len() as f64 };
        let (contact_fraction, success_rate) = (share(contacts), share(hits));
        output::say(
            common,
            &format!(
                "{:20} {:>7} {:>5} {:>8} {:>7} {:>7} {:>9} {:>5}",
                "file", "length", "goal", "distance", "contact", "changed", "rate", "gaps"
            ),
        );
        table.iter().for_each(|line| output::say(common, line));
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
            &json!({ "episodes": rows, "success_rate": success_rate, "contact_fraction": contact_fraction }),
        );
        Ok(if whole { Finish::Done } else { Finish::WithLoss })
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
