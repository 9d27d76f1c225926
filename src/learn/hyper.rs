//! Everything that can be turned on the learner, in one documented place.

use super::hindsight::Relabel;
use crate::env::Layout;
use serde::{Deserialize, Serialize};

/// Hyper-parameters of the learner. The TOML form has the same names; what is left out keeps its default.
///
/// ```
/// let hyper = hindsight::learn::Hyper::from_toml("batch = 512\nrelabel = { strategy = \"final\", k = 4 }")?;
/// assert_eq!((hyper.batch, hyper.gamma), (512, 0.98));
/// # Ok::<(), hindsight::learn::HyperError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hyper {
    /// Widths of the hidden layers of actor and critics. 2×256 learns the pushing tasks; 3×256 costs 1.8 times as much.
    pub hidden: Vec<usize>,
    /// Discount a step: 1 − 1/50 for episodes of 50 steps.
    pub gamma: f32,
    /// Actions after which a target asks the target networks how it goes on. More carry a distant end back sooner, and
    /// over fewer blurs; but what exploring did on the way is then held against the action (arXiv 2102.12962).
    pub n_step: usize,
    /// How far target networks follow at each of their updates.
    pub tau: f32,
    /// Updates of the networks for one of the target networks.
    pub target_every: u32,
    /// Updates of the critics for one of the actor (TD3's delay; 1 is plain DDPG).
    pub actor_every: u32,
    /// Adam's learning rate for the actor.
    pub actor_rate: f64,
    /// Adam's learning rate for the critics.
    pub critic_rate: f64,
    /// What is left of both learning rates at the end of a run's budget: they fall linearly over its second half. 1
    /// keeps them; less ends with a steadier policy.
    pub final_rate_share: f64,
    /// Share of a run's budget after which the actor turns, over the next 0.03 of it, from its critics to imitation
    /// (arXiv 1912.06088): it learns to do for a goal what was done in the episodes that ended there. Then the critics
    /// rest. Exploration falls as quickly, 0.02 earlier, to nothing. 0 imitates from the start, 1 never.
    pub imitate_from: f64,
    /// Transitions in an update; a multiple of 4 (the batch is cut into four slices whatever the threads).
    pub batch: usize,
    /// Weight of the mean squared action in the actor's loss: keeps tanh from saturating.
    pub action_l2: f32,
    /// Probability of a uniformly random action while collecting. 0 made every seed fail in public runs.
    pub epsilon: f32,
    /// Deviation of the Gaussian noise on the other actions.
    pub sigma: f32,
    /// What is left of `epsilon` and `sigma` at the end of a run's budget: they fall linearly over its second half. 1
    /// keeps them.
    pub final_exploration_share: f64,
    /// For how many steps a random action is held, on average (arXiv 2006.01782); `epsilon` stays the share of steps with
    /// one. More than 1 where it takes several steps in one direction to do anything.
    pub held_steps: f64,
    /// Two critics, the smaller target of which counts (TD3).
    pub twin_critic: bool,
    /// How many times as large the networks see the way to the goal once more, beside its length, in deviations and cut
    /// at ±5: for goals that are met within a small part of the way. 0 leaves it out.
    pub goal_zoom: f32,
    /// Numbers of the observation, from 0, that the networks see once more, [`Hyper::column_zoom`] times as large, in
    /// deviations from 0 and cut at ±5: what matters most near 0 and is far from it most of the time, such as the object
    /// less the fingertip (6, 7 and 8 in Fetch's layout).
    pub zoomed_columns: Vec<usize>,
    /// How many times as large [`Hyper::zoomed_columns`] are seen.
    pub column_zoom: f32,
    /// Each row of a batch is turned about the arm's pan axis by up to this either way, rad: what is learned to the left
    /// holds to the right. 0 where an environment is not known to be symmetrical.
    pub turn_rad: f32,
    /// How goals are substituted.
    pub relabel: Relabel,
    /// Transitions kept; older episodes are evicted.
    pub replay_transitions: usize,
    /// How many times as likely a transition is drawn from an episode in which the object moved as from one in which
    /// it did not (these teach next to nothing, and at first nearly all episodes are such). 1 draws all alike.
    pub moved_weight: f64,
    /// At least this share of a batch is drawn from episodes in which the object was lifted, as soon as there is one;
    /// once they are so many that they would have more, all that moved weigh alike. 0 draws them as what was moved.
    pub lifted_share: f64,
    /// Share of the episodes in training that pursue, in place of the goal given, the nearest to it of some that were
    /// achieved before (or the goal given, where that would be a success), and explore from there: for goals that
    /// nothing leads to at first. 0 pursues what is given.
    pub curriculum_share: f64,
    /// Achieved goals that such a nearest one is the nearest of, from each of the buffers (what moved, what was lifted):
    /// many reach further out, to what was thrown somewhere once as well; few keep to what is often achieved.
    pub curriculum_candidates: usize,
    /// Steps with uniformly random actions before the first update.
    pub warmup_steps: u64,
    /// Environment steps for each update: fewer learns from fewer steps, more is quicker where steps are cheap.
    pub steps_per_update: f64,
    /// Updates of the critics alone before the actor moves, counted from the start of a run (for fine-tuning).
    pub critic_warmup_updates: u64,
}

impl Default for Hyper {
    fn default() -> Self {
        Self {
            hidden: vec![256, 256],
            gamma: 0.98,
            n_step: 1,
            tau: 0.05,
            target_every: 2,
            actor_every: 1,
            actor_rate: 1e-3,
            critic_rate: 1e-3,
            final_rate_share: 0.1,
            imitate_from: 1.0,
            batch: 256,
            action_l2: 0.1,
            epsilon: 0.3,
            sigma: 0.2,
            final_exploration_share: 1.0,
            held_steps: 1.0,
            twin_critic: false,
            goal_zoom: 0.0,
            zoomed_columns: Vec::new(),
            column_zoom: 6.0,
            turn_rad: 0.0,
            relabel: Relabel::default(),
            replay_transitions: 1_000_000,
            moved_weight: 30.0,
            lifted_share: 0.0,
            curriculum_share: 0.0,
            curriculum_candidates: 1_000,
            warmup_steps: 8_000,
            steps_per_update: 10.0,
            critic_warmup_updates: 0,
        }
    }
}

/// Why hyper-parameters cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HyperError {
    /// Not TOML, or a name that does not exist, or a value of the wrong type.
    #[error("hyper-parameters cannot be read: {0}")]
    Toml(#[from] toml::de::Error),
    /// A value outside its range.
    #[error("{name} = {found} is out of range: expected {expected}")]
    Range {
        /// Which hyper-parameter.
        name: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A number of the observation that is none.
    #[error("zoomed_columns = {found:?} is out of range: the observation has {numbers} numbers, counted from 0")]
    Columns {
        /// Its value.
        found: Vec<usize>,
        /// How many numbers an observation has.
        numbers: usize,
    },
}

impl Hyper {
    /// Reads the TOML form and checks it.
    ///
    /// # Errors
    /// See [`HyperError`].
    pub fn from_toml(text: &str) -> Result<Self, HyperError> {
        let hyper: Self = toml::from_str(text)?;
        hyper.check()?;
        Ok(hyper)
    }

    /// These hyper-parameters with the values that `changes` has, in the TOML form, checked.
    ///
    /// ```
    /// use hindsight::{learn::presets::Preset, task::TaskKind};
    /// let slide = Preset::of_task(TaskKind::Slide).hyper;
    /// let longer = slide.changed("imitate_from = 0.5")?;
    /// assert_eq!((longer.imitate_from, longer.goal_zoom), (0.5, slide.goal_zoom));
    /// # Ok::<(), hindsight::learn::HyperError>(())
    /// ```
    ///
    /// # Errors
    /// See [`HyperError`].
    pub fn changed(&self, changes: &str) -> Result<Self, HyperError> {
        // First by itself, so that an error shows the line as it was written.
        toml::from_str::<Self>(changes)?;
        let mut table = toml::Table::try_from(self).map_err(<toml::de::Error as serde::de::Error>::custom)?;
        table.extend(changes.parse::<toml::Table>()?);
        Self::from_toml(&table.to_string())
    }

    /// Checks every value's range.
    ///
    /// # Errors
    /// [`HyperError::Range`] for the first that is outside.
    pub fn check(&self) -> Result<(), HyperError> {
        let range = |good: bool, name, found: &dyn std::fmt::Debug, expected| {
            if good { Ok(()) } else { Err(HyperError::Range { name, found: format!("{found:?}"), expected }) }
        };
        let layers = (1..=4).contains(&self.hidden.len()) && self.hidden.iter().all(|w| (1..=1024).contains(w));
        range(layers, "hidden", &self.hidden, "1 to 4 layers of 1 to 1024")?;
        range((0.0..1.0).contains(&self.gamma), "gamma", &self.gamma, "0 <= gamma < 1")?;
        range((1..=100).contains(&self.n_step), "n_step", &self.n_step, "1 to 100")?;
        range(self.tau > 0.0 && self.tau <= 1.0, "tau", &self.tau, "0 < tau <= 1")?;
        range(self.target_every >= 1, "target_every", &self.target_every, "1 or more")?;
        range(self.actor_every >= 1, "actor_every", &self.actor_every, "1 or more")?;
        for (name, rate) in [("actor_rate", self.actor_rate), ("critic_rate", self.critic_rate)] {
            range(rate > 0.0 && rate <= 0.1, name, &rate, "0 < rate <= 0.1")?;
        }
        let share = self.final_rate_share;
        range(share > 0.0 && share <= 1.0, "final_rate_share", &share, "0 < share <= 1")?;
        range((0.0..=1.0).contains(&self.imitate_from), "imitate_from", &self.imitate_from, "0 to 1")?;
        let batch = (4..=65_536).contains(&self.batch) && self.batch.is_multiple_of(4);
        range(batch, "batch", &self.batch, "a multiple of 4 from 4 to 65536")?;
        range((0.0..=100.0).contains(&self.action_l2), "action_l2", &self.action_l2, "0 to 100")?;
        range((0.0..=1.0).contains(&self.epsilon), "epsilon", &self.epsilon, "0 to 1")?;
        range((0.0..=2.0).contains(&self.sigma), "sigma", &self.sigma, "0 to 2")?;
        let share = self.final_exploration_share;
        range((0.0..=1.0).contains(&share), "final_exploration_share", &share, "0 to 1")?;
        range((1.0..=50.0).contains(&self.held_steps), "held_steps", &self.held_steps, "1 to 50")?;
        range((0.0..=100.0).contains(&self.goal_zoom), "goal_zoom", &self.goal_zoom, "0 to 100")?;
        let zoom = self.column_zoom > 0.0 && self.column_zoom <= 100.0;
        range(zoom, "column_zoom", &self.column_zoom, "0 < zoom <= 100")?;
        range((0.0..=3.2).contains(&self.turn_rad), "turn_rad", &self.turn_rad, "0 to 3.2")?;
        let transitions = (1_000..=100_000_000).contains(&self.replay_transitions);
        range(transitions, "replay_transitions", &self.replay_transitions, "1000 to 100000000")?;
        range((1.0..=1e6).contains(&self.moved_weight), "moved_weight", &self.moved_weight, "1 to 1000000")?;
        range((0.0..1.0).contains(&self.lifted_share), "lifted_share", &self.lifted_share, "0 <= share < 1")?;
        let share = self.curriculum_share;
        range((0.0..1.0).contains(&share), "curriculum_share", &share, "0 <= share < 1")?;
        let candidates = self.curriculum_candidates;
        range((1..=100_000).contains(&candidates), "curriculum_candidates", &candidates, "1 to 100000")?;
        let ratio = (0.01..=10_000.0).contains(&self.steps_per_update);
        range(ratio, "steps_per_update", &self.steps_per_update, "0.01 to 10000")
    }

    /// Checks what depends on the environment.
    pub(crate) fn check_columns(&self, layout: Layout) -> Result<(), HyperError> {
        if self.zoomed_columns.iter().any(|&column| column >= layout.observation) {
            return Err(HyperError::Columns { found: self.zoomed_columns.clone(), numbers: layout.observation });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_survive_toml() {
        let hyper = Hyper::default();
        hyper.check().unwrap();
        let text = toml::to_string(&hyper).unwrap();
        assert_eq!(Hyper::from_toml(&text).unwrap(), hyper);
    }

    #[test]
    fn a_misspelt_name_and_a_value_out_of_range_are_refused() {
        assert!(matches!(Hyper::from_toml("gama = 0.9"), Err(HyperError::Toml(_))));
        for text in [
            "gamma = 1.0",
            "batch = 130",
            "n_step = 0",
            "tau = nan",
            "hidden = []",
            "steps_per_update = 0.0",
            "lifted_share = 1.0",
            "curriculum_candidates = 0",
            "final_exploration_share = -0.1",
            "column_zoom = 0.0",
        ] {
            assert!(matches!(Hyper::from_toml(text), Err(HyperError::Range { .. })), "{text}");
        }
    }
}
