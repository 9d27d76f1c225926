//! `hindsight episodes import`: a LeRobot dataset as episodes to learn from.

use anyhow::Result;
use clap::Args;
use hindsight::episode::import::{Imported, Losses, lerobot};
use hindsight::kinematics::Kinematics;
use hindsight::task::{Task, TaskKind};
use serde_json::json;
use sim::{ArmModel, SimParams};
use std::path::PathBuf;

use super::super::{Common, Finish, output};

/// Take in a LeRobot dataset (version 3.0) of the same arm, to learn from
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Folder of the dataset, with meta/ and data/. Body joints in degrees from the middle of their range (LeRobot's
    /// use_degrees), the gripper in 0 to 100
    dataset: PathBuf,
    /// The task that is done in it
    #[arg(long, value_enum)]
    task: TaskKind,
    /// Folder for the episodes; those that are there stay, and new ones have the next numbers
    #[arg(long)]
    out: PathBuf,
}

impl Import {
    /// Writes the episodes, and tells what of them was lost.
    ///
    /// # Errors
    /// The dataset is damaged, of another version, arm or task, or lacks what the task needs; nothing was written.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let model = ArmModel::so101()?;
        let kinematics = Kinematics::new(&model)?;
        let height_m = SimParams::so101_with(self.task.prop())?.object.rest_height_m();
        let task = Task::new(self.task, height_m);
        let bar = output::progress("episodes", 0);
        let done = lerobot(&self.dataset, &self.out, &model, &kinematics, &task, |total| {
            bar.set_length(total);
            bar.inc(1);
        })?;
        bar.finish_and_clear();
        let Imported { episodes, too_short, frames, transitions, losses, cameras } = &done;
        let place = self.out.display();
        let mut text =
            format!("{episodes} episodes with {transitions} steps, from {frames} frames, written to {place}");
        if *too_short > 0 {
            text += &format!("\n{too_short} episodes are shorter than a policy step and were left out");
        }
        match losses {
            None => text += "\nthe steps are those that were recorded; joints' velocities and loads are lost",
            Some(losses) => text += &told(losses, *transitions),
        }
        if !cameras.is_empty() {
            text += &format!("\npictures are not taken: {}", cameras.join(", "));
        }
        output::say(common, &text);
        let losses = losses.map(|losses| {
            json!({
                "too_fast": losses.too_fast,
                "outside_workspace": losses.outside_workspace,
                "hand_off_rad": losses.hand_off_rad,
                "outside_limits": losses.outside_limits,
                "goal_from_end": losses.goal_from_end,
            })
        });
        output::finish(
            common,
            &json!({
                "task": self.task.name(),
                "episodes": episodes,
                "too_short": too_short,
                "frames": frames,
                "transitions": transitions,
                "losses": losses,
                "cameras": cameras,
            }),
        );
        Ok(Finish::Done)
    }
}

/// What joint goals lose on the way to fingertip displacements, for people.
fn told(losses: &Losses, steps: u64) -> String {
    let Losses { too_fast, outside_workspace, hand_off_rad, outside_limits, goal_from_end } = losses;
    let mut text = format!(
        "\nlost: stamps (made up from the rate), joints' velocities and loads, frames between steps,\n\
         the hand's pitch and roll, on the mean {:.0}° from those of a policy's hand;\n\
         in {too_fast} of {steps} steps the fingertip was wanted farther than an action takes it,\n\
         in {outside_workspace} beyond the safety filter's workspace",
        hand_off_rad.to_degrees()
    );
    if *outside_limits > 0 {
        text += &format!(
            "\n{outside_limits} frames have a joint outside the arm's limits: was it calibrated otherwise, or are these \
             no degrees?"
        );
    }
    if *goal_from_end {
        text += "\nthe goal of an episode is what it achieves at its end: the dataset has no observation.goal";
    }
    text
}
