//! How a session of episodes ends: its figures for people and scripts, and its exit code.

use std::time::Instant;

use anyhow::Result;
use hindsight::control::{LatencyStats, LoopStats};
use hindsight::learn::Evaluation;
use hindsight::task::TaskKind;
use serde_json::{Value, json};

use super::drive::{Drive, Failure};
use super::output::{self, percent};
use super::rollout::Session;
use super::{Common, Finish, LossError};

/// Prints the figures of a session, and what it came to.
///
/// # Errors
/// Why it ended early: [`LossError`] if arm, line or recording failed.
pub(super) fn conclude(
    common: &Common,
    task: TaskKind,
    session: Session,
    begun: Instant,
    more: Value,
) -> Result<Finish> {
    let timing = session.timing();
    let Drive { results, failure, after, .. } = session.drive;
    let stopped = matches!(failure, Some(Failure::Stopped));
    let evaluation = Evaluation { episodes: results };
    tell(common, &evaluation, timing);
    let mut report = object(common, task.name(), &evaluation, begun, timing);
    merge(&mut report, more);
    merge(&mut report, json!({ "stopped": stopped }));
    output::finish(common, &report);
    match (failure.as_ref().and_then(Failure::error), after) {
        (Some(error), after) => {
            if let Some(after) = after {
                eprintln!("while parking and releasing: {after}");
            }
            Err(error)
        }
        (None, Some(after)) => Err(LossError(format!("while parking and releasing: {after}")).into()),
        (None, None) => Ok(Finish::Done),
    }
}

/// The figures for people.
pub(super) fn tell(common: &Common, evaluation: &Evaluation, timing: Option<(LoopStats, LatencyStats)>) {
    let episodes = evaluation.episodes.len();
    if episodes > 0 {
        let rate = percent(evaluation.success_rate(), evaluation.success_ci95());
        let [p50, p95] = [0.5, 0.95].map(|q| 100.0 * evaluation.final_distance_m(q));
        output::say(common, &format!("success     {rate} over {episodes} episodes"));
        output::say(common, &format!("distance    median {p50:.1} cm, 95 % within {p95:.1} cm"));
    }
    if let Some((stats, latency)) = timing {
        let LoopStats { rate_hz, period_p50_us, period_p999_us, overruns, bus_p50_us, bus_p999_us } = stats;
        output::say(
            common,
            &format!(
                "loop        {rate_hz:.1} Hz, period median {period_p50_us:.0} µs, 99.9 % within {period_p999_us:.0} µs, \
                 {overruns} overruns\n\
                 bus         median {bus_p50_us:.0} µs a tick, 99.9 % within {bus_p999_us:.0} µs\n\
                 policy      median {:.0} µs, 99.9 % within {:.0} µs",
                latency.p50, latency.p999
            ),
        );
    }
}

/// The figures for scripts; null where there was no episode.
pub(super) fn object(
    common: &Common,
    task: &str,
    evaluation: &Evaluation,
    begun: Instant,
    timing: Option<(LoopStats, LatencyStats)>,
) -> Value {
    let any = !evaluation.episodes.is_empty();
    let distance = |q| any.then(|| evaluation.final_distance_m(q));
    let mut report = json!({
        "task": task,
        "episodes": evaluation.episodes.len(),
        "seed": common.seed,
        "success_rate": any.then(|| evaluation.success_rate()),
        "success_ci95": any.then(|| evaluation.success_ci95()),
        "final_distance_m": { "p50": distance(0.5), "p95": distance(0.95) },
        "elapsed_s": begun.elapsed().as_secs_f64(),
    });
    if let Some((stats, latency)) = timing {
        merge(&mut report, json!({ "loop": stats, "policy_latency_us": latency }));
    }
    report
}

/// Adds the members of `more`.
pub(super) fn merge(report: &mut Value, more: Value) {
    if let (Value::Object(report), Value::Object(more)) = (report, more) {
        report.extend(more);
    }
}
