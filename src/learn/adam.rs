//! The Adam optimiser (arXiv 1412.6980) and the slow copy of parameters into a target network.

/// Decay of the mean of gradients.
const BETA1: f32 = 0.9;
/// Decay of the mean of squared gradients.
const BETA2: f32 = 0.999;
/// Keeps the division finite.
const EPSILON: f32 = 1e-8;

/// Adam's memory of one network.
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    pub(crate) mean: Vec<f32>,
    pub(crate) square: Vec<f32>,
    pub(crate) steps: u64,
}

/// The factors of one step, the same for all parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    rate: f32,
    square_correction: f32,
}

impl Adam {
    /// No memory yet, of `parameters` numbers.
    pub fn new(parameters: usize) -> Self {
        Self { mean: vec![0.0; parameters], square: vec![0.0; parameters], steps: 0 }
    }

    /// Counts a step and computes its bias corrections, in f64: 1 − 0.999ᵗ loses all its digits in f32.
    pub(crate) fn begin(&mut self, learning_rate: f64) -> Step {
        self.steps += 1;
        let t = self.steps as f64;
        Step {
            rate: (learning_rate / (1.0 - f64::from(BETA1).powf(t))) as f32,
            square_correction: (1.0 / (1.0 - f64::from(BETA2).powf(t)).sqrt()) as f32,
        }
    }
}

impl Step {
    /// Moves `parameters` against `gradient`; all slices cover the same parameters.
    pub(crate) fn apply(self, parameters: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let n = parameters.len();
        let (gradient, mean, square) = (&gradient[..n], &mut mean[..n], &mut square[..n]);
        for i in 0..n {
            let g = gradient[i];
            let m = BETA1 * mean[i] + (1.0 - BETA1) * g;
            let v = BETA2 * square[i] + (1.0 - BETA2) * g * g;
            mean[i] = m;
            square[i] = v;
            parameters[i] -= self.rate * m / (v.sqrt() * self.square_correction + EPSILON);
        }
    }
}

/// `target += tau · (source − target)`.
pub(crate) fn soft_update(target: &mut [f32], source: &[f32], tau: f32) {
    target.iter_mut().zip(source).for_each(|(t, s)| *t += tau * (s - *t));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_agree_with_the_paper_in_f64() {
        let mut adam = Adam::new(2);
        let mut x = [1.0f32, -2.0];
        let (mut x64, mut m, mut v) = ([1.0f64, -2.0], [0.0f64; 2], [0.0f64; 2]);
        for t in 1..=2000 {
            let gradient = [(t as f32 * 0.1).sin() + x[0], 1e-3 * x[1]];
            let step = adam.begin(1e-3);
            let Adam { mean, square, .. } = &mut adam;
            step.apply(&mut x, &gradient, mean, square);
            for i in 0..2 {
                let g = f64::from(gradient[i]);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (m_hat, v_hat) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                x64[i] -= 1e-3 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        for i in 0..2 {
            assert!((f64::from(x[i]) - x64[i]).abs() < 1e-4, "{x:?} {x64:?}");
        }
    }

    #[test]
    fn first_step_has_the_length_of_the_learning_rate() {
        let mut adam = Adam::new(1);
        let mut x = [0.0f32];
        let step = adam.begin(1e-3);
        let Adam { mean, square, .. } = &mut adam;
        step.apply(&mut x, &[123.0], mean, square);
        assert!((x[0] + 1e-3).abs() < 1e-7, "{x:?}");
    }

    #[test]
    fn soft_update_moves_by_tau() {
        let mut target = [0.0, 10.0];
        soft_update(&mut target, &[1.0, 0.0], 0.25);
        assert_eq!(target, [0.25, 7.5]);
    }
}
