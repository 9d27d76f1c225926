use super::*;
use crate::env::GoalObservation;
use crate::learn::{Actor, Hyper, PolicyCard};
use crate::policy::Policy;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;

const LAYOUT: Layout = Layout { observation: 5, goal: 3, action: 2 };
/// Stable-baselines3 actors that PyTorch wrote; `tests/peers/export_actors.py` makes them.
const DDPG: &[u8] = include_bytes!("../../../tests/fixtures/actors/ddpg.onnx");
const SAC: &[u8] = include_bytes!("../../../tests/fixtures/actors/sac.onnx");

fn import(bytes: &[u8], order: Option<InputOrder>) -> Result<Agent, ImportError> {
    import_with(bytes, order, Hyper::default())
}

fn import_with(bytes: &[u8], order: Option<InputOrder>, hyper: Hyper) -> Result<Agent, ImportError> {
    Agent::from_onnx(bytes, LAYOUT, order, hyper, &mut Pcg64Mcg::seed_from_u64(1))
}

/// The imported actor, the agent after a round through its file, and the actor in networks that look through a zoom,
/// against the foreign file in tract.
fn acts_alike(bytes: &[u8], widths: &[usize], order: Option<InputOrder>, range: f32) {
    let facts = widths.iter().enumerate();
    let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).unwrap();
    let model = facts.fold(model, |m, (i, &w)| m.with_input_fact(i, f32::fact([1, w]).into()).unwrap());
    let model = model.into_optimized().unwrap().into_runnable().unwrap();
    let agent = import(bytes, order).unwrap();
    let stored = Agent::from_bytes(&agent.to_bytes()).unwrap();
    let hyper = Hyper { goal_zoom: 6.0, zoomed_columns: vec![1, 4], ..Hyper::default() };
    let zoomed = import_with(bytes, order, hyper).unwrap();
    let mut actors = [&agent, &stored, &zoomed].map(|agent| Actor::new(agent, 1));
    let mut rng = Pcg64Mcg::seed_from_u64(4);
    let mut widest = 0.0f32;
    for _ in 0..300 {
        let mut numbers = |n: usize| (0..n).map(|_| rng.random_range(-range..range)).collect::<Vec<f32>>();
        let seen = GoalObservation { observation: numbers(5), achieved_goal: numbers(3), desired_goal: numbers(3) };
        let flat = [&seen.achieved_goal[..], &seen.desired_goal, &seen.observation].concat();
        let mut rest = &flat[..];
        let given: TVec<TValue> = widths
            .iter()
            .map(|&w| {
                let (head, tail) = rest.split_at(w);
                rest = tail;
                Tensor::from_shape(&[1, w], head).unwrap().into()
            })
            .collect();
        let output = model.run(given).unwrap();
        let exact = output[0].to_plain_array_view::<f32>().unwrap();
        for actor in &mut actors {
            let mut action = [0.0; 2];
            actor.act(&seen, &mut action).unwrap();
            for (ours, theirs) in action.iter().zip(exact.iter()) {
                assert!((ours - theirs).abs() < 1e-5, "{action:?} {exact:?}");
                widest = widest.max(ours.abs());
            }
        }
    }
    assert!(widest > 0.3, "the actions are too small to tell the models apart: {widest}");
}

#[test]
fn an_actor_of_three_inputs_acts_as_its_file_does() {
    acts_alike(DDPG, &[3, 3, 5], None, 4.9);
}

#[test]
fn an_actor_behind_a_normaliser_acts_as_its_file_does_with_its_bounds() {
    // ±10 deviations of up to 1.1 are reached, and passed by most.
    acts_alike(SAC, &[11], Some(InputOrder::Sb3), 25.0);
}

#[test]
fn our_own_file_comes_back_as_the_same_actor_without_being_told_its_order() {
    let mut agent = import(SAC, Some(InputOrder::Sb3)).unwrap();
    // The difference of the goals is seen as well.
    agent.actor.network.parameters_mut().iter_mut().for_each(|p| *p += 0.01);
    let card = PolicyCard { task: "push".into(), layout: "env-5".into(), seed: 1 };
    let again = import(&agent.to_onnx(&card), None).unwrap();
    assert_eq!(again.actor().parameters(), agent.actor().parameters());
    assert_eq!(again.normalizer(), agent.normalizer());
}

#[test]
fn our_own_file_with_a_zoom_is_refused() {
    let card = PolicyCard { task: "slide".into(), layout: "env-5".into(), seed: 1 };
    for (goal_zoom, zoomed_columns) in [(6.0, vec![]), (0.0, vec![2])] {
        let hyper = Hyper { goal_zoom, zoomed_columns, ..Hyper::default() };
        let zoomed = import_with(SAC, Some(InputOrder::Sb3), hyper).unwrap();
        let found = import(&zoomed.to_onnx(&card), None);
        assert!(matches!(found, Err(ImportError::Node { .. })), "{found:?}");
    }
}

#[test]
fn an_imported_normaliser_is_not_changed_by_what_is_seen() {
    let mut agent = import(SAC, Some(InputOrder::Sb3)).unwrap();
    let before = agent.normalizer().clone();
    agent.normalizer.observe(&[7.0; 14]);
    agent.normalizer.refresh();
    assert_eq!(*agent.normalizer(), before);
}

/// The three-input fixture, changed.
fn changed(change: impl FnOnce(&mut GraphProto)) -> Result<Agent, ImportError> {
    let mut model = ModelProto::decode(DDPG).unwrap();
    change(model.graph.as_mut().unwrap());
    import(&model.encode_to_vec(), None)
}

#[test]
fn what_is_no_actor_of_dense_layers_is_told_by_its_reason() {
    assert!(matches!(import(b"no model", None), Err(ImportError::Model(_))));
    assert!(matches!(import(SAC, None), Err(ImportError::Order(11))));
    let found = changed(|g| g.node.last_mut().unwrap().op_type = "Identity".into());
    assert!(matches!(found, Err(ImportError::Output(_))), "{found:?}");
    let found = changed(|g| g.node[2].op_type = "Tanh".into());
    assert!(matches!(&found, Err(ImportError::Node { op, .. }) if op == "Gemm"), "{found:?}");
    let found = changed(|g| g.node[2].op_type = "Elu".into());
    assert!(matches!(&found, Err(ImportError::Node { op, .. }) if op == "Elu"), "{found:?}");
    let found = changed(|g| g.input[0].name = "goal".into());
    assert!(matches!(found, Err(ImportError::Model(_) | ImportError::Inputs(_))), "{found:?}");
    let found = changed(|g| g.node[0].input[1] = "achieved_goal".into());
    assert!(matches!(found, Err(ImportError::Twice)), "{found:?}");
    let sizes = Layout { action: 4, ..LAYOUT };
    let found = Agent::from_onnx(DDPG, sizes, None, Hyper::default(), &mut Pcg64Mcg::seed_from_u64(1));
    assert!(matches!(found, Err(ImportError::Size { expected: 4, found: 2, .. })), "{found:?}");
    let sizes = Layout { observation: 25, ..LAYOUT };
    let found = Agent::from_onnx(DDPG, sizes, None, Hyper::default(), &mut Pcg64Mcg::seed_from_u64(1));
    assert!(matches!(found, Err(ImportError::Size { expected: 25, found: 5, .. })), "{found:?}");
}

#[test]
fn a_matrix_product_and_a_sum_are_a_layer() {
    let plain = import(DDPG, None).unwrap();
    let split = changed(|g| {
        let NodeProto { input, output, .. } = g.node.remove(3);
        let weights = g.initializer.iter_mut().find(|c| c.name == input[1]).unwrap();
        let numbers: Vec<f32> =
            weights.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        weights.raw_data = (0..64).flat_map(|n| numbers[n % 8 * 8 + n / 8].to_le_bytes()).collect();
        let node = |op: &str, from: [&str; 2], to: &str| NodeProto {
            op_type: op.into(),
            input: from.map(str::to_owned).to_vec(),
            output: vec![to.into()],
            ..Default::default()
        };
        g.node.insert(3, node("MatMul", [&input[0], &input[1]], "product"));
        g.node.insert(4, node("Add", [&input[2], "product"], &output[0]));
    });
    assert_eq!(split.unwrap().actor(), plain.actor());
}

proptest! {
    #[test]
    fn no_damage_panics(place in 0usize..2200, byte: u8, cut in 0usize..2200) {
        for fixture in [DDPG, SAC] {
            let mut bytes = fixture.to_vec();
            let length = bytes.len();
            bytes[place % length] = byte;
            let _ = import(&bytes, Some(InputOrder::Sb3));
            let _ = import(&fixture[..cut.min(length)], Some(InputOrder::Sb3));
        }
    }
}
