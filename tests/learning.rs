//! Promise: misses teach. A pushing task with a sparse reward is learned with relabelling, and with the same budget
//! and seed but without relabelling it is not.

use hindsight::env::{EnvError, GoalEnv, GoalObservation, Layout, Outcome, RewardRule};
use hindsight::learn::batch::{Batch, Source};
use hindsight::learn::evaluate::Evaluation;
use hindsight::learn::replay::{ReplayBuffer, Trajectory};
use hindsight::learn::{Actor, Budget, Hyper, Relabel, Strategy, Trainer, evaluate};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::ops::ControlFlow;

/// The system's allocator, which counts each thread's allocations: nothing else sees all of them.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all that is asked for is passed on to the system's allocator unchanged; the counter is a constant-initialised
// cell without a destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps to `GlobalAlloc`'s contract, which is the system allocator's.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, memory: Memory) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, memory) }
    }
}

/// Distance at which the puck is where it should be.
const RADIUS: f64 = 0.04;
/// Distance at which the fingertip touches the puck.
const CONTACT: f32 = 0.1;
/// Half of the square that fingertip and puck move in.
const HALF: f32 = 0.5;
const STEPS: usize = 40;

/// A fingertip in the plane pushes a puck that slides without momentum, along the line between the two. The goal is
/// 0.15 to 0.2 away from the puck: far from what random pushes achieve, so that its reward is hardly ever met by chance.
#[derive(Default)]
struct Pusher {
    tip: [f32; 2],
    puck: [f32; 2],
    goal: [f32; 2],
    step: usize,
}

impl Pusher {
    fn observe(&self, out: &mut GoalObservation) {
        let Self { tip, puck, goal, .. } = self;
        out.observation = vec![tip[0], tip[1], puck[0] - tip[0], puck[1] - tip[1]];
        out.achieved_goal = puck.to_vec();
        out.desired_goal = goal.to_vec();
    }
}

impl GoalEnv for Pusher {
    fn layout(&self) -> Layout {
        Layout { observation: 4, goal: 2, action: 2 }
    }

    fn reset(&mut self, seed: u64, out: &mut GoalObservation) -> Result<(), EnvError> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        self.tip = [0.0; 2];
        self.step = 0;
        let (direction, distance) = (rng.random_range(0.0..std::f32::consts::TAU), rng.random_range(0.12..0.2f32));
        self.puck = [distance * direction.cos(), distance * direction.sin()];
        let (direction, distance) = (rng.random_range(0.0..std::f32::consts::TAU), rng.random_range(0.15..0.2f32));
        self.goal = [self.puck[0] + distance * direction.cos(), self.puck[1] + distance * direction.sin()];
        self.observe(out);
        Ok(())
    }

    fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError> {
        // In small steps, so that a fast fingertip does not jump through the puck.
        for _ in 0..4 {
            for (tip, push) in self.tip.iter_mut().zip(action) {
                *tip = (*tip + 0.02 * push).clamp(-HALF, HALF);
            }
            let (dx, dy) = (self.puck[0] - self.tip[0], self.puck[1] - self.tip[1]);
            let apart = dx.hypot(dy);
            if apart < CONTACT && apart > 1e-6 {
                self.puck[0] = self.tip[0] + dx / apart * CONTACT;
                self.puck[1] = self.tip[1] + dy / apart * CONTACT;
            }
        }
        self.step += 1;
        self.observe(out);
        *outcome = Outcome {
            reward: self.compute_reward(&self.puck, &self.goal),
            truncated: self.step == STEPS,
            applied: action.to_vec(),
            ..Outcome::default()
        };
        outcome.success = outcome.reward == 0.0;
        Ok(())
    }

    fn reward_rule(&self) -> RewardRule {
        RewardRule::Sparse { radius: RADIUS }
    }
}

fn pushers(count: usize) -> Vec<Box<dyn GoalEnv>> {
    (0..count).map(|_| Box::new(Pusher::default()) as Box<dyn GoalEnv>).collect()
}

fn small(relabel: Relabel) -> Hyper {
    Hyper {
        hidden: vec![64, 64],
        batch: 128,
        relabel,
        warmup_steps: 3_000,
        replay_transitions: 200_000,
        steps_per_update: 8.0,
        ..Hyper::default()
    }
}

fn learn(relabel: Relabel, env_steps: u64, seed: u64) -> Evaluation {
    let mut trainer = Trainer::new(small(relabel), pushers(16), seed).unwrap();
    let budget = Budget { env_steps: Some(env_steps), wall: None };
    trainer.run(budget, |_, _| ControlFlow::Continue(())).unwrap();
    let seeds: Vec<u64> = (1_000_000..1_000_200).collect();
    evaluate(&mut pushers(4), || Ok(Actor::new(trainer.agent(), 1)), &seeds).unwrap()
}

#[test]
fn a_pushing_task_is_learned_from_misses_and_only_with_relabelling() {
    let budget = 100_000;
    let with = learn(Relabel::default(), budget, 1);
    let without = learn(Relabel::NONE, budget, 1);
    println!("with {:.3}, without {:.3}", with.success_rate(), without.success_rate());
    assert!(with.success_rate() >= 0.75, "with relabelling: {:.3}", with.success_rate());
    assert!(without.success_rate() <= 0.25, "without relabelling: {:.3}", without.success_rate());
}

#[test]
fn the_same_seed_gives_the_same_bits_on_one_thread_and_on_two() {
    let train = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let hyper = Hyper { twin_critic: true, ..small(Relabel::default()) };
            let mut trainer = Trainer::new(hyper, pushers(7), seed).unwrap();
            let budget = Budget { env_steps: Some(5_000), wall: None };
            trainer.run(budget, |_, _| ControlFlow::Continue(())).unwrap();
            let agent = trainer.into_agent();
            assert!(agent.updates() > 100, "{}", agent.updates());
            let seeds: Vec<u64> = (0..9).collect();
            let evaluation = evaluate(&mut pushers(threads), || Ok(Actor::new(&agent, 1)), &seeds).unwrap();
            (agent.to_bytes(), evaluation)
        })
    };
    let one = train(1, 3);
    assert!(one == train(2, 3), "one and two threads differ");
    assert!(one.0 != train(1, 4).0, "the seed changes nothing");
}

#[test]
fn drawing_a_batch_with_hindsight_allocates_nothing() {
    let layout = pushers(1)[0].layout();
    let mut env = Pusher::default();
    let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
    let mut buffer = ReplayBuffer::new(layout, 2_000, STEPS);
    for seed in 0..40 {
        let mut episode = Trajectory::new(layout, STEPS);
        env.reset(seed, &mut seen).unwrap();
        episode.begin(&seen).unwrap();
        for _ in 0..STEPS {
            env.step(&[0.3, -0.2], &mut seen, &mut outcome).unwrap();
            episode.push(&outcome.applied, &seen).unwrap();
        }
        buffer.push(&episode).unwrap();
    }
    let (mut batch, mut rng) = (Batch::new(layout, 256), Pcg64Mcg::seed_from_u64(1));
    let rule = env.reward_rule();
    let before = ALLOCATIONS.get();
    let mut relabelled = 0;
    for strategy in [Strategy::Final, Strategy::Future, Strategy::Episode, Strategy::Random] {
        for _ in 0..50 {
            let source = [Source { buffer: &buffer, share: 1.0 }];
            let relabel = Relabel { strategy, k: 4 };
            assert!(batch.fill(&source, relabel, |achieved, desired| rule.compute(achieved, desired), &mut rng));
            relabelled += batch.relabelled;
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(relabelled > 30_000, "{relabelled}");
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 1, "the counter does not count");
}
