//! DDPG with hindsight (arXiv 1509.02971, 1707.01495), with TD3's second critic as an option (1802.09477).
//!
//! An update is two stages. In the first the batch is cut into `SLICES` slices; each computes its targets and carries
//! its gradients back through the critics and through the actor. In the second the parameters are cut into blocks;
//! each sums its gradient over the slices in their order, takes its Adam step and moves its target. The cuts are
//! fixed, whatever the number of threads, and so are the bits.

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

/// What an update did, as means over its batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UpdateReport {
    /// First critic's value of the actions taken.
    pub q_mean: f32,
    /// Squared error of the critics.
    pub critic_loss: f32,
    /// Share of the policy's numbers beyond ±0.99.
    pub saturation: f32,
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
        let with_actor = self.recent_updates > self.hyper.critic_warmup_updates
            && self.updates.is_multiple_of(u64::from(self.hyper.actor_every));
        let this = &*self;
        let Workspace { slices, turned, .. } = &mut *workspace;
        let networks: Vec<&Network> = this.networks().collect();
        turned.par_iter_mut().zip(networks).with_max_len(1).for_each(|(turned, network)| turned.refresh(network));
        slices.par_iter_mut().with_max_len(1).for_each(|slice| slice.run(this, turned, batch, with_actor));
        self.step(&mut workspace, with_actor);
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

    /// The actor, then the critics.
    fn networks(&self) -> impl Iterator<Item = &Network> {
        [&self.actor].into_iter().chain(&self.critics).map(|learned| &learned.network)
    }

    /// The second stage: gradients, Adam, targets.
    fn step(&mut self, workspace: &mut Workspace, with_actor: bool) {
        let tau = self.updates.is_multiple_of(u64::from(self.hyper.target_every)).then_some(self.hyper.tau);
        let Workspace { slices, actor_blocks, critic_blocks, gradients, .. } = workspace;
        let slices = &slices[..];
        let mut gradients = gradients.iter_mut();
        let mut work = Vec::new();
        if let (Some(gradient), true) = (gradients.next(), with_actor) {
            let passes: Vec<&Pass> = slices.iter().map(|slice| &slice.actor).collect();
            let descent = Descent { blocks: actor_blocks, rate: self.rate_share * self.hyper.actor_rate, tau, passes };
            descent.cut(&mut self.actor, gradient, &mut work);
        }
        for (nth, (critic, gradient)) in self.critics.iter_mut().zip(gradients).enumerate() {
            let passes: Vec<&Pass> = slices.iter().map(|slice| &slice.critics[nth]).collect();
            let descent =
                Descent { blocks: critic_blocks, rate: self.rate_share * self.hyper.critic_rate, tau, passes };
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
    fn run(&mut self, agent: &Agent, turned: &[Turned], batch: &Batch, with_actor: bool) {
        self.compute_targets(agent, batch);
        self.judge_actions_taken(agent, &turned[1..], batch);
        if with_actor {
            self.improve_actions(agent, turned, batch);
        }
    }

    /// `targets = clip(r + gamma · Q'(s', µ'(s')), −1/(1 − gamma), 0)`; with two critics the smaller Q'.
    fn compute_targets(&mut self, agent: &Agent, batch: &Batch) {
        let (observation, achieved) = (&batch.next_observation, &batch.next_achieved);
        fill_inputs(agent, batch, observation, achieved, self.first, self.next_actor.input_mut());
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
        fill_inputs(agent, batch, &batch.observation, &batch.achieved, self.first, self.actor.input_mut());
        (self.q_sum, self.loss_sum) = (0.0, 0.0);
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

    /// Carries the gradient of `−mean Q(s, µ(s)) + action_l2 · mean µ(s)²` back through the critic and the actor.
    fn improve_actions(&mut self, agent: &Agent, turned: &[Turned], batch: &Batch) {
        let (rows, width) = (batch.rows() as f32, agent.layout.action);
        agent.actor.network.forward(&mut self.actor);
        join(self.actor.input(), self.actor.output(), self.rows, self.judge.input_mut());
        let critic = &agent.critics[0].network;
        critic.forward(&mut self.judge);
        self.judge.output_gradient_mut().fill(-1.0 / rows);
        let inputs = critic.sizes()[0];
        critic.backward(&mut self.judge, &turned[1], inputs - width..inputs);
        let pull = 2.0 * agent.hyper.action_l2 / (rows * width as f32);
        self.saturated = 0;
        for i in 0..self.rows {
            for j in 0..width {
                let action = self.actor.output()[i * width + j];
                let gradient = self.judge.input_gradient()[i * width + j];
                self.actor.output_gradient_mut()[i * width + j] = gradient + pull * action;
                self.saturated += usize::from(action.abs() > SATURATED);
            }
        }
        agent.actor.network.backward(&mut self.actor, &turned[0], 0..0);
    }
}

/// Normalised inputs of a slice's rows, starting with the batch's row `first`.
fn fill_inputs(agent: &Agent, batch: &Batch, observation: &[f32], achieved: &[f32], first: usize, out: &mut [f32]) {
    let Layout { observation: o, goal: g, .. } = agent.layout;
    let width = agent.actor.network.sizes()[0];
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        let row = first + i;
        let goal = &batch.goal[row * g..(row + 1) * g];
        let (seen, had) = (&observation[row * o..(row + 1) * o], &achieved[row * g..(row + 1) * g]);
        features::prepare(&agent.normalizer, agent.hyper.goal_zoom, seen, had, goal, out);
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
mod tests {
    use super::super::network::tests::reference;
    use super::*;
    use crate::learn::Hyper;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    const LAYOUT: Layout = Layout { observation: 3, goal: 2, action: 2 };
    const ROWS: usize = 8;

    fn agent(twin_critic: bool) -> Agent {
        let goal_zoom = if twin_critic { 3.0 } else { 0.0 };
        let hyper =
            Hyper { hidden: vec![16, 12], batch: ROWS, action_l2: 0.7, twin_critic, goal_zoom, ..Hyper::default() };
        let mut rng = Pcg64Mcg::seed_from_u64(5);
        let mut agent = Agent::new(hyper, LAYOUT, &mut rng).unwrap();
        for learned in [&mut agent.actor].into_iter().chain(&mut agent.critics) {
            // Far from zero, and targets unlike their networks, so that a mix-up shows.
            learned.network.parameters_mut().iter_mut().for_each(|p| *p *= 2.5);
            let shift = |p: &mut f32| *p = *p * 2.5 + rng.random_range(-0.3..0.1f32);
            learned.target.parameters_mut().iter_mut().for_each(shift);
        }
        for i in 0..20 {
            agent.normalizer.observe(&[0.1 * i as f32, 1.0, -0.2 * i as f32, 0.3, 0.0, 0.5, 0.1, 0.2, i as f32]);
        }
        agent.normalizer.refresh();
        agent
    }

    fn batch() -> Batch {
        let mut rng = Pcg64Mcg::seed_from_u64(6);
        let mut batch = Batch::new(LAYOUT, ROWS);
        let Batch { observation, achieved, next_observation, next_achieved, goal, action, .. } = &mut batch;
        for part in [observation, achieved, next_observation, next_achieved, goal, action] {
            part.iter_mut().for_each(|x| *x = rng.random_range(-1.0..1.0));
        }
        // Rows 0 and 1 are clipped above and below, row 2 ends for good.
        batch.reward.copy_from_slice(&[9.0, -99.0, -1.0, -1.0, -1.0, 0.0, -1.0, -1.0]);
        batch.bootstrap[2] = 0.0;
        batch
    }

    fn wide(numbers: &[f32]) -> Vec<f64> {
        numbers.iter().map(|&x| x.into()).collect()
    }

    /// Normalised inputs of all rows, in f64.
    fn inputs(agent: &Agent, batch: &Batch, observation: &[f32], achieved: &[f32]) -> Vec<Vec<f64>> {
        let width = agent.actor.network.sizes()[0];
        let mut flat = vec![0.0; ROWS * width];
        fill_inputs(agent, batch, observation, achieved, 0, &mut flat);
        flat.chunks_exact(width).map(wide).collect()
    }

    fn beside(inputs: &[Vec<f64>], actions: &[f64]) -> Vec<f64> {
        inputs.iter().zip(actions.chunks_exact(2)).flat_map(|(i, a)| [&i[..], a].concat()).collect()
    }

    /// The gradient of `loss` against Adam's first memory, which is a tenth of the gradient that was computed.
    fn check(name: &str, network: &Network, memory: &[f32], loss: &dyn Fn(&[f64]) -> f64) {
        let parameters = wide(network.parameters());
        let mut largest = 0.0f64;
        for i in 0..parameters.len() {
            let at = |h: f64| {
                let mut moved = parameters.clone();
                moved[i] += h;
                loss(&moved)
            };
            let exact = (at(1e-6) - at(-1e-6)) / 2e-6;
            let ours = 10.0 * f64::from(memory[i]);
            assert!((ours - exact).abs() < 1e-4 * (1.0 + exact.abs()), "{name} {i}: {ours} {exact}");
            largest = largest.max(exact.abs());
        }
        assert!(largest > 1e-2, "{name}: the gradient is too small to tell anything: {largest}");
    }

    #[test]
    fn an_update_follows_the_gradients_of_its_losses() {
        for twin in [false, true] {
            let (before, batch) = (agent(twin), batch());
            let mut after = before.clone();
            after.update(&batch);
            let next = inputs(&before, &batch, &batch.next_observation, &batch.next_achieved);
            let now = inputs(&before, &batch, &batch.observation, &batch.achieved);
            let target = |learned: &super::super::agent::Learned, input: &[f64]| {
                reference(&learned.target, &wide(learned.target.parameters()), input)
            };
            let next_actions = target(&before.actor, &next.concat());
            let values: Vec<Vec<f64>> =
                before.critics.iter().map(|critic| target(critic, &beside(&next, &next_actions))).collect();
            let targets: Vec<f64> = (0..ROWS)
                .map(|row| {
                    let q = values.iter().map(|v| v[row]).fold(f64::INFINITY, f64::min);
                    let (reward, bootstrap) = (f64::from(batch.reward[row]), f64::from(batch.bootstrap[row]));
                    (reward + 0.98 * bootstrap * q).clamp(-50.0, 0.0)
                })
                .collect();
            assert!(targets[0] == 0.0 && (targets[1] + 50.0).abs() < 1e-9 && targets[2] == -1.0);
            for (nth, critic) in before.critics.iter().enumerate() {
                let taken = beside(&now, &wide(&batch.action));
                let loss = |parameters: &[f64]| {
                    let values = reference(&critic.network, parameters, &taken);
                    values.iter().zip(&targets).map(|(q, y)| (q - y) * (q - y)).sum::<f64>() / ROWS as f64
                };
                check("critic", &critic.network, &after.critics[nth].adam.mean, &loss);
            }
            let judge = &before.critics[0].network;
            let loss = |parameters: &[f64]| {
                let actions = reference(&before.actor.network, parameters, &now.concat());
                let values = reference(judge, &wide(judge.parameters()), &beside(&now, &actions));
                let square = actions.iter().map(|a| a * a).sum::<f64>() / actions.len() as f64;
                f64::from(before.hyper.action_l2) * square - values.iter().sum::<f64>() / ROWS as f64
            };
            check("actor", &before.actor.network, &after.actor.adam.mean, &loss);
        }
    }

    #[test]
    fn targets_and_actor_take_their_turns() {
        let batch = batch();
        let mut agent = agent(false);
        let hyper = Hyper { target_every: 2, actor_every: 3, critic_warmup_updates: 4, ..agent.hyper.clone() };
        agent.set_hyper(hyper).unwrap();
        for update in 1..=6u32 {
            let before = agent.clone();
            agent.update(&batch);
            let moved = |a: &Network, b: &Network| a != b;
            assert!(moved(&agent.critics[0].network, &before.critics[0].network));
            assert_eq!(moved(&agent.critics[0].target, &before.critics[0].target), update % 2 == 0);
            assert_eq!(moved(&agent.actor.network, &before.actor.network), update == 6, "update {update}");
        }
    }
}
