//! How fast the parts of learning are: `cargo bench --bench learning`, or with some of the sections' names behind
//! `--`: `peak`, `updates`, `paper` (the updates of the paper's networks alone), `sampling`, `steps`. A line is a section,
//! what was measured, and the figure. Figures depend on the machine and are not checked; `tests/peers/learner.py` puts
//! them beside other people's.
//!
//! What one thread does is divided by its own processor time where Linux tells it, so that a busy machine blurs the
//! figure less; what several do, by the time of a clock.

use gemm::{Parallelism, gemm};
use hindsight::env::simulated::simulated_many;
use hindsight::env::{GoalObservation, Layout, Outcome};
use hindsight::learn::batch::{Batch, Source};
use hindsight::learn::replay::{ReplayBuffer, Trajectory};
use hindsight::learn::{Agent, Hyper, Relabel};
use hindsight::policy::{Policy, PushExpert};
use hindsight::task::{Task, TaskKind};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use sim::{ArmModel, SimParams};
use std::time::{Duration, Instant};

/// The sizes of FetchPush, and of push.
const LAYOUT: Layout = Layout { observation: 25, goal: 3, action: 4 };
/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let sections: [(&str, fn()); 5] =
        [("peak", peak), ("paper", paper), ("updates", updates), ("sampling", sampling), ("steps", steps)];
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            section();
        }
    }
}

/// Processor time of this thread, or time since `begun` where that is unknown.
fn spent(begun: Instant) -> Duration {
    let known = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = known.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| begun.elapsed(), Duration::from_nanos)
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(work)
}

/// Calls a second, by processor time for one thread and by the clock for more.
fn rate(threads: usize, mut call: impl FnMut() + Send) -> f64 {
    on_threads(threads, move || {
        (0..20).for_each(|_| call());
        let begun = Instant::now();
        let (before, mut calls) = (spent(begun), 0u32);
        while begun.elapsed() < MEASURED {
            (0..4).for_each(|_| call());
            calls += 4;
        }
        let time = if threads == 1 { spent(begun) - before } else { begun.elapsed() };
        f64::from(calls) / time.as_secs_f64()
    })
}

/// The largest rate of products: square ones that fit the second-level cache, one a thread.
fn peak() {
    const SIDE: usize = 384;
    for threads in [1, 2] {
        let mut matrices = vec![vec![0.5f32; 3 * SIDE * SIDE]; threads];
        let calls = rate(threads, || {
            matrices.par_iter_mut().with_max_len(1).for_each(|matrix| {
                let (out, inputs) = matrix.split_at_mut(SIDE * SIDE);
                let (left, right) = inputs.split_at(SIDE * SIDE);
                let (n, s) = (SIDE, SIDE as isize);
                // SAFETY: three square matrices of `SIDE`, row-major, that do not overlap.
                unsafe {
                    let (out, left, right) = (out.as_mut_ptr(), left.as_ptr(), right.as_ptr());
                    gemm(
                        n,
                        n,
                        n,
                        out,
                        1,
                        s,
                        false,
                        left,
                        1,
                        s,
                        right,
                        1,
                        s,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        Parallelism::None,
                    );
                }
            });
        });
        let gflops = calls * threads as f64 * 2.0 * (SIDE as f64).powi(3) / 1e9;
        println!("peak      {SIDE}x{SIDE}x{SIDE} threads={threads} {gflops:.1} GFLOP/s");
    }
}

/// The networks of the Fetch tasks (arXiv 1802.09464), plain DDPG.
fn paper() {
    update("paper", 3, 256, 256, false);
}

fn updates() {
    for (layers, width, batch, twin_critic) in
        [(2, 256, 256, false), (2, 256, 256, true), (2, 128, 256, true), (2, 256, 1024, false)]
    {
        update("updates", layers, width, batch, twin_critic);
    }
}

/// Updates a second, and floating-point operations a second in their matrix products.
fn update(section: &str, layers: usize, width: usize, batch: usize, twin_critic: bool) {
    for threads in [1, 2] {
        let mut rng = Pcg64Mcg::seed_from_u64(0);
        let rows = random_batch(batch, &mut rng);
        let hyper = Hyper { hidden: vec![width; layers], batch, twin_critic, ..Hyper::default() };
        let mut agent = Agent::new(hyper, LAYOUT, &mut rng).expect("valid hyper-parameters");
        // Passes of an actor: as target, forward, back (2); of a critic: as target, forward, back (2); of the first
        // critic besides: forward and back to the input.
        let passes = 4.0 + 4.0 * f64::from(1 + u8::from(twin_critic)) + 2.0;
        let flop = passes * 2.0 * agent.actor().parameters().len() as f64 * batch as f64;
        let rate = rate(threads, || _ = agent.update(&rows));
        let gflops = rate * flop / 1e9;
        println!(
            "{section:9} {layers}x{width} batch={batch} twin={twin_critic} threads={threads} {rate:.0} updates/s {gflops:.1} GFLOP/s"
        );
    }
}

fn random_batch(rows: usize, rng: &mut Pcg64Mcg) -> Batch {
    let mut batch = Batch::new(LAYOUT, rows);
    for part in [&mut batch.observation, &mut batch.next_observation, &mut batch.achieved, &mut batch.next_achieved] {
        part.iter_mut().for_each(|x| *x = rng.random_range(-1.0..1.0));
    }
    batch.action.iter_mut().for_each(|x| *x = rng.random_range(-1.0..1.0));
    batch.reward.iter_mut().for_each(|x| *x = if rng.random_bool(0.5) { 0.0 } else { -1.0 });
    batch
}

/// Batches of 256 a second out of a million transitions, goals substituted and rewarded.
fn sampling() {
    const TRANSITIONS: usize = 1_000_000;
    let mut rng = Pcg64Mcg::seed_from_u64(0);
    let mut buffer = ReplayBuffer::new(LAYOUT, TRANSITIONS, 50);
    let mut episode = Trajectory::new(LAYOUT, 50);
    while buffer.transitions() < TRANSITIONS {
        let mut seen = || GoalObservation {
            observation: (0..LAYOUT.observation).map(|_| rng.random_range(-1.0..1.0)).collect(),
            achieved_goal: (0..LAYOUT.goal).map(|_| rng.random_range(-0.1..0.1)).collect(),
            desired_goal: vec![0.0; LAYOUT.goal],
        };
        episode.begin(&seen()).expect("an episode");
        for _ in 0..50 {
            episode.push(&[0.1; LAYOUT.action], &seen()).expect("an episode");
        }
        buffer.push(&episode).expect("an episode");
    }
    let mut batch = Batch::new(LAYOUT, 256);
    let rule = hindsight::env::RewardRule::Sparse { radius: 0.05 };
    let rate = rate(1, || {
        let source = [Source { buffer: &buffer, share: 1.0 }];
        batch.fill(&source, Relabel::default(), |achieved, desired| rule.compute(achieved, desired), &mut rng);
    });
    println!("sampling  batch=256 transitions={TRANSITIONS} {rate:.0} batches/s {:.1} us", 1e6 / rate);
}

/// Environment steps a second of one thread, pushing by rules: over whole episodes, and of the steps that moved the
/// puck.
fn steps() {
    let model = ArmModel::so101().expect("the arm");
    let twin = SimParams::so101().expect("its parameters");
    let task = Task::new(TaskKind::Push, twin.object.rest_height_m());
    let mut envs = simulated_many(&model, &twin, std::slice::from_ref(&twin), &task, 1).expect("an environment");
    let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
    let mut action = [0.0; 4];
    let clock = Instant::now();
    let (mut all, mut pushing) = ((Duration::ZERO, 0), (Duration::ZERO, 0));
    for seed in 0..60 {
        let mut policy = PushExpert::default();
        envs[0].reset(seed, &mut seen).expect("a reset");
        loop {
            let before = seen.achieved_goal.clone();
            policy.act(&seen, &mut action).expect("an action");
            let begun = spent(clock);
            envs[0].step(&action, &mut seen, &mut outcome).expect("a step");
            let took = spent(clock) - begun;
            let moved: f32 = before.iter().zip(&seen.achieved_goal).map(|(a, b)| (a - b) * (a - b)).sum();
            // Farther than the tracker's noise.
            for (time, count) in [Some(&mut all), (moved.sqrt() > 4e-3).then_some(&mut pushing)].into_iter().flatten() {
                *time += took;
                *count += 1;
            }
            if outcome.truncated {
                break;
            }
        }
    }
    for (name, (time, count)) in [("whole episodes", all), ("pushing", pushing)] {
        println!("steps     {name}: {:.0} steps/s over {count}", f64::from(count) / time.as_secs_f64());
    }
}
