//! What the control thread does: episodes, one after the other, and an end in good order whatever happens.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Instant;

use firmware_bridge::message::{Fault, Refusal};
use hindsight::arm::{Arm, ArmError};
use hindsight::clock::Clock;
use hindsight::control::{ControlError, ControlLoop, Histogram, LoopStats};
use hindsight::env::{ArmEnv, EnvError, GoalEnv, GoalObservation, Outcome, Scene};
use hindsight::episode::{EndReason, RecordError, Recorder};
use hindsight::learn::evaluate::EpisodeResult;
use hindsight::policy::{Policy, PolicyError};
use hindsight::task::{CONTACT_M, goal_distance_m};
use hindsight::tracker::Tracker;

use super::LossError;
use super::interrupt::Interrupt;
use super::rollout::{EndedLog, Event};

/// How often parking is tried when host and firmware lose each other on the way.
const PARK_TRIES: u32 = 3;

/// Which episodes to run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// How many.
    pub episodes: u64,
    /// Of the first; the following ones have the following seeds.
    pub seed: u64,
    /// The goal of all, instead of drawn ones, m.
    pub goal_m: Option<[f64; 3]>,
    /// Whether each gets a file.
    pub recorded: bool,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Drive {
    /// Whole episodes.
    pub results: Vec<EpisodeResult>,
    /// How long the policy took to act.
    pub latency: Histogram,
    pub stats: LoopStats,
    /// Why it ended early.
    pub failure: Option<Failure>,
    /// What went wrong while parking and releasing.
    pub after: Option<String>,
}

/// Why episodes ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// A person asked.
    Stopped,
    /// The policy gives no actions.
    Policy(PolicyError),
    /// The arm, its line or its environment failed.
    Env(EnvError),
    /// The episode could not be recorded.
    Log(String),
}

impl From<EnvError> for Failure {
    fn from(error: EnvError) -> Self {
        if let Some(ControlError::Stopped) = error.0.downcast_ref() {
            return Self::Stopped;
        }
        if let Some(error) = error.0.downcast_ref::<RecordError>() {
            return Self::Log(error.to_string());
        }
        Self::Env(error)
    }
}

impl Failure {
    /// What the arm's driver said, if it was that.
    fn arm(&self) -> Option<&ArmError> {
        match self {
            Self::Env(error) => match error.0.downcast_ref() {
                Some(ControlError::Arm(error)) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }

    fn reason(&self) -> EndReason {
        match self.arm() {
            Some(ArmError::Link(_) | ArmError::NoAnswer { .. } | ArmError::BusSilent { .. }) => EndReason::PortLost,
            Some(_) => EndReason::Fault,
            None => EndReason::Stopped,
        }
    }

    /// For people; `None` if it was a person's wish.
    pub(super) fn told(&self) -> Option<String> {
        match self {
            Self::Stopped => None,
            Self::Policy(error) => Some(error.to_string()),
            Self::Env(error) => Some(error.to_string()),
            Self::Log(text) => Some(text.clone()),
        }
    }

    /// As the command's error; `None` if it was a person's wish.
    pub(super) fn error(&self) -> Option<anyhow::Error> {
        let text = self.told()?;
        Some(match (self, self.arm()) {
            (Self::Policy(_), _) => anyhow::anyhow!("{text}; the arm was parked and released"),
            (Self::Log(_), _) => LossError(text).into(),
            (_, None | Some(ArmError::OutsideLimits { .. } | ArmError::Refused(_))) => anyhow::anyhow!(text),
            (_, Some(_)) => LossError(text).into(),
        })
    }
}

/// The line to the printing thread and back.
pub(super) struct Line {
    pub events: SyncSender<Event>,
    /// A file for an [`Event::Begun`].
    pub answers: Receiver<Result<Recorder, String>>,
    /// Whether the time is real, so that the control thread must not wait for the other.
    pub real: bool,
}

impl Line {
    /// Never waits: the channel holds more events than can be on their way.
    fn tell(&self, event: Event) {
        // If nobody listens any more, nobody needs to know.
        let _ = self.events.send(event);
    }

    /// The answer, if it is there; in virtual time it is waited for, so that no tick depends on the disk.
    fn answer(&self) -> Option<Result<Recorder, String>> {
        let gone = || Err("the printing thread is gone".to_owned());
        if !self.real {
            return Some(self.answers.recv().unwrap_or_else(|_| gone()));
        }
        match self.answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(gone()),
        }
    }
}

/// Runs `plan`, then parks and releases the arm.
pub(super) fn episodes<A: Arm + Send, C: Clock + Send, T: Tracker + Send, S: Scene>(
    env: &mut ArmEnv<A, C, T, S>,
    policy: &mut dyn Policy,
    plan: &Plan,
    interrupt: &Interrupt,
    line: &Line,
) -> Drive {
    let mut drive = Drive {
        results: Vec::new(),
        latency: Histogram::default(),
        stats: LoopStats::default(),
        failure: None,
        after: None,
    };
    for seed in (0..plan.episodes).map(|i| plan.seed.wrapping_add(i)) {
        match episode(env, policy, plan, seed, interrupt, line, &mut drive.latency) {
            Ok(result) => {
                let log = ended(env, EndReason::Completed, None);
                line.tell(Event::Ended { result: Some(result), log });
                drive.results.push(result);
            }
            Err(failure) => {
                let log = ended(env, failure.reason(), failure.told());
                line.tell(Event::Ended { result: None, log });
                drive.failure = Some(failure);
                break;
            }
        }
    }
    drive.stats = env.control().stats();
    drive.after = end(env, drive.failure.as_ref()).err().map(|error| error.to_string());
    drive
}

fn ended<A: Arm, C: Clock, T: Tracker, S: Scene>(
    env: &mut ArmEnv<A, C, T, S>,
    reason: EndReason,
    fault: Option<String>,
) -> Option<Box<EndedLog>> {
    env.end_recording(reason).map(|(recorder, end)| Box::new(EndedLog { recorder, end, fault }))
}

fn episode<A: Arm + Send, C: Clock + Send, T: Tracker + Send, S: Scene>(
    env: &mut ArmEnv<A, C, T, S>,
    policy: &mut dyn Policy,
    plan: &Plan,
    seed: u64,
    interrupt: &Interrupt,
    line: &Line,
    latency: &mut Histogram,
) -> Result<EpisodeResult, Failure> {
    let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
    let mut action = vec![0.0; env.layout().action];
    env.reset(seed, &mut seen)?;
    if let Some(goal_m) = plan.goal_m {
        env.aim(goal_m, &mut seen);
    }
    if plan.recorded {
        line.tell(Event::Begun(Box::new(env.episode_start(seed))));
        let recorder = env.hold_until(&mut seen, || line.answer())?;
        env.record(recorder.map_err(Failure::Log)?);
    }
    let start = seen.achieved_goal.clone();
    let mut result = EpisodeResult {
        seed,
        success: false,
        final_distance_m: 0.0,
        episode_return: 0.0,
        contact: false,
        steps: 0,
        interventions: 0,
    };
    loop {
        if interrupt.is_stopped() {
            return Err(Failure::Stopped);
        }
        let asked = Instant::now();
        policy.act(&seen, &mut action).map_err(Failure::Policy)?;
        latency.record(asked.elapsed().as_micros() as u64);
        env.step(&action, &mut seen, &mut outcome)?;
        result.steps += 1;
        result.episode_return += outcome.reward;
        result.contact |= goal_distance_m(&start, &seen.achieved_goal) > CONTACT_M;
        result.interventions += usize::from(outcome.intervened);
        if outcome.terminated || outcome.truncated {
            result.success = outcome.success;
            result.final_distance_m = goal_distance_m(&seen.achieved_goal, &seen.desired_goal) as f32;
            return Ok(result);
        }
    }
}

/// Parks, where the arm still obeys, and cuts the power in any case.
fn end<A: Arm + Send, C: Clock + Send, T: Tracker + Send, S: Scene>(
    env: &mut ArmEnv<A, C, T, S>,
    failure: Option<&Failure>,
) -> Result<(), ControlError> {
    let control = env.control_mut();
    let parked = match failure.and_then(Failure::arm) {
        Some(error) if is_silence(error) => take_over(control).and_then(|()| park(control)),
        // The arm obeys, but for the one message.
        None | Some(ArmError::Refused(_)) => park(control),
        // The port is gone, or the power is off already.
        Some(_) => Ok(()),
    };
    let released = control.abort();
    parked.and(released)
}

/// Parks, if there is power; an arm that its firmware stops on the way is taken over again.
fn park<A: Arm, C: Clock>(control: &mut ControlLoop<A, C>) -> Result<(), ControlError> {
    for _ in 1..PARK_TRIES {
        match control.park() {
            Err(ControlError::Arm(error)) if is_silence(&error) => take_over(control)?,
            // Stopped: a person wants the power cut where the arm is.
            Ok(()) | Err(ControlError::NotStarted | ControlError::Stopped) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    control.park()
}

/// Whether host and firmware have not heard of each other for a while: the firmware holds the arm, or soon will.
fn is_silence(error: &ArmError) -> bool {
    matches!(error, ArmError::NoAnswer { .. } | ArmError::Fault(Fault::Watchdog))
}

/// Takes the arm over from its firmware, which cuts the power for the time of two messages.
fn take_over<A: Arm, C: Clock>(control: &mut ControlLoop<A, C>) -> Result<(), ControlError> {
    match control.clear_fault() {
        // There is none yet: the arm is still under our power.
        Ok(()) | Err(ControlError::Arm(ArmError::Refused(Refusal::WrongMode))) => control.start(),
        Err(error) => Err(error),
    }
}
