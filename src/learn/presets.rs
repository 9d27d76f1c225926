//! What to start from: what measured best, a task. What was tried: `docs/learning.md` and `docs/slide.md`.

use super::hyper::Hyper;
use crate::env::ChildSpec;
use crate::task::TaskKind;

/// A training's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Environment steps; rates fall towards their end.
    pub env_steps: u64,
    /// Hyper-parameters.
    pub hyper: Hyper,
}

impl Preset {
    /// Of a task on the SO-101. How far seeds of slide come: `docs/slide.md`.
    pub fn of_task(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Reach => {
                let hyper =
                    Hyper { hidden: vec![64, 64], warmup_steps: 3_000, steps_per_update: 4.0, ..Hyper::default() };
                Self { env_steps: 40_000, hyper }
            }
            // Two thirds of the steps to 90 % that 1 takes; a seed of FetchPush and one of pick-and-place gained nothing.
            TaskKind::Push => {
                Self { env_steps: 700_000, hyper: Hyper { hidden: vec![128, 128], n_step: 3, ..with_object() } }
            }
            TaskKind::Slide => {
                let hyper = Hyper {
                    steps_per_update: 4.0,
                    goal_zoom: 6.0,
                    turn_rad: 0.4,
                    imitate_from: 0.12,
                    held_steps: 4.0,
                    // What the policy did long ago is no longer worth imitating.
                    replay_transitions: 400_000,
                    ..with_object()
                };
                Self { env_steps: 1_600_000, hyper }
            }
            TaskKind::PickAndPlace => {
                let hyper = Hyper { hidden: vec![128, 128], lifted_share: 0.2, curriculum_share: 0.5, ..with_object() };
                Self { env_steps: 1_200_000, hyper }
            }
        }
    }

    /// Of somebody else's environment: the Fetch tasks of gymnasium-robotics by their names, whatever their version;
    /// any other is taken to be as hard as FetchPush.
    pub fn of_env(env: &ChildSpec) -> Self {
        let id = match env {
            ChildSpec::Gymnasium(id) => id.as_str(),
            ChildSpec::Exec(_) => "",
        };
        // The module that registers it may stand before it.
        let id = id.rsplit_once(':').map_or(id, |(_, id)| id);
        match id.split_once("-v").map_or(id, |(name, _)| name) {
            "FetchReach" => Self::of_task(TaskKind::Reach),
            "FetchPush" => Self { env_steps: 400_000, hyper: seeing_contact() },
            "FetchSlide" => {
                let hyper = Hyper {
                    goal_zoom: 6.0,
                    replay_transitions: 400_000,
                    final_exploration_share: 0.1,
                    ..seeing_contact()
                };
                Self { env_steps: 1_600_000, hyper }
            }
            "FetchPickAndPlace" => {
                let hyper = Hyper { lifted_share: 0.2, curriculum_share: 0.5, ..with_object() };
                Self { env_steps: 1_400_000, hyper }
            }
            _ => Self { env_steps: 1_000_000, hyper: with_object() },
        }
    }
}

/// Of any task that moves an object. FetchPush stayed at 5 % with 2×128.
fn with_object() -> Hyper {
    Hyper { actor_every: 2, twin_critic: true, steps_per_update: 5.0, ..Hyper::default() }
}

/// Numbers 6 to 8 of Fetch's observations lead from the gripper to the object.
fn seeing_contact() -> Hyper {
    Hyper { zoomed_columns: vec![6, 7, 8], ..with_object() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Layout;

    #[test]
    fn every_preset_can_be_trained_with() {
        let fetch = ["FetchReach-v4", "FetchPush-v4", "FetchSlide-v4", "FetchPickAndPlace-v4", "Other-v0"];
        let of_fetch = fetch.map(|id| (10 + 15 * usize::from(id != "FetchReach-v4"), Preset::of_env(&gymnasium(id))));
        let kinds = [TaskKind::Reach, TaskKind::Push, TaskKind::Slide, TaskKind::PickAndPlace];
        let of_tasks =
            kinds.map(|kind| (crate::task::Task::new(kind, 0.0).layout().observation, Preset::of_task(kind)));
        for (observation, preset) in of_fetch.into_iter().chain(of_tasks) {
            preset.hyper.check().unwrap();
            preset.hyper.check_columns(Layout { observation, goal: 3, action: 4 }).unwrap();
            assert!(preset.env_steps > preset.hyper.warmup_steps);
        }
    }

    #[test]
    fn the_fetch_tasks_are_told_by_their_names() {
        let of = |id| Preset::of_env(&gymnasium(id));
        assert_eq!(of("FetchPush-v4"), of("gymnasium_robotics:FetchPush-v2"));
        assert_ne!(of("FetchPush-v4").hyper, of("FetchPushDense-v4").hyper);
        assert_eq!(of("FetchPushDense-v4"), Preset::of_env(&ChildSpec::Exec("FetchPush-v4".to_owned())));
    }

    fn gymnasium(id: &str) -> ChildSpec {
        ChildSpec::Gymnasium(id.to_owned())
    }
}
