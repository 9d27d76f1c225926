//! `hindsight train`: a policy from scratch in the paired simulator, or in anyone else's.

mod log;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use hindsight::env::GoalEnv;
use hindsight::learn::evaluate::{Evaluation, evaluate_watched};
use hindsight::learn::onnx::PolicyCard;
use hindsight::learn::{Actor, Agent, Budget, Hyper, Progress, Trainer};
use hindsight::policy::{RandomPolicy, StillPolicy};
use serde_json::{Value, json};

use self::log::{GLANCE_EPISODES, Judges, Log};
use super::output::{self, percent};
use super::plot::{self, CurvePoint};
use super::world::{World, WorldArgs};
use super::{Common, Finish, UsageError};

/// Environments that collect in parallel.
const ENVS: usize = 24;
/// Evaluation seeds are far from the training's.
const EVALUATION_SEED: u64 = 1 << 40;

/// Train a policy from scratch in the paired simulator, or in another one
#[derive(Debug, Args)]
pub(crate) struct Train {
    #[command(flatten)]
    world: WorldArgs,
    /// The policy's file; learner's state, card and learning curve go beside it
    #[arg(long)]
    out: PathBuf,
    /// Stop after so many environment steps [default: the task's, or the environment's]
    #[arg(long)]
    env_steps: Option<u64>,
    /// Stop after so many minutes
    #[arg(long)]
    minutes: Option<f64>,
    /// Stop when an evaluation during training, and another on other episodes, reach this success rate together
    #[arg(long, default_value_t = 1.0)]
    target: f64,
    /// Hyper-parameters as TOML; what it leaves out stays the task's or the environment's
    #[arg(long)]
    hyper: Option<PathBuf>,
    /// Learn without hindsight, as plain DDPG: no relabelling, and no preference for episodes that moved something
    #[arg(long)]
    no_relabel: bool,
    /// Episodes of the last evaluation
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    episodes: u64,
    /// Overwrite files of an earlier training
    #[arg(long)]
    force: bool,
    /// Go on with a killed run of the same settings, from the .training file beside --out
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Store the training so often, for --resume, s: what a kill may cost
    #[arg(long, default_value_t = 60.0)]
    save_every: f64,
}

/// What a training made.
struct Trained {
    agent: Agent,
    curve: Vec<CurvePoint>,
    progress: Progress,
}

impl Train {
    /// Trains, evaluates, and writes policy, learner's state, card and curve.
    ///
    /// # Errors
    /// A file exists already, the hyper-parameters are out of range, or learning diverged.
    pub(crate) fn run(&self, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        self.check_files()?;
        let hyper = self.hyper()?;
        let world = self.world.world()?;
        let trained = self.train(hyper, &world, common)?;
        let seeds: Vec<u64> = (0..self.episodes).map(|i| EVALUATION_SEED + i).collect();
        let mut judges = world.envs(8)?;
        let bar = output::progress("evaluate", 3 * self.episodes);
        let judged = || bar.inc(1);
        let learned = evaluate_watched(&mut judges, || Ok(Actor::new(&trained.agent, 1)), &seeds, judged)?;
        let still = evaluate_watched(&mut judges, || Ok(StillPolicy), &seeds, judged)?;
        let random = evaluate_watched(&mut judges, || Ok(RandomPolicy::new(common.seed)), &seeds, judged)?;
        bar.finish_and_clear();
        self.write(&trained, &learned, [&still, &random], common)?;
        if let Err(error) = std::fs::remove_file(self.training_file())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!(
                "warning: {} is no longer needed, but cannot be removed: {error}",
                self.training_file().display()
            );
        }

        output::say(common, &format!("success     {}", rate(&learned)));
        output::say(common, &format!("do nothing  {}", rate(&still)));
        output::say(common, &format!("random      {}", rate(&random)));
        output::say(common, &format!("written     {}", self.out.display()));
        output::finish(
            common,
            &json!({
                "task": self.world.name(),
                "episodes": self.episodes,
                "seed": common.seed,
                "success_rate": learned.success_rate(),
                "success_ci95": learned.success_ci95(),
                "final_distance_m": { "p50": learned.final_distance_m(0.5), "p95": learned.final_distance_m(0.95) },
                "floors": { "still": still.success_rate(), "random": random.success_rate() },
                "env_steps": trained.progress.env_steps,
                "updates": trained.progress.updates,
                "train_s": trained.progress.elapsed.as_secs_f64(),
                "elapsed_s": begun.elapsed().as_secs_f64(),
            }),
        );
        Ok(Finish::Done)
    }

    fn train(&self, hyper: Hyper, world: &World, common: &Common) -> Result<Trained> {
        let budget = Budget {
            env_steps: Some(self.env_steps.unwrap_or(self.world.preset().env_steps)),
            wall: self.minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes)),
        };
        let settings = json!({
            "what": self.world.name(), "seed": common.seed, "env_steps": budget.env_steps, "minutes": self.minutes,
            "target": self.target, "hyper": toml::to_string(&hyper)?,
        });
        let mut judges = Judges(world.envs(8)?);
        let glance_every = budget.env_steps.unwrap_or(0).div_ceil(20).max(1);
        let (mut trainer, mut log) = match self.resume {
            true => self.restore(world.envs(ENVS)?, settings)?,
            false => (Trainer::new(hyper, world.envs(ENVS)?, common.seed)?, Log::new(settings)),
        };
        let label = format!("train {}", self.world.name());
        let bar = output::progress_from(&label, trainer.agent().env_steps(), budget.env_steps.unwrap_or(0));
        let mut failure = None;
        let mut saved = Instant::now();
        let progress = trainer.run(budget, |progress, trainer| {
            bar.set_position(progress.env_steps);
            bar.set_message(format!(
                "success {:3.0} %  contact {:3.0} %  {:.0} updates/s",
                100.0 * log.curve.last().map_or(progress.success, |point| point.success_rate),
                100.0 * progress.contact,
                progress.updates_per_s,
            ));
            let mut flow = ControlFlow::Continue(());
            if progress.env_steps >= log.next_glance && progress.updates > 0 {
                log.next_glance = progress.env_steps + glance_every;
                let glance = log.glance(progress, trainer.agent(), &mut judges, self.target);
                if !matches!(glance, Ok(false)) {
                    failure = glance.err();
                    flow = ControlFlow::Break(());
                }
            }
            if saved.elapsed().as_secs_f64() >= self.save_every {
                // The training is worth more than its copy: a full disk does not end it.
                if let Err(error) = trainer.save(&self.training_file(), progress.elapsed, &log.memo()) {
                    bar.suspend(|| {
                        eprintln!("warning: the training goes on, but cannot be resumed from here: {error}")
                    });
                }
                saved = Instant::now();
            }
            flow
        })?;
        bar.finish_and_clear();
        if let Some(error) = failure {
            return Err(error);
        }
        let agent = log.best.unwrap_or_else(|| trainer.into_agent());
        Ok(Trained { agent, curve: log.curve, progress })
    }

    /// A killed run's trainer and log, where it was a run of the same settings.
    fn restore(&self, envs: Vec<Box<dyn GoalEnv>>, settings: Value) -> Result<(Trainer, Log)> {
        let file = self.training_file();
        let (trainer, memo) = Trainer::restore(&file, envs)?;
        if memo.note["settings"] != settings {
            let text = format!(
                "--resume: {} was made with other settings; expected {}, found {settings}",
                file.display(),
                memo.note["settings"]
            );
            return Err(UsageError(text).into());
        }
        Ok((trainer, Log::restored(memo).context("the stored training's curve")?))
    }

    /// Where the running training is stored.
    fn training_file(&self) -> PathBuf {
        self.out.with_extension("training")
    }

    fn hyper(&self) -> Result<Hyper> {
        let mut hyper = self.world.preset().hyper;
        if let Some(file) = &self.hyper {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            hyper = hyper.changed(&text).with_context(|| format!("in {}", file.display()))?;
        }
        if self.no_relabel {
            hyper.relabel.k = 0;
            // The preference alone, without relabelling, takes push to 37 %.
            hyper.moved_weight = 1.0;
            hyper.lifted_share = 0.0;
            hyper.curriculum_share = 0.0;
        }
        Ok(hyper)
    }

    /// The card's lines on where the policy was trained.
    fn card_of_world(&self) -> String {
        match &self.world.env {
            Some(spec) => format!(
                "| Environment | {spec}, sparse reward −1/0 |\n| Actions | the environment's bounds mapped to [−1, 1] |\n"
            ),
            None => format!(
                "| Arm | SO-101, the nominal simulated one |\n\
                 | Task | {}, sparse reward −1/0, success within 3 cm at the last of 50 steps |\n",
                self.world.name()
            ),
        }
    }

    fn files(&self) -> [PathBuf; 5] {
        ["onnx", "agent", "md", "csv", "svg"].map(|extension| self.out.with_extension(extension))
    }

    fn check_files(&self) -> Result<()> {
        if self.out.extension().is_none_or(|extension| extension != "onnx") {
            return Err(UsageError(format!("--out {}: expected a file that ends in .onnx", self.out.display())).into());
        }
        if !(0.0..=1.0).contains(&self.target) {
            return Err(UsageError(format!("--target {}: expected a rate from 0 to 1", self.target)).into());
        }
        if self.minutes.is_some_and(|minutes| !minutes.is_finite() || minutes <= 0.0) {
            return Err(UsageError("--minutes: expected a number above 0".into()).into());
        }
        for file in self.files() {
            if file.exists() && !self.force {
                let text = format!("{} exists; choose another --out, or say --force", file.display());
                return Err(UsageError(text).into());
            }
        }
        if self.training_file().exists() && !self.force && !self.resume {
            let text = format!("{} is a killed run's; say --resume or --force", self.training_file().display());
            return Err(UsageError(text).into());
        }
        if !(self.save_every >= 0.0 && self.save_every <= 1e6) {
            return Err(UsageError(format!("--save-every {}: expected seconds from 0", self.save_every)).into());
        }
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
    }

    fn write(&self, trained: &Trained, learned: &Evaluation, floors: [&Evaluation; 2], common: &Common) -> Result<()> {
        let [onnx, agent, card, csv, svg] = self.files();
        let put = |file: &Path, bytes: &[u8]| {
            std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
        };
        let family = if self.world.env.is_some() { "env" } else { "fetch" };
        let layout = format!("{family}-{}", trained.agent.layout().observation);
        let policy = PolicyCard { task: self.world.name(), layout, seed: common.seed };
        put(&onnx, &trained.agent.to_onnx(&policy))?;
        trained.agent.save(&agent)?;
        let mut rows = String::from("env_steps,elapsed_s,success_rate\n");
        for point in &trained.curve {
            rows += &format!("{},{:.1},{}\n", point.env_steps, point.elapsed_s, point.success_rate);
        }
        put(&csv, rows.as_bytes())?;
        let title = format!("{}: {GLANCE_EPISODES} episodes, deterministic", self.world.name());
        plot::learning_curve(&svg, &title, &trained.curve)?;
        let [still, random] = floors;
        let text = format!(
            "# {task}\n\n\
             | | |\n|---|---|\n\
             {world}\
             | Input | `observation` [N, {width}]: {observation} numbers of observation, achieved goal, desired goal |\n\
             | Output | `action` [N, {actions}]{meaning}, each in [−1, 1] |\n\
             | Learned from | {steps} environment steps, {updates} updates, {seconds:.0} s, no demonstration |\n\
             | Seed | {seed} |\n\
             | Success | {success} over {episodes} episodes on seeds not trained on |\n\
             | Doing nothing | {still} |\n\
             | Random actions | {random} |\n\n\
             Make it again: `{command}`\n\n\
             ![Success over environment steps]({curve})\n\n\
             ## Hyper-parameters\n\n```toml\n{hyper}```\n",
            task = self.world.name(),
            world = self.card_of_world(),
            actions = trained.agent.layout().action,
            meaning =
                if self.world.env.is_some() { "" } else { ": fingertip displacement x, y, z in 3 cm and gripper" },
            width = trained.agent.layout().observation + 2 * trained.agent.layout().goal,
            observation = trained.agent.layout().observation,
            steps = trained.agent.env_steps(),
            updates = trained.agent.updates(),
            seconds = trained.progress.elapsed.as_secs_f64(),
            seed = common.seed,
            success = rate(learned),
            episodes = self.episodes,
            still = rate(still),
            random = rate(random),
            command = self.command_line(common),
            curve = svg.file_name().unwrap_or_default().to_string_lossy(),
            hyper = toml::to_string(trained.agent.hyper())?,
        );
        put(&card, text.as_bytes())
    }

    fn command_line(&self, common: &Common) -> String {
        let what = match &self.world.env {
            Some(spec) => format!("--env '{spec}'"),
            None => format!("--task {}", self.world.name()),
        };
        let mut line = format!("hindsight train {what} --seed {} --out {}", common.seed, self.out.display());
        if let Some(steps) = self.env_steps {
            line += &format!(" --env-steps {steps}");
        }
        if let Some(minutes) = self.minutes {
            line += &format!(" --minutes {minutes}");
        }
        if let Some(hyper) = &self.hyper {
            line += &format!(" --hyper {}", hyper.display());
        }
        if self.target < 1.0 {
            line += &format!(" --target {}", self.target);
        }
        if self.no_relabel {
            line += " --no-relabel";
        }
        line
    }
}

fn rate(evaluation: &Evaluation) -> String {
    percent(evaluation.success_rate(), evaluation.success_ci95())
}
