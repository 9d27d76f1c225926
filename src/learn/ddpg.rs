//! DDPG with hindsight (arXiv 1509.02971, 1707.01495), with TD3's second critic as an option (1802.09477).
//!
//! An update is two stages. In the first the batch is cut into `SLICES` slices; each computes its targets and carries
//! its gradients back through the critics and through the actor. In the second the parameters are cut into blocks;
//! each sums its gradient over the slices in their order, takes its Adam step and moves its target. The cuts are
//! fixed, whatever the number of threads, and so are the bits.
//!
//! In the course of a run the actor may turn from its critics to imitating what was done in the episodes that ended at
//! the row's goal ([`Hyper::imitate_from`](super::Hyper::imitate_from), arXiv 1912.06088): critics find a good way, but
//! blur where it ends. The goal that it then sees is where the episode would have ended without its luck.

use super::agent::Agent;
use super::batch::Batch;
use super::descent::{self, Descent};
use super::features;
use super::network::{Block, Network, Pass, Turned};
use crate::env::Layout;
use rayon::prelude::*;

/// Parts that a batch is cut into.
pub(crate) const SLICES: usize = 4;
/// A policy's action beyond this counts as saturated: tanh passes hardly any gradient there.
const SATURATED: f32 = 0.99;
/// What a squared deviation from an imitated action of 1 weighs, in units of value, where critics and imitation both
/// count: 0.1 weighs as much as three steps.
const IMITATION: f32 = 300.0;
/// Beyond this deviation from an imitated action its pull grows no more: a random one should not count for many.
const FAR: f32 = 0.3;

/// What an update did, as means over its batch; 0 for the critics while they rest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UpdateReport {
    /// First critic's value of the actions taken.
    pub q_mean: f32,
    /// Squared error of the critics.
    pub critic_loss: f32,
    /// Share of the policy's numbers beyond ±0.99.
    pub saturation: f32,
}

/// Which networks an update changes.
#[derive(Debug, Clone, Copy)]
struct Due {
    critics: bool,
    actor: bool,
}

/// Buffers of an update, for one batch size.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    slices: Vec<Slice>,
    actor_blocks: Vec<Block>,
    critic_blocks: Vec<Block>,
    /// The actor's, then the critics'.
    turned: Vec<Turned>,
    /// The actor's, then the critics'.
    gradients: Vec<Vec<f32>>,
}

/// One slice's passes.
#[derive(Debug, Clone)]
struct Slice {
    /// First row in the batch.
    first: usize,
    rows: usize,
    next_actor: Pass,
    next_critic: Pass,
    targets: Vec<f32>,
    critics: Vec<Pass>,
    actor: Pass,
    /// The first critic's view of the actor's actions.
    judge: Pass,
    q_sum: f32,
    loss_sum: f32,
    saturated: usize,
}

impl Agent {
    /// Learns from a batch of [`Hyper::batch`](super::Hyper::batch) rows.
    ///
    /// # Panics
    /// If the batch has another size or layout.
    pub fn update(&mut self, batch: &Batch) -> UpdateReport {
        assert_eq!((batch.rows(), batch.layout), (self.hyper.batch, self.layout), "a batch for this agent");
        let mut workspace = self.workspace.take().unwrap_or_else(|| Box::new(Workspace::new(self)));
        self.updates += 1;
        self.recent_updates += 1;
        let due = self.due();
        let this = &*self;
        let Workspace { slices, turned, .. } = &mut *workspace;
        let networks: Vec<&Network> = this.networks().collect();
        turned.par_iter_mut().zip(networks).with_max_len(1).for_each(|(turned, network)| turned.refresh(network));
        slices.par_iter_mut().with_max_len(1).for_each(|slice| slice.run(this, turned, batch, due));
        self.step(&mut workspace, due);
        let rows = batch.rows() as f32;
        let mut report = UpdateReport::default();
        for slice in &workspace.slices {
            report.q_mean += slice.q_sum / rows;
            report.critic_loss += slice.loss_sum / rows;
            report.saturation += slice.saturated as f32 / (rows * self.layout.action as f32);
        }
        self.workspace = Some(workspace);
        report
    }

    /// Which networks this update is to change. Without critics to wait for, the actor learns from every batch.
    fn due(&self) -> Due {
        let critics = !self.schedule.critics_rest();
        let warm = self.recent_updates > self.hyper.critic_warmup_updates;
        let turn = self.updates.is_multiple_of(u64::from(self.hyper.actor_every));
        Due { critics, actor: !critics || warm && turn }
    }

    /// The actor, then the critics.
    fn networks(&self) -> impl Iterator<Item = &Network> {
        [&self.actor].into_iter().chain(&self.critics).map(|learned| &learned.network)
    }

    /// The second stage: gradients, Adam, targets.
    fn step(&mut self, workspace: &mut Workspace, due: Due) {
        let tau = self.updates.is_multiple_of(u64::from(self.hyper.target_every)).then_some(self.hyper.tau);
        let Workspace { slices, actor_blocks, critic_blocks, gradients, .. } = workspace;
        let slices = &slices[..];
        let mut gradients = gradients.iter_mut();
        let mut work = Vec::new();
        if let (Some(gradient), true) = (gradients.next(), due.actor) {
            let passes: Vec<&Pass> = slices.iter().map(|slice| &slice.actor).collect();
            let descent =
                Descent { blocks: actor_blocks, rate: self.schedule.rates * self.hyper.actor_rate, tau, passes };
            descent.cut(&mut self.actor, gradient, &mut work);
        }
        let critics = self.critics.iter_mut().take(if due.critics { usize::MAX } else { 0 });
        for (nth, (critic, gradient)) in critics.zip(gradients).enumerate() {
            let passes: Vec<&Pass> = slices.iter().map(|slice| &slice.critics[nth]).collect();
            let descent =
                Descent { blocks: critic_blocks, rate: self.schedule.rates * self.hyper.critic_rate, tau, passes };
            descent.cut(critic, gradient, &mut work);
        }
        descent::run(work);
    }
}

impl Workspace {
    fn new(agent: &Agent) -> Self {
        let rows = agent.hyper.batch / SLICES;
        let critic = &agent.critics[0].network;
        let slice = |nth: usize| Slice {
            first: nth * rows,
            rows,
            next_actor: Pass::new(&agent.actor.network, rows),
            next_critic: Pass::new(critic, rows),
            targets: vec![0.0; rows],
            critics: vec![Pass::new(critic, rows); agent.critics.len()],
            actor: Pass::new(&agent.actor.network, rows),
            judge: Pass::new(critic, rows),
            q_sum: 0.0,
            loss_sum: 0.0,
            saturated: 0,
        };
        Self {
            slices: (0..SLICES).map(slice).collect(),
            actor_blocks: agent.actor.network.blocks(),
            critic_blocks: critic.blocks(),
            turned: agent.networks().map(Turned::new).collect(),
            gradients: agent.networks().map(|network| vec![0.0; network.parameters().len()]).collect(),
        }
    }
}

impl Slice {
    fn run(&mut self, agent: &Agent, turned: &[Turned], batch: &Batch, due: Due) {
        (self.q_sum, self.loss_sum) = (0.0, 0.0);
        if due.critics {
            self.see(agent, batch, &batch.goal);
            self.compute_targets(agent, batch);
            self.judge_actions_taken(agent, &turned[1..], batch);
        }
        if due.actor {
            if agent.schedule.imitation > 0.0 {
                self.see(agent, batch, &batch.imitated_goal);
            }
            self.improve_actions(agent, turned, batch);
        }
    }

    /// The actor's input, which the critics' are made from.
    fn see(&mut self, agent: &Agent, batch: &Batch, goal: &[f32]) {
        fill_inputs(agent, &batch.observation, &batch.achieved, goal, self.first, self.actor.input_mut());
    }

    /// `targets = clip(r + gamma · bootstrap · Q'(s', µ'(s')), −1/(1 − gamma), 0)`; with two critics the smaller Q'.
    fn compute_targets(&mut self, agent: &Agent, batch: &Batch) {
        let (observation, achieved) = (&batch.next_observation, &batch.next_achieved);
        fill_inputs(agent, observation, achieved, &batch.goal, self.first, self.next_actor.input_mut());
        agent.actor.target.forward(&mut self.next_actor);
        join(self.next_actor.input(), self.next_actor.output(), self.rows, self.next_critic.input_mut());
        self.targets.fill(f32::INFINITY);
        for critic in &agent.critics {
            critic.target.forward(&mut self.next_critic);
            self.targets.iter_mut().zip(self.next_critic.output()).for_each(|(t, q)| *t = t.min(*q));
        }
        let gamma = agent.hyper.gamma;
        let lowest = -1.0 / (1.0 - gamma);
        for (i, target) in self.targets.iter_mut().enumerate() {
            let row = self.first + i;
            *target = (batch.reward[row] + gamma * batch.bootstrap[row] * *target).clamp(lowest, 0.0);
        }
    }

    /// Carries the gradient of the mean squared error back through each critic.
    fn judge_actions_taken(&mut self, agent: &Agent, turned: &[Turned], batch: &Batch) {
        let rows = batch.rows() as f32;
        let actions = &batch.action[self.first * agent.layout.action..][..self.rows * agent.layout.action];
        for (nth, (critic, pass)) in agent.critics.iter().zip(&mut self.critics).enumerate() {
            join(self.actor.input(), actions, self.rows, pass.input_mut());
            critic.network.forward(pass);
            for i in 0..self.rows {
                let q = pass.output()[i];
                let error = q - self.targets[i];
                pass.output_gradient_mut()[i] = 2.0 * error / rows;
                self.loss_sum += error * error;
                self.q_sum += if nth == 0 { q } else { 0.0 };
            }
            critic.network.backward(pass, &turned[nth], 0..0);
        }
    }

    /// Carries the gradient of the actor's loss back through it:
    /// `(1 − i) · −mean Q(s, µ(s)) + i · 300 · mean h(µ(s) − a) + action_l2 · mean µ(s)²`, where `i` is how far imitation
    /// has taken over and `h`, the squared length up to a deviation of [`FAR`], is 0 for rows that did not reach their goal.
    fn improve_actions(&mut self, agent: &Agent, turned: &[Turned], batch: &Batch) {
        let (rows, width) = (batch.rows() as f32, agent.layout.action);
        let imitation = agent.schedule.imitation;
        agent.actor.network.forward(&mut self.actor);
        if imitation < 1.0 {
            self.ask_critic(agent, &turned[1], (imitation - 1.0) / rows);
        } else {
            self.actor.output_gradient_mut().fill(0.0);
        }
        let pull = 2.0 * agent.hyper.action_l2 / (rows * width as f32);
        let likeness = 2.0 * imitation * IMITATION / rows;
        self.saturated = 0;
        for i in 0..self.rows {
            let row = self.first + i;
            let likeness = if batch.reached.get(row) == Some(&true) { likeness } else { 0.0 };
            for j in 0..width {
                let action = self.actor.output()[i * width + j];
                let deviation = (action - batch.action[row * width + j]).clamp(-FAR, FAR);
                self.actor.output_gradient_mut()[i * width + j] += pull * action + likeness * deviation;
                self.saturated += usize::from(action.abs() > SATURATED);
            }
        }
        agent.actor.network.backward(&mut self.actor, &turned[0], 0..0);
    }

    /// Carries `factor` times the gradient of the first critic's value back to the actor's actions.
    fn ask_critic(&mut self, agent: &Agent, turned: &Turned, factor: f32) {
        join(self.actor.input(), self.actor.output(), self.rows, self.judge.input_mut());
        let critic = &agent.critics[0].network;
        critic.forward(&mut self.judge);
        self.judge.output_gradient_mut().fill(factor);
        let inputs = critic.sizes()[0];
        critic.backward(&mut self.judge, turned, inputs - agent.layout.action..inputs);
        self.actor.output_gradient_mut().copy_from_slice(self.judge.input_gradient());
    }
}

/// Normalised inputs of a slice's rows, starting with the batch's row `first`.
fn fill_inputs(agent: &Agent, observation: &[f32], achieved: &[f32], goal: &[f32], first: usize, out: &mut [f32]) {
    let Layout { observation: o, goal: g, .. } = agent.layout;
    let width = agent.actor.network.sizes()[0];
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        let row = first + i;
        let goal = &goal[row * g..(row + 1) * g];
        let (seen, had) = (&observation[row * o..(row + 1) * o], &achieved[row * g..(row + 1) * g]);
        features::prepare(&agent.normalizer, &agent.hyper, seen, had, goal, out);
    }
}

/// A critic's input: an actor's input and, beside it, an action.
fn join(left: &[f32], right: &[f32], rows: usize, out: &mut [f32]) {
    let (l, r) = (left.len() / rows, right.len() / rows);
    for ((out, left), right) in out.chunks_exact_mut(l + r).zip(left.chunks_exact(l)).zip(right.chunks_exact(r)) {
        out[..l].copy_from_slice(left);
        out[l..].copy_from_slice(right);
    }
}

#[cfg(test)]
mod tests;
