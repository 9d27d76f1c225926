//! Whether a decoded file is a small, complete graph of dense layers, before the runtime takes it apart.
//!
//! The runtime trusts a model's names, sizes and file references. A policy is a file that somebody hands over, so
//! everything that could make the runtime panic, read other files, loop or allocate without bound is refused here.

use super::PolicyError;
use std::collections::HashSet;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, ValueInfoProto, tensor_proto, type_proto};
use tract_onnx::pb::{tensor_proto::DataType, tensor_shape_proto::dimension::Value as Dimension};

/// What dense policies are made of: ours, and those of the common exporters. None has a subgraph or a size of its
/// own.
const OPERATORS: [&str; 18] = [
    "Add",
    "Clip",
    "Concat",
    "Div",
    "Elu",
    "Flatten",
    "Gemm",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "Max",
    "Min",
    "Mul",
    "Relu",
    "Slice",
    "Sqrt",
    "Sub",
    "Tanh",
];
/// Operator sets whose dense layers mean the same.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=21;
/// Most nodes and constants; ours have about 20.
const PARTS_MAX: usize = 1_000;

/// Checks `model` and returns its graph.
pub(crate) fn check(model: &ModelProto) -> Result<&GraphProto, PolicyError> {
    let graph = model.graph.as_ref().ok_or_else(|| PolicyError::NotOnnx("it holds no graph".to_owned()))?;
    // A file cut short behind the graph lacks it.
    let opset = model.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx").map(|o| o.version);
    if !opset.is_some_and(|version| OPSETS.contains(&version)) {
        return Err(PolicyError::NotOnnx(format!("its operator set is {opset:?}, expected one of {OPSETS:?}")));
    }
    let parts = graph.node.len() + graph.initializer.len();
    if graph.node.is_empty() || parts > PARTS_MAX || !graph.sparse_initializer.is_empty() {
        return Err(unsupported(format!("{parts} nodes and constants")));
    }
    let mut known = HashSet::new();
    for constant in &graph.initializer {
        check_constant(constant)?;
        if !known.insert(constant.name.as_str()) {
            return Err(unsupported(format!("two values named {:?}", constant.name)));
        }
    }
    for input in &graph.input {
        known.insert(&input.name);
    }
    for node in &graph.node {
        let op = node.op_type.as_str();
        if !OPERATORS.contains(&op) || !(node.domain.is_empty() || node.domain == "ai.onnx") {
            return Err(unsupported(format!("the operator {op:?}")));
        }
        let nested = |a: &tract_onnx::pb::AttributeProto| a.g.is_some() || !a.graphs.is_empty() || a.t.is_some();
        if node.attribute.iter().any(nested) || node.input.is_empty() || node.output.len() != 1 {
            return Err(unsupported(format!("an unusual {op:?}")));
        }
        if let Some(missing) = node.input.iter().find(|name| !name.is_empty() && !known.contains(name.as_str())) {
            return Err(unsupported(format!("the value {missing:?}, which nothing computes before it is used")));
        }
        if node.output[0].is_empty() || !known.insert(&node.output[0]) {
            return Err(unsupported(format!("two values named {:?}", node.output[0])));
        }
    }
    match graph.output.as_slice() {
        [output] if known.contains(output.name.as_str()) => Ok(graph),
        [output] => Err(unsupported(format!("the output {:?}, which nothing computes", output.name))),
        outputs => Err(unsupported(format!("{} outputs", outputs.len()))),
    }
}

/// The one input that is not a constant.
pub(super) fn single_input(graph: &GraphProto) -> Result<&ValueInfoProto, PolicyError> {
    let constant = |name: &str| graph.initializer.iter().any(|c| c.name == name);
    let inputs: Vec<_> = graph.input.iter().filter(|i| !constant(&i.name)).collect();
    match inputs.as_slice() {
        [input] => Ok(input),
        _ => Err(PolicyError::Shape {
            what: "inputs",
            expected: "one, `observation`".to_owned(),
            found: format!("{:?}", inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>()),
        }),
    }
}

/// Number of columns of an f32 matrix, if `value` is declared as one; `None` for a size that is left open.
pub(crate) fn columns(value: &ValueInfoProto) -> Result<Option<i64>, String> {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err("no tensor".to_owned());
    };
    if tensor.elem_type != DataType::Float as i32 {
        return Err(format!("elements of type {}", tensor.elem_type));
    }
    let Some(shape) = &tensor.shape else { return Ok(None) };
    match shape.dim.as_slice() {
        [_, columns] => Ok(match columns.value {
            Some(Dimension::DimValue(n)) => Some(n),
            _ => None,
        }),
        dims => Err(format!("a tensor of {} dimensions", dims.len())),
    }
}

fn check_constant(tensor: &TensorProto) -> Result<(), PolicyError> {
    let name = &tensor.name;
    let size = tensor.dims.iter().try_fold(1_usize, |size, &d| size.checked_mul(usize::try_from(d).ok()?));
    let external = tensor.data_location == Some(tensor_proto::DataLocation::External as i32);
    if external || !tensor.external_data.is_empty() || tensor.segment.is_some() {
        return Err(unsupported(format!("the constant {name:?} kept in another file")));
    }
    let (given, finite) = if tensor.data_type == DataType::Float as i32 {
        let raw = tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let finite = raw.chain(tensor.float_data.iter().copied()).all(f32::is_finite);
        (count(tensor.raw_data.len(), 4, tensor.float_data.len()), finite)
    } else if tensor.data_type == DataType::Int64 as i32 {
        (count(tensor.raw_data.len(), 8, tensor.int64_data.len()), true)
    } else {
        return Err(unsupported(format!("the constant {name:?} of type {}", tensor.data_type)));
    };
    if size.is_none() || size != given {
        return Err(unsupported(format!("the constant {name:?} of shape {:?} with {given:?} numbers", tensor.dims)));
    }
    if !finite {
        return Err(PolicyError::NotFinite(format!("a weight of the policy, in {name:?},")));
    }
    Ok(())
}

/// How many numbers a constant holds, as bytes or as a list, but not both.
fn count(bytes: usize, width: usize, list: usize) -> Option<usize> {
    match (bytes, list) {
        (0, list) => Some(list),
        (bytes, 0) if bytes % width == 0 => Some(bytes / width),
        _ => None,
    }
}

fn unsupported(found: String) -> PolicyError {
    PolicyError::Unsupported(found)
}
