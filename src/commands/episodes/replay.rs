//! `hindsight episodes replay`: recorded actions on an arm, once more.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use hindsight::episode::reader::read_hashed;
use hindsight::episode::{Episode, EpisodeStart};
use hindsight::policy::RecordedPolicy;
use hindsight::task::{Region, TaskKind};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::drive::{Failure, Plan};
use super::super::record::Record;
use super::super::rig::{ArmName, RigArgs, Setup};
use super::super::{Common, Finish, LossError, UsageError, output, rollout};

/// Key in the start's metadata of a recorded replay; its value is the SHA-256 of the file that was replayed.
const REPLAYED_KEY: &str = "replayed_from_sha256";

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
    /// Folder to record what is replayed in as new episodes; those that are there stay. The object is looked at then,
    /// and put, or asked for, where it was
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Address to hear the object's tracker on, with --out [default: 127.0.0.1:47800]
    #[arg(long, value_name = "ADDRESS", requires = "out")]
    tracker: Option<SocketAddr>,
}

impl Replay {
    /// Repeats the applied actions, through the safety filter, from the episodes' common start pose. Whatever lies on
    /// the table is looked at only if the replay is recorded. The arm ends parked and without power.
    ///
    /// # Errors
    /// Before anything moves: a file gives no episode, another arm, no arm, nowhere to record. After: the arm failed,
    /// or the record could not be written to its end.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        // The episodes' own lines tell of hits and misses, which are none here.
        let quiet = Common { json: true, ..common.clone() };
        let mut rows = Vec::new();
        output::say(common, "file                   steps  median off   95 % within  at most");
        for file in super::files(&self.source)? {
            let name = super::name(&file);
            let (source, sha256) = read_hashed(&file)?;
            let episode = &source.episode;
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
            let record = self.record(&rig, &mut setup, episode, sha256)?;
            let mut policy = RecordedPolicy::new(episode);
            let goal_m = Some(episode.start.goal.map(f64::from));
            let plan = Plan { episodes: 1, seed: episode.start.seed, goal_m, recorded: record.is_some() };
            let session = rollout::run(&rig, &setup, &mut policy, &plan, record.as_ref(), &quiet)?;
            let (mut row, text) = row(&name, &policy);
            row["recording"] = json!(session.recordings.first().map(|recording| &recording.path));
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

    /// Where the replay of `source` is recorded, if it is. An episode's file holds what its task observes, so that only
    /// then the object counts.
    fn record(&self, rig: &RigArgs, setup: &mut Setup, source: &Episode, sha256: String) -> Result<Option<Record>> {
        let Some(out) = &self.out else {
            // Actions move the hand; no tracker is needed to repeat them.
            setup.task.objects = None;
            return Ok(None);
        };
        let seen = source.ticks.iter().find_map(|tick| tick.object);
        if let (Some(region), Some(object)) = (&mut setup.task.objects, seen) {
            // It lies on the table, whatever the tracker's noise says of its height.
            let [x, y, _] = object.position;
            let place = [x, y, region.lower[2]];
            *region = Region { lower: place, upper: place };
        }
        let acts = EpisodeStart {
            policy: "replay".into(),
            metadata: [(REPLAYED_KEY.to_owned(), sha256)].into(),
            ..EpisodeStart::default()
        };
        Record::new(out, rig, setup, acts).map(Some)
    }

    fn rig(&self, arm: ArmName, task: TaskKind) -> RigArgs {
        RigArgs {
            arm,
            port: self.port.clone(),
            task,
            calibration: self.calibration.clone(),
            tracker: self.tracker,
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
