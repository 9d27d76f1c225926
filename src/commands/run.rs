//! `hindsight run`: a policy drives an arm.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use hindsight::task::{Task, TaskKind};

use super::choice::Choice;
use super::drive::Plan;
use super::rig::RigArgs;
use super::{Common, Finish, UsageError, report, rollout};

/// Let a policy drive an arm
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    rig: RigArgs,
    /// An ONNX file, the name of a policy in this program, or expert, random or still [default: the task's]
    #[arg(long)]
    policy: Option<String>,
    /// How many episodes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    episodes: u64,
    /// One episode with this goal, in metres ahead of and to the left of the base, and above the table
    #[arg(long, value_name = "X,Y[,Z]", allow_hyphen_values = true, conflicts_with = "episodes")]
    goal: Option<String>,
}

impl Run {
    /// Runs the episodes; the arm ends parked and without power.
    ///
    /// # Errors
    /// Before anything moves: wrong use, a policy for something else, no arm. After: see [`report::conclude`].
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let begun = Instant::now();
        let setup = self.rig.setup()?;
        let goal_m = self.goal.as_deref().map(|text| goal(text, &setup.task)).transpose()?;
        let choice = Choice::find(self.policy.as_deref(), self.rig.task)?;
        let mut policy = choice.load(&setup.task, common.seed)?;
        let episodes = if goal_m.is_some() { 1 } else { self.episodes };
        let plan = Plan { episodes, seed: common.seed, goal_m, recorded: false };
        let session = rollout::run(&self.rig, &setup, &mut policy, &plan, None, common)?;
        report::conclude(common, self.rig.task, session, begun, serde_json::json!({}))
    }
}

/// Parses a goal, and checks that the task can have it.
fn goal(text: &str, task: &Task) -> Result<[f64; 3]> {
    let (lower, upper) = (task.goals.lower, task.goals.upper);
    let wrong = |expected: String| UsageError(format!("--goal {text}: expected {expected}; nothing has moved"));
    let numbers: Vec<f64> = text
        .split(',')
        .map(|part| part.trim().parse().ok().filter(|x: &f64| x.is_finite()))
        .collect::<Option<_>>()
        .ok_or_else(|| wrong("numbers X,Y or X,Y,Z in metres".into()))?;
    let goal_m = match (numbers[..].as_ref(), task.kind) {
        (&[x, y, z], _) => [x, y, z],
        (&[x, y], TaskKind::Push | TaskKind::Slide | TaskKind::PickAndPlace) => [x, y, lower[2]],
        (_, TaskKind::Push | TaskKind::Slide) => return Err(wrong("X,Y in metres".into()).into()),
        (_, TaskKind::PickAndPlace) => return Err(wrong("X,Y or X,Y,Z in metres".into()).into()),
        (_, TaskKind::Reach) => return Err(wrong("X,Y,Z in metres".into()).into()),
    };
    if !task.goals.contains(&goal_m) {
        let range = |i: usize| format!("{} in {}..{} m", ["x", "y", "z"][i], lower[i], upper[i]);
        return Err(wrong(format!(
            "a goal in the workspace of {}: {}, {}, {}",
            task.kind.name(),
            range(0),
            range(1),
            range(2)
        ))
        .into());
    }
    Ok(goal_m)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_goal_in_the_workspace_is_taken() {
        let push = Task::new(TaskKind::Push, 0.01);
        let reach = Task::new(TaskKind::Reach, 0.01);
        assert_eq!(goal("0.2,-0.05", &push).unwrap(), [0.2, -0.05, 0.01]);
        assert_eq!(goal("0.2, -0.05, 0.1", &reach).unwrap(), [0.2, -0.05, 0.1]);
        for text in ["0.2", "0.2,0.5", "0.2,nan", "a,b", "", "0.2,0,0.3", "0.2,0,0.01,0", "inf,0"] {
            let error = goal(text, &push).unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().contains("expected"), "{error}");
        }
        assert!(goal("0.2,0", &reach).is_err(), "a point in the air has a height");
    }
}
