//! Carries out an experiment's trainings, several at a time, and keeps each one's result in a file of its own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use hindsight::env::varied::{Goals, Reward};
use hindsight::env::{GoalEnv, VariedEnv};
use hindsight::learn::evaluate::evaluate;
use hindsight::learn::{Actor, Budget, Hyper, Trainer};
use hindsight::policy::{RandomPolicy, StillPolicy};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Variant};
use crate::commands::output;
use crate::commands::plot::CurvePoint;
use crate::commands::world::World;

/// Environments of a training.
const ENVS: usize = 24;
/// Evaluations along a training's curve.
const GLANCES: u64 = 20;
/// Episodes of each of them.
const GLANCE_EPISODES: u64 = 50;
/// Evaluation seeds are far from the training's.
const EVALUATION_SEED: u64 = 1 << 40;

/// A finished training.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    /// What it was made with: a run of other settings is not taken for this one.
    settings: String,
    /// Name of its variant.
    pub(super) variant: String,
    /// Its seed.
    pub(super) seed: u64,
    /// Success along the way.
    pub(super) curve: Vec<CurvePoint>,
    /// Episodes of the last evaluation that ended at their goal.
    pub(super) successes: usize,
    /// Time of the training with its evaluations, s.
    pub(super) train_s: f64,
}

/// Episodes that policies which know nothing end at their goal.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Floors {
    pub(super) still: usize,
    pub(super) random: usize,
}

/// All of an experiment.
pub(super) struct Results {
    /// In the plan's order, seeds within variants.
    pub(super) runs: Vec<Run>,
    /// By what is desired: `many` or `one`.
    pub(super) floors: BTreeMap<&'static str, Floors>,
}

/// Trains what `folder` does not hold yet.
///
/// # Errors
/// A training failed, the folder cannot be written, or it holds runs of other settings.
pub(super) fn run(plan: &Plan, folder: &Path, jobs: usize) -> Result<Results> {
    let kept = folder.join("runs");
    std::fs::create_dir_all(&kept).with_context(|| format!("cannot make the folder {}", kept.display()))?;
    let world = plan.world.world()?;
    let tasks: Vec<(&Variant, u64, PathBuf)> = plan
        .variants
        .iter()
        .flat_map(|variant| plan.seeds.iter().map(move |&seed| (variant, seed)))
        .map(|(variant, seed)| (variant, seed, kept.join(format!("{}-{seed}.json", variant.name))))
        .collect();
    let slots: Vec<Mutex<Option<Run>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
    for (slot, (variant, seed, file)) in slots.iter().zip(&tasks) {
        *lock(slot) = stored(plan, variant, *seed, file)?;
    }

    let trained = slots.iter().filter(|slot| lock(slot).is_some()).count();
    let bar = output::progress_from("experiment", plan.env_steps * trained as u64, plan.env_steps * tasks.len() as u64);
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let work = || -> Result<()> {
        // What is learned does not depend on the number of threads; whole trainings side by side use cores best.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(slot), Some((variant, seed, file))) = (slots.get(index), tasks.get(index)) else {
                return Ok(());
            };
            if lock(slot).is_some() {
                continue;
            }
            let run = pool
                .install(|| train(plan, variant, *seed, &world, &bar))
                .with_context(|| format!("variant {}, seed {seed}", variant.name))?;
            store(&run, file)?;
            *lock(slot) = Some(run);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(tasks.len()) {
            scope.spawn(|| {
                if let Err(error) = work() {
                    // The others finish what they have begun: it is kept.
                    next.store(tasks.len(), Ordering::Relaxed);
                    lock(&failure).get_or_insert(error);
                }
            });
        }
    });
    bar.finish_and_clear();
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    let runs = slots.iter().filter_map(|slot| lock(slot).take()).collect();
    Ok(Results { runs, floors: floors(plan, &world)? })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic in another training does not break this one's result.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn settings(plan: &Plan, variant: &Variant) -> Result<String> {
    Ok(format!("{}\n{}", kind(plan, variant), toml::to_string(&variant.hyper)?))
}

/// The settings' first line: all but the hyper-parameters.
fn kind(plan: &Plan, Variant { goals, reward, .. }: &Variant) -> String {
    format!("{} {} {} {goals:?} {reward:?}", plan.world.name(), plan.env_steps, plan.episodes)
}

/// Whether a run is the plan's. Hyper-parameters that a run is older than have their defaults.
fn is_of(run: &Run, plan: &Plan, variant: &Variant, seed: u64) -> bool {
    let (first, hyper) = run.settings.split_once('\n').unwrap_or_default();
    first == kind(plan, variant) && run.seed == seed && Hyper::from_toml(hyper).is_ok_and(|h| h == variant.hyper)
}

fn stored(plan: &Plan, variant: &Variant, seed: u64, file: &Path) -> Result<Option<Run>> {
    if !file.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let run: Run = serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    if !is_of(&run, plan, variant, seed) {
        bail!("{} was made with other settings; choose another --out, or remove it", file.display());
    }
    Ok(Some(run))
}

/// Whole or not at all, so that a killed experiment goes on where it was.
fn store(run: &Run, file: &Path) -> Result<()> {
    let part = file.with_extension("part");
    let write = || std::fs::write(&part, serde_json::to_string(run)?).map_err(anyhow::Error::from);
    write()
        .and_then(|()| Ok(std::fs::rename(&part, file)?))
        .with_context(|| format!("cannot write {}; check the folder's rights and free space", file.display()))
}

fn envs(world: &World, count: usize, goals: Goals, reward: Reward) -> Result<Vec<Box<dyn GoalEnv>>> {
    let vary = |env| Ok(Box::new(VariedEnv::new(env, goals, reward)?) as Box<dyn GoalEnv>);
    world.envs(count)?.into_iter().map(vary).collect()
}

fn train(plan: &Plan, variant: &Variant, seed: u64, world: &World, bar: &ProgressBar) -> Result<Run> {
    let Variant { name, goals, reward, hyper } = variant;
    let glance_seeds: Vec<u64> = (0..GLANCE_EPISODES).map(|i| 2 * EVALUATION_SEED + i).collect();
    let mut judges = envs(world, 8, *goals, Reward::Sparse)?;
    let mut trainer = Trainer::new(hyper.clone(), envs(world, ENVS, *goals, *reward)?, seed)?;
    let (mut curve, mut failure, mut seen) = (Vec::new(), None, 0);
    let budget = Budget { env_steps: Some(plan.env_steps), wall: None };
    let glance_every = plan.env_steps.div_ceil(GLANCES).max(1);
    let progress = trainer.run(budget, |progress, trainer| {
        bar.inc(progress.env_steps - seen);
        seen = progress.env_steps;
        if progress.env_steps < curve.len() as u64 * glance_every {
            return ControlFlow::Continue(());
        }
        match evaluate(&mut judges, || Ok(Actor::new(trainer.agent(), 1)), &glance_seeds) {
            Ok(glance) => {
                curve.push(CurvePoint {
                    env_steps: progress.env_steps as f64,
                    elapsed_s: progress.elapsed.as_secs_f64(),
                    success_rate: glance.success_rate(),
                });
                ControlFlow::Continue(())
            }
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    let agent = trainer.into_agent();
    let last = evaluate(&mut judges, || Ok(Actor::new(&agent, 1)), &last_seeds(plan))?;
    Ok(Run {
        settings: settings(plan, variant)?,
        variant: name.clone(),
        seed,
        curve,
        successes: last.successes(),
        train_s: progress.elapsed.as_secs_f64(),
    })
}

fn last_seeds(plan: &Plan) -> Vec<u64> {
    (0..plan.episodes).map(|i| EVALUATION_SEED + i).collect()
}

fn floors(plan: &Plan, world: &World) -> Result<BTreeMap<&'static str, Floors>> {
    let mut floors = BTreeMap::new();
    for (name, goals) in [("many", Goals::Many), ("one", Goals::One)] {
        if plan.variants.iter().any(|variant| variant.goals == goals) {
            let mut judges = envs(world, 8, goals, Reward::Sparse)?;
            let still = evaluate(&mut judges, || Ok(StillPolicy), &last_seeds(plan))?.successes();
            let random = evaluate(&mut judges, || Ok(RandomPolicy::new(0)), &last_seeds(plan))?.successes();
            floors.insert(name, Floors { still, random });
        }
    }
    Ok(floors)
}
