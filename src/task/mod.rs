//! What shall be achieved: goals, rewards and success. Pure: no arm, no clock.
//!
//! All tasks are sparse: the reward is 0 within the success radius of the goal and −1 elsewhere, and an episode
//! never ends early. Starts that are already at the goal are thrown away.

pub mod observation;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use sim::{Prop, Reach};

use crate::env::Layout;
use crate::kinematics::{GRASP_ROLL_RAD, PUSH_ROLL_RAD};

/// Policy steps in an episode: 4 s at 12.5 Hz.
pub const EPISODE_STEPS: usize = 50;
/// Length of a policy step, µs.
pub const STEP_US: u32 = 80_000;
/// Length of an action: fingertip displacement x, y, z and gripper, each in [−1, 1].
pub const ACTION_SIZE: usize = 4;
/// Fingertip displacement that 1.0 in an action asks for in one policy step, m.
pub const ACTION_SCALE_M: f64 = 0.03;
/// Where the jaw stands while it is closed, rad; the SO-101's stop is at −0.1745.
pub const JAW_CLOSED_RAD: f32 = -0.17;
/// Where the jaw stands at the start of an episode in which it grasps, rad: 6 cm apart.
pub const JAW_START_RAD: f32 = 0.6;
/// The widest that an action opens the jaw, rad: 8 cm apart.
const JAW_OPEN_RAD: f32 = 0.9;
/// Displacement of the jaw's set-point that 1.0 in an action asks for, rad.
const JAW_SCALE_RAD: f32 = 0.3;
/// How far the jaw's set-point may be from where the jaw is, rad. With it a servo at P = 16 squeezes with 0.8 of its
/// torque, or its limit, and lets go within two steps.
const JAW_LEAD_RAD: f32 = 0.3;
/// Greatest height of a goal in the air over where the object rests, m.
const LIFT_MAX_M: f64 = 0.09;

/// How far the object must move in an episode to count as touched, m.
pub const CONTACT_M: f64 = 0.005;
/// How far the object must rise in an episode to count as lifted, m. A cube that is tipped over an edge rises by 7 mm, and
/// one that is knocked by 2 cm for a step, which teaches nothing of grasping.
pub const LIFT_M: f64 = 0.04;

/// Distance to the goal that counts as success, m.
const SUCCESS_RADIUS_M: f64 = 0.03;

/// Distance from the pan axis beyond which no finger can put a puck, m: the fingertip's 0.395, the puck's radius of 0.03,
/// half of the fingers' 0.02, and room.
const BEYOND_REACH_M: f64 = 0.45;

/// Which task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// Bring the fingertip to a point in the air.
    Reach,
    /// Push the puck to a place on the table.
    Push,
    /// Hit the puck so that it slides over a slippery table to a place beyond the arm's reach.
    Slide,
    /// Grasp the cube and bring it to a place on the table or in the air.
    PickAndPlace,
}

/// A box in the base frame, m.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Smallest x, y, z.
    pub lower: [f64; 3],
    /// Largest x, y, z.
    pub upper: [f64; 3],
}

impl Region {
    /// A point drawn uniformly.
    pub fn sample(&self, rng: &mut impl Rng) -> [f64; 3] {
        std::array::from_fn(|i| {
            let (lower, upper) = (self.lower[i], self.upper[i]);
            if lower < upper { rng.random_range(lower..upper) } else { lower }
        })
    }

    /// Whether the point is inside or on the edge.
    #[must_use]
    pub fn contains(&self, point: &[f64; 3]) -> bool {
        (0..3).all(|i| (self.lower[i]..=self.upper[i]).contains(&point[i]))
    }
}

/// A task with its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Which task.
    pub kind: TaskKind,
    /// Where goals are drawn from. Where they lie on the table, z is the height of a resting object's centre.
    pub goals: Region,
    /// Where the object is put at the start of a simulated episode; `None` without an object.
    pub objects: Option<Region>,
    /// Distance to the goal that counts as success, m.
    pub success_radius_m: f64,
}

impl TaskKind {
    /// Name as it stands in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Push => "push",
            Self::Slide => "slide",
            Self::PickAndPlace => "pick-and-place",
        }
    }

    /// What the object is called, by people and by its tracker.
    #[must_use]
    pub fn object_name(self) -> &'static str {
        match self.prop() {
            Prop::Puck | Prop::GlidingPuck => "puck",
            Prop::Cube => "cube",
        }
    }

    /// Whether the policy moves the jaw; else it stays closed.
    #[must_use]
    pub fn grasps(self) -> bool {
        self == Self::PickAndPlace
    }

    /// Roll of the hand, rad.
    #[must_use]
    pub fn roll_rad(self) -> f64 {
        if self.grasps() { GRASP_ROLL_RAD } else { PUSH_ROLL_RAD }
    }

    /// Where the jaw stands at the start of an episode, rad.
    #[must_use]
    pub fn jaw_start_rad(self) -> f32 {
        if self.grasps() { JAW_START_RAD } else { JAW_CLOSED_RAD }
    }

    /// The jaw's next set-point for the number `asked` in −1..=1 of an action, with the set-point at `from_rad` and the
    /// jaw at `jaw_rad`; and the number that is left of `asked` where the range or the squeeze ends.
    ///
    /// Like the fingertip's it stays where it is at 0, so that what is grasped is held while nothing is asked. (Fetch
    /// counts from where the jaw is, and lets go at 0. With that, a training stayed at the goals on the table.)
    #[must_use]
    pub fn jaw_set_point(self, from_rad: f32, jaw_rad: f32, asked: f32) -> (f32, f32) {
        if !self.grasps() {
            return (JAW_CLOSED_RAD, asked);
        }
        let wanted = (from_rad + JAW_SCALE_RAD * asked).clamp(JAW_CLOSED_RAD, JAW_OPEN_RAD);
        let set_point_rad = wanted.clamp(jaw_rad - JAW_LEAD_RAD, jaw_rad + JAW_LEAD_RAD);
        (set_point_rad, ((set_point_rad - from_rad) / JAW_SCALE_RAD).clamp(-1.0, 1.0))
    }

    /// The number of an action that moves the jaw's set-point from `from_rad` to `goal_rad`, as far as a step goes; 0
    /// where the jaw stays closed. What [`Self::jaw_set_point`] takes.
    #[must_use]
    pub fn jaw_action(self, from_rad: f32, goal_rad: f32) -> f32 {
        if self.grasps() { ((goal_rad - from_rad) / JAW_SCALE_RAD).clamp(-1.0, 1.0) } else { 0.0 }
    }

    /// What lies on the table, and how slippery that is; a puck that nobody touches for reach.
    #[must_use]
    pub fn prop(self) -> Prop {
        match self {
            Self::Reach | Self::Push => Prop::Puck,
            Self::Slide => Prop::GlidingPuck,
            Self::PickAndPlace => Prop::Cube,
        }
    }
}

impl Task {
    /// The task with its standard numbers. Push draws puck and goal uniformly over 16 × 20 cm of the table; slide draws
    /// the puck there, and the goal over the 15 × 20 cm that begin where a puck pushed to the end of the reach lies. Pick-and-place draws
    /// cube and goal there as push does, and half of the goals up to 9 cm higher.
    ///
    /// `object_height_m` is the height of the resting object's centre.
    #[must_use]
    pub fn new(kind: TaskKind, object_height_m: f64) -> Self {
        let table = Region { lower: [0.16, -0.10, object_height_m], upper: [0.32, 0.10, object_height_m] };
        let (goals, objects) = match kind {
            TaskKind::Reach => (Region { lower: Reach::SO101.goals_m[0], upper: Reach::SO101.goals_m[1] }, None),
            TaskKind::Push => (table, Some(table)),
            TaskKind::Slide => {
                let [_, right, z] = table.lower;
                let [_, left, _] = table.upper;
                (Region { lower: [BEYOND_REACH_M, right, z], upper: [BEYOND_REACH_M + 0.15, left, z] }, Some(table))
            }
            TaskKind::PickAndPlace => {
                let [x, y, z] = table.upper;
                (Region { lower: table.lower, upper: [x, y, z + LIFT_MAX_M] }, Some(table))
            }
        };
        Self { kind, goals, objects, success_radius_m: SUCCESS_RADIUS_M }
    }

    /// The task on an arm that reaches less than an SO-101: goals of reach are drawn from what it reaches.
    #[must_use]
    pub fn on(mut self, reach: &Reach) -> Self {
        if self.kind == TaskKind::Reach {
            let [lower, upper] = reach.goals_m;
            self.goals = Region { lower, upper };
        }
        self
    }

    /// Sizes of observation, goal and action.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let observation = match self.kind {
            TaskKind::Reach => observation::REACH_SIZE,
            TaskKind::Push | TaskKind::PickAndPlace => observation::OBJECT_SIZE,
            TaskKind::Slide => observation::SLIDE_SIZE,
        };
        Layout { observation, goal: 3, action: ACTION_SIZE }
    }

    /// A goal that is not achieved at the start, whose achieved goal is `start`.
    pub fn sample_goal(&self, start: &[f64; 3], rng: &mut impl Rng) -> [f64; 3] {
        loop {
            let mut goal = self.goals.sample(rng);
            if self.kind == TaskKind::PickAndPlace {
                goal[2] = self.height_of_goal(goal[2], rng);
            }
            if distance_m(start, &goal) >= self.success_radius_m {
                return goal;
            }
        }
    }

    /// Half of the goals on the table, the others so high over it that pushing does not reach them: `drawn` is uniform
    /// over the heights of the region.
    fn height_of_goal(&self, drawn: f64, rng: &mut impl Rng) -> f64 {
        let (table, top) = (self.goals.lower[2], self.goals.upper[2]);
        if rng.random_bool(0.5) {
            return table;
        }
        table + SUCCESS_RADIUS_M + (drawn - table) * (1.0 - SUCCESS_RADIUS_M / (top - table))
    }

    /// Whether `achieved` is within the success radius of `desired`.
    #[must_use]
    pub fn is_success(&self, achieved: &[f32], desired: &[f32]) -> bool {
        goal_distance_m(achieved, desired) < self.success_radius_m
    }

    /// 0 at the goal, −1 elsewhere.
    #[must_use]
    pub fn compute_reward(&self, achieved: &[f32], desired: &[f32]) -> f32 {
        if self.is_success(achieved, desired) { 0.0 } else { -1.0 }
    }
}

/// Distance of two points, m.
#[must_use]
pub fn distance_m(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
}

/// Distance of two goals of equal length, m.
#[must_use]
pub fn goal_distance_m(achieved: &[f32], desired: &[f32]) -> f64 {
    achieved.iter().zip(desired).map(|(a, d)| f64::from(a - d).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    #[test]
    fn no_episode_starts_at_its_goal() {
        let task = Task::new(TaskKind::Push, 0.01);
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        for _ in 0..1000 {
            let start = task.objects.unwrap().sample(&mut rng);
            let goal = task.sample_goal(&start, &mut rng);
            assert!(distance_m(&start, &goal) >= task.success_radius_m);
            assert!(task.goals.contains(&goal));
        }
    }

    #[test]
    fn half_of_the_goals_of_pick_and_place_are_out_of_a_pushs_reach() {
        let task = Task::new(TaskKind::PickAndPlace, 0.0175);
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let heights: Vec<f64> = (0..2000).map(|_| task.sample_goal(&[0.0; 3], &mut rng)[2] - 0.0175).collect();
        let lifted = heights.iter().filter(|height| **height > 0.0).count();
        assert!((900..1100).contains(&lifted), "{lifted}");
        let range = SUCCESS_RADIUS_M..=LIFT_MAX_M;
        assert!(heights.iter().all(|height| *height == 0.0 || range.contains(height)));
        assert!(heights.iter().any(|height| *height > 0.085));
    }

    #[test]
    fn the_jaws_set_point_stays_in_its_range_and_near_the_jaw() {
        let pick = |from_rad, jaw_rad, asked| TaskKind::PickAndPlace.jaw_set_point(from_rad, jaw_rad, asked);
        let near = |(a, b): (f32, f32), (c, d): (f32, f32)| (a - c).abs() < 1e-6 && (b - d).abs() < 1e-6;
        assert!(near(pick(0.3, 0.3, -0.5), (0.15, -0.5)));
        assert!(near(pick(0.1, 0.23, 0.0), (0.1, 0.0)), "what is held stays held");
        assert!(near(pick(0.1, 0.23, -1.0), (-0.07, -0.17 / 0.3)), "and is not crushed");
        assert!(near(pick(-0.05, -0.05, -1.0), (JAW_CLOSED_RAD, -0.4)));
        assert!(near(pick(0.9, 0.9, 1.0), (0.9, 0.0)));
        assert!(near(TaskKind::Push.jaw_set_point(0.3, 0.3, 0.7), (JAW_CLOSED_RAD, 0.7)));
    }

    #[test]
    fn the_reward_is_sparse_and_depends_on_the_goals_alone() {
        let task = Task::new(TaskKind::Push, 0.01);
        assert_eq!(task.compute_reward(&[0.2, 0.0, 0.01], &[0.2, 0.029, 0.01]), 0.0);
        assert_eq!(task.compute_reward(&[0.2, 0.0, 0.01], &[0.2, 0.031, 0.01]), -1.0);
    }
}
