//! Running mean and deviation of a network's inputs.

/// Smallest deviation divided by; an input that hardly varies is not blown up (the Fetch baselines' 0.01).
const DEVIATION_FLOOR: f64 = 0.01;
/// Normalised inputs are clipped to ± this many deviations.
pub(crate) const CLIP: f32 = 5.0;
/// Count of rows of a normaliser that was not measured here, and stays as it is.
const GIVEN: u64 = u64::MAX;

/// Normalises rows of inputs: `(x − mean) / deviation`, clipped to ±5.
///
/// Statistics are kept by Welford's method in f64: sums of squares in f32 cancel.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalizer {
    pub(crate) count: u64,
    pub(crate) mean: Vec<f64>,
    /// Sum of squared differences from the mean; what is divided by, where the normaliser is given.
    pub(crate) spread: Vec<f64>,
    shift: Vec<f32>,
    scale: Vec<f32>,
}

impl Normalizer {
    /// Leaves rows of `width` as they are (but for clipping) until it has seen two.
    pub fn new(width: usize) -> Self {
        Self::from_statistics(0, vec![0.0; width], vec![0.0; width])
    }

    /// What is subtracted and what is divided by, as somebody else found them: no row changes it. Scales are above 0.
    pub(crate) fn given(shift: Vec<f64>, scale: Vec<f64>) -> Self {
        Self::from_statistics(GIVEN, shift, scale)
    }

    pub(crate) fn from_statistics(count: u64, mean: Vec<f64>, spread: Vec<f64>) -> Self {
        let width = mean.len();
        let mut normalizer = Self { count, mean, spread, shift: vec![0.0; width], scale: vec![1.0; width] };
        normalizer.refresh();
        normalizer
    }

    /// Length of a row.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// How many rows were seen; `u64::MAX` for an imported normaliser, which is never changed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is subtracted, one number a column.
    pub fn shift(&self) -> &[f32] {
        &self.shift
    }

    /// What is divided by, one number a column; at least 0.01 unless imported.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// Counts a row in. Takes effect with the next [`Normalizer::refresh`].
    ///
    /// # Panics
    /// If the row is not `width` long.
    pub fn observe(&mut self, row: &[f32]) {
        assert_eq!(row.len(), self.width(), "a row of the normaliser's width");
        if self.count == GIVEN {
            return;
        }
        self.count += 1;
        let share = 1.0 / self.count as f64;
        for ((x, mean), spread) in row.iter().zip(&mut self.mean).zip(&mut self.spread) {
            let difference = f64::from(*x) - *mean;
            *mean += difference * share;
            *spread += difference * (f64::from(*x) - *mean);
        }
    }

    /// Puts the statistics so far into effect.
    pub fn refresh(&mut self) {
        if self.count < 2 {
            return;
        }
        for i in 0..self.width() {
            self.shift[i] = self.mean[i] as f32;
            self.scale[i] = match self.count {
                GIVEN => self.spread[i],
                count => (self.spread[i] / count as f64).sqrt().max(DEVIATION_FLOOR),
            } as f32;
        }
    }

    /// Normalises a row in place.
    pub fn normalize(&self, row: &mut [f32]) {
        for ((x, shift), scale) in row.iter_mut().zip(&self.shift).zip(&self.scale) {
            *x = ((*x - shift) / scale).clamp(-CLIP, CLIP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn statistics_survive_a_large_offset_and_a_million_rows() {
        let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(5);
        let mut normalizer = Normalizer::new(1);
        for _ in 0..1_000_000 {
            normalizer.observe(&[1000.0 + rng.random_range(-0.5f32..0.5)]);
        }
        normalizer.refresh();
        // A uniform distribution of width 1 has the deviation √(1/12).
        assert!((normalizer.scale()[0] - (1.0f32 / 12.0).sqrt()).abs() < 1e-3, "{:?}", normalizer.scale());
        assert!((normalizer.shift()[0] - 1000.0).abs() < 1e-2, "{:?}", normalizer.shift());
    }

    #[test]
    fn a_constant_input_is_divided_by_the_floor_and_large_ones_are_clipped() {
        let mut normalizer = Normalizer::new(2);
        for i in 0..100 {
            normalizer.observe(&[3.0, if i % 2 == 0 { -1.0 } else { 1.0 }]);
        }
        normalizer.refresh();
        let mut row = [3.02, 100.0];
        normalizer.normalize(&mut row);
        assert!((row[0] - 2.0).abs() < 1e-3, "{row:?}");
        assert_eq!(row[1], 5.0);
    }

    #[test]
    fn without_rows_nothing_but_clipping_happens() {
        let normalizer = Normalizer::new(2);
        let mut row = [0.25, -7.0];
        normalizer.normalize(&mut row);
        assert_eq!(row, [0.25, -5.0]);
    }
}
