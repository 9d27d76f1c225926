//! What a graph of dense layers computes, read off node by node.
//!
//! Until the first matrix product a value is a row of [`Feature`]s, each a number of the input, shifted, scaled and
//! clipped; from there on it is a stack of [`Dense`] layers over these.

use super::ImportError;
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

/// One number that the layers see: `clip((source − shift) / scale)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Feature {
    pub(super) source: Source,
    pub(super) shift: f64,
    pub(super) scale: f64,
    /// Bound on both sides.
    pub(super) clip: Option<f32>,
}

/// Where a feature comes from, as an index into the observation, or into one of the goals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Observation(usize),
    Achieved(usize),
    Desired(usize),
    /// The desired goal's number minus the achieved one's.
    Difference(usize),
}

impl Feature {
    pub(super) fn raw(source: Source) -> Self {
        Self { source, shift: 0.0, scale: 1.0, clip: None }
    }

    fn is_raw(&self) -> bool {
        *self == Self::raw(self.source)
    }
}

/// A layer: `inputs × outputs` weights, row-major, and biases.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dense {
    pub(super) inputs: usize,
    pub(super) weights: Vec<f32>,
    pub(super) biases: Vec<f32>,
}

/// What follows the last layer so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Sum,
    Relu,
    Tanh,
}

#[derive(Debug, Clone)]
enum Value {
    Features(Vec<Feature>),
    Layers { features: Vec<Feature>, layers: Vec<Dense>, end: End },
}

/// Features and layers of a graph that was checked to be complete and in order.
///
/// ReLU stands between the layers, the hyperbolic tangent after the last.
pub(super) fn walk(
    graph: &GraphProto,
    inputs: HashMap<&str, Vec<Feature>>,
) -> Result<(Vec<Feature>, Vec<Dense>), ImportError> {
    let mut walk = Walk {
        constants: graph.initializer.iter().map(|c| (c.name.as_str(), c)).collect(),
        values: inputs.into_iter().map(|(name, features)| (name, Value::Features(features))).collect(),
    };
    for node in &graph.node {
        let value = walk.node(node).map_err(|reason| ImportError::Node {
            op: node.op_type.clone(),
            output: node.output[0].clone(),
            reason,
        })?;
        walk.values.insert(&node.output[0], value);
    }
    let output = graph.output[0].name.as_str();
    match walk.values.remove(output) {
        Some(Value::Layers { features, layers, end: End::Tanh }) => Ok((features, layers)),
        _ => Err(ImportError::Output(output.to_owned())),
    }
}

struct Walk<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    values: HashMap<&'a str, Value>,
}

type Reason = String;

impl Walk<'_> {
    fn node(&self, node: &NodeProto) -> Result<Value, Reason> {
        let op = node.op_type.as_str();
        match op {
            "Identity" | "Flatten" => self.unchanged(node),
            "Concat" => self.concat(node),
            "Slice" => self.slice(node),
            "Sub" if self.constant(node, 1).is_none() => self.difference(node),
            "Add" | "Sub" | "Mul" | "Div" => self.affine(node, op),
            "Clip" => self.clip(node),
            "Gemm" | "MatMul" => self.dense(node, op == "Gemm"),
            "Relu" | "Tanh" => match self.value(node, 0)? {
                Value::Layers { features, layers, end: End::Sum } => {
                    let end = if op == "Relu" { End::Relu } else { End::Tanh };
                    Ok(Value::Layers { features, layers, end })
                }
                _ => Err("expected it after a layer's sum".into()),
            },
            _ => Err("expected dense layers with ReLU between them and Tanh at the end".into()),
        }
    }

    fn value(&self, node: &NodeProto, nth: usize) -> Result<Value, Reason> {
        let name = node.input.get(nth).map_or("", String::as_str);
        self.values.get(name).cloned().ok_or_else(|| format!("its input {name:?} does not depend on the observation"))
    }

    fn features(&self, node: &NodeProto, nth: usize) -> Result<Vec<Feature>, Reason> {
        match self.value(node, nth)? {
            Value::Features(features) => Ok(features),
            Value::Layers { .. } => Err("expected it before the first layer".into()),
        }
    }

    fn constant(&self, node: &NodeProto, nth: usize) -> Option<&TensorProto> {
        node.input.get(nth).and_then(|name| self.constants.get(name.as_str()).copied())
    }

    fn floats(&self, node: &NodeProto, nth: usize) -> Result<Vec<f32>, Reason> {
        let tensor = self.constant(node, nth).ok_or_else(|| format!("its input {nth} is no constant"))?;
        if tensor.data_type != DataType::Float as i32 {
            return Err(format!("its constant {:?} is not of f32", tensor.name));
        }
        Ok(match tensor.raw_data.as_slice() {
            [] => tensor.float_data.clone(),
            raw => raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        })
    }

    /// The one number of a constant integer; `default` where it is left out.
    fn integer(&self, node: &NodeProto, nth: usize, default: Option<i64>) -> Result<i64, Reason> {
        let tensor = match self.constant(node, nth) {
            Some(tensor) => tensor,
            None => return default.ok_or_else(|| format!("its input {nth} is no constant")),
        };
        let raw = tensor.raw_data.chunks_exact(8);
        let numbers: Vec<i64> = raw
            .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            .chain(tensor.int64_data.iter().copied())
            .collect();
        match (tensor.data_type == DataType::Int64 as i32, numbers.as_slice()) {
            (true, &[number]) => Ok(number),
            _ => Err(format!("expected one integer in {:?}", tensor.name)),
        }
    }

    fn unchanged(&self, node: &NodeProto) -> Result<Value, Reason> {
        match attribute(node, "axis").map_or(1, |a| a.i) {
            1 => self.value(node, 0),
            axis => Err(format!("expected axis 1, found {axis}")),
        }
    }

    fn concat(&self, node: &NodeProto) -> Result<Value, Reason> {
        columns(attribute(node, "axis").map_or(0, |a| a.i))?;
        let mut all = Vec::new();
        for nth in 0..node.input.len() {
            all.extend(self.features(node, nth)?);
        }
        Ok(Value::Features(all))
    }

    fn slice(&self, node: &NodeProto) -> Result<Value, Reason> {
        let features = self.features(node, 0)?;
        columns(self.integer(node, 3, Some(0))?)?;
        if self.integer(node, 4, Some(1))? != 1 {
            return Err("expected a step of 1".into());
        }
        let length = features.len() as i64;
        let place = |at: i64| if at < 0 { at + length } else { at }.clamp(0, length) as usize;
        let (start, end) = (place(self.integer(node, 1, None)?), place(self.integer(node, 2, None)?));
        let part = features.get(start..end).filter(|part| !part.is_empty());
        part.map(|part| Value::Features(part.to_vec())).ok_or_else(|| format!("no columns {start}..{end}"))
    }

    /// Desired minus achieved goal, number by number.
    fn difference(&self, node: &NodeProto) -> Result<Value, Reason> {
        let (desired, achieved) = (self.features(node, 0)?, self.features(node, 1)?);
        let pair = |(d, a): (&Feature, &Feature)| match (d.source, a.source) {
            (Source::Desired(i), Source::Achieved(j)) if i == j && d.is_raw() && a.is_raw() => {
                Some(Feature::raw(Source::Difference(i)))
            }
            _ => None,
        };
        let all: Option<Vec<Feature>> = desired.iter().zip(&achieved).map(pair).collect();
        match all.filter(|_| desired.len() == achieved.len()) {
            Some(features) => Ok(Value::Features(features)),
            None => Err("expected the desired goal minus the achieved goal, or a constant".into()),
        }
    }

    fn affine(&self, node: &NodeProto, op: &str) -> Result<Value, Reason> {
        // Sum and product have no order.
        let (nth, constant) =
            if self.constant(node, 1).is_some() || matches!(op, "Sub" | "Div") { (0, 1) } else { (1, 0) };
        let numbers = self.floats(node, constant)?;
        let number = |i: usize, width: usize| match numbers.as_slice() {
            &[one] => Ok(one),
            many if many.len() == width => Ok(many[i]),
            many => Err(format!("expected {width} numbers in its constant, found {}", many.len())),
        };
        match self.value(node, nth)? {
            Value::Features(mut features) => {
                let width = features.len();
                for (i, feature) in features.iter_mut().enumerate() {
                    let c = f64::from(number(i, width)?);
                    if feature.clip.is_some() {
                        return Err("expected nothing between the normaliser's clipping and the first layer".into());
                    }
                    match op {
                        "Sub" => feature.shift += c * feature.scale,
                        "Add" => feature.shift -= c * feature.scale,
                        "Div" => feature.scale *= c,
                        _ => feature.scale /= c,
                    }
                    if !(feature.scale > 0.0 && (feature.scale as f32).is_normal() && feature.shift.is_finite()) {
                        return Err(format!("expected to divide by numbers above 0, found {}", feature.scale));
                    }
                }
                Ok(Value::Features(features))
            }
            Value::Layers { features, mut layers, end: End::Sum } if op == "Add" => {
                if let Some(layer) = layers.last_mut() {
                    let width = layer.biases.len();
                    for (i, bias) in layer.biases.iter_mut().enumerate() {
                        *bias += number(i, width)?;
                    }
                }
                Ok(Value::Layers { features, layers, end: End::Sum })
            }
            Value::Layers { .. } => Err("expected nothing but biases and activations after a layer".into()),
        }
    }

    fn clip(&self, node: &NodeProto) -> Result<Value, Reason> {
        let bound = |nth: usize| match self.floats(node, nth)?.as_slice() {
            &[bound] => Ok(bound),
            _ => Err("expected one bound".to_owned()),
        };
        let (low, high) = (bound(1)?, bound(2)?);
        match self.value(node, 0)? {
            Value::Features(mut features) => {
                if low != -high || !high.is_normal() || high < 0.0 {
                    return Err(format!("expected bounds alike on both sides, found {low} and {high}"));
                }
                for feature in &mut features {
                    feature.clip = Some(feature.clip.map_or(high, |clip| clip.min(high)));
                }
                Ok(Value::Features(features))
            }
            // Bounds that a hyperbolic tangent cannot reach.
            value @ Value::Layers { end: End::Tanh, .. } if low <= -1.0 && high >= 1.0 => Ok(value),
            Value::Layers { .. } => Err("expected it before the first layer, or as ±1 at the end".into()),
        }
    }

    fn dense(&self, node: &NodeProto, gemm: bool) -> Result<Value, Reason> {
        let flag = |name: &str| gemm && attribute(node, name).is_some_and(|a| a.i != 0);
        let factor = |name: &str| attribute(node, name).map_or(1.0, |a| a.f);
        if flag("transA") || (gemm && (factor("alpha") != 1.0 || factor("beta") != 1.0)) {
            return Err("expected neither transA nor factors alpha and beta".into());
        }
        let (features, mut layers) = match self.value(node, 0)? {
            Value::Features(features) => (features, Vec::new()),
            Value::Layers { features, layers, end: End::Relu } => (features, layers),
            Value::Layers { .. } => return Err("expected ReLU between two layers".into()),
        };
        let before = layers.last().map_or(features.len(), |layer: &Dense| layer.biases.len());
        let (numbers, dims) = (self.floats(node, 1)?, self.constant(node, 1).map_or(&[][..], |c| &c.dims));
        let &[rows, columns] = dims else { return Err(format!("expected a matrix, found {dims:?}")) };
        let turned = flag("transB");
        let (inputs, outputs) =
            if turned { (columns as usize, rows as usize) } else { (rows as usize, columns as usize) };
        if inputs != before || outputs == 0 {
            return Err(format!("expected weights for {before} inputs, found {inputs}"));
        }
        let at = |i: usize, j: usize| if turned { numbers[j * inputs + i] } else { numbers[i * outputs + j] };
        let weights = (0..inputs * outputs).map(|n| at(n / outputs, n % outputs)).collect();
        let biases = match gemm && node.input.get(2).is_some_and(|name| !name.is_empty()) {
            true => self.floats(node, 2)?,
            false => vec![0.0; outputs],
        };
        let biases = if let &[one] = biases.as_slice() { vec![one; outputs] } else { biases };
        if biases.len() != outputs {
            return Err(format!("expected {outputs} biases, found {}", biases.len()));
        }
        layers.push(Dense { inputs, weights, biases });
        Ok(Value::Layers { features, layers, end: End::Sum })
    }
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// The axis that counts columns, from the front or from the back.
fn columns(axis: i64) -> Result<(), Reason> {
    if axis == 1 || axis == -1 { Ok(()) } else { Err(format!("expected the columns' axis 1, found {axis}")) }
}
