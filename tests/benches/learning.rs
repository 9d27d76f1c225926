//! How fast the learner updates: `cargo bench --bench learning`. Prints a table for each network, batch and number of
//! threads; figures depend on the machine and are not checked.

use hindsight::env::Layout;
use hindsight::learn::batch::Batch;
use hindsight::learn::{Agent, Hyper};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::time::{Duration, Instant};

fn main() {
    println!("{:>14} {:>6} {:>5} {:>8} {:>12} {:>8}", "hidden", "batch", "twin", "threads", "updates/s", "GFLOP/s");
    for (hidden, batch, twin_critic) in [
        (vec![256; 3], 256, false),
        (vec![256; 2], 256, false),
        (vec![256; 2], 512, false),
        (vec![256; 2], 1024, false),
        (vec![256; 2], 256, true),
        (vec![128; 2], 256, false),
    ] {
        for threads in [1, 2] {
            let hyper = Hyper { hidden: hidden.clone(), batch, twin_critic, ..Hyper::default() };
            let (rate, flop) = measure(hyper, threads);
            println!(
                "{:>14} {batch:>6} {twin_critic:>5} {threads:>8} {rate:>12.0} {:>8.0}",
                format!("{hidden:?}"),
                rate * flop / 1e9
            );
        }
    }
}

/// Updates a second and floating-point operations of the matrix products in one.
fn measure(hyper: Hyper, threads: usize) -> (f64, f64) {
    let layout = Layout { observation: 25, goal: 3, action: 4 };
    let mut rng = Pcg64Mcg::seed_from_u64(0);
    let mut batch = Batch::new(layout, hyper.batch);
    for part in [&mut batch.observation, &mut batch.next_observation, &mut batch.achieved, &mut batch.next_achieved] {
        part.iter_mut().for_each(|x| *x = rng.random_range(-1.0..1.0));
    }
    batch.action.iter_mut().for_each(|x| *x = rng.random_range(-1.0..1.0));
    batch.reward.iter_mut().for_each(|x| *x = if rng.random_bool(0.5) { 0.0 } else { -1.0 });
    // Passes of an actor: as target, forward, back (2); of a critic: as target, forward, back (2); of the first critic
    // besides: forward and back to the input.
    let critics = if hyper.twin_critic { 2.0 } else { 1.0 };
    let passes = 4.0 + 4.0 * critics + 2.0;
    let mut agent = Agent::new(hyper, layout, &mut rng).expect("valid hyper-parameters");
    let flop = passes * 2.0 * agent.actor().parameters().len() as f64 * batch.rows() as f64;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        (0..20).for_each(|_| _ = agent.update(&batch));
        let (begun, mut updates) = (Instant::now(), 0u32);
        while begun.elapsed() < Duration::from_secs(2) {
            agent.update(&batch);
            updates += 1;
        }
        (f64::from(updates) / begun.elapsed().as_secs_f64(), flop)
    })
}
