//! The learner's actor on its own: a policy that needs no file.

use super::agent::Agent;
use super::features;
use super::hyper::Hyper;
use super::network::{Network, Pass};
use super::normalizer::Normalizer;
use crate::env::{GoalObservation, Layout};
use crate::policy::{Policy, PolicyError, check_length};

/// A frozen copy of an agent's actor and normaliser, for a fixed number of observations at a time.
#[derive(Debug, Clone)]
pub struct Actor {
    layout: Layout,
    normalizer: Normalizer,
    hyper: Hyper,
    network: Network,
    pass: Pass,
}

impl Actor {
    /// Freezes `agent` as it is, to act on `rows` observations at a time (1 for a [`Policy`]).
    pub fn new(agent: &Agent, rows: usize) -> Self {
        let pass = Pass::new(&agent.actor.network, rows);
        Self {
            layout: agent.layout,
            normalizer: agent.normalizer.clone(),
            hyper: agent.hyper.clone(),
            network: agent.actor.network.clone(),
            pass,
        }
    }

    /// Takes over what `agent` has learned since.
    pub(crate) fn refresh(&mut self, agent: &Agent) {
        self.normalizer.clone_from(&agent.normalizer);
        self.network.parameters_mut().copy_from_slice(agent.actor.network.parameters());
    }

    /// Sets what is seen in one of the rows. The vectors must have the layout's lengths.
    pub(crate) fn observe(&mut self, row: usize, seen: &GoalObservation) {
        let width = self.network.sizes()[0];
        let input = &mut self.pass.input_mut()[row * width..(row + 1) * width];
        let GoalObservation { observation, achieved_goal, desired_goal } = seen;
        features::prepare(&self.normalizer, &self.hyper, observation, achieved_goal, desired_goal, input);
    }

    /// Actions for all rows, row-major.
    pub(crate) fn forward(&mut self) -> &[f32] {
        self.network.forward(&mut self.pass);
        self.pass.output()
    }
}

impl Policy for Actor {
    fn act(&mut self, observation: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        let Layout { observation: o, goal, action: a } = self.layout;
        check_length("observation", &observation.observation, o)?;
        check_length("achieved_goal", &observation.achieved_goal, goal)?;
        check_length("desired_goal", &observation.desired_goal, goal)?;
        check_length("action", action, a)?;
        self.observe(0, observation);
        self.network.forward(&mut self.pass);
        action.copy_from_slice(&self.pass.output()[..a]);
        Ok(())
    }
}
