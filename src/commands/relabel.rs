//! `hindsight relabel`: derived episodes, in which misses are hits on other goals.

use super::plot::{self, Cells};
use super::{Common, Finish, output};
use clap::Args;
use hindsight::episode::relabel::{CELL_M, Spread, relabel};
use hindsight::episode::{EpisodeStart, Folder};
use hindsight::learn::hindsight::{self as goals, Strategy};
use hindsight::task::CONTACT_M;
use serde_json::json;
use std::path::PathBuf;

/// Derives episodes in which misses are hits on other goals; the recordings are only read
#[derive(Debug, Args)]
pub(super) struct Relabel {
    /// Folder of recorded episodes
    source: PathBuf,
    /// Where substituted goals come from
    #[arg(long, value_enum, default_value = "future")]
    strategy: Strategy,
    /// Substituted goals for each original one
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    k: u32,
    /// Folder for the derived files; not the recordings' own
    #[arg(long)]
    out: PathBuf,
}

impl Relabel {
    /// Runs the command. Files that cannot be read are named on stderr and end it with data lost.
    ///
    /// # Errors
    /// Nothing could be derived, or a derived file could not be written; nothing was overwritten.
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Finish> {
        let how = goals::Relabel { strategy: self.strategy, k: self.k };
        let bar = output::progress("relabelling", Folder::open(&self.source)?.files()?.len() as u64);
        let found =
            relabel(&self.source, &self.out, how, common.seed, EpisodeStart::compute_reward, |done| bar.inc(done))?;
        bar.finish_and_clear();
        for error in &found.skipped {
            eprintln!("skipped: {error}");
        }
        let contact = found.contact_fraction().unwrap_or(0.0);
        let picture = self.out.join("relabelled.svg");
        let side = |title, spread: &Spread| Cells { title, cells: spread.cells().collect() };
        let sides = [side("goals as wanted, from above", &found.wanted), side("goals put in", &found.substituted)];
        plot::spreads(&picture, sides, CELL_M)?;
        output::say(
            common,
            &format!(
                "{} episodes ({} cut off), {} of them misses; {} of the misses now hold a hit\n\
                 {} steps, {} at their goal; {} relabelled steps, {} at theirs\n\
                 contact (object moved more than {:.0} mm): {:.1} %\n\
                 goals as wanted  {}\n\
                 goals put in     {}\n\
                 written to {}, where the goals lie to {}",
                found.episodes,
                found.incomplete,
                found.misses,
                found.misses_turned_hits,
                found.transitions,
                found.transition_hits,
                found.relabelled,
                found.relabelled_hits,
                1000.0 * CONTACT_M,
                100.0 * contact,
                told(&found.wanted),
                told(&found.substituted),
                self.out.display(),
                picture.display(),
            ),
        );
        let report = json!({
            "episodes": found.episodes,
            "incomplete": found.incomplete,
            "skipped": found.skipped.len(),
            "misses": found.misses,
            "misses_turned_hits": found.misses_turned_hits,
            "transitions": found.transitions,
            "transition_hits": found.transition_hits,
            "relabelled": found.relabelled,
            "relabelled_hits": found.relabelled_hits,
            "contact_fraction": contact,
            "wanted": spread(&found.wanted),
            "substituted": spread(&found.substituted),
            "picture": picture,
            "strategy": self.strategy,
            "k": self.k,
            "seed": common.seed,
        });
        output::finish(common, &report);
        Ok(if found.skipped.is_empty() && found.incomplete == 0 { Finish::Done } else { Finish::WithLoss })
    }
}

/// Where goals lie, for people.
fn told(spread: &Spread) -> String {
    let (Some(mean), Some(deviation)) = (spread.mean_m(), spread.deviation_m()) else { return "none".into() };
    let axis = |i: usize| format!("{} {:.1} ± {:.1}", ["x", "y", "z"][i], 100.0 * mean[i], 100.0 * deviation[i]);
    format!("{}, {}, {} cm", axis(0), axis(1), axis(2))
}

/// Where goals lie, for scripts.
fn spread(spread: &Spread) -> serde_json::Value {
    json!({ "mean_m": spread.mean_m(), "deviation_m": spread.deviation_m() })
}
