//! The actor as a plain ONNX model (opset 13) that any runtime can act with.
//!
//! Input `observation`, f32 `[N, observation + goal + goal]`: the observation, the achieved and the desired goal. Output
//! `action`, f32 `[N, action]`, each in [−1, 1]. The difference of the goals, the normaliser and what is enlarged
//! ([`Hyper::goal_zoom`](super::Hyper::goal_zoom), [`Hyper::zoomed_columns`](super::Hyper::zoomed_columns)) are inside.

use super::agent::Agent;
use super::features;
use super::normalizer::CLIP;
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto, tensor_proto, tensor_shape_proto, type_proto,
};

/// ONNX's version of the file format that goes with opset 13.
const IR_VERSION: i64 = 7;
const OPSET: i64 = 13;

/// What a policy's file says about itself, besides its shapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyCard {
    /// The task that it was trained for, for example `push`.
    pub task: String,
    /// Name of the observation's layout, for example `fetch-25`.
    pub layout: String,
    /// Seed of the training.
    pub seed: u64,
}

impl Agent {
    /// The actor and its normaliser as an ONNX file's bytes. The same agent and card give the same bytes.
    ///
    /// Metadata: `task`, `layout`, `seed`, `steps`, and the vectors' lengths as `observation`, `goal` and `action`.
    pub fn to_onnx(&self, card: &PolicyCard) -> Vec<u8> {
        let mut graph = Graph::default();
        let (o, g) = (self.layout.observation as i64, self.layout.goal as i64);
        graph.integers("achieved_start", &[o]);
        graph.integers("desired_start", &[o + g]);
        graph.integers("end", &[o + 2 * g]);
        graph.integers("columns", &[1]);
        graph.node("Slice", &["observation", "achieved_start", "desired_start", "columns"], "achieved", vec![]);
        graph.node("Slice", &["observation", "desired_start", "end", "columns"], "desired", vec![]);
        graph.node("Sub", &["desired", "achieved"], "difference", vec![]);
        graph.node("Concat", &["observation", "difference"], "features", vec![integer("axis", 1)]);
        let width = self.normalizer.width() as i64;
        graph.floats("shift", &[1, width], self.normalizer.shift());
        graph.floats("scale", &[1, width], self.normalizer.scale());
        graph.floats("lowest", &[], &[-CLIP]);
        graph.floats("highest", &[], &[CLIP]);
        graph.node("Sub", &["features", "shift"], "centered", vec![]);
        graph.node("Div", &["centered", "scale"], "scaled", vec![]);
        let mut parts = vec!["scaled"];
        if !self.hyper.zoomed_columns.is_empty() {
            // Picks and enlarges in one product: its other terms are 0, and an index in a file may lie.
            let zoomed = self.hyper.zoomed_columns.len();
            let mut picks = vec![0.0; self.normalizer.width() * zoomed];
            let factors = features::column_factors(&self.normalizer, &self.hyper);
            for (to, (&column, factor)) in self.hyper.zoomed_columns.iter().zip(factors).enumerate() {
                picks[column * zoomed + to] = factor;
            }
            graph.floats("column_zoom", &[width, zoomed as i64], &picks);
            graph.node("MatMul", &["features", "column_zoom"], "enlarged_columns", vec![]);
            parts.push("enlarged_columns");
        }
        if self.hyper.goal_zoom > 0.0 {
            let factors: Vec<f32> = features::goal_factors(&self.normalizer, &self.hyper, self.layout.goal).collect();
            graph.floats("zoom", &[1, g], &factors);
            graph.node("Mul", &["difference", "zoom"], "enlarged", vec![]);
            graph.node("Mul", &["enlarged", "enlarged"], "squares", vec![]);
            graph.floats("ones", &[g, 1], &vec![1.0; self.layout.goal]);
            graph.node("MatMul", &["squares", "ones"], "square", vec![]);
            graph.node("Sqrt", &["square"], "length", vec![]);
            parts.extend(["enlarged", "length"]);
        }
        let mut seen = "scaled";
        if parts.len() > 1 {
            graph.node("Concat", &parts, "seen", vec![integer("axis", 1)]);
            seen = "seen";
        }
        graph.node("Clip", &[seen, "lowest", "highest"], "layer_0", vec![]);
        let network = &self.actor.network;
        for layer in 0..network.layers() {
            let (weights, biases) = network.layer(layer);
            let (inputs, outputs) = (network.sizes()[layer] as i64, network.sizes()[layer + 1] as i64);
            let name = |part: &str| format!("{part}_{layer}");
            graph.floats(&name("weights"), &[inputs, outputs], weights);
            graph.floats(&name("biases"), &[outputs], biases);
            let operands = [name("layer"), name("weights"), name("biases")];
            graph.node("Gemm", &operands.each_ref().map(String::as_str), &name("sum"), vec![]);
            if layer + 1 == network.layers() {
                graph.node("Tanh", &[&name("sum")], "action", vec![]);
            } else {
                graph.node("Relu", &[&name("sum")], &format!("layer_{}", layer + 1), vec![]);
            }
        }
        let property = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(GraphProto {
                name: "policy".to_owned(),
                node: graph.nodes,
                initializer: graph.constants,
                input: vec![tensor("observation", o + 2 * g)],
                output: vec![tensor("action", self.layout.action as i64)],
                ..GraphProto::default()
            }),
            metadata_props: vec![
                property("task", card.task.clone()),
                property("layout", card.layout.clone()),
                property("seed", card.seed.to_string()),
                property("steps", self.env_steps.to_string()),
                property("observation", self.layout.observation.to_string()),
                property("goal", self.layout.goal.to_string()),
                property("action", self.layout.action.to_string()),
            ],
            ..ModelProto::default()
        }
        .encode_to_vec()
    }
}

#[derive(Default)]
struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Graph {
    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("make_{output}"),
            op_type: op.to_owned(),
            attribute,
            ..NodeProto::default()
        });
    }

    fn floats(&mut self, name: &str, dims: &[i64], numbers: &[f32]) {
        let raw = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, dims, tensor_proto::DataType::Float, raw);
    }

    fn integers(&mut self, name: &str, numbers: &[i64]) {
        let raw = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, &[numbers.len() as i64], tensor_proto::DataType::Int64, raw);
    }

    fn constant(&mut self, name: &str, dims: &[i64], kind: tensor_proto::DataType, raw_data: Vec<u8>) {
        self.constants.push(TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: kind as i32,
            raw_data,
            ..TensorProto::default()
        });
    }
}

fn integer(name: &str, i: i64) -> AttributeProto {
    let r#type = attribute_proto::AttributeType::Int as i32;
    AttributeProto { name: name.to_owned(), i, r#type, ..AttributeProto::default() }
}

/// An f32 matrix of any number of rows.
fn tensor(name: &str, columns: i64) -> ValueInfoProto {
    let dimension = |value| tensor_shape_proto::Dimension { value: Some(value), ..Default::default() };
    let rows = dimension(tensor_shape_proto::dimension::Value::DimParam("N".to_owned()));
    let columns = dimension(tensor_shape_proto::dimension::Value::DimValue(columns));
    let shape = Some(TensorShapeProto { dim: vec![rows, columns] });
    let elem_type = tensor_proto::DataType::Float as i32;
    let value = Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type, shape }));
    let r#type = Some(TypeProto { value, ..TypeProto::default() });
    ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{GoalObservation, Layout};
    use crate::learn::{Actor, Hyper};
    use crate::policy::Policy;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;
    use tract_onnx::prelude::*;

    fn agent(goal_zoom: f32, zoomed_columns: &[usize]) -> Agent {
        let layout = Layout { observation: 25, goal: 3, action: 4 };
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        let hyper =
            Hyper { hidden: vec![64, 48], goal_zoom, zoomed_columns: zoomed_columns.into(), ..Hyper::default() };
        let mut agent = Agent::new(hyper, layout, &mut rng).unwrap();
        // Actions all over [−1, 1], and statistics that clip some inputs.
        agent.actor.network.parameters_mut().iter_mut().for_each(|p| *p *= 3.0);
        for _ in 0..50 {
            let row: Vec<f32> = (0..34).map(|i| i as f32 * 0.01 + rng.random_range(-0.1f32..0.1)).collect();
            agent.normalizer.observe(&row);
        }
        agent.normalizer.refresh();
        agent
    }

    fn card() -> PolicyCard {
        PolicyCard { task: "push".to_owned(), layout: "fetch-25".to_owned(), seed: 7 }
    }

    #[test]
    fn the_exported_model_acts_as_the_agent_does() {
        for (goal_zoom, columns) in [(0.0, &[][..]), (2.5, &[]), (0.0, &[8, 6]), (2.5, &[6, 7, 8])] {
            acts_alike(&agent(goal_zoom, columns));
        }
    }

    fn acts_alike(agent: &Agent) {
        let bytes = agent.to_onnx(&card());
        let model = tract_onnx::onnx()
            .model_for_read(&mut &bytes[..])
            .unwrap()
            .into_optimized()
            .unwrap()
            .into_runnable()
            .unwrap();
        let mut actor = Actor::new(agent, 1);
        let mut rng = Pcg64Mcg::seed_from_u64(4);
        let mut widest = 0.0f32;
        for _ in 0..200 {
            let mut numbers = |n: usize| (0..n).map(|_| rng.random_range(-0.5f32..1.0)).collect::<Vec<f32>>();
            let seen =
                GoalObservation { observation: numbers(25), achieved_goal: numbers(3), desired_goal: numbers(3) };
            let mut action = [0.0; 4];
            actor.act(&seen, &mut action).unwrap();
            let flat = [&seen.observation[..], &seen.achieved_goal, &seen.desired_goal].concat();
            let input = Tensor::from_shape(&[1, 31], &flat).unwrap();
            let output = model.run(tvec!(input.into())).unwrap();
            let exported = output[0].to_plain_array_view::<f32>().unwrap();
            for (ours, theirs) in action.iter().zip(exported.iter()) {
                assert!((ours - theirs).abs() < 1e-5, "{action:?} {exported:?}");
                widest = widest.max(ours.abs());
            }
        }
        assert!(widest > 0.5, "the actions are too small to tell the models apart: {widest}");
    }

    #[test]
    fn the_same_agent_gives_the_same_bytes_with_its_card_inside() {
        let bytes = agent(6.0, &[6]).to_onnx(&card());
        assert_eq!(bytes, agent(6.0, &[6]).to_onnx(&card()));
        let model = ModelProto::decode(&bytes[..]).unwrap();
        let props: Vec<(&str, &str)> =
            model.metadata_props.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        assert!(props.contains(&("task", "push")) && props.contains(&("layout", "fetch-25")), "{props:?}");
        assert!(props.contains(&("seed", "7")) && props.contains(&("observation", "25")), "{props:?}");
    }
}
