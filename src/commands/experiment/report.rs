//! An experiment's results as a table, as rows for other programs, and as learning curves.

use std::path::Path;

use anyhow::{Context, Result};
use hindsight::env::varied::{Goals, Reward};
use hindsight::learn::evaluate::wilson_95;
use serde_json::{Value, json};

use super::plan::{Plan, Variant};
use super::runs::{Results, Run};
use crate::commands::output::percent;
use crate::commands::plot::{self, Band};

/// Writes `README.md`, `curves.csv` and the plan's figures into `folder`.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(plan: &Plan, results: &Results, folder: &Path) -> Result<()> {
    let put = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    let mut rows = String::from("variant,seed,env_steps,elapsed_s,success_rate\n");
    for run in &results.runs {
        for point in &run.curve {
            let (steps, elapsed, rate) = (point.env_steps, point.elapsed_s, point.success_rate);
            rows += &format!("{},{},{steps},{elapsed:.1},{rate}\n", run.variant, run.seed);
        }
    }
    put("curves.csv", &rows)?;
    let mut pictures = String::new();
    for figure in &plan.figures {
        let bands: Vec<Band> = figure.variants.iter().map(|name| band(name, results)).collect();
        let title = format!("{}: {}", plan.title, figure.title);
        plot::bands(&folder.join(format!("{}.svg", figure.file)), &title, &bands)?;
        pictures += &format!("\n![{}]({}.svg)\n", figure.title, figure.file);
    }
    let heading = format!("# {}\n\n{}", plan.title, table(plan, results));
    put("README.md", &format!("{heading}{pictures}"))
}

/// The results as a Markdown table: a variant's row has the rate of the median seed with its interval, and each seed's.
pub(super) fn table(plan: &Plan, results: &Results) -> String {
    let mut text = format!(
        "{}, {} environment steps a run, seeds {:?}; success at the last step of {} episodes of the policy at the \
         run's end, deterministic, on common seeds that were not trained on; Wilson's 95 % interval.\n\n\
         | Variant | Goals | Reward | Relabelling | Median seed | Each seed | Training time |\n|---|---|---|---|---|---|---|\n",
        plan.world.name(),
        plan.env_steps,
        plan.seeds,
        plan.episodes
    );
    for variant in &plan.variants {
        let runs = runs_of(variant, results);
        let each: Vec<String> = runs.iter().map(|run| format!("{:.1}", 100.0 * rate(plan, run))).collect();
        let mut times: Vec<f64> = runs.iter().map(|run| run.train_s).collect();
        times.sort_by(f64::total_cmp);
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {:.0} s |\n",
            variant.name,
            if variant.goals == Goals::One { "one" } else { "many" },
            if variant.reward == Reward::Shaped { "shaped" } else { "sparse" },
            relabelling(variant),
            median(plan, &runs),
            each.join(", "),
            times.get(times.len() / 2).copied().unwrap_or_default(),
        );
    }
    for (goals, floors) in &results.floors {
        for (name, successes) in [("do nothing", floors.still), ("random actions", floors.random)] {
            text += &format!("| {name} | {goals} | | | {} | | |\n", with_interval(plan, successes));
        }
    }
    text
}

/// The table for scripts.
pub(super) fn summary(plan: &Plan, results: &Results) -> Value {
    let variant = |variant: &Variant| {
        let runs = runs_of(variant, results);
        let rates: Vec<f64> = runs.iter().map(|run| rate(plan, run)).collect();
        json!({ "name": variant.name, "success_rates": rates })
    };
    plan.variants.iter().map(variant).collect()
}

fn runs_of<'a>(variant: &Variant, results: &'a Results) -> Vec<&'a Run> {
    results.runs.iter().filter(|run| run.variant == variant.name).collect()
}

fn rate(plan: &Plan, run: &Run) -> f64 {
    run.successes as f64 / plan.episodes as f64
}

fn with_interval(plan: &Plan, successes: usize) -> String {
    let episodes = plan.episodes as usize;
    percent(successes as f64 / episodes as f64, wilson_95(successes, episodes)).trim_start().to_owned()
}

/// Of an even number of seeds the lower one in the middle: no rate that no seed had.
fn median(plan: &Plan, runs: &[&Run]) -> String {
    let mut successes: Vec<usize> = runs.iter().map(|run| run.successes).collect();
    successes.sort_unstable();
    successes.get((successes.len().max(1) - 1) / 2).map(|&middle| with_interval(plan, middle)).unwrap_or_default()
}

fn relabelling(variant: &Variant) -> String {
    let relabel = variant.hyper.relabel;
    match relabel.k {
        0 => "none".into(),
        k => format!("{}, k = {k}", format!("{:?}", relabel.strategy).to_lowercase()),
    }
}

/// Least, median and greatest success over the seeds at each evaluation.
fn band(name: &str, results: &Results) -> Band {
    let runs: Vec<&Run> = results.runs.iter().filter(|run| run.variant == name).collect();
    let shortest = runs.iter().map(|run| run.curve.len()).min().unwrap_or(0);
    let points = (0..shortest).map(|i| {
        let mut rates: Vec<f64> = runs.iter().map(|run| run.curve[i].success_rate).collect();
        rates.sort_by(f64::total_cmp);
        (runs[0].curve[i].env_steps, [rates[0], rates[(rates.len() - 1) / 2], rates[rates.len() - 1]])
    });
    Band { label: name.to_owned(), points: points.collect() }
}
