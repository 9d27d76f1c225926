//! Where a policy learns and is judged: the paired simulator, or anyone else's.

use anyhow::Result;
use clap::Args;
use hindsight::env::child::child_many;
use hindsight::env::simulated::simulated_many;
use hindsight::env::{ChildSpec, EnvError, GoalEnv};
use hindsight::learn::presets::Preset;
use hindsight::task::{Task, TaskKind};
use sim::{ArmModel, SimParams};

/// Which environments are meant.
#[derive(Debug, Clone, Args)]
pub(super) struct WorldArgs {
    /// What the policy shall do
    #[arg(long, value_enum, required_unless_present = "env", conflicts_with = "env")]
    pub(super) task: Option<TaskKind>,
    /// Another simulator in place of --task: gymnasium:ID, or exec:COMMAND that speaks docs/env-protocol.md
    #[arg(long)]
    pub(super) env: Option<ChildSpec>,
}

/// Makes environments that are all alike.
pub(super) enum World {
    /// A task on the nominal simulated arm.
    Arm {
        /// The arm.
        model: Box<ArmModel>,
        /// Its simulation.
        twin: Box<SimParams>,
        /// What to do.
        task: Box<Task>,
    },
    /// Somebody else's simulator.
    Child(ChildSpec),
}

impl WorldArgs {
    /// Name of the task, or of the environment in its place.
    pub(super) fn name(&self) -> String {
        self.env.as_ref().map_or_else(|| self.kind().name().to_owned(), ChildSpec::to_string)
    }

    /// What a training there starts from.
    pub(super) fn preset(&self) -> Preset {
        self.env.as_ref().map_or_else(|| Preset::of_task(self.kind()), Preset::of_env)
    }

    /// What to do where there is no environment in the task's place.
    fn kind(&self) -> TaskKind {
        self.task.unwrap_or(TaskKind::Push)
    }

    /// Reads what the environments are made of.
    ///
    /// # Errors
    /// The arm's description is damaged.
    pub(super) fn world(&self) -> Result<World> {
        if let Some(spec) = &self.env {
            return Ok(World::Child(spec.clone()));
        }
        let kind = self.kind();
        let twin = SimParams::so101_with(kind.prop())?;
        let task = Task::new(kind, twin.object.rest_height_m());
        Ok(World::Arm { model: Box::new(ArmModel::so101()?), twin: Box::new(twin), task: Box::new(task) })
    }
}

impl World {
    /// `count` environments.
    ///
    /// # Errors
    /// The simulator does not start.
    pub(super) fn envs(&self, count: usize) -> Result<Vec<Box<dyn GoalEnv>>, EnvError> {
        match self {
            Self::Arm { model, twin, task } => {
                let twin = twin.as_ref();
                simulated_many(model, twin, std::slice::from_ref(twin), task, count)
            }
            Self::Child(spec) => child_many(spec, count),
        }
    }
}
