//! The learning agent: its networks, their targets and optimisers, and the normaliser.

use super::adam::Adam;
use super::ddpg::Workspace;
use super::features;
use super::hyper::{Hyper, HyperError};
use super::network::{Network, Output};
use super::normalizer::Normalizer;
use super::schedule::Schedule;
use crate::env::Layout;
use rand::Rng;

/// A network with what its learning remembers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Learned {
    pub(crate) network: Network,
    pub(crate) target: Network,
    pub(crate) adam: Adam,
}

/// Actor, critics, their targets and the normaliser: everything that learning goes on from.
#[derive(Debug, Clone)]
pub struct Agent {
    pub(crate) hyper: Hyper,
    pub(crate) layout: Layout,
    pub(crate) normalizer: Normalizer,
    pub(crate) actor: Learned,
    pub(crate) critics: Vec<Learned>,
    pub(crate) updates: u64,
    pub(crate) env_steps: u64,
    /// Updates since this agent was made or loaded.
    pub(crate) recent_updates: u64,
    /// Set by the trainer as its budget is spent.
    pub(crate) schedule: Schedule,
    pub(crate) workspace: Option<Box<Workspace>>,
}

/// Equal in everything that is saved.
impl PartialEq for Agent {
    fn eq(&self, other: &Self) -> bool {
        self.hyper == other.hyper
            && self.layout == other.layout
            && self.normalizer == other.normalizer
            && self.actor == other.actor
            && self.critics == other.critics
            && (self.updates, self.env_steps) == (other.updates, other.env_steps)
    }
}

impl Agent {
    /// An untrained agent.
    ///
    /// # Errors
    /// A hyper-parameter is out of range.
    pub fn new(hyper: Hyper, layout: Layout, rng: &mut impl Rng) -> Result<Self, HyperError> {
        hyper.check()?;
        hyper.check_columns(layout)?;
        let (width, input) = (features::width(layout), features::input_width(layout, &hyper));
        let mut learned = |input: usize, out: usize, output: Output| {
            let sizes: Vec<usize> = [input].into_iter().chain(hyper.hidden.iter().copied()).chain([out]).collect();
            let network = Network::new(&sizes, output, rng);
            let adam = Adam::new(network.parameters().len());
            Learned { target: network.clone(), network, adam }
        };
        let actor = learned(input, layout.action, Output::Tanh);
        let count = if hyper.twin_critic { 2 } else { 1 };
        let critics = (0..count).map(|_| learned(input + layout.action, 1, Output::Linear)).collect();
        Ok(Self::from_parts(hyper, layout, Normalizer::new(width), actor, critics, 0, 0))
    }

    pub(crate) fn from_parts(
        hyper: Hyper,
        layout: Layout,
        normalizer: Normalizer,
        actor: Learned,
        critics: Vec<Learned>,
        updates: u64,
        env_steps: u64,
    ) -> Self {
        Self {
            hyper,
            layout,
            normalizer,
            actor,
            critics,
            updates,
            env_steps,
            recent_updates: 0,
            schedule: Schedule::STEADY,
            workspace: None,
        }
    }

    /// Hyper-parameters.
    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    /// Changes the hyper-parameters of what comes next, for example for fine-tuning. The networks' sizes, the
    /// number of critics and what the networks see stay as they are.
    ///
    /// # Errors
    /// A value is out of range, or would change the networks.
    pub fn set_hyper(&mut self, hyper: Hyper) -> Result<(), HyperError> {
        hyper.check()?;
        let made = &self.hyper;
        let fixed = [
            ("hidden", hyper.hidden == made.hidden, format!("{:?}", hyper.hidden)),
            ("twin_critic", hyper.twin_critic == made.twin_critic, hyper.twin_critic.to_string()),
            ("goal_zoom", hyper.goal_zoom == made.goal_zoom, hyper.goal_zoom.to_string()),
            ("column_zoom", hyper.column_zoom == made.column_zoom, hyper.column_zoom.to_string()),
            ("zoomed_columns", hyper.zoomed_columns == made.zoomed_columns, format!("{:?}", hyper.zoomed_columns)),
        ];
        if let Some((name, _, found)) = fixed.into_iter().find(|(_, same, _)| !same) {
            return Err(HyperError::Range { name, found, expected: "what the agent was made with" });
        }
        self.hyper = hyper;
        self.workspace = None;
        Ok(())
    }

    /// Sizes of the vectors that the agent deals in.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The networks' input statistics.
    pub fn normalizer(&self) -> &Normalizer {
        &self.normalizer
    }

    /// The network that acts.
    pub fn actor(&self) -> &Network {
        &self.actor.network
    }

    /// Updates so far, over all runs.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Environment steps learned from so far, over all runs.
    pub fn env_steps(&self) -> u64 {
        self.env_steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn what_the_networks_were_built_with_cannot_be_changed() {
        let layout = Layout { observation: 5, goal: 3, action: 2 };
        let hyper = Hyper { hidden: vec![8], ..Hyper::default() };
        let mut agent = Agent::new(hyper.clone(), layout, &mut rand_pcg::Pcg64Mcg::seed_from_u64(1)).unwrap();
        for (other, refused) in [
            (Hyper { hidden: vec![8, 8], ..hyper.clone() }, "hidden"),
            (Hyper { twin_critic: true, ..hyper.clone() }, "twin_critic"),
            (Hyper { goal_zoom: 6.0, ..hyper.clone() }, "goal_zoom"),
            (Hyper { column_zoom: 7.0, ..hyper.clone() }, "column_zoom"),
            (Hyper { zoomed_columns: vec![4], ..hyper.clone() }, "zoomed_columns"),
        ] {
            let found = agent.set_hyper(other);
            assert!(matches!(&found, Err(HyperError::Range { name, .. }) if *name == refused), "{found:?}");
            assert_eq!(*agent.hyper(), hyper);
        }
        let slower = Hyper { actor_rate: 1e-4, ..hyper };
        agent.set_hyper(slower.clone()).unwrap();
        assert_eq!(*agent.hyper(), slower);
    }

    #[test]
    fn a_number_that_the_observation_lacks_cannot_be_enlarged() {
        let layout = Layout { observation: 5, goal: 3, action: 2 };
        let with = |zoomed_columns: Vec<usize>| {
            let hyper = Hyper { hidden: vec![8], zoomed_columns, ..Hyper::default() };
            Agent::new(hyper, layout, &mut rand_pcg::Pcg64Mcg::seed_from_u64(1))
        };
        assert_eq!(with(vec![0, 4]).unwrap().actor().sizes()[0], 5 + 3 * 3 + 2);
        let refused = with(vec![0, 5]).unwrap_err().to_string();
        assert!(refused.contains("[0, 5]") && refused.contains("5 numbers"), "{refused}");
    }
}
