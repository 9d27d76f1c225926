//! The policies that come with the program.

use anyhow::Result;
use hindsight::learn::Agent;

/// A policy in this program.
pub(super) struct Shipped {
    /// What it is called, which is its task's name.
    pub name: &'static str,
    /// The policy's file.
    pub onnx: &'static [u8],
    /// The learner's state, to go on from.
    agent: &'static [u8],
}

/// All of them; their cards lie beside the files.
pub(super) const SHIPPED: [Shipped; 4] = [
    Shipped {
        name: "pick-and-place",
        onnx: include_bytes!("../../models/policies/pick-and-place.onnx"),
        agent: include_bytes!("../../models/policies/pick-and-place.agent"),
    },
    Shipped {
        name: "push",
        onnx: include_bytes!("../../models/policies/push.onnx"),
        agent: include_bytes!("../../models/policies/push.agent"),
    },
    Shipped {
        name: "reach",
        onnx: include_bytes!("../../models/policies/reach.onnx"),
        agent: include_bytes!("../../models/policies/reach.agent"),
    },
    Shipped {
        name: "slide",
        onnx: include_bytes!("../../models/policies/slide.onnx"),
        agent: include_bytes!("../../models/policies/slide.agent"),
    },
];

impl Shipped {
    /// The learner that made the policy.
    ///
    /// # Errors
    /// The embedded file is damaged; a test keeps it sound.
    pub(super) fn learner(&self) -> Result<Agent> {
        Ok(Agent::from_bytes(self.agent)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use hindsight::env::simulated::simulated_many;
    use hindsight::learn::evaluate;
    use hindsight::policy::OnnxPolicy;
    use hindsight::task::{Task, TaskKind};
    use sim::{ArmModel, SimParams};

    #[test]
    fn shipped_files_can_be_read_and_belong_together() {
        for shipped in SHIPPED {
            let learner = shipped.learner().unwrap();
            let policy = OnnxPolicy::from_bytes(shipped.onnx, learner.layout()).unwrap();
            assert_eq!(policy.metadata("task"), Some(shipped.name));
            assert_eq!(policy.metadata("steps"), Some(learner.env_steps().to_string().as_str()));
        }
    }

    /// On the nominal arm; the cards have what they reach over more episodes.
    #[test]
    fn shipped_policies_do_their_tasks() {
        for shipped in SHIPPED {
            let kind = TaskKind::from_str(shipped.name, false).unwrap();
            let twin = SimParams::so101_with(kind.prop()).unwrap();
            let task = Task::new(kind, twin.object.rest_height_m());
            let model = ArmModel::so101().unwrap();
            let mut envs = simulated_many(&model, &twin, std::slice::from_ref(&twin), &task, 4).unwrap();
            let policy = || OnnxPolicy::from_bytes(shipped.onnx, task.layout());
            let seeds: Vec<u64> = (0..20).map(|nth| (3 << 40) + nth).collect();
            let result = evaluate(&mut envs, policy, &seeds).unwrap();
            // Chance has a part in where a struck puck comes to rest; random actions never bring it to its goal.
            let expected = if kind == TaskKind::Slide { 11 } else { 18 };
            assert!(result.successes() >= expected, "{}: {} of 20", shipped.name, result.successes());
        }
    }
}
