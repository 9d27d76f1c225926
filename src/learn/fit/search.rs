//! The cross-entropy method (Rubinstein 1999): draw candidates, keep the best, draw around them.

use rand::{Rng, RngExt};

/// How much of a distribution is replaced by that of the best candidates in each generation; less is slower and
/// safer.
const RATE: f64 = 0.8;
/// Share of the candidates that count as the best.
const ELITE_SHARE: f64 = 0.2;

/// A number that is searched for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub(super) lower: f64,
    pub(super) upper: f64,
}

impl Axis {
    pub(super) fn width(&self) -> f64 {
        self.upper - self.lower
    }
}

/// What is believed about a few numbers: independent normal distributions, cut off at the axes' ends.
#[derive(Debug, Clone)]
pub(super) struct Search {
    axes: Vec<Axis>,
    pub(super) mean: Vec<f64>,
    pub(super) deviation: Vec<f64>,
    started: bool,
}

impl Search {
    pub(super) fn new(axes: Vec<Axis>) -> Self {
        let mean = axes.iter().map(|axis| (axis.lower + axis.upper) / 2.0).collect();
        let deviation = axes.iter().map(|axis| axis.width() / 12f64.sqrt()).collect();
        Self { axes, mean, deviation, started: false }
    }

    pub(super) fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// Candidates of the next generation. The first one covers each axis evenly (a Latin hypercube); later ones
    /// contain the mean.
    pub(super) fn draw(&self, count: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
        let mut candidates = vec![Vec::with_capacity(self.axes.len()); count];
        for (i, axis) in self.axes.iter().enumerate() {
            let mut places: Vec<usize> = (0..count).collect();
            for last in (1..count).rev() {
                places.swap(last, rng.random_range(0..=last));
            }
            for (k, candidate) in candidates.iter_mut().enumerate() {
                let share = (places[k] as f64 + rng.random::<f64>()) / count as f64;
                candidate.push(match (self.started, k) {
                    (false, _) => axis.lower + share * axis.width(),
                    (true, 0) => self.mean[i],
                    (true, _) => self.near(i, rng),
                });
            }
        }
        candidates
    }

    /// A number near the mean of axis `i`.
    fn near(&self, i: usize, rng: &mut impl Rng) -> f64 {
        let Axis { lower, upper } = self.axes[i];
        (self.mean[i] + self.deviation[i] * gaussian(rng)).clamp(lower, upper)
    }

    /// Takes in the candidates' losses.
    pub(super) fn learn(&mut self, candidates: &[Vec<f64>], losses: &[f64]) {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|&a, &b| losses[a].total_cmp(&losses[b]));
        let count = ((candidates.len() as f64 * ELITE_SHARE).ceil() as usize).clamp(2, candidates.len().max(2));
        let elite = &order[..count.min(order.len())];
        let rate = if self.started { RATE } else { 1.0 };
        for (i, (old_mean, old_deviation)) in self.mean.iter_mut().zip(&mut self.deviation).enumerate() {
            let mean = elite.iter().map(|&k| candidates[k][i]).sum::<f64>() / elite.len() as f64;
            let variance = elite.iter().map(|&k| (candidates[k][i] - mean).powi(2)).sum::<f64>() / elite.len() as f64;
            *old_mean += rate * (mean - *old_mean);
            *old_deviation += rate * (variance.sqrt() - *old_deviation);
        }
        self.started = true;
    }
}

/// A standard normal number (Box and Muller 1958).
pub(super) fn gaussian(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    #[test]
    fn the_bottom_of_a_valley_is_found() {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let axis = Axis { lower: -1.0, upper: 3.0 };
        let mut search = Search::new(vec![axis; 3]);
        for _ in 0..20 {
            let candidates = search.draw(30, &mut rng);
            assert!(candidates.iter().flatten().all(|x| (-1.0..=3.0).contains(x)));
            let loss = |x: &Vec<f64>| (x[0] - 0.5).powi(2) + 2.0 * (x[1] - x[0]).powi(2) + (x[2] - 2.9).abs();
            let losses: Vec<f64> = candidates.iter().map(loss).collect();
            search.learn(&candidates, &losses);
        }
        for (found, expected) in search.mean.iter().zip([0.5, 0.5, 2.9]) {
            assert!((found - expected).abs() < 0.1, "{:?}", search.mean);
        }
    }
}
