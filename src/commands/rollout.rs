//! Episodes on a rig: the control thread drives, this one creates files, prints, and waits for the disk.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use hindsight::control::{LatencyStats, LoopStats};
use hindsight::episode::recorder::Recording;
use hindsight::episode::{EpisodeEnd, EpisodeStart, FaultEvent, Pace, Recorder};
use hindsight::learn::evaluate::EpisodeResult;
use hindsight::policy::Policy;

use super::drive::{self, Drive, Failure, Line, Plan};
use super::interrupt::Interrupt;
use super::record::Record;
use super::rig::{Rig, RigArgs, Setup, Sight};
use super::{Common, LossError, output};

/// Events that may wait for the printing thread; at most three an episode are ever sent.
const EVENTS: usize = 64;
/// How often the printing thread looks for what has no event, such as a lost object.
const GLANCE: Duration = Duration::from_millis(100);

/// What the control thread tells.
pub(super) enum Event {
    /// An episode begins, and wants a file if one shall be recorded.
    Begun(Box<EpisodeStart>),
    /// An episode, or its attempt, has ended; the file is to be finished.
    Ended { result: Option<EpisodeResult>, log: Option<Box<EndedLog>> },
    /// Something for a person to know or do.
    Note(String),
}

/// A recorded episode that is not yet whole on the disk.
pub(super) struct EndedLog {
    pub recorder: Recorder,
    pub end: EpisodeEnd,
    /// What went wrong, if something did.
    pub fault: Option<String>,
}

/// What a session of episodes came to.
pub(super) struct Session {
    pub drive: Drive,
    pub recordings: Vec<Recording>,
    pub real: bool,
}

/// Runs the episodes of `plan` and prints how each went.
///
/// # Errors
/// The rig could not be opened. What goes wrong later is in the session.
pub(super) fn run(
    args: &RigArgs,
    setup: &Setup,
    policy: &mut dyn Policy,
    plan: &Plan,
    record: Option<&Record>,
    common: &Common,
) -> Result<Session> {
    let interrupt = Interrupt::listen("stopping: the arm parks first; once more cuts its power where it is")?;
    let (events, told) = sync_channel(EVENTS);
    let (answers, answered) = sync_channel(1);
    let out_of_sight = Arc::new(AtomicBool::new(false));
    let rig = args.open(setup, &interrupt, &out_of_sight, events.clone())?;
    let real = matches!(rig, Rig::Real(_));
    let line = Line { events, answers: answered, real };
    let sight = (real && setup.task.objects.is_some()).then(|| Sight::new(out_of_sight, setup.task.kind.object_name()));
    let bar = output::progress(args.task.name(), plan.episodes);
    let mut desk = Desk {
        common,
        bar,
        record,
        answers,
        pace: if real { Pace::Threaded } else { Pace::Inline },
        sight,
        recordings: Vec::new(),
        lost: None,
    };
    let drive: Result<Drive> = std::thread::scope(|scope| {
        let interrupt = &interrupt;
        let control = std::thread::Builder::new().name("control".into()).spawn_scoped(scope, move || match rig {
            Rig::Simulated(mut env) => drive::episodes(&mut *env, policy, plan, interrupt, &line),
            Rig::Real(mut env) => drive::episodes(&mut *env, policy, plan, interrupt, &line),
        });
        desk.serve(&told);
        // The thread has ended: its end of the channel is gone.
        control.context("cannot start the control thread")?.join().map_err(|_| {
            LossError("the control thread failed; the arm's power was cut or is held by its firmware".into()).into()
        })
    });
    desk.bar.finish_and_clear();
    let mut drive = drive?;
    // The control thread only knows that there is no more recording; who finished the file knows why.
    if let (Some(lost), None | Some(Failure::Log(_))) = (desk.lost, &drive.failure) {
        drive.failure = Some(Failure::Log(lost));
    }
    Ok(Session { drive, recordings: desk.recordings, real })
}

/// The printing thread's side.
struct Desk<'a> {
    common: &'a Common,
    bar: indicatif::ProgressBar,
    record: Option<&'a Record>,
    answers: SyncSender<Result<Recorder, String>>,
    pace: Pace,
    sight: Option<Sight>,
    recordings: Vec<Recording>,
    /// Why an episode's file is not whole.
    lost: Option<String>,
}

impl Desk<'_> {
    /// Does what the control thread asks for, until it ends.
    fn serve(&mut self, told: &Receiver<Event>) {
        loop {
            match told.recv_timeout(GLANCE) {
                Ok(Event::Begun(start)) => {
                    let recorder = self.create(*start);
                    // A control thread that is gone needs no file.
                    let _ = self.answers.send(recorder);
                }
                Ok(Event::Ended { result, log }) => {
                    if let Some(log) = log {
                        self.finish(*log);
                    }
                    if let Some(result) = result {
                        self.bar.inc(1);
                        let text = summary(self.bar.position(), &result);
                        self.bar.suspend(|| output::say(self.common, &text));
                    }
                }
                Ok(Event::Note(text)) => self.note(&text),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(text) = self.sight.as_mut().and_then(Sight::change) {
                self.note(&text);
            }
        }
    }

    fn note(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// The file of an episode that begins.
    fn create(&self, begun: EpisodeStart) -> Result<Recorder, String> {
        let Some(Record { folder, label, attachments }) = self.record else { return Err("nothing is recorded".into()) };
        let wall_us = (self.pace == Pace::Threaded).then(|| (hindsight::tracker::udp::unix_now_s() * 1e6) as u64);
        let EpisodeStart { arm, policy, policy_sha256, software, metadata, .. } = label.clone();
        let start = EpisodeStart { arm, policy, policy_sha256, software, metadata, wall_us, ..begun };
        let path = folder.next_file().map_err(|error| error.to_string())?;
        Recorder::create_with(&path, start, attachments, self.pace).map_err(|error| error.to_string())
    }

    /// Brings an episode's file to its end.
    fn finish(&mut self, log: EndedLog) {
        let EndedLog { mut recorder, end, fault } = log;
        if let Some(what) = fault {
            // If the file takes no more, `finish` says why.
            let _ = recorder.fault(FaultEvent { stamp_us: end.stamp_us, what });
        }
        match recorder.finish(end) {
            Ok(recording) => {
                if recording.lost_ticks > 0 {
                    let (path, lost) = (recording.path.display(), recording.lost_ticks);
                    self.lost = Some(format!(
                        "{path}: the disk was too slow for the last {lost} ticks; record to a faster one"
                    ));
                }
                self.recordings.push(recording);
            }
            Err(error) => self.lost = Some(error.to_string()),
        }
    }
}

fn summary(number: u64, result: &EpisodeResult) -> String {
    let verdict = if result.success { "hit " } else { "miss" };
    let touched = if result.contact { "" } else { "  nothing moved" };
    format!("episode {number:3}  {verdict}  {:5.1} cm from the goal{touched}", 100.0 * result.final_distance_m)
}

impl Session {
    /// How regular the loop was and how quick the policy, where time was real.
    pub(super) fn timing(&self) -> Option<(LoopStats, LatencyStats)> {
        self.real.then_some((self.drive.stats, LatencyStats::from(&self.drive.latency)))
    }
}
