//! How much of where a struck puck comes to rest is chance: `cargo bench --bench chance`, or with the `.agent` file of a
//! trained policy behind `--` in place of the rules.
//!
//! A start and a goal of slide are played once; then the very same actions are played again and again from the same
//! start, with other delays, encoders' errors and turn of the round puck each time. What spreads then no choice of these
//! actions could have foreseen, and the share of ends that lie within the success radius of their own middle is what they
//! would hit without a bias. A policy that watches its strike may do a little better, and one that strikes otherwise may
//! spread less.

use hindsight::env::simulated::{SimEnv, simulated};
use hindsight::env::{GoalEnv, GoalObservation, Outcome, Start};
use hindsight::learn::{Actor, Agent};
use hindsight::policy::{Policy, SlideExpert};
use hindsight::task::{ACTION_SIZE, CONTACT_M, EPISODE_STEPS, Region, Task, TaskKind};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use sim::{ArmModel, SimParams};

/// Starts and goals.
const STARTS: u64 = 100;
/// Times that each is played with the same actions.
const AGAIN: u64 = 16;

type Actions = [[f32; ACTION_SIZE]; EPISODE_STEPS];

/// Sums over ends, along the way from start to goal and beside it.
#[derive(Default)]
struct Spread {
    starts: u32,
    ends: u32,
    hits: u32,
    along_m2: f64,
    beside_m2: f64,
    bias_m: f64,
    bias_m2: f64,
}

impl Spread {
    /// Takes in the ends of one start's episodes.
    fn add(&mut self, start: [f64; 2], goal: [f64; 2], ends: &[[f64; 2]], radius_m: f64) {
        let count = ends.len() as f64;
        let middle = [0, 1].map(|i| ends.iter().map(|end| end[i]).sum::<f64>() / count);
        let way = [goal[0] - start[0], goal[1] - start[1]];
        let length = way[0].hypot(way[1]);
        let turned = |v: [f64; 2]| [(v[0] * way[0] + v[1] * way[1]) / length, (v[1] * way[0] - v[0] * way[1]) / length];
        // A middle of few ends lies closer to them than the true one.
        let wider = (count / (count - 1.0)).sqrt();
        for end in ends {
            let [along, beside] = turned([0, 1].map(|i| (end[i] - middle[i]) * wider));
            self.along_m2 += along * along;
            self.beside_m2 += beside * beside;
            self.hits += u32::from(along.hypot(beside) < radius_m);
            self.ends += 1;
        }
        let [along, _] = turned([middle[0] - goal[0], middle[1] - goal[1]]);
        self.bias_m += along;
        self.bias_m2 += along * along;
        self.starts += 1;
    }

    fn print(&self, name: &str) {
        let root_mm = |sum: f64, count: u32| 1e3 * (sum / f64::from(count.max(1))).sqrt();
        println!(
            "{name:26} {:5} starts  deviation {:4.1} mm along, {:4.1} mm beside; {:4.1} % within the radius of their middle, \
             which is {:+5.1} mm along from the goal ({:4.1} root mean square)",
            self.starts,
            root_mm(self.along_m2, self.ends),
            root_mm(self.beside_m2, self.ends),
            100.0 * f64::from(self.hits) / f64::from(self.ends.max(1)),
            1e3 * self.bias_m / f64::from(self.starts.max(1)),
            root_mm(self.bias_m2, self.starts),
        );
    }
}

/// Plays the episode of `seed` to `goal`, and says where the puck began and ended.
fn play(
    env: &mut SimEnv,
    seed: u64,
    goal: [f64; 3],
    mut act: impl FnMut(usize, &GoalObservation) -> [f32; 4],
) -> [[f64; 2]; 2] {
    let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
    let at = |seen: &GoalObservation| [0, 1].map(|i| f64::from(seen.achieved_goal[i]));
    env.reset(seed, &mut seen).expect("a simulated arm");
    env.aim(goal, &mut seen);
    let start = at(&seen);
    for step in 0..EPISODE_STEPS {
        let action = act(step, &seen);
        env.step(&action, &mut seen, &mut outcome).expect("a simulated arm");
    }
    [start, at(&seen)]
}

fn main() {
    let kind = TaskKind::Slide;
    let model = ArmModel::so101().expect("the arm's own files");
    let twin = SimParams::so101_with(kind.prop()).expect("the arm's own files");
    let whole = Task::new(kind, twin.object.rest_height_m());
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let agent = file.map(|file| Agent::from_bytes(&std::fs::read(file).expect("a file")).expect("an agent"));
    let policy = || -> Box<dyn Policy> {
        match &agent {
            Some(agent) => Box::new(Actor::new(agent, 1)),
            None => Box::new(SlideExpert::default()),
        }
    };
    let bands = [("goals less than 50 cm off", 0.0..0.5), ("50 to 55 cm", 0.5..0.55), ("more than 55 cm", 0.55..9.0)];
    let mut banded: [Spread; 3] = Default::default();
    let (mut all, mut hits, mut untouched) = (Spread::default(), 0, 0);
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    for first in (0..STARTS).map(|start| start * (AGAIN + 1)) {
        let at = whole.objects.expect("a puck").sample(&mut rng);
        let goal = whole.sample_goal(&at, &mut rng);
        let task = Task { objects: Some(Region { lower: at, upper: at }), ..whole.clone() };
        let mut env = simulated(&model, &twin, &[], task, Start::Rebuilt).expect("a simulated arm");
        let (mut policy, mut actions): (_, Actions) = (policy(), [[0.0; ACTION_SIZE]; EPISODE_STEPS]);
        let [_, end] = play(&mut env, first, goal, |step, seen| {
            policy.act(seen, &mut actions[step]).expect("an action");
            actions[step]
        });
        let goal_xy = [goal[0], goal[1]];
        hits += u32::from((end[0] - goal[0]).hypot(end[1] - goal[1]) < whole.success_radius_m);
        if (end[0] - at[0]).hypot(end[1] - at[1]) < CONTACT_M {
            // It would lie in the middle of its ends for another reason.
            untouched += 1;
            continue;
        }
        let ends: Vec<_> =
            (1..=AGAIN).map(|again| play(&mut env, first + again, goal, |step, _| actions[step])[1]).collect();
        let far = goal[0].hypot(goal[1]);
        all.add([at[0], at[1]], goal_xy, &ends, whole.success_radius_m);
        for ((_, band), spread) in bands.iter().zip(&mut banded) {
            if band.contains(&far) {
                spread.add([at[0], at[1]], goal_xy, &ends, whole.success_radius_m);
            }
        }
    }
    println!("{hits} of {STARTS} hit, {untouched} never touched; the actions of the others {AGAIN} times more:");
    all.print("all goals");
    bands.iter().zip(&banded).for_each(|((name, _), spread)| spread.print(name));
}
