use super::*;
use proptest::prelude::*;
use tract_onnx::pb::{
    GraphProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_proto,
    tensor_shape_proto, type_proto,
};

const LAYOUT: Layout = Layout { observation: 5, goal: 3, action: 2 };
const WIDTH: i64 = 11;

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&n: &i64| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(n)),
        ..Default::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let elem_type = tensor_proto::DataType::Float as i32;
    let value = Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type, shape }));
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value, ..Default::default() }),
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64], x: f32) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: tensor_proto::DataType::Float as i32,
        float_data: vec![x; dims.iter().product::<i64>() as usize],
        ..Default::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: format!("make_{output}"),
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// Observation [1, inputs] → relu(x · 0.1) · 1 + 0.5 [1, outputs], without a final bound.
fn model(inputs: i64, outputs: i64) -> ModelProto {
    ModelProto {
        ir_version: 7,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        graph: Some(GraphProto {
            name: "policy".to_owned(),
            node: vec![
                node("Gemm", &["observation", "w0", "b0"], "h"),
                node("Relu", &["h"], "r"),
                node("Gemm", &["r", "w1", "b1"], "action"),
            ],
            initializer: vec![
                floats("w0", &[inputs, 4], 0.1),
                floats("b0", &[4], 0.0),
                floats("w1", &[4, outputs], 1.0),
                floats("b1", &[outputs], 0.5),
            ],
            input: vec![value("observation", &[1, inputs])],
            output: vec![value("action", &[1, outputs])],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn load(model: &ModelProto) -> Result<OnnxPolicy, PolicyError> {
    OnnxPolicy::from_bytes(&model.encode_to_vec(), LAYOUT)
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn seen(x: f32) -> GoalObservation {
    GoalObservation { observation: vec![x; 5], achieved_goal: vec![0.0; 3], desired_goal: vec![0.0; 3] }
}

fn told(result: Result<OnnxPolicy, PolicyError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_policy_acts_as_its_layers_say_and_stays_within_bounds() {
    let mut policy = load(&model(WIDTH, 2)).unwrap();
    let mut action = [9.0; 2];
    policy.act(&seen(0.1), &mut action).unwrap();
    // Each of 4 hidden: 5 · 0.1 · 0.1 = 0.05; 4 · 0.05 + 0.5 = 0.7.
    assert!(action.iter().all(|a| (a - 0.7).abs() < 1e-6), "{action:?}");
    policy.act(&seen(10.0), &mut action).unwrap();
    assert_eq!(action, [1.0; 2]);
    // The same again: a reused state keeps nothing.
    policy.act(&seen(0.1), &mut action).unwrap();
    assert!(action.iter().all(|a| (a - 0.7).abs() < 1e-6), "{action:?}");
}

#[test]
fn a_policy_of_another_shape_is_refused_with_both_shapes() {
    let message = told(load(&model(12, 2)));
    assert!(message.contains("[N, 11]") && message.contains("[N, 12]") && message.contains("trained"), "{message}");
    let message = told(load(&model(WIDTH, 3)));
    assert!(message.contains("`action`") && message.contains("[N, 2]") && message.contains("[N, 3]"), "{message}");
    // Declared one way, computed another.
    let mut liar = model(WIDTH, 3);
    graph(&mut liar).output[0] = value("action", &[1, 2]);
    assert!(load(&liar).is_err());
    let mut two = model(WIDTH, 2);
    graph(&mut two).input.push(value("goal", &[1, 3]));
    assert!(told(load(&two)).contains("inputs"));
}

#[test]
fn what_is_not_onnx_is_called_so() {
    for bytes in [&b""[..], b"hello, arm", &[0xff; 100], b"\x89PNG\r\n\x1a\n", b"{\"policy\": 1}"] {
        assert!(matches!(OnnxPolicy::from_bytes(bytes, LAYOUT), Err(PolicyError::NotOnnx(_))), "{bytes:?}");
    }
    let missing = OnnxPolicy::load(Path::new("no/such/policy.onnx"), LAYOUT);
    assert!(told(missing).contains("no/such/policy.onnx"));
}

#[test]
fn nan_in_the_weights_or_in_what_is_seen_is_never_an_action() {
    let mut poisoned = model(WIDTH, 2);
    graph(&mut poisoned).initializer[0].float_data[3] = f32::NAN;
    assert!(matches!(load(&poisoned), Err(PolicyError::NotFinite(_))));

    // Finite weights that overflow: 0 · inf.
    let mut overflowing = model(WIDTH, 2);
    graph(&mut overflowing).initializer[1].float_data = vec![f32::MAX; 4];
    graph(&mut overflowing).initializer[2].float_data = [f32::MAX, -f32::MAX].repeat(4);
    graph(&mut overflowing).node.push(node("Sub", &["action", "action"], "difference"));
    graph(&mut overflowing).output[0] = value("difference", &[1, 2]);
    assert!(matches!(load(&overflowing), Err(PolicyError::NotFinite(_))));

    let mut policy = load(&model(WIDTH, 2)).unwrap();
    let mut action = [0.25; 2];
    assert!(matches!(policy.act(&seen(f32::NAN), &mut action), Err(PolicyError::NotFinite(_))));
    assert_eq!(action, [0.25; 2]);
}

#[test]
fn vectors_of_another_length_are_refused() {
    let mut policy = load(&model(WIDTH, 2)).unwrap();
    let mut short = seen(0.0);
    short.observation.pop();
    assert!(matches!(policy.act(&short, &mut [0.0; 2]), Err(PolicyError::Length { found: 4, .. })));
    assert!(matches!(policy.act(&seen(0.0), &mut [0.0; 4]), Err(PolicyError::Length { expected: 2, .. })));
}

#[test]
fn models_that_reach_outside_or_lie_about_themselves_are_refused() {
    type Spoil = fn(&mut GraphProto);
    let spoilers: [(&str, Spoil); 7] = [
        ("another file", |g| g.initializer[0].data_location = Some(1)),
        ("operator", |g| g.node[1].op_type = "Loop".to_owned()),
        ("shape", |g| g.initializer[0].dims = vec![i64::MAX, i64::MAX]),
        ("shape", |g| g.initializer[0].dims = vec![-11, -4]),
        ("nothing computes", |g| g.node[2].input[0] = "ghost".to_owned()),
        ("nothing computes", |g| g.output[0].name = "ghost".to_owned()),
        ("outputs", |g| g.output.clear()),
    ];
    for (part, spoil) in spoilers {
        let mut model = model(WIDTH, 2);
        spoil(graph(&mut model));
        let message = told(load(&model));
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn what_the_learner_writes_is_what_this_reads() {
    use crate::learn::{Actor, Agent, Hyper, PolicyCard};
    use rand::{RngExt, SeedableRng};
    let layout = Layout { observation: 25, goal: 3, action: 4 };
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(5);
    let hyper = Hyper { hidden: vec![32, 32], goal_zoom: 6.0, zoomed_columns: vec![6, 7], ..Hyper::default() };
    let agent = Agent::new(hyper, layout, &mut rng).unwrap();
    let card = PolicyCard { task: "push".to_owned(), layout: "fetch-25".to_owned(), seed: 7 };
    let bytes = agent.to_onnx(&card);
    let mut policy = OnnxPolicy::from_bytes(&bytes, layout).unwrap();
    assert_eq!((policy.metadata("task"), policy.metadata("nothing")), (Some("push"), None));
    let mut actor = Actor::new(&agent, 1);
    for _ in 0..20 {
        let mut numbers = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        let seen = GoalObservation { observation: numbers(25), achieved_goal: numbers(3), desired_goal: numbers(3) };
        let (mut ours, mut theirs) = ([0.0; 4], [0.0; 4]);
        policy.act(&seen, &mut ours).unwrap();
        actor.act(&seen, &mut theirs).unwrap();
        assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-5), "{ours:?} {theirs:?}");
    }
    let other = Layout { observation: 22, goal: 4, ..layout };
    assert!(matches!(OnnxPolicy::from_bytes(&bytes, other), Err(PolicyError::Shape { .. })));
    let other = Layout { observation: 19, goal: 6, ..layout };
    assert!(told(OnnxPolicy::from_bytes(&bytes, other)).contains("layout"));
}

#[test]
fn a_file_cut_short_is_refused() {
    let bytes = model(WIDTH, 2).encode_to_vec();
    for end in 0..bytes.len() {
        assert!(OnnxPolicy::from_bytes(&bytes[..end], LAYOUT).is_err(), "cut at {end}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_file_never_panics_and_never_gives_nan(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = model(WIDTH, 2).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(mut policy) = OnnxPolicy::from_bytes(&bytes, LAYOUT) {
            let mut action = [0.0; 2];
            if policy.act(&seen(0.1), &mut action).is_ok() {
                prop_assert!(action.iter().all(|a| a.abs() <= 1.0));
            }
        }
    }
}
