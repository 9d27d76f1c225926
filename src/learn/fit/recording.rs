//! What of a recorded episode a replay needs: goals, measured joints, and the object's samples, in seconds from the
//! first tick.

use crate::episode::{Episode, Tick};
use firmware_bridge::MAX_JOINTS;

/// A number a joint; those beyond the arm's joints are unused.
pub(super) type Joints = [f64; MAX_JOINTS];

/// Shortest recording that a replay learns from, s.
const SHORTEST_S: f64 = 0.4;
/// Longest time between two ticks before what follows is left out, s: the firmware has stopped the arm by then.
const LONGEST_GAP_S: f64 = 0.05;
/// Speed of a joint above which a recording does not begin at rest, rad/s.
const REST_RAD_S: f32 = 0.3;
/// How far a sample must be from where the object lay to be a contact, m: beyond the tracker's noise.
const MOVED_M: f64 = 0.004;
/// Samples before the contact that are left out of the object's place at rest, s.
const BEFORE_CONTACT_S: f64 = 0.06;
/// Two samples closer in time are the same one, seen at two ticks, s.
const SAME_SAMPLE_S: f64 = 1e-3;

/// One control tick.
#[derive(Debug, Clone, Copy)]
struct Moment {
    time_s: f64,
    sent_rad: Joints,
    measured_s: f64,
    measured_rad: Joints,
}

/// The part of an episode that can be replayed.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    joints: usize,
    moments: Vec<Moment>,
    pub(super) track: Option<Track>,
}

/// The object's samples, as they were measured.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// Where it lay at first, x and y, m.
    pub(super) start_m: [f64; 2],
    /// When it was first seen to have moved, if it was.
    pub(super) contact_s: Option<f64>,
    /// When, and where, x and y, m.
    pub(super) samples: Vec<(f64, [f64; 2])>,
    /// Farthest distance from the start, m.
    pub(super) travel_m: f64,
}

impl Recording {
    /// The longest whole beginning of an episode of an arm with `joints` joints; `None` where there is too little,
    /// or where it does not begin at rest.
    pub(super) fn new(episode: &Episode, joints: usize) -> Option<Self> {
        let first = episode.ticks.first()?;
        if first.joints.velocity_rad_s.iter().any(|speed| speed.abs() > REST_RAD_S) {
            return None;
        }
        let mut moments: Vec<Moment> = Vec::with_capacity(episode.ticks.len());
        for tick in &episode.ticks {
            let time_s = seconds(tick.stamp_us, first.stamp_us);
            let Some(moment) = moment(tick, time_s, joints) else { break };
            if moments.last().is_some_and(|last| time_s <= last.time_s || time_s - last.time_s > LONGEST_GAP_S) {
                break;
            }
            moments.push(moment);
        }
        let recording = Self { joints, track: track(&episode.ticks[..moments.len()]), moments };
        (recording.duration_s() >= SHORTEST_S).then_some(recording)
    }

    pub(super) fn duration_s(&self) -> f64 {
        self.moments.last().map_or(0.0, |last| last.time_s)
    }

    /// Goals at `time_s`, straight between two ticks as the firmware interpolates them; constant beyond the ends.
    /// `hint` is where the last search ended.
    pub(super) fn goals_at(&self, time_s: f64, hint: &mut usize) -> Joints {
        let moments = &self.moments;
        while *hint + 1 < moments.len() && moments[*hint + 1].time_s <= time_s {
            *hint += 1;
        }
        let before = &moments[*hint];
        let Some(after) = moments.get(*hint + 1) else { return before.sent_rad };
        let share = ((time_s - before.time_s) / (after.time_s - before.time_s)).clamp(0.0, 1.0);
        std::array::from_fn(|i| before.sent_rad[i] + share * (after.sent_rad[i] - before.sent_rad[i]))
    }

    /// When joints were measured, and where they were.
    pub(super) fn measurements(&self) -> impl Iterator<Item = (f64, &Joints)> {
        self.moments.iter().map(|moment| (moment.measured_s, &moment.measured_rad))
    }

    /// Measured angles at the start, rad.
    pub(super) fn first_rad(&self) -> Joints {
        self.moments[0].measured_rad
    }

    /// How far each joint's goal ranges, rad.
    pub(super) fn ranges_rad(&self) -> Joints {
        std::array::from_fn(|i| {
            let goals = || self.moments.iter().map(|moment| moment.sent_rad[i]);
            if i < self.joints { goals().fold(f64::MIN, f64::max) - goals().fold(f64::MAX, f64::min) } else { 0.0 }
        })
    }
}

fn seconds(stamp_us: u64, first_us: u64) -> f64 {
    (stamp_us as f64 - first_us as f64) * 1e-6
}

fn moment(tick: &Tick, time_s: f64, joints: usize) -> Option<Moment> {
    let widen = |numbers: &[f32]| -> Option<Joints> {
        let whole = numbers.len() == joints && joints <= MAX_JOINTS && numbers.iter().all(|x| x.is_finite());
        whole.then(|| std::array::from_fn(|i| numbers.get(i).copied().map_or(0.0, f64::from)))
    };
    Some(Moment {
        time_s,
        sent_rad: widen(&tick.sent_rad)?,
        measured_s: time_s - f64::from(tick.reading_age_us) * 1e-6,
        measured_rad: widen(&tick.joints.position_rad)?,
    })
}

/// Collects the samples. A tick holds the newest sample of the tick before it, with its age then.
fn track(ticks: &[Tick]) -> Option<Track> {
    let first_us = ticks.first()?.stamp_us;
    let mut samples: Vec<(f64, [f64; 2])> = Vec::new();
    for pair in ticks.windows(2) {
        let Some(object) = &pair[1].object else { continue };
        let time_s = seconds(pair[0].stamp_us, first_us) - f64::from(object.age_us) * 1e-6;
        let [x, y, _] = object.raw_position;
        let is_new = samples.last().is_none_or(|(last, _)| time_s > last + SAME_SAMPLE_S);
        if is_new && x.is_finite() && y.is_finite() {
            samples.push((time_s, [x, y]));
        }
    }
    let settled = mean(samples.iter().take(4).map(|(_, at)| *at))?;
    let contact_s = samples.iter().find(|(_, at)| distance(at, &settled) > MOVED_M).map(|(time_s, _)| *time_s);
    let still = |time_s: f64| contact_s.is_none_or(|contact_s| time_s < contact_s - BEFORE_CONTACT_S);
    let start_m = mean(samples.iter().filter(|(time_s, _)| still(*time_s)).map(|(_, at)| *at)).unwrap_or(settled);
    let travel_m = samples.iter().map(|(_, at)| distance(at, &start_m)).fold(0.0, f64::max);
    Some(Track { start_m, contact_s, samples, travel_m })
}

fn mean(places: impl Iterator<Item = [f64; 2]>) -> Option<[f64; 2]> {
    let (sum, count) = places.fold(([0.0; 2], 0), |([x, y], n), at| ([x + at[0], y + at[1]], n + 1));
    (count > 0).then(|| sum.map(|s| s / f64::from(count)))
}

pub(super) fn distance(a: &[f64; 2], b: &[f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}
