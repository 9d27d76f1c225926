//! An actor that was trained elsewhere, as an agent of ours: to act with, and to go on learning from.
//!
//! Read are ONNX models of dense layers (`Gemm`, or `MatMul` and `Add`) with `Relu` between them and `Tanh` at the end;
//! in front of them `Concat`, `Slice`, the difference of the goals, and a normaliser of `Sub`, `Div` and `Clip`, for
//! each input or for all of them. Inputs are either three, `observation`, `achieved_goal` and `desired_goal`, or all of
//! them in one row, in an [`InputOrder`].
//!
//! The networks here see more than most (see [`features`]) and clip what they see to ±5 deviations. So a number that the
//! foreign actor does not look at gets weights of 0, and another bound of the foreign normaliser becomes a factor on
//! scale and weights. Only an actor that bounds nothing is bounded by the import: a number beyond ±5 counts as ±5.

mod walk;

use super::agent::Agent;
use super::features;
use super::hyper::{Hyper, HyperError};
use super::normalizer::{CLIP, Normalizer};
use crate::env::Layout;
use crate::policy::{PolicyError, check_graph, columns};
use prost::Message;
use rand::Rng;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};
use walk::{Dense, Feature, Source, walk};

/// In which order a single input holds its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum InputOrder {
    /// Observation, achieved goal, desired goal: this program's.
    Hindsight,
    /// Achieved goal, desired goal, observation: stable-baselines3's, which sorts the names.
    Sb3,
}

/// Why a foreign actor cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not a model, or none of dense layers.
    #[error(transparent)]
    Model(#[from] PolicyError),
    /// A step of the model that has no place in an actor of ours.
    #[error(
        "cannot import {op} that makes {output:?}: {reason}; export the actor's layers alone, without its sampling"
    )]
    Node {
        /// The operator.
        op: String,
        /// What it computes.
        output: String,
        /// What was expected, and found.
        reason: String,
    },
    /// The model does not end as an actor.
    #[error(
        "expected actions out of a Tanh after dense layers, found {0:?}; export the deterministic action of the actor"
    )]
    Output(String),
    /// The model's inputs are not what a goal's policy sees.
    #[error(
        "expected the inputs observation, achieved_goal and desired_goal, or one of all three, found {0:?}; name them so \
         when exporting"
    )]
    Inputs(Vec<String>),
    /// One input, and nobody knows in which order.
    #[error("the policy has a single input of {0} numbers in an unknown order; say --input-order sb3 or hindsight")]
    Order(usize),
    /// Something has another size than the task says.
    #[error("the policy's {what}: expected {expected} numbers, found {found}; choose the task that it was trained for")]
    Size {
        /// Input, or output.
        what: String,
        /// The task's.
        expected: usize,
        /// The model's.
        found: usize,
    },
    /// The same number of the input is looked at twice.
    #[error("the policy's first layer sees a number of its input twice; export it with each input once")]
    Twice,
    /// Its layers are more, or wider, than those here may be.
    #[error("the policy's layers: {0}")]
    Hyper(#[from] HyperError),
}

impl Agent {
    /// Takes in the actor of an ONNX file. The critics start anew, with `hyper` but for the layers' widths, which are the
    /// actor's; the normaliser stays as it is imported.
    ///
    /// `order` is needed for a single input only, and not for a policy that this program wrote.
    ///
    /// # Errors
    /// See [`ImportError`]; no bytes panic.
    pub fn from_onnx(
        bytes: &[u8],
        layout: Layout,
        order: Option<InputOrder>,
        hyper: Hyper,
        rng: &mut impl Rng,
    ) -> Result<Self, ImportError> {
        let mut model = ModelProto::decode(bytes).map_err(|error| PolicyError::NotOnnx(error.to_string()))?;
        if let Some(graph) = &mut model.graph {
            gather_constants(graph);
        }
        let ours = model.metadata_props.iter().any(|p| p.key == "observation").then_some(InputOrder::Hindsight);
        let graph = check_graph(&model)?;
        let (seen, layers) = walk(graph, inputs(graph, layout, order.or(ours))?)?;
        let outputs = layers.last().map_or(0, |layer| layer.biases.len());
        if outputs != layout.action {
            return Err(ImportError::Size { what: "output".into(), expected: layout.action, found: outputs });
        }
        let hidden = layers[..layers.len() - 1].iter().map(|layer| layer.biases.len()).collect();
        let mut agent = Self::new(Hyper { hidden, ..hyper }, layout, rng)?;
        agent.adopt(&seen, layers)?;
        Ok(agent)
    }

    /// Puts features and layers in the place of the actor's.
    fn adopt(&mut self, seen: &[Feature], mut layers: Vec<Dense>) -> Result<(), ImportError> {
        let width = features::width(self.layout);
        let (mut shift, mut scale) = (vec![0.0; width], vec![1.0; width]);
        let hidden = layers[0].biases.len();
        // It does not look through a zoom.
        let input = features::input_width(self.layout, &self.hyper);
        let mut first = vec![0.0; input * hidden];
        let mut used = HashSet::new();
        for (feature, weights) in seen.iter().zip(layers[0].weights.chunks_exact(hidden)) {
            let at = place(feature.source, self.layout);
            if !used.insert(at) {
                return Err(ImportError::Twice);
            }
            let factor = feature.clip.map_or(1.0, |clip| clip / CLIP);
            shift[at] = feature.shift;
            scale[at] = feature.scale * f64::from(factor);
            first[at * hidden..(at + 1) * hidden].iter_mut().zip(weights).for_each(|(to, from)| *to = from * factor);
        }
        layers[0] = Dense { inputs: input, weights: first, biases: std::mem::take(&mut layers[0].biases) };
        let parameters: Vec<f32> =
            layers.into_iter().flat_map(|layer| layer.weights.into_iter().chain(layer.biases)).collect();
        self.normalizer = Normalizer::given(shift, scale);
        self.actor.network.parameters_mut().copy_from_slice(&parameters);
        self.actor.target.parameters_mut().copy_from_slice(&parameters);
        Ok(())
    }
}

/// Where a feature stands in the networks' input.
fn place(source: Source, layout: Layout) -> usize {
    let Layout { observation: o, goal: g, .. } = layout;
    match source {
        Source::Observation(i) => i,
        Source::Achieved(i) => o + i,
        Source::Desired(i) => o + g + i,
        Source::Difference(i) => o + 2 * g + i,
    }
}

/// What each input holds.
fn inputs(
    graph: &GraphProto,
    layout: Layout,
    order: Option<InputOrder>,
) -> Result<HashMap<&str, Vec<Feature>>, ImportError> {
    let constant = |name: &str| graph.initializer.iter().any(|c| c.name == name);
    let given: Vec<_> = graph.input.iter().filter(|i| !constant(&i.name)).collect();
    let row = |length: usize, source: fn(usize) -> Source| (0..length).map(move |i| Feature::raw(source(i)));
    let observation = || row(layout.observation, Source::Observation);
    let (achieved, desired) = (|| row(layout.goal, Source::Achieved), || row(layout.goal, Source::Desired));
    let mut found = HashMap::new();
    for input in &given {
        let features: Vec<Feature> = match (input.name.as_str(), given.len()) {
            (_, 1) => {
                let width = layout.observation + 2 * layout.goal;
                match order.ok_or(ImportError::Order(width))? {
                    InputOrder::Hindsight => observation().chain(achieved()).chain(desired()).collect(),
                    InputOrder::Sb3 => achieved().chain(desired()).chain(observation()).collect(),
                }
            }
            ("observation", 3) => observation().collect(),
            ("achieved_goal", 3) => achieved().collect(),
            ("desired_goal", 3) => desired().collect(),
            _ => return Err(ImportError::Inputs(given.iter().map(|i| i.name.clone()).collect())),
        };
        let size = |reason| PolicyError::Shape { what: "input", expected: "[N, columns] of f32".into(), found: reason };
        if let Some(columns) = columns(input).map_err(size)?
            && columns != features.len() as i64
        {
            let (what, expected) = (format!("input {}", input.name), features.len());
            return Err(ImportError::Size { what, expected, found: columns.max(0) as usize });
        }
        found.insert(input.name.as_str(), features);
    }
    if found.is_empty() { Err(ImportError::Inputs(vec![])) } else { Ok(found) }
}

/// PyTorch keeps bounds as nodes without an input; they are constants as all others.
fn gather_constants(graph: &mut GraphProto) {
    let GraphProto { node, initializer, .. } = graph;
    node.retain(|node| {
        let tensor = match (node.op_type.as_str(), node.output.as_slice(), node.attribute.as_slice()) {
            ("Constant", [name], [value]) => value.t.clone().map(|t| TensorProto { name: name.clone(), ..t }),
            _ => None,
        };
        initializer.extend(tensor.clone());
        tensor.is_none()
    });
}

#[cfg(test)]
mod tests;
