//! A policy from an ONNX file, through tract.
//!
//! One input `observation`, f32 `[N, observation + goal + goal]`: the observation, the achieved and the desired goal;
//! one output `action`, f32 `[N, action]`. The normaliser is inside the model. See `learn::onnx` for the writer.

use super::graph::{check, columns, single_input};
use super::{Policy, PolicyError, check_length};
use crate::env::{GoalObservation, Layout};
use prost::Message;
use std::io::Read;
use std::path::Path;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

/// Largest policy file, bytes; ours are under 1 MB.
const FILE_MAX: u64 = 64 << 20;

/// A policy loaded from ONNX.
#[derive(Debug)]
pub struct OnnxPolicy {
    layout: Layout,
    metadata: Vec<(String, String)>,
    state: TypedSimpleState,
    /// Observation, achieved and desired goal in a row.
    input: Vec<f32>,
}

impl OnnxPolicy {
    /// Loads the file at `path` for a task of `layout`, and tries it once.
    ///
    /// # Errors
    /// [`PolicyError::Read`], and those of [`OnnxPolicy::from_bytes`].
    pub fn load(path: &Path, layout: Layout) -> Result<Self, PolicyError> {
        let read = || {
            let mut bytes = Vec::new();
            std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes, layout)
    }

    /// Loads a model from a file's bytes for a task of `layout`, and tries it once.
    ///
    /// # Errors
    /// [`PolicyError::NotOnnx`], [`PolicyError::Unsupported`], [`PolicyError::Shape`], or
    /// [`PolicyError::NotFinite`] if it holds or gives a number that is not finite.
    pub fn from_bytes(bytes: &[u8], layout: Layout) -> Result<Self, PolicyError> {
        if bytes.len() as u64 > FILE_MAX {
            return Err(PolicyError::NotOnnx(format!("it is larger than {} MiB", FILE_MAX >> 20)));
        }
        let model = ModelProto::decode(bytes).map_err(|error| PolicyError::NotOnnx(error.to_string()))?;
        let graph = check(&model)?;
        let width = layout.observation + 2 * layout.goal;
        let input = single_input(graph)?;
        expect_columns("input `observation`", columns(input), width)?;
        expect_columns("output `action`", columns(&graph.output[0]), layout.action)?;
        for (key, expected) in [("observation", layout.observation), ("goal", layout.goal), ("action", layout.action)] {
            if let Some(property) = model.metadata_props.iter().find(|p| p.key == key)
                && property.value != expected.to_string()
            {
                let (expected, found) = (expected.to_string(), property.value.clone());
                return Err(PolicyError::Shape { what: "layout", expected, found });
            }
        }
        let state = plan(&model, width).map_err(|error| PolicyError::Unsupported(format!("{error:#}")))?;
        let metadata = model.metadata_props.into_iter().map(|p| (p.key, p.value)).collect();
        let mut policy = Self { layout, metadata, state, input: vec![0.0; width] };
        policy.run(&mut vec![0.0; layout.action])?;
        Ok(policy)
    }

    /// What the file says about itself, such as the `task` that it was trained for.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Runs the model on what is in `input`.
    fn run(&mut self, action: &mut [f32]) -> Result<(), PolicyError> {
        let failed = |error: TractError| PolicyError::Run(format!("{error:#}"));
        let input = Tensor::from_shape(&[1, self.input.len()], &self.input).map_err(failed)?;
        let output = self.state.run(tvec!(input.into())).map_err(failed)?;
        let view = output[0].to_plain_array_view::<f32>().map_err(failed)?;
        if view.len() != action.len() {
            return Err(PolicyError::Shape {
                what: "output `action`",
                expected: format!("{} numbers", action.len()),
                found: format!("{:?}", view.shape()),
            });
        }
        if view.iter().any(|x| x.is_nan()) {
            return Err(PolicyError::NotFinite("an action of the policy".to_owned()));
        }
        for (to, from) in action.iter_mut().zip(view.iter()) {
            *to = from.clamp(-1.0, 1.0);
        }
        Ok(())
    }
}

impl Policy for OnnxPolicy {
    /// Actions outside [−1, 1] are clipped to it; NaN is an error.
    fn act(&mut self, observation: &GoalObservation, action: &mut [f32]) -> Result<(), PolicyError> {
        let GoalObservation { observation, achieved_goal, desired_goal } = observation;
        check_length("observation", observation, self.layout.observation)?;
        check_length("achieved_goal", achieved_goal, self.layout.goal)?;
        check_length("desired_goal", desired_goal, self.layout.goal)?;
        check_length("action", action, self.layout.action)?;
        let (first, goals) = self.input.split_at_mut(self.layout.observation);
        first.copy_from_slice(observation);
        let (achieved, desired) = goals.split_at_mut(self.layout.goal);
        achieved.copy_from_slice(achieved_goal);
        desired.copy_from_slice(desired_goal);
        if self.input.iter().any(|x| !x.is_finite()) {
            return Err(PolicyError::NotFinite("a number of the observation".to_owned()));
        }
        self.run(action)
    }
}

fn expect_columns(what: &'static str, found: Result<Option<i64>, String>, expected: usize) -> Result<(), PolicyError> {
    let found = match found {
        Ok(None) => return Ok(()),
        Ok(Some(n)) if n == expected as i64 => return Ok(()),
        Ok(Some(n)) => format!("[N, {n}]"),
        Err(found) => found,
    };
    Err(PolicyError::Shape { what, expected: format!("[N, {expected}] of f32"), found })
}

/// The model for a batch of one, optimised.
fn plan(model: &ModelProto, width: usize) -> TractResult<TypedSimpleState> {
    tract_onnx::onnx()
        .model_for_proto_model(model)?
        .with_input_fact(0, f32::fact([1, width]).into())?
        .into_optimized()?
        .into_runnable()?
        .spawn()
}

#[cfg(test)]
mod tests;
