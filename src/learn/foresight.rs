//! Where an episode would have ended without its luck.
//!
//! Who imitates what led to an end takes luck for skill: a strike that went farther than it does on average is imitated
//! for the farther goal, and then falls short of it (arXiv 2205.15967). With a slope `s` of ends over goals, luck of
//! variance L² and goals of variance G² the next slope is `s²G² / (s²G² + L²)`, and for L > G/2 it ends at 0. So an
//! episode's end is moved towards where those end on average that begin and aim alike.

use nalgebra::{DMatrix, DVector};

/// Episodes over which what was seen is forgotten: the policy changes.
const MEMORY: f64 = 1_000.0;
/// Seen episodes, less what is forgotten, before anything is foreseen.
const ENOUGH: f64 = 200.0;
/// What is added to each mean square, so that a number that never varies does no harm.
const RIDGE: f64 = 1e-8;
/// Share of what was not foreseen that is not luck, but what the policy does otherwise just there.
const SKILL: f64 = 0.6;

/// The mean difference of end and goal: a polynomial of the second degree in first achieved state and goal, by least
/// squares, in which older episodes weigh ever less.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Foresight {
    /// Sum of the terms' products with one another, terms × terms.
    moments: DMatrix<f64>,
    /// Sum of the terms' products with end less goal, terms × goal.
    products: DMatrix<f64>,
    /// Sum of the episodes' weights.
    weight: f64,
    /// Coefficients, terms × goal; none before [`ENOUGH`].
    coefficients: Option<DMatrix<f64>>,
}

impl Foresight {
    /// For goals of `goal` numbers. Foresees nothing yet.
    pub(crate) fn new(goal: usize) -> Self {
        let linear = 1 + 2 * goal;
        let terms = linear * (linear + 1) / 2;
        Self {
            moments: DMatrix::zeros(terms, terms),
            products: DMatrix::zeros(terms, goal),
            weight: 0.0,
            coefficients: None,
        }
    }

    /// Counts in an episode that began with `first` achieved, aimed at `goal` and came to `end`. Takes effect with the
    /// next [`Foresight::refresh`].
    pub(crate) fn observe(&mut self, first: &[f32], goal: &[f32], end: &[f32]) {
        let terms = terms(first, goal);
        let off = DVector::from_iterator(end.len(), end.iter().zip(goal).map(|(e, g)| f64::from(e - g)));
        let kept = 1.0 - 1.0 / MEMORY;
        self.moments.ger(1.0, &terms, &terms, kept);
        self.products.ger(1.0, &terms, &off, kept);
        self.weight = kept * self.weight + 1.0;
    }

    /// Puts what was counted in so far into effect.
    pub(crate) fn refresh(&mut self) {
        let ridge = DMatrix::from_diagonal_element(self.moments.nrows(), self.moments.nrows(), RIDGE * self.weight);
        let solve = || Some((&self.moments + ridge).cholesky()?.solve(&self.products));
        self.coefficients = if self.weight < ENOUGH { None } else { solve() };
    }

    /// Writes the end, less what was luck in it, into `out`; the end itself as long as nothing is foreseen.
    pub(crate) fn without_luck(&self, first: &[f32], goal: &[f32], end: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.extend_from_slice(end);
        let Some(coefficients) = &self.coefficients else { return };
        let off = coefficients.tr_mul(&terms(first, goal));
        for ((out, off), g) in out.iter_mut().zip(off.iter()).zip(goal) {
            let foreseen = f64::from(*g) + off;
            *out = (foreseen + SKILL * (f64::from(*out) - foreseen)) as f32;
        }
    }

    /// All that it knows, for a copy on disk.
    pub(super) fn sums(&self) -> Vec<f64> {
        self.moments.iter().chain(&self.products).chain([&self.weight]).copied().collect()
    }

    /// Sets what [`Foresight::sums`] gave; false, and nothing changed, where the number is another one.
    pub(super) fn set_sums(&mut self, sums: &[f64]) -> bool {
        let fits = sums.len() == self.moments.len() + self.products.len() + 1;
        let slots = self.moments.iter_mut().chain(&mut self.products).chain([&mut self.weight]);
        slots.zip(sums).take(if fits { usize::MAX } else { 0 }).for_each(|(slot, sum)| *slot = *sum);
        self.refresh();
        fits
    }
}

/// 1 and all numbers, and the products of any two of them.
fn terms(first: &[f32], goal: &[f32]) -> DVector<f64> {
    let linear: Vec<f64> = [1.0].into_iter().chain(first.iter().chain(goal).map(|&x| f64::from(x))).collect();
    let products = linear.iter().enumerate().flat_map(|(i, a)| linear[i..].iter().map(move |b| a * b));
    DVector::from_iterator(linear.len() * (linear.len() + 1) / 2, products)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    /// Strikes along a line that come to 0.1 + 0.6 · goal − 0.2 · first² on average, and luck of ±`luck` about it.
    fn strike(luck: f32, rng: &mut impl Rng) -> ([f32; 1], [f32; 1], [f32; 1], f32) {
        let (first, goal) = (rng.random_range(0.1..0.3f32), rng.random_range(0.4..0.6f32));
        let mean = 0.1 + 0.6 * goal - 0.2 * first * first;
        ([first], [goal], [mean + rng.random_range(-luck..=luck)], mean)
    }

    #[test]
    fn an_end_is_moved_towards_where_such_episodes_end_on_average() {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let (mut foresight, mut out) = (Foresight::new(1), Vec::new());
        for _ in 0..3_000 {
            let (first, goal, end, _) = strike(0.05, &mut rng);
            foresight.observe(&first, &goal, &end);
        }
        foresight.without_luck(&[0.2], &[0.5], &[0.7], &mut out);
        assert_eq!(out, [0.7], "before it is refreshed");
        foresight.refresh();
        for _ in 0..100 {
            let (first, goal, end, mean) = strike(0.05, &mut rng);
            foresight.without_luck(&first, &goal, &end, &mut out);
            let expected = mean + 0.6 * (end[0] - mean);
            assert!((out[0] - expected).abs() < 0.006, "{} for {expected}", out[0]);
        }
    }

    #[test]
    fn it_follows_a_policy_that_changes_and_forgets_no_bit_on_disk() {
        let mut rng = Pcg64Mcg::seed_from_u64(2);
        let (mut foresight, mut out) = (Foresight::new(1), Vec::new());
        for nth in 0..10_000 {
            let (first, goal, end, _) = strike(0.0, &mut rng);
            foresight.observe(&first, &goal, &[if nth < 4_000 { end[0] - 0.2 } else { end[0] }]);
        }
        let mut other = Foresight::new(1);
        assert!(!other.set_sums(&foresight.sums()[1..]) && other == Foresight::new(1));
        assert!(other.set_sums(&foresight.sums()));
        foresight.refresh();
        assert_eq!(other, foresight);
        let (first, goal, end, mean) = strike(0.0, &mut rng);
        foresight.without_luck(&first, &goal, &end, &mut out);
        assert!((out[0] - mean).abs() < 1e-3, "{} for {mean}", out[0]);
    }

    #[test]
    fn numbers_that_never_vary_and_too_few_episodes_do_no_harm() {
        let (mut foresight, mut out) = (Foresight::new(2), Vec::new());
        for nth in 0..400 {
            foresight.observe(&[0.0, 1.0], &[0.5, 1.0], &[0.4, 1.0]);
            foresight.refresh();
            foresight.without_luck(&[0.0, 1.0], &[0.5, 1.0], &[0.5, 1.0], &mut out);
            let expected = if nth < 200 { [0.5, 1.0] } else { [0.46, 1.0] };
            let good = out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(good || (200..250).contains(&nth), "{nth}: {out:?}");
        }
    }
}
