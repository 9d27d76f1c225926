//! `hindsight demo`: the whole loop on a simulated arm that differs from its twin.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use hindsight::env::simulated::{simulated, simulated_many};
use hindsight::env::{GoalEnv, GoalObservation, Outcome, Start};
use hindsight::episode::{EpisodeStart, Folder, relabel};
use hindsight::learn::evaluate::{Comparison, Evaluation, evaluate_watched};
use hindsight::learn::finetune::{FinetuneConfig, Finetuned, Workplace, finetune};
use hindsight::learn::onnx::PolicyCard;
use hindsight::learn::{Actor, Agent, Budget, Relabel};
use hindsight::policy::{NoisyPolicy, Policy, RandomPolicy, StillPolicy};
use hindsight::task::TaskKind;
use serde_json::json;
use sim::{Ranges, SimParams};

use super::choice::find_agent;
use super::drive::Plan;
use super::finetune::Bars;
use super::output::{self, percent};
use super::plot::{self, Bar, Path2, Side};
use super::record::Record;
use super::rig::{ArmName, RigArgs, Setup};
use super::rollout;
use super::{Common, Finish};

/// First seed of the episodes on the arm; those in which fine-tuning chooses and compares are others.
const EVALUATION_SEED: u64 = 7 << 40;
/// Episodes whose paths are drawn.
const DRAWN: usize = 24;
/// Environments that evaluate in parallel.
const ENVS: usize = 4;
/// Deviation and share of random actions while collecting: enough to see what else the arm can do.
const EXPLORATION: (f32, f32) = (0.1, 0.1);

/// Show the whole loop on a simulated arm that differs from its twin
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Folder for episodes, policy and picture [default: demo, or the first free of demo-2, demo-3, …]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Draws the arm that differs from its twin
    // Of the arms 1 to 12 there are two on which the policy of this program misses more than 15 %: 7 and 11 (`docs/results.md`).
    #[arg(long, value_name = "SEED", default_value_t = 7)]
    differ: u64,
    /// Episodes to record on the arm
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    record: u64,
    /// Episodes of each evaluation
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(100..=100_000))]
    episodes: u64,
    /// Minutes of learning
    #[arg(long, default_value_t = 4.0)]
    minutes: f64,
    /// Let the first policy also drive the arm behind a pty in real time, for ten episodes
    #[arg(long)]
    realtime: bool,
}

impl Demo {
    /// Runs the demonstration and writes episodes, policy and picture.
    ///
    /// # Errors
    /// The folder exists, or cannot be written, or the simulated arm failed.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        let incumbent = find_agent(TaskKind::Push.name())?;
        let setup = Setup::new(ArmName::So101, TaskKind::Push, Some(self.differ))?;
        let folder = self.folder()?;
        let stage = Stage { setup: &setup };
        output::say(common, &differences(&setup.twin, &setup.drawn));

        let seeds: Vec<u64> = (0..self.episodes).map(|i| EVALUATION_SEED + (common.seed << 20) + i).collect();
        let before = stage.evaluate("before", &seeds, || Actor::new(&incumbent, 1))?;
        let still = stage.evaluate("do nothing", &seeds, || StillPolicy)?;
        let random = stage.evaluate("random", &seeds, || RandomPolicy::new(common.seed))?;
        output::say(common, &format!("before      {} over {} episodes", rate(&before), self.episodes));
        output::say(common, &format!("do nothing  {}", rate(&still)));
        output::say(common, &format!("random      {}", rate(&random)));

        if self.realtime {
            self.run_behind_a_pty(&setup, &incumbent, common)?;
        }
        let recorded = self.record(&setup, &incumbent, &folder, common)?.files()?;
        let found = relabel::relabel(
            &folder.join("episodes"),
            &folder.join("relabelled"),
            Relabel::default(),
            common.seed,
            EpisodeStart::compute_reward,
            |_| (),
        )?;
        output::say(
            common,
            &format!(
                "recorded    {} episodes, {} misses; relabelled, {} of the misses hold a hit",
                found.episodes, found.misses, found.misses_turned_hits
            ),
        );
        let learned = self.learn(&setup, &incumbent, &recorded, common)?;
        let (after, comparison) = match learned.accepted {
            true => {
                let after = stage.evaluate("after", &seeds, || Actor::new(&learned.candidate, 1))?;
                let comparison = Comparison::new(&after, &before)?;
                (after, comparison)
            }
            // The incumbent is what would be deployed.
            false => (before.clone(), Comparison::new(&before, &before)?),
        };
        let policy = if learned.accepted { &learned.candidate } else { &incumbent };
        let file = folder.join("push.onnx");
        let card = PolicyCard { task: TaskKind::Push.name().into(), layout: "fetch-25".into(), seed: common.seed };
        std::fs::write(&file, policy.to_onnx(&card)).with_context(|| format!("cannot write {}", file.display()))?;
        policy.save(&file.with_extension("agent"))?;
        let picture = folder.join("demo.svg");
        let bars = [("do nothing", &still), ("random", &random), ("before", &before), ("after", &after)];
        plot::before_and_after(
            &picture,
            &bars.map(|(label, e)| Bar { label: label.into(), rate: e.success_rate(), interval: e.success_ci95() }),
            [
                Side { title: "the puck before, from above", paths: &stage.paths(&incumbent, &seeds)? },
                Side { title: "the puck after", paths: &stage.paths(policy, &seeds)? },
            ],
            setup.task.success_radius_m,
        )?;

        let verdict = match (learned.accepted, comparison.candidate_is_better()) {
            (false, _) => format!(
                "the incumbent stays: in the fitted simulator the candidate won {} episodes and lost {}, p = {:.1e}",
                learned.comparison.won, learned.comparison.lost, learned.comparison.p_value
            ),
            (true, better) => format!(
                "{}: {} episodes won, {} lost on the same seeds, p = {:.1e}",
                if better { "better beyond chance" } else { "not better beyond chance on the arm" },
                comparison.won,
                comparison.lost,
                comparison.p_value
            ),
        };
        output::say(common, &format!("after       {} over {} episodes", rate(&after), self.episodes));
        output::say(common, &format!("            {verdict}"));
        output::say(common, &format!("picture     {}", picture.display()));
        output::say(common, &format!("policy      {}", file.display()));
        let side = |e: &Evaluation| {
            json!({
                "success_rate": e.success_rate(),
                "success_ci95": e.success_ci95(),
                "final_distance_m": { "p50": e.final_distance_m(0.5), "p95": e.final_distance_m(0.95) },
            })
        };
        output::finish(
            common,
            &json!({
                "task": TaskKind::Push.name(),
                "episodes": self.episodes,
                "seed": common.seed,
                "differ": self.differ,
                "before": side(&before),
                "after": side(&after),
                "floors": { "still": still.success_rate(), "random": random.success_rate() },
                "accepted": learned.accepted,
                "p_value": comparison.p_value,
                "recorded": found.episodes,
                "misses": found.misses,
                "misses_turned_hits": found.misses_turned_hits,
                "picture": picture,
                "elapsed_s": begun.elapsed().as_secs_f64(),
            }),
        );
        Ok(Finish::Done)
    }

    /// Fits the simulator to the episodes, practises in it, and lets the gate decide.
    fn learn(&self, setup: &Setup, incumbent: &Agent, files: &[PathBuf], common: &Common) -> Result<Finetuned> {
        let wall = Duration::from_secs_f64(60.0 * self.minutes);
        let config =
            FinetuneConfig { budget: Budget { env_steps: None, wall: Some(wall) }, ..FinetuneConfig::default() };
        let ranges = Ranges::so101()?;
        let place = Workplace { model: &setup.model, twin: &setup.twin, ranges: &ranges, task: &setup.task };
        let mut bars = Bars::new(config.budget);
        let learned = finetune(place, incumbent, files, &config, common.seed, |progress| bars.show(progress))?;
        bars.finish();
        let fit = &learned.fit;
        output::say(
            common,
            &format!(
                "fitted      joints replayed within {:.2}°, before {:.2}°",
                fit.after.joints_rad.to_degrees(),
                fit.before.joints_rad.to_degrees()
            ),
        );
        Ok(learned)
    }

    /// An empty folder of the demonstration's own.
    fn folder(&self) -> Result<PathBuf> {
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => std::iter::once(PathBuf::from("demo"))
                .chain((2..).map(|n| PathBuf::from(format!("demo-{n}"))))
                .find(|folder| !folder.exists())
                .unwrap_or_default(),
        };
        if folder.exists() {
            bail!("{} exists; choose another --out", folder.display());
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder)
    }

    /// Records episodes of the incumbent on the arm, each starting where the last one left the puck.
    fn record(&self, setup: &Setup, incumbent: &Agent, folder: &Path, common: &Common) -> Result<Folder> {
        let (sigma, epsilon) = EXPLORATION;
        let mut policy = NoisyPolicy::new(Box::new(Actor::new(incumbent, 1)), sigma, epsilon, !common.seed);
        let label = EpisodeStart {
            arm: ArmName::So101.name().into(),
            policy: "push".into(),
            software: concat!("hindsight ", env!("CARGO_PKG_VERSION")).into(),
            ..EpisodeStart::default()
        };
        let episodes = Folder::create(&folder.join("episodes"))?;
        let record = Record { folder: episodes, label, attachments: Vec::new() };
        let plan = Plan { episodes: self.record, seed: common.seed, goal_m: None, recorded: true };
        let quiet = Common { json: true, ..common.clone() };
        let args = self.rig("sim".into(), Some(self.differ));
        let session = rollout::run(&args, setup, &mut policy, &plan, Some(&record), &quiet)?;
        if let Some(failure) = session.drive.failure.as_ref().and_then(|failure| failure.error()) {
            return Err(failure);
        }
        Ok(record.folder)
    }

    fn rig(&self, port: String, differ: Option<u64>) -> RigArgs {
        RigArgs {
            arm: ArmName::So101,
            port,
            task: TaskKind::Push,
            tracker: None,
            calibration: None,
            clear_fault: false,
            differ,
            realtime: false,
        }
    }

    /// Ten episodes in real time: the arm in a process of its own behind a pty, this process as its host.
    fn run_behind_a_pty(&self, setup: &Setup, incumbent: &Agent, common: &Common) -> Result<()> {
        let arm = PtyArm::start(self.differ)?;
        let mut args = self.rig(arm.link.display().to_string(), None);
        args.tracker = Some(arm.tracker);
        let plan = Plan { episodes: 10, seed: common.seed, goal_m: None, recorded: false };
        let mut policy = Actor::new(incumbent, 1);
        let session = rollout::run(&args, setup, &mut policy, &plan, None, common)?;
        if let Some(failure) = session.drive.failure.as_ref().and_then(|failure| failure.error()) {
            return Err(failure);
        }
        let timing = session.timing();
        super::report::tell(common, &Evaluation { episodes: session.drive.results }, timing);
        Ok(())
    }
}

/// Where policies are measured: on the arm that differs from its twin.
struct Stage<'a> {
    setup: &'a Setup,
}

impl Stage<'_> {
    /// Success on the arm, deterministic, one episode a seed.
    fn evaluate<P: Policy>(&self, label: &str, seeds: &[u64], policy: impl Fn() -> P) -> Result<Evaluation> {
        let bar = output::progress(label, seeds.len() as u64);
        let Setup { model, twin, drawn, task } = self.setup;
        let mut envs = simulated_many(model, twin, std::slice::from_ref(drawn), task, ENVS)?;
        let evaluation = evaluate_watched(&mut envs, || Ok(policy()), seeds, || bar.inc(1))?;
        bar.finish_and_clear();
        Ok(evaluation)
    }

    /// Where the object went in the episodes of the first seeds.
    fn paths(&self, agent: &Agent, seeds: &[u64]) -> Result<Vec<Path2>> {
        let Setup { model, twin, drawn, task } = self.setup;
        let mut env = simulated(model, twin, std::slice::from_ref(drawn), task.clone(), Start::Rebuilt)?;
        let mut actor = Actor::new(agent, 1);
        let mut seen = GoalObservation::default();
        let mut action = vec![0.0; env.layout().action];
        let place = |point: &[f32]| (f64::from(point[0]), f64::from(point[1]));
        let mut paths = Vec::new();
        for &seed in seeds.iter().take(DRAWN) {
            env.reset(seed, &mut seen)?;
            let mut object = vec![place(&seen.achieved_goal)];
            let mut outcome = Outcome::default();
            while !outcome.truncated && !outcome.terminated {
                actor.act(&seen, &mut action)?;
                env.step(&action, &mut seen, &mut outcome)?;
                object.push(place(&seen.achieved_goal));
            }
            paths.push(Path2 { object, goal: place(&seen.desired_goal), success: outcome.success });
        }
        Ok(paths)
    }
}

/// A simulated arm in a process of its own; the process ends with this.
struct PtyArm {
    process: Child,
    folder: PathBuf,
    link: PathBuf,
    tracker: SocketAddr,
}

impl PtyArm {
    /// Starts the arm and waits until its port is there.
    fn start(differ: u64) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("hindsight-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let link = folder.join("arm");
        // A port that is free now; the tracker is bound a moment later.
        let tracker = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let process = Command::new(std::env::current_exe()?)
            .args(["sim", "--link"])
            .arg(&link)
            .args(["--differ", &differ.to_string(), "--tracker", &tracker.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the simulated arm's process")?;
        let arm = Self { process, folder, link, tracker };
        let until = Instant::now() + Duration::from_secs(10);
        while !arm.link.exists() {
            if Instant::now() > until {
                bail!("the simulated arm's process has not opened {} within 10 s", arm.link.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(arm)
    }
}

impl Drop for PtyArm {
    fn drop(&mut self) {
        // It may have ended by itself, and the folder is a temporary one.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// How the arm differs from its twin, for people.
fn differences(twin: &SimParams, arm: &SimParams) -> String {
    let mut text = String::from("                         twin      arm\n");
    let mut row = |name: &str, unit: &str, value: &dyn Fn(&SimParams) -> f64| {
        text += &format!("{name:<22} {:6.2}   {:6.2} {unit}\n", value(twin), value(arm));
    };
    let mean = |p: &SimParams, f: fn(&sim::params::ServoParams) -> f64| {
        p.servos.iter().map(f).sum::<f64>() / p.servos.len() as f64
    };
    row("servo gain", "", &|p| mean(p, |s| s.p_gain));
    row("free play", "°", &|p| mean(p, |s| s.backlash_rad).to_degrees());
    row("command latency", "ms", &|p| p.command_latency.mean_us / 1000.0);
    row("feedback latency", "ms", &|p| p.feedback_latency.mean_us / 1000.0);
    row("puck's mass", "g", &|p| 1000.0 * p.object.mass_kg);
    row("puck on table", "µ", &|p| p.object.table_friction);
    row("puck on finger", "µ", &|p| p.object.finger_friction);
    text
}

fn rate(evaluation: &Evaluation) -> String {
    percent(evaluation.success_rate(), evaluation.success_ci95())
}
