//! What to start from, a task: `None` is somebody else's environment, taken to be as hard as push.

use super::hyper::Hyper;
use crate::task::TaskKind;

/// Environment steps of a training. How far seeds of slide come: `docs/slide.md`.
pub fn env_steps(task: Option<TaskKind>) -> u64 {
    match task {
        None => 1_000_000,
        Some(TaskKind::Reach) => 40_000,
        Some(TaskKind::Push) => 700_000,
        Some(TaskKind::PickAndPlace) => 1_200_000,
        Some(TaskKind::Slide) => 1_600_000,
    }
}

/// Hyper-parameters of what measured best. What was tried: `docs/learning.md` and `docs/slide.md`.
pub fn hyper(task: Option<TaskKind>) -> Hyper {
    let pushing = Hyper { actor_every: 2, twin_critic: true, steps_per_update: 5.0, ..Hyper::default() };
    match task {
        Some(TaskKind::Reach) => {
            Hyper { hidden: vec![64, 64], warmup_steps: 3_000, steps_per_update: 4.0, ..Hyper::default() }
        }
        // Two thirds of the steps to 90 % that 1 takes; a seed of FetchPush and one of pick-and-place gained nothing.
        Some(TaskKind::Push) => Hyper { hidden: vec![128, 128], n_step: 3, ..pushing },
        Some(TaskKind::Slide) => Hyper {
            steps_per_update: 4.0,
            goal_zoom: 6.0,
            turn_rad: 0.4,
            imitate_from: 0.12,
            held_steps: 4.0,
            // What the policy did long ago is no longer worth imitating.
            replay_transitions: 400_000,
            ..pushing
        },
        Some(TaskKind::PickAndPlace) => {
            Hyper { hidden: vec![128, 128], lifted_share: 0.2, curriculum_share: 0.5, ..pushing }
        }
        // FetchPush stayed at 5 % with 2×128, and its steps cost more than ours.
        None => pushing,
    }
}
