//! `hindsight eval`: how good a policy is.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use hindsight::env::child::child_many;
use hindsight::env::simulated::simulated_many;
use hindsight::env::{ChildSpec, GoalEnv};
use hindsight::learn::evaluate::{Evaluation, evaluate};
use hindsight::policy::{Policy, PolicyError, RandomPolicy, StillPolicy};
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
#[command(mut_args(or_env))]
pub(super) struct Eval {
    #[command(flatten)]
    rig: Option<RigArgs>,
    /// Another simulator in place of --task and --port: gymnasium:ID, or exec:COMMAND that speaks docs/env-protocol.md
    #[arg(long, conflicts_with = "RigArgs", requires = "policy")]
    env: Option<ChildSpec>,
    /// An ONNX file, the name of a policy in this program, or expert, random or still [default: the task's]
    #[arg(long)]
    policy: Option<String>,
    /// How many episodes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    episodes: u64,
}

/// An arm needs a port and a task, another simulator does not.
fn or_env(argument: clap::Arg) -> clap::Arg {
    match argument.get_id().as_str() {
        "port" | "task" => argument.required(false).required_unless_present("env"),
        _ => argument,
    }
}

impl Eval {
    /// Evaluates without noise: in a simulator on seeds that all policies share and next to what doing nothing and
    /// acting at random achieve, on a port with episodes that start where the last one ended.
    ///
    /// # Errors
    /// Wrong use, a policy for something else, no arm or simulator; see [`report::conclude`].
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        match (&self.rig, &self.env) {
            (Some(rig), None) => self.on_an_arm(rig, common),
            (None, Some(spec)) => {
                let begun = Instant::now();
                let (name, mut envs) = (spec.to_string(), child_many(spec, ENVS)?);
                let layout = envs[0].layout();
                let choice = Choice::named(self.policy.as_deref().unwrap_or_default())?;
                self.simulated(&mut envs, &name, &choice, |seed| choice.load_for(layout, &name, seed), begun, common)
            }
            _ => Err(UsageError("expected either --task and --port, or --env".into()).into()),
        }
    }

    fn on_an_arm(&self, rig: &RigArgs, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        if rig.realtime {
            return Err(UsageError("--realtime: an evaluation is not for watching; use `hindsight run`".into()).into());
        }
        let setup = rig.setup()?;
        let choice = Choice::find(self.policy.as_deref(), rig.task)?;
        if !rig.is_simulated() {
            let mut policy = choice.load(&setup.task, common.seed)?;
            let plan = Plan { episodes: self.episodes, seed: self.seed(common), goal_m: None, recorded: false };
            let session = rollout::run(rig, &setup, &mut policy, &plan, None, common)?;
            return report::conclude(common, rig.task, session, begun, json!({}));
        }
        let Setup { model, twin, drawn, task } = &setup;
        let mut envs = simulated_many(model, twin, std::slice::from_ref(drawn), task, ENVS)?;
        self.simulated(&mut envs, rig.task.name(), &choice, |seed| choice.load(task, seed), begun, common)
    }

    /// Seed of the first episode.
    fn seed(&self, common: &Common) -> u64 {
        EVALUATION_SEED.wrapping_add(common.seed.wrapping_mul(SEED_STRIDE))
    }

    /// Evaluates `choice`, which `load` loads, and the floors.
    fn simulated(
        &self,
        envs: &mut [Box<dyn GoalEnv>],
        name: &str,
        choice: &Choice,
        load: impl Fn(u64) -> Result<Box<dyn Policy>>,
        begun: Instant,
        common: &Common,
    ) -> Result<Finish> {
        load(common.seed)?;
        let seeds: Vec<u64> = (0..self.episodes).map(|i| self.seed(common).wrapping_add(i)).collect();
        let bar = output::progress("eval", 3 * self.episodes);
        let mut found: [Vec<_>; 3] = Default::default();
        // In portions, to show progress.
        for portion in seeds.chunks(4 * ENVS) {
            // Loaded before, so that it can be loaded again.
            let policy = || load(portion[0]).map_err(|error| PolicyError::Run(format!("{error:#}")));
            let [learned, still, random] = &mut found;
            learned.extend(evaluate(envs, policy, portion)?.episodes);
            bar.inc(portion.len() as u64);
            still.extend(evaluate(envs, || Ok(StillPolicy), portion)?.episodes);
            bar.inc(portion.len() as u64);
            random.extend(evaluate(envs, || Ok(RandomPolicy::new(common.seed ^ portion[0])), portion)?.episodes);
            bar.inc(portion.len() as u64);
        }
        bar.finish_and_clear();
        let [evaluation, still, random] = found.map(|episodes| Evaluation { episodes });
        report::tell(common, &evaluation, None);
        for (name, floor) in [("do nothing", &still), ("random", &random)] {
            let rate = percent(floor.success_rate(), floor.success_ci95());
            output::say(common, &format!("{name:11} {rate}"));
        }
        let mut object = report::object(common, name, &evaluation, begun, None);
        let floors = json!({ "still": still.success_rate(), "random": random.success_rate() });
        report::merge(&mut object, json!({ "policy": choice.name(), "floors": floors }));
        output::finish(common, &object);
        Ok(Finish::Done)
    }
}
