//! How many physics steps a second one core does, free and pushing, and what a reset costs. Counts the thread's own
//! processor time where Linux tells it, so that a busy machine does not blur the figure.
//!
//! `cargo bench -p sim`, or `cargo bench -p sim -- pushing` for one of them.

#[path = "../tests/reach/mod.rs"]
mod reach;

use firmware_bridge::Motors;
use reach::{compensated, inverse, line};
use sim::{ArmModel, SimParams, World};
use std::time::{Duration, Instant};

/// Processor time of this thread, or time since `start` where that is unknown.
fn spent(start: Instant) -> Duration {
    let known = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = known.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

const GOALS: usize = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Instant::now();
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let model = ArmModel::so101()?;
    let mut world = World::new(&model, &SimParams::so101()?, 1)?;
    let start = [0.26, -0.10, 0.012];
    let pose = inverse(&model, start);
    let goals: Vec<Vec<f32>> = (0..GOALS)
        .map(|i| compensated(&world, &inverse(&model, [0.26, -0.10 + 0.20 * i as f64 / GOALS as f64, 0.012])))
        .collect();

    for (name, puck) in
        [("free", None), ("beside a puck", Some([0.26, 0.3, 0.0])), ("pushing", Some([0.26, -0.06, 0.0]))]
    {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let (mut total, mut steps) = (Duration::ZERO, 0);
        for seed in 0..60 {
            world.reset(&pose.map(|q| q as f32), puck, seed)?;
            line(&mut world, start, start, 1.0);
            let begin = spent(clock);
            for goal in &goals {
                world.drive(goal)?;
                for _ in 0..4 {
                    world.step();
                }
                steps += 4;
            }
            total += spent(clock) - begin;
        }
        let moved = world.object().map_or(0.0, |object| object.position[1] - puck.unwrap_or_default()[1]);
        let rate = f64::from(steps) / total.as_secs_f64();
        println!("{name:14} {rate:8.0} steps/s  {:5.2} µs a step  (puck moved {moved:.3} m)", 1e6 / rate);
    }

    let begin = spent(clock);
    for seed in 0..2_000 {
        world.reset(&pose.map(|q| q as f32), Some([0.26, 0.0, 0.0]), seed)?;
    }
    println!("reset          {:5.1} µs", (spent(clock) - begin).as_secs_f64() * 1e6 / 2_000.0);
    Ok(())
}
