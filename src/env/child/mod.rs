//! Environments in a child process: any simulator that speaks the protocol of `docs/env-protocol.md`.

mod message;
mod process;

use std::ffi::OsString;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{EnvError, GoalEnv, GoalObservation, Layout, Outcome, RewardRule};
use message::{Answer, Hello, Question};
use process::Process;

/// The server for Gymnasium's environments.
const GYMNASIUM_SERVER: &str = include_str!("gymnasium.py");
/// Names the Python interpreter that runs it.
const PYTHON_VARIABLE: &str = "HINDSIGHT_PYTHON";
/// Environments that share a process. The learner steps them in turns on one thread, so that more processes would
/// wait and fewer would leave cores idle.
const ENVS_A_PROCESS: usize = 4;
/// A simulator may compile or load before it answers.
const HELLO_TIMEOUT: Duration = Duration::from_secs(120);
/// Everything else takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which simulator to start; its text form is what `--env` takes.
///
/// ```
/// let spec: hindsight::env::ChildSpec = "gymnasium:FetchPush-v4".parse()?;
/// assert_eq!(spec.to_string(), "gymnasium:FetchPush-v4");
/// # Ok::<(), hindsight::env::ChildError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildSpec {
    /// `gymnasium:ID`: a goal environment of Gymnasium, by its registered name.
    Gymnasium(String),
    /// `exec:COMMAND`: what the shell starts, speaking the protocol.
    Exec(String),
}

impl FromStr for ChildSpec {
    type Err = ChildError;

    fn from_str(text: &str) -> Result<Self, ChildError> {
        match text.split_once(':') {
            Some(("gymnasium", id)) if !id.is_empty() => Ok(Self::Gymnasium(id.to_owned())),
            Some(("exec", command)) if !command.is_empty() => Ok(Self::Exec(command.to_owned())),
            _ => Err(ChildError::Spec { found: text.to_owned() }),
        }
    }
}

impl std::fmt::Display for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gymnasium(id) => write!(f, "gymnasium:{id}"),
            Self::Exec(command) => write!(f, "exec:{command}"),
        }
    }
}

impl ChildSpec {
    /// Program and arguments.
    fn command(&self) -> (OsString, Vec<&str>) {
        match self {
            Self::Gymnasium(id) => {
                let python = std::env::var_os(PYTHON_VARIABLE).unwrap_or_else(|| "python3".into());
                (python, vec!["-c", GYMNASIUM_SERVER, id])
            }
            Self::Exec(command) => ("sh".into(), vec!["-c", command]),
        }
    }

    /// What to try when the child cannot be worked with.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Gymnasium(_) => {
                "it needs Python with the packages gymnasium and, for the Fetch tasks, gymnasium-robotics and mujoco; \
                 name the interpreter that has them in HINDSIGHT_PYTHON"
            }
            Self::Exec(_) => "docs/env-protocol.md says what is expected of it",
        }
    }
}

/// Why a child's environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Not the name of an environment.
    #[error(
        "the environment {found:?} is unknown: expected gymnasium:ID, such as gymnasium:FetchPush-v4, or exec:COMMAND"
    )]
    Spec {
        /// What was given.
        found: String,
    },
    /// The program cannot be started.
    #[error("{spec}: cannot start {program}: {source}; {}", spec.remedy())]
    Start {
        /// Which environment.
        spec: ChildSpec,
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The child ended, was silent for too long, or said what it must not.
    #[error("{spec}: {what}; {}{stderr}", spec.remedy())]
    Broken {
        /// Which environment.
        spec: ChildSpec,
        /// What happened.
        what: String,
        /// The last lines of its standard error, led by a line break; empty without any.
        stderr: String,
    },
}

/// One environment of a child process. The process ends with the last of its environments.
#[derive(Debug)]
pub struct ChildEnv {
    process: Arc<Mutex<Process>>,
    number: u32,
    hello: Hello,
}

/// Starts child processes that hold `count` environments between them.
///
/// # Errors
/// A child cannot be started, or does not say what it should.
pub fn child_many(spec: &ChildSpec, count: usize) -> Result<Vec<Box<dyn GoalEnv>>, EnvError> {
    // All are started before the first is waited for: loading a simulator takes seconds.
    let sizes = (0..count.div_ceil(ENVS_A_PROCESS)).map(|i| ENVS_A_PROCESS.min(count - i * ENVS_A_PROCESS) as u32);
    let mut started = Vec::new();
    for size in sizes {
        let mut process = Process::start(spec).map_err(EnvError::new)?;
        process.ask(&Question::Hello { envs: size }).map_err(EnvError::new)?;
        started.push((process, size));
    }
    let mut envs: Vec<Box<dyn GoalEnv>> = Vec::with_capacity(count);
    for (mut process, size) in started {
        let hello = match process.answer(HELLO_TIMEOUT, Hello::default()).map_err(EnvError::new)? {
            Answer::Hello(hello) => hello,
            other => return Err(EnvError::new(process.broken(format!("it answered hello with {}", other.name())))),
        };
        let process = Arc::new(Mutex::new(process));
        envs.extend((0..size).map(|number| {
            Box::new(ChildEnv { process: Arc::clone(&process), number, hello: hello.clone() }) as Box<dyn GoalEnv>
        }));
    }
    Ok(envs)
}

impl ChildEnv {
    fn process(&self) -> MutexGuard<'_, Process> {
        // A panic elsewhere leaves at worst an unread answer, which the next exchange reports.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GoalEnv for ChildEnv {
    fn layout(&self) -> Layout {
        self.hello.layout
    }

    fn reset(&mut self, seed: u64, out: &mut GoalObservation) -> Result<(), EnvError> {
        let mut process = self.process();
        process.ask(&Question::Reset { env: self.number, seed }).map_err(EnvError::new)?;
        match process.answer(TIMEOUT, self.hello.clone()).map_err(EnvError::new)? {
            Answer::State(seen) => {
                *out = seen;
                Ok(())
            }
            other => Err(EnvError::new(process.broken(format!("it answered reset with {}", other.name())))),
        }
    }

    fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError> {
        let mut process = self.process();
        process.ask(&Question::Step { env: self.number, action }).map_err(EnvError::new)?;
        match process.answer(TIMEOUT, self.hello.clone()).map_err(EnvError::new)? {
            Answer::Stepped { flags, seen } => {
                *out = seen;
                outcome.terminated = flags.terminated;
                outcome.truncated = flags.truncated;
                outcome.success = flags.success;
            }
            other => return Err(EnvError::new(process.broken(format!("it answered step with {}", other.name())))),
        }
        drop(process);
        outcome.reward = self.compute_reward(&out.achieved_goal, &out.desired_goal);
        outcome.applied.clear();
        outcome.applied.extend_from_slice(action);
        outcome.intervened = false;
        Ok(())
    }

    fn reward_rule(&self) -> RewardRule {
        // The protocol counts the radius itself as a success.
        RewardRule::Sparse { radius: f64::from(self.hello.success_radius).next_up() }
    }
}

#[cfg(test)]
mod tests;
