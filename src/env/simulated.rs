//! The environment on a simulated arm, in this process and in virtual time, through the same bytes as the hardware.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sim::{ArmModel, Device, FarEnd, SimParams, World};

use super::arm::{ArmEnv, Start};
use super::scene::Scene;
use super::{EnvError, GoalEnv};
use crate::arm::bridge::{BridgeArm, BridgeOptions};
use crate::control::{ControlConfig, ControlLoop, PERIOD_US};
use crate::link::loopback::{Loopback, SimHandle, VirtualClock};
use crate::safety::Workspace;
use crate::task::{Task, TaskKind};
use crate::tracker::{ObjectSample, Tracker};

/// A task on an arm simulated in this process.
pub type SimEnv = ArmEnv<BridgeArm<Loopback, VirtualClock>, VirtualClock, SimTracker, SimScene>;

/// Time between two samples of the simulated tracker, µs: a camera of 60 Hz, in whole control periods.
pub const TRACKER_PERIOD_US: u64 = 16_000;
/// From a sample's measurement to its arrival, µs.
pub const TRACKER_LATENCY_US: u64 = 24_000;
/// Largest error of a sample along x and y, uniform, m.
pub const TRACKER_NOISE_M: f64 = 1e-3;

/// What the simulated tracker has in flight; shared with the scene, which starts it anew with the world.
#[derive(Debug)]
struct Camera {
    rng: Pcg64Mcg,
    due_us: u64,
    in_flight: VecDeque<ObjectSample>,
}

impl Camera {
    fn new(seed: u64, now_us: u64) -> Self {
        Self { rng: Pcg64Mcg::seed_from_u64(seed), due_us: now_us, in_flight: VecDeque::with_capacity(4) }
    }
}

fn lock(camera: &Mutex<Camera>) -> MutexGuard<'_, Camera> {
    // A panic elsewhere does not break samples.
    camera.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees the simulated object as a camera would: at 60 Hz, 24 ms late, ± 1 mm.
#[derive(Debug)]
pub struct SimTracker {
    device: SimHandle,
    camera: Arc<Mutex<Camera>>,
}

impl Tracker for SimTracker {
    fn poll(&mut self, now_us: u64) -> Option<ObjectSample> {
        let mut camera = lock(&self.camera);
        if now_us >= camera.due_us {
            camera.due_us = now_us + TRACKER_PERIOD_US;
            if let Some(object) = self.device.lock().world().object() {
                let mut position = object.position;
                for axis in &mut position[..2] {
                    *axis += camera.rng.random_range(-TRACKER_NOISE_M..=TRACKER_NOISE_M);
                }
                let sample = ObjectSample { stamp_us: now_us, position, orientation: object.orientation };
                camera.in_flight.push_back(sample);
            }
        }
        let arrived = |sample: &ObjectSample| now_us >= sample.stamp_us + TRACKER_LATENCY_US;
        let mut newest = None;
        while camera.in_flight.front().is_some_and(arrived) {
            newest = camera.in_flight.pop_front();
        }
        newest
    }
}

/// The simulated world's stage hand: rebuilds it, and puts the object back itself.
#[derive(Debug)]
pub struct SimScene {
    device: SimHandle,
    camera: Arc<Mutex<Camera>>,
    arms: Vec<SimParams>,
}

impl Scene for SimScene {
    fn rebuild(&mut self, joints_rad: &[f32], object_m: Option<[f64; 3]>, seed: u64) -> Result<bool, EnvError> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut device = self.device.lock();
        let arm = rng.random_range(0..self.arms.len());
        let yaw = rng.random_range(-std::f64::consts::PI..std::f64::consts::PI);
        let world = device.world_mut();
        world.set_params(&self.arms[arm]).map_err(EnvError::new)?;
        world.reset(joints_rad, object_m.map(|[x, y, _]| [x, y, yaw]), rng.random()).map_err(EnvError::new)?;
        // What the host measured before is now too old for it to go on with.
        let now_us = device.time_us();
        while device.time_us() <= now_us + u64::from(PERIOD_US) {
            device.step();
        }
        *lock(&self.camera) = Camera::new(rng.random(), device.time_us());
        Ok(true)
    }

    fn ask_for_object_at(&mut self, object_m: [f64; 3]) {
        let mut device = self.device.lock();
        let world = device.world_mut();
        if world.object().is_some() {
            let height = world.params().object.rest_height_m();
            // At rest and flat; finite, so that the world takes it.
            let _ = world.set_object(&sim::world::ObjectPose {
                position: [object_m[0], object_m[1], height],
                orientation: [0.0, 0.0, 0.0, 1.0],
                linear_velocity: [0.0; 3],
                angular_velocity: [0.0; 3],
            });
        }
    }
}

/// A simulated arm that behaves as one of `arms`, drawn for every episode, and that its host believes to behave as
/// `twin` (the stiffness of its servos, for the gravity feed-forward).
///
/// # Errors
/// The parameters are not those of this arm.
pub fn simulated(
    model: &ArmModel,
    twin: &SimParams,
    arms: &[SimParams],
    task: Task,
    start: Start,
) -> Result<SimEnv, EnvError> {
    on_clock(SimHandle::clock, model, twin, arms, task, start)
}

/// As [`simulated`], but time passes no quicker than real time.
///
/// # Errors
/// As [`simulated`].
pub fn simulated_in_real_time(
    model: &ArmModel,
    twin: &SimParams,
    arms: &[SimParams],
    task: Task,
    start: Start,
) -> Result<SimEnv, EnvError> {
    on_clock(SimHandle::real_time_clock, model, twin, arms, task, start)
}

fn on_clock(
    clock: fn(&SimHandle) -> VirtualClock,
    model: &ArmModel,
    twin: &SimParams,
    arms: &[SimParams],
    task: Task,
    start: Start,
) -> Result<SimEnv, EnvError> {
    let first = arms.first().unwrap_or(twin);
    let world = World::new(model, first, 0).map_err(EnvError::new)?;
    let device = SimHandle::new(Device::new(world, 1));
    let arm = BridgeArm::connect(device.link(), device.clock(), BridgeOptions::default()).map_err(EnvError::new)?;
    let config = control_config(model, twin, task.kind, Some(sim::world::STEP_US as u32));
    let control = ControlLoop::new(arm, clock(&device), model, config, Arc::new(AtomicBool::new(false)))
        .map_err(EnvError::new)?;
    let camera = Arc::new(Mutex::new(Camera::new(0, 0)));
    let tracker = SimTracker { device: device.clone(), camera: Arc::clone(&camera) };
    let arms = if arms.is_empty() { vec![twin.clone()] } else { arms.to_vec() };
    let scene = SimScene { device, camera, arms };
    ArmEnv::new(task, start, control, tracker, scene)
}

/// `count` simulated arms as [`simulated`] makes them, each episode rebuilt, for training and evaluation.
///
/// # Errors
/// As [`simulated`].
pub fn simulated_many(
    model: &ArmModel,
    twin: &SimParams,
    arms: &[SimParams],
    task: &Task,
    count: usize,
) -> Result<Vec<Box<dyn GoalEnv>>, EnvError> {
    (0..count)
        .map(|_| Ok(Box::new(simulated(model, twin, arms, task.clone(), Start::Rebuilt)?) as Box<dyn GoalEnv>))
        .collect()
}

/// How an arm as `model` is controlled that does `task`, and whose servos are believed to be as stiff as `twin`'s.
#[must_use]
pub fn control_config(
    model: &ArmModel,
    twin: &SimParams,
    task: TaskKind,
    physics_step_us: Option<u32>,
) -> ControlConfig {
    let rest_rad = model.reach.rest_rad;
    let mut config = ControlConfig { physics_step_us, rest_rad, ..ControlConfig::default() };
    config.planner.points.workspace = Workspace::of(&model.reach);
    config.planner.roll_rad = task.roll_rad();
    for (stiffness, kp) in config.planner.stiffness_nm_rad.iter_mut().zip(twin.kp_nm_per_rad()) {
        *stiffness = kp;
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{GoalEnv, GoalObservation, Outcome};
    use crate::task::observation::symmetry;
    use crate::task::{TaskKind, distance_m};

    /// Pearson's, of columns `i` and `j`.
    fn correlation(rows: &[[f32; 5]], i: usize, j: usize) -> f64 {
        let column = |c: usize| rows.iter().map(move |row| f64::from(row[c]));
        let mean = |c: usize| column(c).sum::<f64>() / rows.len() as f64;
        let (a, b) = (mean(i), mean(j));
        let covariance = |c: usize, d: usize, p: f64, q: f64| -> f64 {
            column(c).zip(column(d)).map(|(x, y)| (x - p) * (y - q)).sum()
        };
        covariance(i, j, a, b) / (covariance(i, i, a, a) * covariance(j, j, b, b)).sqrt()
    }

    #[test]
    fn how_a_cube_is_turned_says_nothing_of_where_it_lies_or_shall_go() {
        let kind = TaskKind::PickAndPlace;
        let twin = SimParams::so101_with(kind.prop()).unwrap();
        let task = Task::new(kind, twin.object.rest_height_m());
        let mut env = simulated(&ArmModel::so101().unwrap(), &twin, &[], task, Start::Rebuilt).unwrap();
        let mut seen = GoalObservation::default();
        let drawn = |seed| {
            env.reset(seed, &mut seen).unwrap();
            let heading = seen.observation[symmetry(kind).headings[0]];
            let ([x, y, ..], [goal_x, goal_y, ..]) = (&seen.achieved_goal[..], &seen.desired_goal[..]) else {
                panic!("places")
            };
            [*x, *y, *goal_x, *goal_y, heading]
        };
        let rows: Vec<[f32; 5]> = (0..200).map(drawn).collect();
        for i in 0..5 {
            for j in 0..i {
                // 0.07 is the deviation of what independent draws give.
                let r = correlation(&rows, i, j);
                assert!(r.abs() < 0.3, "columns {i} and {j} go together: {r}");
            }
        }
    }

    #[test]
    fn doing_nothing_moves_nothing_from_an_episode_s_first_look_on() {
        let twin = SimParams::so101_with(TaskKind::Slide.prop()).unwrap();
        let drawn = |seed| twin.draw(&sim::Ranges::so101().unwrap(), &mut Pcg64Mcg::seed_from_u64(seed));
        for arm in [twin.clone(), drawn(1), drawn(2), drawn(3)] {
            let task = Task::new(TaskKind::Slide, twin.object.rest_height_m());
            let mut env = simulated(&ArmModel::so101().unwrap(), &twin, &[arm], task, Start::Rebuilt).unwrap();
            let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
            env.reset(3, &mut seen).unwrap();
            let at = |seen: &GoalObservation| std::array::from_fn(|i| f64::from(seen.observation[i]));
            let first: [f64; 3] = at(&seen);
            for _ in 0..10 {
                env.step(&[0.0; 4], &mut seen, &mut outcome).unwrap();
                let moved_m = distance_m(&first, &at(&seen));
                // A count of the encoders moves a stretched arm's fingertip by 0.6 mm.
                assert!(moved_m < 1.5e-3, "the fingertip moved by {moved_m} m");
            }
        }
    }
}
