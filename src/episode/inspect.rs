//! What a person wants to know of an episode before training on it: its figures, and what is wrong with it.

use super::{Episode, Recovered, Tick};
use crate::arm::Health;
use crate::task::CONTACT_M;
use firmware_bridge::JointLimits;
use serde::{Deserialize, Serialize};

/// A period longer than this many control periods is a gap: at least one tick was left out.
const GAP_PERIODS: f64 = 1.5;
/// How far outside a limit a goal may lie for rounding alone, rad.
const LIMIT_TOLERANCE_RAD: f32 = 1e-4;
/// Share of the arm's answers that did not come whole from which the line is doubtful.
const BAD_ANSWERS_SHARE: f64 = 0.01;
/// Share of steps with an action at its bound from which the action's scale is doubtful.
const SATURATED_SHARE: f64 = 0.9;

/// An episode in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Control ticks in the file.
    pub ticks: usize,
    /// Whole policy steps.
    pub steps: usize,
    /// From the first tick to the last, s.
    pub length_s: f64,
    /// Whether the goal was achieved at the last whole step; `None` without one.
    pub success: Option<bool>,
    /// Distance to the goal at the last tick, m; `None` without ticks.
    pub final_distance_m: Option<f64>,
    /// Whether the object was moved by more than [`CONTACT_M`].
    pub contact: bool,
    /// Ticks in which the safety filter changed something.
    pub interventions: usize,
    /// Rate that was really held, 1/s; `None` below two ticks.
    pub rate_hz: Option<f64>,
    /// Periods in which a tick is missing.
    pub gaps: usize,
    /// The longest period, ms.
    pub longest_period_ms: f64,
}

impl Figures {
    /// The figures of an episode, from its measured stamps.
    #[must_use]
    pub fn of(episode: &Episode) -> Self {
        let period_us = f64::from(episode.start.control_period_us);
        let periods: Vec<f64> = periods_us(episode).collect();
        let elapsed_us: f64 = periods.iter().sum();
        let stamps = episode.ticks.first().zip(episode.ticks.last());
        let last = episode.ticks.last();
        Self {
            ticks: episode.ticks.len(),
            steps: episode.transitions(|_, _| 0.0).count(),
            length_s: stamps.map_or(0.0, |(a, b)| b.stamp_us.saturating_sub(a.stamp_us) as f64 * 1e-6),
            success: episode.success(),
            final_distance_m: last.map(|t| crate::task::goal_distance_m(&t.achieved_goal, &t.desired_goal)),
            contact: episode.object_travel_m() > CONTACT_M,
            interventions: episode.ticks.iter().filter(|tick| tick.interventions != 0).count(),
            rate_hz: (elapsed_us > 0.0).then(|| periods.len() as f64 * 1e6 / elapsed_us),
            gaps: periods.iter().filter(|period| **period > GAP_PERIODS * period_us).count(),
            longest_period_ms: periods.iter().copied().fold(0.0, f64::max) * 1e-3,
        }
    }
}

/// Times between the ticks that commanded something; the last tick only looks, whenever the arm has been stopped.
fn periods_us(episode: &Episode) -> impl Iterator<Item = f64> {
    let commanding = |ticks: &[Tick]| ticks.iter().all(|tick| !tick.sent_rad.is_empty());
    let pairs = episode.ticks.windows(2).filter(move |pair| commanding(pair));
    pairs.map(|pair| pair[1].stamp_us as f64 - pair[0].stamp_us as f64)
}

/// How much a [`Finding`] matters, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look.
    Notice,
    /// The data are not what they should be.
    Wrong,
    /// Data are missing.
    Lost,
}

/// Something that is wrong with an episode, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub what: String,
}

/// Everything that is wrong with a file. `limits` are the arm's, one a joint; empty if the arm is not known.
#[must_use]
pub fn findings(recovered: &Recovered, limits: &[JointLimits]) -> Vec<Finding> {
    use Severity::{Lost, Notice, Wrong};
    let episode = &recovered.episode;
    let mut found = Vec::new();
    let mut add = |severity, what: String| found.push(Finding { severity, what });
    if let Some(damage) = &recovered.damage {
        add(Lost, damage.to_string());
    }
    match &episode.end {
        None => add(Lost, "the recording has no end: it was cut off".into()),
        Some(end) if end.lost_ticks > 0 => {
            add(Lost, format!("the disk was too slow for the last {} ticks", end.lost_ticks));
        }
        Some(_) => {}
    }
    if let Some((first, last)) = recovered.bus.first().zip(recovered.bus.last()) {
        let during = |of: fn(&Health) -> u64| of(&last.health).saturating_sub(of(&first.health));
        let [lost, damaged] = [during(|health| health.lost), during(|health| health.damaged)];
        let [asked, restarts] = [during(|health| health.asked), during(|health| health.restarts)];
        if (lost + damaged) as f64 > BAD_ANSWERS_SHARE * asked as f64 {
            add(
                Notice,
                format!("of {asked} answers of the arm {lost} were lost and {damaged} damaged; check its cable"),
            );
        }
        if restarts > 0 {
            add(Wrong, format!("servos lost their power and were powered again: {restarts} times; check the supply"));
        }
    }
    for fault in &episode.faults {
        add(Wrong, format!("fault while recording: {}", fault.what));
    }
    let count = |wrong: &dyn Fn(&Tick) -> bool| {
        let mut ticks = episode.ticks.iter().filter(|tick| wrong(tick));
        ticks.next().map(|first| (first.index, 1 + ticks.count()))
    };
    let mut add_ticks = |severity, what: &str, wrong: &dyn Fn(&Tick) -> bool| {
        if let Some((first, ticks)) = count(wrong) {
            add(severity, format!("{what}: {ticks} ticks, the first is tick {first}"));
        }
    };
    add_ticks(Wrong, "a number is NaN or infinite", &|tick| !is_finite(tick));
    add_ticks(Wrong, "a joint goal that was sent is outside the arm's limits", &|tick| {
        tick.sent_rad.iter().zip(limits).any(|(sent, limit)| {
            !(limit.lower_rad - LIMIT_TOLERANCE_RAD..=limit.upper_rad + LIMIT_TOLERANCE_RAD).contains(sent)
        })
    });
    let period_us = episode.start.control_period_us;
    add_ticks(Wrong, "an old reading was used again (duplicated frame)", &|tick| {
        !tick.sent_rad.is_empty() && tick.reading_age_us >= period_us
    });
    let backwards = periods_us(episode).filter(|period| *period <= 0.0).count();
    if backwards > 0 {
        add(Wrong, format!("stamps do not rise: {backwards} times"));
    }
    let figures = Figures::of(episode);
    if figures.gaps > 0 {
        let (gaps, longest) = (figures.gaps, figures.longest_period_ms);
        add(Wrong, format!("the loop ran slow: {gaps} gaps, the longest {longest:.1} ms"));
    }
    let saturated = episode
        .transitions(|_, _| 0.0)
        .filter(|step| step.requested_action[..3].iter().any(|a| a.abs() >= 1.0))
        .count();
    if figures.steps > 0 && saturated as f64 > SATURATED_SHARE * figures.steps as f64 {
        add(Notice, format!("the action is at its bound in {saturated} of {} steps", figures.steps));
    }
    found
}

fn is_finite(tick: &Tick) -> bool {
    let joints = [&tick.requested_rad, &tick.applied_rad, &tick.sent_rad, &tick.joints.position_rad];
    let arrays = [&tick.achieved_goal[..], &tick.desired_goal, &tick.requested_action, &tick.applied_action];
    let all = joints.iter().flat_map(|rad| rad.iter()).chain(arrays.into_iter().flatten()).chain(&tick.observation);
    all.copied().all(f32::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::tests::sample;

    /// A file whose ticks ask for nothing unusual.
    fn whole() -> Recovered {
        let mut episode = sample(3, 10);
        for tick in &mut episode.ticks {
            tick.requested_action = [0.5; 4];
        }
        Recovered { episode, attachments: Vec::new(), bus: Vec::new(), damage: None }
    }

    fn told(recovered: &Recovered, limits: &[JointLimits]) -> Vec<(Severity, String)> {
        findings(recovered, limits).into_iter().map(|finding| (finding.severity, finding.what)).collect()
    }

    #[test]
    fn a_good_episode_has_figures_and_no_findings() {
        let recovered = whole();
        assert_eq!(told(&recovered, &[]), []);
        let figures = Figures::of(&recovered.episode);
        assert_eq!((figures.ticks, figures.steps, figures.gaps, figures.interventions), (31, 3, 0, 1));
        assert_eq!((figures.success, figures.contact), (Some(false), true));
        assert!((figures.rate_hz.unwrap() - 125.0).abs() < 1e-9 && (figures.length_s - 0.24).abs() < 1e-9);
    }

    #[test]
    fn every_fault_is_found_and_all_of_them_at_once() {
        let mut recovered = whole();
        let ticks = &mut recovered.episode.ticks;
        ticks[3].observation[0] = f32::NAN;
        ticks[5].reading_age_us = 8_000;
        ticks[8].stamp_us = ticks[7].stamp_us;
        ticks[20..].iter_mut().for_each(|tick| tick.stamp_us += 16_000);
        ticks.iter_mut().for_each(|tick| tick.requested_action[1] = -1.0);
        recovered.episode.faults.push(crate::episode::FaultEvent { stamp_us: 0, what: "unplugged".into() });
        recovered.episode.end = None;
        let limit = JointLimits { lower_rad: -100.0, upper_rad: 21.5, velocity_rad_s: 1.0 };
        let found = told(&recovered, &[limit]);
        for expected in [
            (Severity::Lost, "no end"),
            (Severity::Wrong, "fault while recording: unplugged"),
            (Severity::Wrong, "NaN or infinite: 1 ticks, the first is tick 3"),
            (Severity::Wrong, "outside the arm's limits: 11 ticks, the first is tick 20"),
            (Severity::Wrong, "duplicated frame): 1 ticks, the first is tick 5"),
            (Severity::Wrong, "stamps do not rise: 1 times"),
            (Severity::Wrong, "2 gaps, the longest 24.0 ms"),
            (Severity::Notice, "at its bound in 3 of 3 steps"),
        ] {
            let is_told =
                found.iter().any(|(severity, what)| (*severity, true) == (expected.0, what.contains(expected.1)));
            assert!(is_told, "{expected:?} not in {found:#?}");
        }
        assert_eq!(found.len(), 8, "{found:#?}");
    }
}
