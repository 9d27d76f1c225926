//! `hindsight finetune`: a better policy for one very arm, from its own episodes and a simulator fitted to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use hindsight::episode::{Folder, read};
use hindsight::learn::fit::ReplayError;
use hindsight::learn::onnx::PolicyCard;
use hindsight::learn::{Budget, Evaluation, FinetuneConfig, FinetuneProgress, Finetuned, Fit, Workplace, finetune};
use hindsight::task::{Task, TaskKind};
use serde::Serialize;
use serde_json::{Value, json};
use sim::{ArmModel, Ranges, SimParams};

use super::choice::{Choice, find_agent};
use super::output::{self, percent};
use super::{Common, Finish, UsageError};

/// Make a policy better on one very arm, from the arm's own episodes
#[derive(Debug, Args)]
pub(super) struct Finetune {
    /// An ONNX file with its .agent file beside it, or the name of a policy in this program
    #[arg(long)]
    policy: String,
    /// Folders of episodes that the arm recorded
    #[arg(long, required = true, num_args = 1..)]
    episodes: Vec<PathBuf>,
    /// The better policy's file; learner's state, card and fitted simulator go beside it. Nothing is written if none is
    /// better
    #[arg(long)]
    out: PathBuf,
    /// How long to practise in the fitted simulator, minutes; fit and comparison come on top
    #[arg(long, default_value_t = 4.0)]
    minutes: f64,
    /// Practise for so many environment steps instead of minutes: then the same seed gives the same policy
    #[arg(long)]
    env_steps: Option<u64>,
    /// Share of the recorded episodes in what is learned from, 0 to 1
    #[arg(long, default_value_t = FinetuneConfig::default().real_share)]
    real_share: f64,
    /// Episodes in which candidate and incumbent are compared
    #[arg(long, default_value_t = FinetuneConfig::default().gate_episodes, value_parser = clap::value_parser!(u64).range(20..=100_000))]
    gate_episodes: u64,
    /// Overwrite files of an earlier fine-tuning
    #[arg(long)]
    force: bool,
}

/// A parameter file, laid out as `models/arms/so101.toml`.
#[derive(Serialize)]
struct ParamsFile<'a> {
    nominal: &'a SimParams,
    ranges: &'a Ranges,
}

impl Finetune {
    /// Fits, practises, compares, and writes the better policy. Episode files that cannot be read are named on stderr
    /// and end it with data lost.
    ///
    /// # Errors
    /// Wrong use, no learner's state, no usable episode, episodes of several tasks; nothing was written.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        self.check()?;
        let agent = find_agent(&self.policy)?;
        let files = self.recordings()?;
        let Some(first) = files.iter().find_map(|file| read(file).ok()) else {
            bail!("no episode in the folders given that can be read; record some with collect")
        };
        let task = first.episode.start.task;
        let Ok(kind) = TaskKind::from_str(&task, false) else {
            bail!("the episodes are of task {task:?}, which this program does not know");
        };
        let model = ArmModel::so101()?;
        let (twin, ranges) = (SimParams::so101_with(kind.prop())?, Ranges::so101_with(kind.prop())?);
        let task = Task::new(kind, twin.object.rest_height_m());
        // A policy of another task, or no policy, is told before anything else is.
        Choice::find(Some(&self.policy), kind)?.load(&task, common.seed)?;
        let place = Workplace { model: &model, twin: &twin, ranges: &ranges, task: &task };
        let config = FinetuneConfig {
            budget: self.budget(),
            real_share: self.real_share,
            gate_episodes: self.gate_episodes,
            ..FinetuneConfig::default()
        };
        let mut bars = Bars::new(config.budget);
        let done = finetune(place, &agent, &files, &config, common.seed, |progress| bars.show(progress))?;
        bars.finish();
        if done.accepted {
            self.write(&done, kind, &ranges, common)?;
        }
        for error in &done.skipped {
            eprintln!("skipped: {error}");
        }
        self.tell(&done, common);
        output::finish(common, &self.report(&done, kind, begun, common));
        Ok(if done.skipped.is_empty() { Finish::Done } else { Finish::WithLoss })
    }

    fn check(&self) -> Result<()> {
        if self.out.extension().is_none_or(|extension| extension != "onnx") {
            return Err(UsageError(format!("--out {}: expected a file that ends in .onnx", self.out.display())).into());
        }
        if !self.minutes.is_finite() || self.minutes <= 0.0 {
            return Err(UsageError("--minutes: expected a number above 0".into()).into());
        }
        if !(0.0..=1.0).contains(&self.real_share) {
            return Err(UsageError(format!("--real-share {}: expected 0 to 1", self.real_share)).into());
        }
        if let Some(file) = self.files().iter().find(|file| file.exists() && !self.force) {
            let text = format!("{} exists; choose another --out, or say --force", file.display());
            return Err(UsageError(text).into());
        }
        Ok(())
    }

    fn budget(&self) -> Budget {
        let wall = self.env_steps.is_none().then(|| Duration::from_secs_f64((60.0 * self.minutes).min(1e6)));
        Budget { env_steps: self.env_steps, wall }
    }

    fn files(&self) -> [PathBuf; 4] {
        ["onnx", "agent", "md", "sim.toml"].map(|extension| self.out.with_extension(extension))
    }

    /// The files of all folders.
    fn recordings(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in &self.episodes {
            files.extend(Folder::open(path)?.files()?);
        }
        Ok(files)
    }

    fn write(&self, done: &Finetuned, kind: TaskKind, ranges: &Ranges, common: &Common) -> Result<()> {
        let [onnx, agent, card, params] = self.files();
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let put = |file: &Path, bytes: &[u8]| {
            std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
        };
        let layout = format!("fetch-{}", done.candidate.layout().observation);
        let policy = PolicyCard { task: kind.name().into(), layout, seed: common.seed };
        put(&onnx, &done.candidate.to_onnx(&policy))?;
        done.candidate.save(&agent)?;
        let fitted = ParamsFile { nominal: &done.fit.best, ranges };
        put(&params, toml::to_string(&fitted)?.as_bytes())?;
        let mut text = format!(
            "# {task}, fine-tuned\n\n| | |\n|---|---|\n\
             | Arm | the one that recorded the episodes; what is known of it: `{params}` |\n\
             | From | {policy} |\n\
             | Episodes | {episodes} recorded ones, {steps} steps of them, {share:.0} % of what was learned from |\n\
             | Practice | {env_steps} environment steps in the fitted simulator, {updates} updates, {seconds:.0} s |\n\
             | Seed | {seed} |\n\
             | Before | {before} over {gate} episodes in the fitted simulator |\n\
             | After | {after} on the same seeds |\n\n\
             ## The arm\n\n| Parameter | Nominal | Fitted | Identified |\n|---|---|---|---|\n",
            task = kind.name(),
            episodes = done.real_episodes,
            params = params.file_name().unwrap_or_default().to_string_lossy(),
            policy = self.policy,
            steps = done.real_steps,
            share = 100.0 * self.real_share,
            env_steps = done.progress.env_steps,
            updates = done.progress.updates,
            seconds = done.progress.elapsed.as_secs_f64(),
            seed = common.seed,
            before = rate(&done.before),
            gate = self.gate_episodes,
            after = rate(&done.after),
        );
        for parameter in &done.fit.parameters {
            let identified = if parameter.identified { "yes" } else { "no" };
            text += &format!(
                "| {} | {:.4} | {:.4} | {identified} |\n",
                parameter.name, parameter.nominal, parameter.fitted
            );
        }
        put(&card, text.as_bytes())
    }

    fn tell(&self, done: &Finetuned, common: &Common) {
        let Finetuned { fit, comparison, .. } = done;
        output::say(common, &format!("fit         {}, before {}", error(fit.after), error(fit.before)));
        output::say(common, &format!("before      {} in the fitted simulator", rate(&done.before)));
        output::say(common, &format!("after       {} on the same seeds", rate(&done.after)));
        let figures = format!("{} won, {} lost, p = {:.2e}", comparison.won, comparison.lost, comparison.p_value);
        let verdict = match done.accepted {
            true => format!("accepted    {figures}\nwritten     {}", self.out.display()),
            false => {
                format!("kept        the policy as it was: none better beyond chance ({figures}); nothing written")
            }
        };
        output::say(common, &verdict);
    }

    fn report(&self, done: &Finetuned, kind: TaskKind, begun: Instant, common: &Common) -> Value {
        let side = |evaluation: &Evaluation| {
            json!({
                "success_rate": evaluation.success_rate(),
                "success_ci95": evaluation.success_ci95(),
                "final_distance_m": { "p50": evaluation.final_distance_m(0.5), "p95": evaluation.final_distance_m(0.95) },
            })
        };
        let Fit { before, after, parameters, episodes: replayed, .. } = &done.fit;
        json!({
            "task": kind.name(),
            "episodes": done.real_episodes,
            "skipped": done.skipped.len(),
            "seed": common.seed,
            "before": side(&done.before),
            "after": side(&done.after),
            "gate": {
                "episodes": self.gate_episodes,
                "won": done.comparison.won,
                "lost": done.comparison.lost,
                "p_value": done.comparison.p_value,
            },
            "accepted": done.accepted,
            "out": done.accepted.then(|| self.out.display().to_string()),
            "fit": { "before": before, "after": after, "episodes": replayed, "parameters": parameters },
            "real_steps": done.real_steps,
            "env_steps": done.progress.env_steps,
            "updates": done.progress.updates,
            "elapsed_s": begun.elapsed().as_secs_f64(),
        })
    }
}

/// A bar for each stage.
pub(super) struct Bars {
    budget: Budget,
    bar: indicatif::ProgressBar,
    stage: &'static str,
}

impl Bars {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, bar: output::progress("fit", 0), stage: "fit" }
    }

    /// A bar of its own for a stage that begins.
    fn begin(&mut self, stage: &'static str, length: u64) {
        if self.stage != stage {
            self.stage = stage;
            self.bar.finish_and_clear();
            self.bar = output::progress(stage, length);
        }
    }

    pub(super) fn show(&mut self, progress: FinetuneProgress) {
        match progress {
            FinetuneProgress::Reading { done, total } => {
                self.bar.set_length(total as u64);
                self.bar.set_position(done as u64);
                self.bar.set_message("episodes read");
            }
            FinetuneProgress::Fitting(fitting) => {
                self.bar.set_length(fitting.total as u64);
                self.bar.set_position(fitting.done as u64);
                self.bar.set_message(format!("generations  loss {:.1}", fitting.loss));
            }
            FinetuneProgress::Practising { progress, validated } => {
                let seconds = self.budget.wall.map_or(0, |wall| wall.as_secs());
                self.begin("practise", self.budget.env_steps.unwrap_or(seconds));
                let (position, unit) = match self.budget.env_steps {
                    Some(_) => (progress.env_steps, "steps"),
                    None => (progress.elapsed.as_secs().min(seconds), "s"),
                };
                self.bar.set_position(position);
                self.bar.set_message(format!(
                    "{unit}  success {:3.0} %  {:.0} updates/s",
                    100.0 * validated,
                    progress.updates_per_s,
                ));
            }
            FinetuneProgress::Judging { done, total } => {
                self.begin("compare", total);
                self.bar.set_position(done);
                self.bar.set_message("episodes of both policies");
            }
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn rate(evaluation: &Evaluation) -> String {
    percent(evaluation.success_rate(), evaluation.success_ci95())
}

fn error(error: ReplayError) -> String {
    let object = error.object_m.map_or(String::new(), |m| format!(", puck {:.1} mm", 1000.0 * m));
    format!("joints {:.1} mrad{object}", 1000.0 * error.joints_rad)
}
