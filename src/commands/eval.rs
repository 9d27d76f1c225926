//! `hindsight eval`: how good a policy is.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use hindsight::env::simulated::simulated_many;
use hindsight::learn::evaluate::{Evaluation, evaluate};
use hindsight::policy::{PolicyError, RandomPolicy, StillPolicy};
use serde_json::json;

use super::choice::Choice;
use super::drive::Plan;
use super::output::{self, percent};
use super::rig::{RigArgs, Setup};
use super::{Common, Finish, UsageError, report, rollout};

/// Environments that are simulated at once.
const ENVS: usize = 8;
/// Evaluation seeds are far from the training's; those of one `--seed` are this and the following.
const EVALUATION_SEED: u64 = 1 << 40;
/// Distance between the evaluation seeds of two `--seed`, more than the most episodes.
const SEED_STRIDE: u64 = 1 << 20;

/// Measure how often a policy succeeds
#[derive(Debug, Args)]
pub(super) struct Eval {
    #[command(flatten)]
    rig: RigArgs,
    /// An ONNX file, the name of a policy in this program, or expert, random or still [default: the task's]
    #[arg(long)]
    policy: Option<String>,
    /// How many episodes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    episodes: u64,
}

impl Eval {
    /// Evaluates without noise: in the simulator on seeds that all policies share and next to what doing nothing and
    /// acting at random achieve, on a port with episodes that start where the last one ended.
    ///
    /// # Errors
    /// Wrong use, a policy for something else, no arm; see [`report::conclude`].
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        if self.rig.realtime {
            return Err(UsageError("--realtime: an evaluation is not for watching; use `hindsight run`".into()).into());
        }
        let setup = self.rig.setup()?;
        let choice = Choice::find(self.policy.as_deref(), self.rig.task)?;
        let mut policy = choice.load(&setup.task, common.seed)?;
        let seed = EVALUATION_SEED.wrapping_add(common.seed.wrapping_mul(SEED_STRIDE));
        if !self.rig.is_simulated() {
            let plan = Plan { episodes: self.episodes, seed, goal_m: None, recorded: false };
            let session = rollout::run(&self.rig, &setup, &mut policy, &plan, None, common)?;
            return report::conclude(common, self.rig.task, session, begun, json!({}));
        }
        let seeds: Vec<u64> = (0..self.episodes).map(|i| seed.wrapping_add(i)).collect();
        let [evaluation, still, random] = simulate(&setup, &choice, &seeds, common)?;
        report::tell(common, &evaluation, None);
        for (name, floor) in [("do nothing", &still), ("random", &random)] {
            let rate = percent(floor.success_rate(), floor.success_ci95());
            output::say(common, &format!("{name:11} {rate}"));
        }
        let mut object = report::object(common, self.rig.task, &evaluation, begun, None);
        let floors = json!({ "still": still.success_rate(), "random": random.success_rate() });
        report::merge(&mut object, json!({ "policy": choice.name(), "floors": floors }));
        output::finish(common, &object);
        Ok(Finish::Done)
    }
}

/// The policy's evaluation and those of the floors.
fn simulate(setup: &Setup, choice: &Choice, seeds: &[u64], common: &Common) -> Result<[Evaluation; 3]> {
    let Setup { model, twin, drawn, task } = setup;
    let mut envs = simulated_many(model, twin, std::slice::from_ref(drawn), task, ENVS)?;
    let bar = output::progress("eval", 3 * seeds.len() as u64);
    let mut found: [Vec<_>; 3] = Default::default();
    // In portions, to show progress.
    for portion in seeds.chunks(4 * ENVS) {
        // Loaded for this task before, so that it can be loaded again.
        let policy = || choice.load(task, portion[0]).map_err(|error| PolicyError::Run(format!("{error:#}")));
        let [learned, still, random] = &mut found;
        learned.extend(evaluate(&mut envs, policy, portion)?.episodes);
        bar.inc(portion.len() as u64);
        still.extend(evaluate(&mut envs, || Ok(StillPolicy), portion)?.episodes);
        bar.inc(portion.len() as u64);
        random.extend(evaluate(&mut envs, || Ok(RandomPolicy::new(common.seed ^ portion[0])), portion)?.episodes);
        bar.inc(portion.len() as u64);
    }
    bar.finish_and_clear();
    Ok(found.map(|episodes| Evaluation { episodes }))
}
