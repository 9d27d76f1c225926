use super::super::network::tests::reference;
use super::*;
use crate::learn::Hyper;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const LAYOUT: Layout = Layout { observation: 3, goal: 2, action: 2 };
const ROWS: usize = 8;

fn agent(twin_critic: bool) -> Agent {
    let goal_zoom = if twin_critic { 3.0 } else { 0.0 };
    let zoomed_columns = if twin_critic { vec![1] } else { vec![] };
    let hidden = vec![16, 12];
    let hyper =
        Hyper { hidden, batch: ROWS, action_l2: 0.7, twin_critic, goal_zoom, zoomed_columns, ..Hyper::default() };
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
    let mut batch = Batch::new(LAYOUT, ROWS).with_reached();
    batch.reached[1..4].fill(true);
    let Batch { observation, achieved, next_observation, next_achieved, goal, action, imitated_goal, .. } = &mut batch;
    for part in [observation, achieved, next_observation, next_achieved, goal, action, imitated_goal] {
        part.iter_mut().for_each(|x| *x = rng.random_range(-1.0..1.0));
    }
    // Rows 0 and 1 are clipped above and below, row 2 ends for good, row 3 is of several actions.
    batch.reward.copy_from_slice(&[9.0, -99.0, -1.0, -1.0, -1.0, 0.0, -1.0, -1.0]);
    batch.bootstrap[2..4].copy_from_slice(&[0.0, 0.7]);
    batch
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| x.into()).collect()
}

/// Normalised inputs of all rows, in f64.
fn inputs(agent: &Agent, observation: &[f32], achieved: &[f32], goal: &[f32]) -> Vec<Vec<f64>> {
    let width = agent.actor.network.sizes()[0];
    let mut flat = vec![0.0; ROWS * width];
    fill_inputs(agent, observation, achieved, goal, 0, &mut flat);
    flat.chunks_exact(width).map(wide).collect()
}

fn beside(inputs: &[Vec<f64>], actions: &[f64]) -> Vec<f64> {
    inputs.iter().zip(actions.chunks_exact(2)).flat_map(|(i, a)| [&i[..], a].concat()).collect()
}

/// The square, as steep beyond a deviation of 0.3 as there.
fn huber(deviation: f64) -> f64 {
    let near = deviation.abs().min(0.3);
    near * near + 2.0 * 0.3 * (deviation.abs() - near)
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
    for (twin, imitation) in [(false, 0.0), (true, 0.0), (true, 0.4), (true, 1.0)] {
        let (mut before, batch) = (agent(twin), batch());
        before.schedule.imitation = imitation as f32;
        let mut after = before.clone();
        after.update(&batch);
        let next = inputs(&before, &batch.next_observation, &batch.next_achieved, &batch.goal);
        let now = inputs(&before, &batch.observation, &batch.achieved, &batch.goal);
        let wanted = if imitation > 0.0 { &batch.imitated_goal } else { &batch.goal };
        let seen = inputs(&before, &batch.observation, &batch.achieved, wanted);
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
            if imitation == 1.0 {
                assert_eq!(after.critics[nth], *critic, "critics rest");
                continue;
            }
            let taken = beside(&now, &wide(&batch.action));
            let loss = |parameters: &[f64]| {
                let values = reference(&critic.network, parameters, &taken);
                values.iter().zip(&targets).map(|(q, y)| (q - y) * (q - y)).sum::<f64>() / ROWS as f64
            };
            check("critic", &critic.network, &after.critics[nth].adam.mean, &loss);
        }
        let judge = &before.critics[0].network;
        let loss = |parameters: &[f64]| {
            let actions = reference(&before.actor.network, parameters, &seen.concat());
            let values = reference(judge, &wide(judge.parameters()), &beside(&seen, &actions));
            let square = actions.iter().map(|a| a * a).sum::<f64>() / actions.len() as f64;
            let pull = f64::from(before.hyper.action_l2) * square;
            let likeness: f64 = (0..2 * ROWS)
                .filter(|i| batch.reached[i / 2])
                .map(|i| huber(actions[i] - f64::from(batch.action[i])))
                .sum();
            pull + (300.0 * imitation * likeness - (1.0 - imitation) * values.iter().sum::<f64>()) / ROWS as f64
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
