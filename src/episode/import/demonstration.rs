//! What a person's hand did with LeRobot, as a policy's actions.
//!
//! | Here | From the dataset |
//! |---|---|
//! | a step | 80 ms of frames; what is seen at its start is interpolated between two frames |
//! | the set-point | where the fingertip would come to rest if the joint goals braked at the step's end |
//! | the action | how far the set-point moves in the step; what is beyond an action's reach is left to later steps |
//! | the gripper's number, where the task grasps | how far the jaw's goal moves in the step |
//! | velocities | differences over the frame before |
//! | the goal | `observation.goal`, or what is achieved at the end |
//!
//! The joint goals' own place is no good set-point: a policy's set-point is where the arm shall *come to rest*, and goals
//! on their way there, within the safety filter's acceleration, are half a step behind. Put through this, the goals that a
//! policy's actions became give actions that are a fifth to two fifths of their size off, against three fifths without
//! the braking distance.
//!
//! A policy does not choose the hand's pitch and roll, and so they are lost; [`Losses::hand_off_rad`] tells how much
//! that is.

use super::dataset::Frames;
use super::recorded::{array, end, joints, object};
use super::{GOAL, Losses, OBJECT, Source};
use crate::episode::{Episode, ObjectTrack, Tick};
use crate::kinematics::Tip;
use crate::safety::{PointFilter, Workspace};
use crate::task::observation::{self, Hand, Object};
use crate::task::{ACTION_SCALE_M, STEP_US, distance_m};
use firmware_bridge::{JointState, PerJoint};
use nalgebra::{Quaternion, UnitQuaternion};
use std::f64::consts::PI;

/// Rounding that does not count as a loss, m.
const TOLERANCE_M: f64 = 1e-4;
/// How far beyond a limit a joint may be for rounding and another calibration, rad.
const LIMIT_TOLERANCE_RAD: f32 = 0.05;

/// Losses while they are counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    losses: Losses,
    steps: u64,
    hand_off_rad: f64,
}

impl Tally {
    pub(super) fn finish(mut self, goal_from_end: bool) -> Losses {
        self.losses.hand_off_rad = self.hand_off_rad / self.steps.max(1) as f64;
        Losses { goal_from_end, ..self.losses }
    }
}

/// What the dataset shows at a time.
struct Moment {
    position_rad: PerJoint,
    tip: Tip,
    hand: Hand,
    object: Option<ObjectTrack>,
}

/// The demonstration as an episode of whole steps.
pub(super) fn episode(source: &Source<'_>, number: u64, frames: &Frames, tally: &mut Tally) -> Episode {
    let step_s = f64::from(STEP_US) * 1e-6;
    let fps = source.dataset.fps();
    let last_frame = frames.len().saturating_sub(1);
    // A little more, for a last step that rounding would cut off.
    let steps = (last_frame as f64 / fps / step_s + 1e-6).floor() as u64;
    let goal_rad = |frame: usize| joints(source, frames.row("action", frame.min(last_frame)));
    count_outside_limits(source, frames, tally);
    let mut target = source.kinematics.forward(&goal_rad(0)).position_m;
    let mut jaw_set_point_rad = goal_rad(0).last().copied().unwrap_or_default();
    let moments: Vec<Moment> = (0..=steps).map(|step| moment(source, frames, step as f64 * step_s * fps)).collect();
    let achieved = |moment: &Moment| match (moment.object, source.task.objects) {
        (Some(object), Some(_)) => object.position.map(|x| x as f32),
        _ => moment.tip.position_m.map(|x| x as f32),
    };
    let at_end = moments.last().map(&achieved).unwrap_or_default();
    let mut ticks = Vec::with_capacity(moments.len());
    for (step, moment) in moments.iter().enumerate() {
        let newest = (step as f64 * step_s * fps + 1e-6).floor() as usize;
        let mut hand = moment.hand;
        if source.kind().grasps() {
            hand.jaw_set_point_rad = jaw_set_point_rad.into();
        }
        hand.commanded_velocity = std::array::from_fn(|i| (target[i] - hand.position[i]) / step_s);
        let seen = moment.object.filter(|_| source.task.objects.is_some()).map(|o| Object {
            position: o.position,
            orientation: o.orientation,
            velocity: o.velocity_m_s,
            angular_velocity: o.angular_velocity_rad_s,
        });
        let mut observation = Vec::new();
        observation::write(source.kind(), &hand, seen.as_ref(), &mut observation);
        let desired_goal = match source.has_goal {
            true => array(frames.row(GOAL.0, newest.min(last_frame)).iter().map(|&x| x as f32)),
            false => at_end,
        };
        let mut tick = Tick {
            index: step as u64,
            stamp_us: step as u64 * u64::from(STEP_US),
            step: step as u32,
            begins_step: true,
            observation: observation.into_iter().collect(),
            achieved_goal: achieved(moment),
            desired_goal,
            joints: JointState { position_rad: moment.position_rad.clone(), ..JointState::default() },
            object: moment.object,
            ..Tick::default()
        };
        if (step as u64) < steps {
            let at_end = (step + 1) as f64 * step_s * fps;
            let wanted = rest(source, frames, at_end);
            let goal = between_frames(source, frames, "action", at_end);
            let mut action: [f32; 4] =
                array((0..3).map(|i| ((wanted[i] - target[i]) / ACTION_SCALE_M).clamp(-1.0, 1.0) as f32));
            let jaw_goal_rad = goal.last().copied().unwrap_or_default();
            action[3] = source.kind().jaw_action(jaw_set_point_rad, jaw_goal_rad);
            (jaw_set_point_rad, _) = source.kind().jaw_set_point(jaw_set_point_rad, hand.jaw_rad as f32, action[3]);
            target = std::array::from_fn(|i| target[i] + ACTION_SCALE_M * f64::from(action[i]));
            (tick.requested_action, tick.applied_action) = (action, action);
            tick.sent_rad = goal_rad(newest);
            tally.steps += 1;
            tally.losses.too_fast += u64::from(distance_m(&target, &wanted) > TOLERANCE_M);
            tally.losses.outside_workspace += u64::from(Workspace::default().distance_outside_m(target) > TOLERANCE_M);
            tally.hand_off_rad += hand_off_rad(source, &moment.tip);
        }
        ticks.push(tick);
    }
    let mut start = source.start(number, ticks.first().map(|tick| tick.desired_goal).unwrap_or_default());
    (start.control_period_us, start.ticks_per_step) = (STEP_US, 1);
    let mut episode = Episode { start, ticks, faults: Vec::new(), end: None };
    episode.end = end(&episode);
    episode
}

/// Angles at a time, in frames from the first: straight between two frames, constant beyond the last.
fn between_frames(source: &Source<'_>, frames: &Frames, name: &str, time: f64) -> PerJoint {
    let last = frames.len().saturating_sub(1);
    let before = (time.max(0.0).floor() as usize).min(last);
    let share = (time - before as f64).clamp(0.0, 1.0);
    let rad = |frame: usize| source.units.to_rad(frames.row(name, frame.min(last))).collect::<Vec<f64>>();
    rad(before).iter().zip(rad(before + 1)).map(|(a, b)| (a + share * (b - a)) as f32).collect()
}

/// Where the fingertip comes to rest if the joint goals brake at a time, in frames from the first, m.
fn rest(source: &Source<'_>, frames: &Frames, time: f64) -> [f64; 3] {
    let at = |time: f64| source.kinematics.forward(&between_frames(source, frames, "action", time)).position_m;
    let (before, here, after) = (at(time - 0.5), at(time), at(time + 0.5));
    let velocity: [f64; 3] = std::array::from_fn(|i| (after[i] - before[i]) * source.dataset.fps());
    let speed = velocity.iter().map(|v| v * v).sum::<f64>().sqrt();
    let braking_s = speed / (2.0 * PointFilter::default().bounds.acceleration);
    std::array::from_fn(|i| here[i] + velocity[i] * braking_s)
}

/// What is seen at a time, in frames from the first.
fn moment(source: &Source<'_>, frames: &Frames, time: f64) -> Moment {
    let last_frame = frames.len().saturating_sub(1);
    let before = (time.floor() as usize).min(last_frame);
    let after = (before + 1).min(last_frame);
    let share = (time - before as f64).clamp(0.0, 1.0);
    let between = |a: f64, b: f64| a + share * (b - a);
    // Differences are taken over the frame in which the moment lies, or the one that it ends.
    let (from, to) = if share < 1e-6 { (before.saturating_sub(1), before) } else { (before, after) };
    let rate = if from == to { 0.0 } else { source.dataset.fps() };
    let position_rad = between_frames(source, frames, "observation.state", time);
    let tip = source.kinematics.forward(&position_rad);
    let tip_at =
        |frame: usize| source.kinematics.forward(&joints(source, frames.row("observation.state", frame))).position_m;
    let jaw = |frame: usize| source.units.to_rad(frames.row("observation.state", frame)).last().unwrap_or_default();
    let (tip_from, tip_to) = (tip_at(from), tip_at(to));
    let jaw_rad = position_rad.last().copied().unwrap_or_default().into();
    let hand = Hand {
        position: tip.position_m,
        velocity: std::array::from_fn(|i| (tip_to[i] - tip_from[i]) * rate),
        commanded_velocity: [0.0; 3],
        jaw_rad,
        jaw_set_point_rad: jaw_rad,
        jaw_rad_s: (jaw(to) - jaw(from)) * rate,
    };
    let object = source.has_object.then(|| {
        let at = |frame: usize| object(frames.row(OBJECT.0, frame));
        let (a, b, from, to) = (at(before), at(after), at(from), at(to));
        let turn = |o: &ObjectTrack| {
            let [x, y, z, w] = o.orientation;
            UnitQuaternion::new_normalize(Quaternion::new(w, x, y, z))
        };
        let position = std::array::from_fn(|i| between(a.position[i], b.position[i]));
        let (start, end) = (turn(&a), turn(&b));
        let orientation = start.try_slerp(&end, share, 1e-9).unwrap_or(start).coords;
        let turned = turn(&to) * turn(&from).inverse();
        ObjectTrack {
            raw_position: position,
            raw_orientation: orientation.into(),
            position,
            orientation: orientation.into(),
            velocity_m_s: std::array::from_fn(|i| (to.position[i] - from.position[i]) * rate),
            angular_velocity_rad_s: (turned.scaled_axis() * rate).into(),
            age_us: 0,
        }
    });
    Moment { position_rad, tip, hand, object }
}

/// The larger of the angles by which pitch and roll are off those of a policy's hand with the fingertip there, rad.
fn hand_off_rad(source: &Source<'_>, tip: &Tip) -> f64 {
    let turn = |angle_rad: f64| (angle_rad + PI).rem_euclid(2.0 * PI) - PI;
    let pitched = turn(tip.pitch_rad - source.kinematics.pitch_on_profile(tip.position_m));
    pitched.abs().max(turn(tip.roll_rad - source.kind().roll_rad()).abs())
}

fn count_outside_limits(source: &Source<'_>, frames: &Frames, tally: &mut Tally) {
    for frame in 0..frames.len() {
        let at = joints(source, frames.row("observation.state", frame));
        let limits = source.model.joints.iter().map(|joint| joint.limits);
        let outside = at.iter().zip(limits).any(|(rad, limits)| {
            *rad < limits.lower_rad - LIMIT_TOLERANCE_RAD || *rad > limits.upper_rad + LIMIT_TOLERANCE_RAD
        });
        tally.losses.outside_limits += u64::from(outside);
    }
}
