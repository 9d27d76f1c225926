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
pub(super) const SHIPPED: [Shipped; 2] = [
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
    use hindsight::policy::OnnxPolicy;

    #[test]
    fn shipped_files_can_be_read_and_belong_together() {
        for shipped in SHIPPED {
            let learner = shipped.learner().unwrap();
            let policy = OnnxPolicy::from_bytes(shipped.onnx, learner.layout()).unwrap();
            assert_eq!(policy.metadata("task"), Some(shipped.name));
            assert_eq!(policy.metadata("steps"), Some(learner.env_steps().to_string().as_str()));
        }
    }
}
