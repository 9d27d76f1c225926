//! Which policy: a file, one that is shipped with the program, or one that knows nothing.

use std::io::Read;

use anyhow::{Context, Result, bail};
use hindsight::env::Layout;
use hindsight::episode::reader::sha256_hex;
use hindsight::learn::Agent;
use hindsight::policy::{OnnxPolicy, PickExpert, Policy, PushExpert, RandomPolicy, SlideExpert, StillPolicy};
use hindsight::task::{Task, TaskKind};
use std::borrow::Cow;
use std::path::Path;

use super::shipped::SHIPPED;

/// Largest policy file, bytes; ours are under 1 MB.
const FILE_MAX: u64 = 64 << 20;

/// The learner's state of a policy that was asked for: of a shipped one, or out of the file beside a policy's file.
///
/// # Errors
/// There is none, or it is damaged.
pub(super) fn find_agent(asked: &str) -> Result<Agent> {
    if let Some(shipped) = SHIPPED.iter().find(|shipped| shipped.name == asked) {
        return shipped.learner();
    }
    if ["still", "random", "expert"].contains(&asked) {
        bail!("the policy {asked} cannot learn; name one that `hindsight train` made");
    }
    let file = Path::new(asked).with_extension("agent");
    if !file.is_file() {
        bail!(
            "no learner's state {}: expected it beside the policy; copy the .agent file that `hindsight train` wrote \
             with the policy, or train one",
            file.display()
        );
    }
    Agent::load(&file).with_context(|| format!("in {}", file.display()))
}

/// A policy that was asked for, read but not yet loaded.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    /// Does nothing.
    Still,
    /// Acts at random.
    Random,
    /// Pushes by rules.
    Expert,
    /// A trained one.
    Model {
        /// Its name or its file's, without the folder.
        name: String,
        /// An ONNX file's content.
        bytes: Cow<'static, [u8]>,
    },
}

impl Choice {
    /// Finds what `--policy` names; without it, the shipped policy of the task.
    ///
    /// # Errors
    /// There is no such policy, or its file cannot be read.
    pub(super) fn find(asked: Option<&str>, task: TaskKind) -> Result<Self> {
        Self::named(asked.unwrap_or(task.name()))
    }

    /// Finds a policy by its name or file.
    ///
    /// # Errors
    /// There is no such policy, or its file cannot be read.
    pub(super) fn named(asked: &str) -> Result<Self> {
        match asked {
            "still" => return Ok(Self::Still),
            "random" => return Ok(Self::Random),
            "expert" => return Ok(Self::Expert),
            _ => {}
        }
        if let Some(shipped) = SHIPPED.iter().find(|shipped| shipped.name == asked) {
            return Ok(Self::Model { name: asked.to_owned(), bytes: Cow::Borrowed(shipped.onnx) });
        }
        let read = || {
            let mut bytes = Vec::new();
            std::fs::File::open(asked)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        };
        let bytes = read().with_context(|| {
            let known: String = SHIPPED.iter().map(|shipped| format!("{}, ", shipped.name)).collect();
            format!("cannot read the policy {asked}; expected an ONNX file, or one of {known}expert, random, still")
        })?;
        let name = asked.rsplit('/').next().unwrap_or(asked).to_owned();
        Ok(Self::Model { name, bytes: Cow::Owned(bytes) })
    }

    /// Loads the policy and checks that it is one for `task`.
    ///
    /// # Errors
    /// It is for something else, or no policy.
    pub(super) fn load(&self, task: &Task, seed: u64) -> Result<Box<dyn Policy>> {
        Ok(match (self, task.kind) {
            (Self::Expert, TaskKind::Push) => Box::new(PushExpert::default()),
            (Self::Expert, TaskKind::Slide) => Box::new(SlideExpert::default()),
            (Self::Expert, TaskKind::PickAndPlace) => Box::new(PickExpert::default()),
            _ => self.load_for(task.layout(), task.kind.name(), seed)?,
        })
    }

    /// Loads the policy for an environment of this layout and name.
    ///
    /// # Errors
    /// It is for something else, or no policy.
    pub(super) fn load_for(&self, layout: Layout, expected: &str, seed: u64) -> Result<Box<dyn Policy>> {
        Ok(match self {
            Self::Still => Box::new(StillPolicy),
            Self::Random => Box::new(RandomPolicy::new(seed)),
            Self::Expert => bail!("the policy expert: expected a task on an arm with an object, found {expected}"),
            Self::Model { name, bytes } => {
                let policy = OnnxPolicy::from_bytes(bytes, layout).with_context(|| format!("the policy {name}"))?;
                if let Some(found) = policy.metadata("task").filter(|found| *found != expected) {
                    bail!("the policy {name}: expected one trained for {expected}, found one for {found}");
                }
                Box::new(policy)
            }
        })
    }

    /// Name for people and for the log.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Still => "still",
            Self::Random => "random",
            Self::Expert => "expert",
            Self::Model { name, .. } => name,
        }
    }

    /// SHA-256 of the policy's file; empty if it has none.
    pub(super) fn sha256(&self) -> String {
        match self {
            Self::Model { bytes, .. } => sha256_hex(bytes),
            _ => String::new(),
        }
    }
}
