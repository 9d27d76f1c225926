//! `hindsight episodes replay`: recorded actions on an arm, once more.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use hindsight::episode::read;
use hindsight::policy::RecordedPolicy;
use hindsight::task::TaskKind;
use serde_json::json;
use std::path::PathBuf;

use super::super::drive::{Failure, Plan};
use super::super::rig::{ArmName, RigArgs};
use super::super::{Common, Finish, LossError, UsageError, output, rollout};

/// Let an arm do again what it did in recorded episodes, and tell how far it is from where it was
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Folder of recorded episodes, or one file
    source: PathBuf,
    /// Which arm [default: the recorded one]
    #[arg(long, value_enum)]
    arm: Option<ArmName>,
    /// A serial port, a pty, unix:PATH, or sim for an arm simulated in this process
    #[arg(long)]
    port: String,
    /// Calibration of an arm on its own servo bus
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Simulate an arm that differs from its twin, drawn from this seed
    #[arg(long, value_name = "SEED")]
    differ: Option<u64>,
    /// Let an arm simulated in this process move in real time, to watch it
    #[arg(long)]
    realtime: bool,
}

impl Replay {
    /// Repeats the applied actions, through the safety filter, from the episodes' common start pose; whatever lies on
    /// the table is not looked at. The arm ends parked and without power.
    ///
    /// # Errors
    /// Before anything moves: a file gives no episode, another arm, no arm. After: the arm failed.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        // The episodes' own lines tell of hits and misses, which are none here.
        let quiet = Common { json: true, ..common.clone() };
        let mut rows = Vec::new();
        output::say(common, "file                   steps  median off   95 % within  at most");
        for file in super::files(&self.source)? {
            let name = super::name(&file);
            let episode = read(&file)?.episode;
            let Ok(recorded_arm) = ArmName::from_str(&episode.start.arm, true) else {
                bail!("{name}: expected an arm that is known here, found {}", episode.start.arm);
            };
            let Ok(task) = TaskKind::from_str(&episode.start.task, true) else {
                bail!("{name}: expected a task that is known here, found {}", episode.start.task);
            };
            let arm = self.arm.unwrap_or(recorded_arm);
            if arm != recorded_arm {
                let (recorded, asked) = (recorded_arm.name(), arm.name());
                return Err(UsageError(format!("--arm {asked}: expected {recorded}, which {name} is of")).into());
            }
            let rig = self.rig(arm, task);
            let mut setup = rig.setup()?;
            // Actions move the hand; no tracker is needed to repeat them.
            setup.task.objects = None;
            let mut policy = RecordedPolicy::new(&episode);
            let goal_m = Some(episode.start.goal.map(f64::from));
            let plan = Plan { episodes: 1, seed: episode.start.seed, goal_m, recorded: false };
            let session = rollout::run(&rig, &setup, &mut policy, &plan, None, &quiet)?;
            let (row, text) = row(&name, &policy);
            output::say(common, &text);
            rows.push(row);
            let drive = session.drive;
            if let Some(error) = drive.failure.as_ref().and_then(Failure::error) {
                return Err(error);
            }
            if let Some(after) = drive.after {
                return Err(LossError(format!("while parking and releasing: {after}")).into());
            }
            if matches!(drive.failure, Some(Failure::Stopped)) {
                break;
            }
        }
        output::finish(common, &json!({ "episodes": rows }));
        Ok(Finish::Done)
    }

    fn rig(&self, arm: ArmName, task: TaskKind) -> RigArgs {
        RigArgs {
            arm,
            port: self.port.clone(),
            task,
            calibration: self.calibration.clone(),
            tracker: None,
            clear_fault: false,
            differ: self.differ,
            realtime: self.realtime,
        }
    }
}

/// What a replay came to, for scripts and for people.
fn row(name: &str, policy: &RecordedPolicy) -> (serde_json::Value, String) {
    let mut off_m: Vec<f64> = policy.deviations_m().collect();
    off_m.sort_by(f64::total_cmp);
    let at = |q: f64| off_m.get((q * (off_m.len().max(1) - 1) as f64).round() as usize).copied();
    let [p50, p95, max] = [0.5, 0.95, 1.0].map(at);
    let mm = |m: Option<f64>| m.map_or("–".to_owned(), |m| format!("{:.1} mm", 1000.0 * m));
    let text = format!("{name:22} {:5}  {:>10}  {:>12}  {:>7}", off_m.len(), mm(p50), mm(p95), mm(max));
    let report = json!({
        "file": name,
        "steps": off_m.len(),
        "recorded_steps": policy.steps(),
        "deviation_m": { "p50": p50, "p95": p95, "max": max },
    });
    (report, text)
}
