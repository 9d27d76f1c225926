//! Logged goals sent once more, to a simulated arm: what would it have measured, and where would the object be?
//!
//! Latencies are not simulated. Nothing in the arm depends on absolute time, so that the sum of both latencies is a
//! shift of what is measured, and the command's latency a shift of the arm against the object; both can be any number,
//! where the simulator's lines know whole physics steps.

use super::recording::{Joints, Recording, distance};
use firmware_bridge::{JointState, Motors};
use sim::world::{STEP_US, SimError};
use sim::{ArmModel, SimParams, World};

/// Length of a physics step, s.
const STEP_S: f64 = STEP_US as f64 * 1e-6;
/// Physics steps for the arm to come to rest at the first goals, which hold it against gravity already: 0.5 s.
const SETTLE_STEPS: usize = 125;
/// Lines of the simulator hand on in whole physics steps: half of one late on average, s.
pub(super) const LINE_S: f64 = STEP_S / 2.0;
/// Error of a measured angle that nobody need explain, rad: an encoder's count.
const JOINT_SCALE_RAD: f64 = std::f64::consts::TAU / 4096.0;
/// Scales from which the loss of an angle grows straight.
const JOINT_KNEE: f64 = 3.0;
/// Error of an object's sample that nobody need explain, m.
const OBJECT_SCALE_M: f64 = 1.5e-3;
/// Scales from which the loss of a place grows straight.
const OBJECT_KNEE: f64 = 2.0;
/// Largest error of a place that counts, scales: an object that took another way says no more than that.
const OBJECT_LARGEST: f64 = 15.0;
/// How long after the first contact the object's way is compared; small differences grow on and on.
pub(super) const AFTER_CONTACT_S: f64 = 1.2;
/// Time before the first contact that is compared, so that a contact that comes too early costs.
const BEFORE_CONTACT_S: f64 = 0.1;

/// What a replay gave, a row a physics step.
pub(super) struct Trace {
    shaft_rad: Vec<Joints>,
    object_m: Vec<[f64; 2]>,
}

/// Sum of losses and of squared errors over a number of samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Misfit {
    pub(super) loss: f64,
    pub(super) square: f64,
    pub(super) samples: usize,
}

impl Misfit {
    fn add(&mut self, error: f64, loss: f64) {
        self.loss += loss;
        self.square += error * error;
        self.samples += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.loss += other.loss;
        self.square += other.square;
        self.samples += other.samples;
    }

    /// Root of the mean squared error; 0 without samples.
    pub(super) fn rms(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { (self.square / self.samples as f64).sqrt() }
    }
}

/// Replays the first `duration_s` of a recording with its goals `delay_s` late, and with the object where it lay, if it
/// was seen: an arm that presses on it is held up by it.
pub(super) fn replay(
    model: &ArmModel,
    params: &SimParams,
    recording: &Recording,
    delay_s: f64,
    duration_s: f64,
) -> Result<Trace, SimError> {
    let mut prompt = params.clone();
    prompt.encoder_noise_counts = 0.0;
    for latency in [&mut prompt.command_latency, &mut prompt.feedback_latency] {
        (latency.mean_us, latency.jitter_us) = (0.0, 0.0);
    }
    let mut world = World::new(model, &prompt, 0)?;
    let joints = model.joints.len();
    let first_rad: Vec<f32> = (model.joints.iter().zip(recording.first_rad()))
        .map(|(joint, at)| (at as f32).clamp(joint.limits.lower_rad, joint.limits.upper_rad))
        .collect();
    let object = recording.track.as_ref().map(|track| track.start_m);
    world.reset(&first_rad, object.map(|[x, y]| [x, y, 0.0]), 0)?;
    let mut hint = 0;
    let mut drive = |world: &mut World, time_s: f64| {
        let goals = recording.goals_at(time_s, &mut hint).map(|goal| goal as f32);
        world.drive(&goals[..joints])
    };
    for _ in 0..SETTLE_STEPS {
        drive(&mut world, 0.0)?;
        world.step();
    }
    let steps = (duration_s / STEP_S).ceil() as usize + 1;
    let mut trace = Trace { shaft_rad: Vec::with_capacity(steps), object_m: Vec::with_capacity(steps) };
    let mut state = JointState::default();
    for step in 0..steps {
        world.measure(&mut state)?;
        let angle = |i: usize| state.position_rad.get(i).copied().map_or(0.0, f64::from);
        trace.shaft_rad.push(std::array::from_fn(angle));
        if let Some(object) = world.object() {
            trace.object_m.push([object.position[0], object.position[1]]);
        }
        drive(&mut world, step as f64 * STEP_S - delay_s)?;
        world.step();
    }
    Ok(trace)
}

/// Rows before and after `time_s`, and the share of the latter.
fn between<const N: usize>(rows: &[[f64; N]], time_s: f64) -> [f64; N] {
    let place = (time_s / STEP_S).clamp(0.0, rows.len().saturating_sub(1) as f64);
    let (index, share) = (place as usize, place.fract());
    let before = &rows[index];
    let after = rows.get(index + 1).unwrap_or(before);
    std::array::from_fn(|i| before[i] + share * (after[i] - before[i]))
}

impl Trace {
    /// How far each joint is from what was measured, if measurements are `shift_s` old.
    pub(super) fn joints_misfit(&self, recording: &Recording, shift_s: f64, out: &mut [Misfit]) {
        for (time_s, measured) in recording.measurements() {
            let replayed = between(&self.shaft_rad, time_s - shift_s);
            for (i, misfit) in out.iter_mut().enumerate() {
                let error = replayed[i] - measured[i];
                misfit.add(error, huber(error / JOINT_SCALE_RAD, JOINT_KNEE));
            }
        }
    }

    /// How far the object is from its samples around and after the first contact.
    pub(super) fn object_misfit(&self, recording: &Recording) -> Misfit {
        let mut misfit = Misfit::default();
        let Some(track) = &recording.track else { return misfit };
        let (Some(contact_s), false) = (track.contact_s, self.object_m.is_empty()) else { return misfit };
        let window = contact_s - BEFORE_CONTACT_S..=contact_s + AFTER_CONTACT_S;
        for (time_s, at) in track.samples.iter().filter(|(time_s, _)| window.contains(time_s)) {
            let error = distance(&between(&self.object_m, *time_s), at);
            misfit.add(error, huber((error / OBJECT_SCALE_M).min(OBJECT_LARGEST), OBJECT_KNEE));
        }
        misfit
    }
}

/// Half the square up to `knee`, straight beyond it (Huber 1964).
fn huber(x: f64, knee: f64) -> f64 {
    let size = x.abs();
    if size <= knee { 0.5 * size * size } else { knee * (size - 0.5 * knee) }
}
