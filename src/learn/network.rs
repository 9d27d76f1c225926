//! Multilayer perceptrons over flat buffers, with hand-written gradients.
//!
//! The parameters of a network are one flat slice. A layer of `in` inputs and `out` outputs is an `(in + 1) × out`
//! row-major matrix in it: the weights and, as the last row, the biases. A `Block` is a run of such rows, which is
//! contiguous memory; gradients, optimiser and target updates are worked off a block at a time.

use super::matmul::{Matrix, multiply};
use rand::{Rng, RngExt};
use std::ops::Range;

/// What is applied to the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Nothing: a value.
    Linear,
    /// Hyperbolic tangent: an action in [−1, 1].
    Tanh,
}

/// A multilayer perceptron with ReLU between its layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    sizes: Vec<usize>,
    output: Output,
    parameters: Vec<f32>,
}

/// A run of rows of one layer's matrix: a unit of work on the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    layer: usize,
    inputs: usize,
    outputs: usize,
    rows: Range<usize>,
    /// Where the rows lie in the flat parameters.
    pub(crate) span: Range<usize>,
}

/// About how many parameters a block holds: a quarter of a 256×256 layer, so that threads can share it.
const BLOCK_PARAMETERS: usize = 16_384;

/// What a forward and a backward pass over a fixed number of rows leave behind.
#[derive(Debug, Clone)]
pub struct Pass {
    rows: usize,
    /// Input, then every layer's output.
    activations: Vec<Vec<f32>>,
    /// The loss's gradient with respect to the input, then to every layer's sum before its activation function.
    gradients: Vec<Vec<f32>>,
}

/// Every layer's weights with rows and columns exchanged, for [`Network::backward`]: the matrix engine would otherwise
/// do it anew for each slice of a batch.
#[derive(Debug, Clone)]
pub struct Turned(Vec<Vec<f32>>);

impl Turned {
    /// Room for `network`, and its weights.
    pub fn new(network: &Network) -> Self {
        let mut turned = Self(network.sizes.windows(2).map(|pair| vec![0.0; pair[0] * pair[1]]).collect());
        turned.refresh(network);
        turned
    }

    /// Takes over the weights as they are now.
    pub fn refresh(&mut self, network: &Network) {
        /// Sixteen floats are a cache line.
        const TILE: usize = 16;
        for (layer, turned) in self.0.iter_mut().enumerate() {
            let (inputs, outputs) = (network.sizes[layer], network.sizes[layer + 1]);
            let (weights, _) = network.layer(layer);
            for (i0, j0) in (0..inputs).step_by(TILE).flat_map(|i| (0..outputs).step_by(TILE).map(move |j| (i, j))) {
                for i in i0..inputs.min(i0 + TILE) {
                    for j in j0..outputs.min(j0 + TILE) {
                        turned[j * inputs + i] = weights[i * outputs + j];
                    }
                }
            }
        }
    }
}

impl Pass {
    /// Room for `rows` rows through `network`.
    pub fn new(network: &Network, rows: usize) -> Self {
        let buffers: Vec<Vec<f32>> = network.sizes.iter().map(|size| vec![0.0; rows * size]).collect();
        Self { rows, activations: buffers.clone(), gradients: buffers }
    }

    /// The rows fed in.
    pub fn input(&self) -> &[f32] {
        &self.activations[0]
    }

    /// The rows to be fed in, row-major.
    pub fn input_mut(&mut self) -> &mut [f32] {
        &mut self.activations[0]
    }

    /// What came out of the last [`Network::forward`].
    pub fn output(&self) -> &[f32] {
        &self.activations[self.activations.len() - 1]
    }

    /// Where the loss's gradient with respect to the output is written before [`Network::backward`].
    pub fn output_gradient_mut(&mut self) -> &mut [f32] {
        let last = self.gradients.len() - 1;
        &mut self.gradients[last]
    }

    /// The loss's gradient with respect to the input's columns that the last backward pass was asked for, row-major.
    pub fn input_gradient(&self) -> &[f32] {
        &self.gradients[0]
    }
}

impl Network {
    /// A network of layers `sizes[0] → … → sizes[last]`, its weights and biases uniform in ±1/√inputs, as PyTorch
    /// starts its linear layers; the last layer a tenth of that, so that actions start near 0 and do not saturate.
    ///
    /// # Panics
    /// With fewer than two sizes, or a size of 0.
    pub fn new(sizes: &[usize], output: Output, rng: &mut impl Rng) -> Self {
        assert!(sizes.len() >= 2 && sizes.iter().all(|&size| size > 0), "sizes of a network: {sizes:?}");
        let mut parameters = Vec::with_capacity(parameter_count(sizes));
        for layer in 0..sizes.len() - 1 {
            let (inputs, outputs) = (sizes[layer], sizes[layer + 1]);
            let bound = if layer + 2 == sizes.len() { 0.1 } else { 1.0 } / (inputs as f32).sqrt();
            parameters.extend((0..(inputs + 1) * outputs).map(|_| rng.random_range(-bound..=bound)));
        }
        Self { sizes: sizes.to_vec(), output, parameters }
    }

    /// A network from its parts; `None` where the number of parameters does not fit the sizes.
    pub(crate) fn from_parts(sizes: Vec<usize>, output: Output, parameters: Vec<f32>) -> Option<Self> {
        let fits =
            sizes.len() >= 2 && sizes.iter().all(|&size| size > 0) && parameters.len() == parameter_count(&sizes);
        fits.then_some(Self { sizes, output, parameters })
    }

    /// Widths of the input, of the hidden layers and of the output.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// What is applied to the last layer.
    pub fn output(&self) -> Output {
        self.output
    }

    /// All weights and biases, as laid out in the module's documentation.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// All weights and biases, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    /// Weights (`in × out`, row-major) and biases of a layer, counted from 0.
    pub fn layer(&self, layer: usize) -> (&[f32], &[f32]) {
        let (inputs, outputs) = (self.sizes[layer], self.sizes[layer + 1]);
        let start = parameter_count(&self.sizes[..=layer]);
        self.parameters[start..start + (inputs + 1) * outputs].split_at(inputs * outputs)
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.sizes.len() - 1
    }

    /// The parameters cut into blocks, in order and without gaps.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut start = 0;
        for layer in 0..self.layers() {
            let (inputs, outputs) = (self.sizes[layer], self.sizes[layer + 1]);
            let rows = inputs + 1;
            let parts = ((rows * outputs + BLOCK_PARAMETERS / 2) / BLOCK_PARAMETERS).clamp(1, rows);
            let height = rows.div_ceil(parts);
            for first in (0..rows).step_by(height) {
                let range = first..rows.min(first + height);
                let span = start + range.start * outputs..start + range.end * outputs;
                blocks.push(Block { layer, inputs, outputs, rows: range, span });
            }
            start += rows * outputs;
        }
        blocks
    }

    /// Computes every layer's output from [`Pass::input_mut`].
    pub fn forward(&self, pass: &mut Pass) {
        for layer in 0..self.layers() {
            let (inputs, outputs) = (self.sizes[layer], self.sizes[layer + 1]);
            let (weights, biases) = self.layer(layer);
            let (before, after) = pass.activations.split_at_mut(layer + 1);
            let out = &mut after[0];
            let input = Matrix::new(&before[layer], pass.rows, inputs);
            multiply(out, input, Matrix::new(weights, inputs, outputs), false);
            let last = layer + 1 == self.layers();
            for row in out.chunks_exact_mut(outputs) {
                if !last {
                    row.iter_mut().zip(biases).for_each(|(x, b)| *x = (*x + b).max(0.0));
                } else if self.output == Output::Tanh {
                    row.iter_mut().zip(biases).for_each(|(x, b)| *x = (*x + b).tanh());
                } else {
                    row.iter_mut().zip(biases).for_each(|(x, b)| *x += b);
                }
            }
        }
    }

    /// Carries [`Pass::output_gradient_mut`] back through the layers, and to the given columns of the input. `turned`
    /// holds this network's weights as they were in the forward pass.
    ///
    /// The output's gradient is consumed: afterwards the slot holds that of the last layer's sum.
    pub fn backward(&self, pass: &mut Pass, turned: &Turned, to_input: Range<usize>) {
        let layers = self.layers();
        if self.output == Output::Tanh {
            let output = &pass.activations[layers];
            pass.gradients[layers].iter_mut().zip(output).for_each(|(g, y)| *g *= 1.0 - y * y);
        }
        pass.gradients[0].resize(pass.rows * to_input.len(), 0.0);
        for layer in (usize::from(to_input.is_empty())..layers).rev() {
            let (inputs, outputs) = (self.sizes[layer], self.sizes[layer + 1]);
            let weights = Matrix::new(&turned.0[layer], outputs, inputs);
            let weights = if layer == 0 { weights.columns(to_input.clone()) } else { weights };
            let (before, after) = pass.gradients.split_at_mut(layer + 1);
            multiply(&mut before[layer], Matrix::new(&after[0], pass.rows, outputs), weights, false);
            if layer > 0 {
                let activation = &pass.activations[layer];
                before[layer].iter_mut().zip(activation).for_each(|(g, &y)| *g = if y > 0.0 { *g } else { 0.0 });
            }
        }
    }
}

impl Block {
    /// Writes the gradient of these parameters, summed over the rows of all `passes` in their order.
    pub(crate) fn gradient<'p>(&self, passes: impl Iterator<Item = &'p Pass>, out: &mut [f32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let weight_rows = self.rows.start..self.rows.end.min(inputs);
        let (weights, biases) = out.split_at_mut(weight_rows.len() * outputs);
        biases.fill(0.0);
        for (nth, pass) in passes.enumerate() {
            let gradient = &pass.gradients[self.layer + 1];
            if !weight_rows.is_empty() {
                let input = Matrix::new(&pass.activations[self.layer], pass.rows, inputs).columns(weight_rows.clone());
                multiply(weights, input.transposed(), Matrix::new(gradient, pass.rows, outputs), nth > 0);
            }
            if !biases.is_empty() {
                for row in gradient.chunks_exact(outputs) {
                    biases.iter_mut().zip(row).for_each(|(b, g)| *b += g);
                }
            }
        }
    }
}

/// How many weights and biases layers of these sizes have.
pub(crate) fn parameter_count(sizes: &[usize]) -> usize {
    sizes.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    /// The same network by its definition, in f64: outputs of all rows.
    pub(in super::super) fn reference(network: &Network, parameters: &[f64], input: &[f64]) -> Vec<f64> {
        let mut out = Vec::new();
        for row in input.chunks_exact(network.sizes[0]) {
            let (mut x, mut start) = (row.to_vec(), 0);
            for layer in 0..network.layers() {
                let (inputs, outputs) = (network.sizes[layer], network.sizes[layer + 1]);
                let weight = |i: usize, j: usize| parameters[start + i * outputs + j];
                let sum = |j: usize| weight(inputs, j) + (0..inputs).map(|i| x[i] * weight(i, j)).sum::<f64>();
                let function = |y: f64| match (layer + 1 == network.layers(), network.output) {
                    (false, _) => y.max(0.0),
                    (true, Output::Tanh) => y.tanh(),
                    (true, Output::Linear) => y,
                };
                let next = (0..outputs).map(|j| function(sum(j))).collect();
                start += (inputs + 1) * outputs;
                x = next;
            }
            out.extend(x);
        }
        out
    }

    /// A loss with a gradient that differs for every output: Σ cₙ·yₙ + yₙ²/2.
    fn loss(outputs: &[f64]) -> f64 {
        outputs.iter().enumerate().map(|(n, y)| (0.3 - 0.1 * (n % 7) as f64) * y + 0.5 * y * y).sum()
    }

    fn check(output: Output) {
        let mut rng = Pcg64Mcg::seed_from_u64(11);
        let rows = 6;
        // 300 wide: a layer of more than one block.
        let network = Network::new(&[5, 300, 90, 3], output, &mut rng);
        assert!(network.blocks().len() > network.layers());
        let input: Vec<f32> = (0..rows * 5).map(|_| rng.random_range(-2.0..2.0)).collect();
        // Two passes of three rows: the gradient is the sum over both.
        let mut passes = [Pass::new(&network, 3), Pass::new(&network, 3)];
        let (mut outputs, mut input_gradient) = (Vec::new(), Vec::new());
        for (nth, pass) in passes.iter_mut().enumerate() {
            pass.input_mut().copy_from_slice(&input[nth * 15..(nth + 1) * 15]);
            network.forward(pass);
            for i in 0..9 {
                let y = pass.output()[i];
                pass.output_gradient_mut()[i] = 0.3 - 0.1 * ((nth * 9 + i) % 7) as f32 + y;
            }
            network.backward(pass, &Turned::new(&network), 0..5);
            outputs.extend_from_slice(pass.output());
            input_gradient.extend_from_slice(pass.input_gradient());
        }
        let mut gradient = vec![f32::NAN; network.parameters.len()];
        let mut end = 0;
        for block in network.blocks() {
            assert_eq!(block.span.start, end, "blocks leave no gap");
            end = block.span.end;
            block.gradient(passes.iter(), &mut gradient[block.span.clone()]);
        }
        assert_eq!(end, network.parameters.len());

        let parameters: Vec<f64> = network.parameters.iter().map(|&p| p.into()).collect();
        let input: Vec<f64> = input.iter().map(|&x| x.into()).collect();
        let exact = reference(&network, &parameters, &input);
        for (ours, exact) in outputs.iter().zip(&exact) {
            assert!((f64::from(*ours) - exact).abs() < 1e-5, "{ours} {exact}");
        }
        let difference = |at: &dyn Fn(f64) -> f64| (at(1e-6) - at(-1e-6)) / 2e-6;
        let close = |ours: f32, exact: f64| (f64::from(ours) - exact).abs() < 2e-5 * (1.0 + exact.abs());
        for i in (0..parameters.len()).step_by(31) {
            let exact = difference(&|h| {
                let mut moved = parameters.clone();
                moved[i] += h;
                loss(&reference(&network, &moved, &input))
            });
            assert!(close(gradient[i], exact), "parameter {i}: {} {exact}", gradient[i]);
        }
        for i in 0..input.len() {
            let exact = difference(&|h| {
                let mut moved = input.clone();
                moved[i] += h;
                loss(&reference(&network, &parameters, &moved))
            });
            assert!(close(input_gradient[i], exact), "input {i}: {} {exact}", input_gradient[i]);
        }
    }

    #[test]
    fn gradients_of_a_value_agree_with_finite_differences_in_f64() {
        check(Output::Linear);
    }

    #[test]
    fn gradients_of_an_action_agree_with_finite_differences_in_f64() {
        check(Output::Tanh);
    }

    #[test]
    fn a_network_needs_as_many_parameters_as_its_sizes_say() {
        assert_eq!(parameter_count(&[2, 3, 1]), 13);
        assert!(Network::from_parts(vec![2, 3, 1], Output::Tanh, vec![0.0; 13]).is_some());
        assert!(Network::from_parts(vec![2, 3, 1], Output::Tanh, vec![0.0; 12]).is_none());
        assert!(Network::from_parts(vec![2], Output::Tanh, vec![]).is_none());
    }
}
