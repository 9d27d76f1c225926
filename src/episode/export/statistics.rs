//! What LeRobot keeps of every feature, for policies to normalise with.

use super::table::{Column, Values};
use serde_json::{Value, json};

/// LeRobot's quantiles and their names.
pub(super) const QUANTILES: [(&str, f64); 5] =
    [("q01", 0.01), ("q10", 0.10), ("q50", 0.50), ("q90", 0.90), ("q99", 0.99)];

/// Of one number of a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dimension {
    min: f64,
    max: f64,
    mean: f64,
    /// Mean squared distance from the mean.
    variance: f64,
    /// Linear between neighbours, as NumPy's; over several episodes their mean, weighted by frames, as LeRobot's.
    quantiles: [f64; QUANTILES.len()],
}

/// Of one feature, a [`Dimension`] a number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statistics {
    count: u64,
    dimensions: Vec<Dimension>,
}

impl Statistics {
    /// Of a column with at least one row; `None` for words.
    pub(super) fn of(column: &Column) -> Option<Self> {
        let values: Vec<f64> = match &column.values {
            Values::F32(values) => values.iter().copied().map(f64::from).collect(),
            Values::F64(values) => values.clone(),
            Values::I64(values) => values.iter().map(|&value| value as f64).collect(),
            Values::Bool(values) => values.iter().map(|&value| f64::from(u8::from(value))).collect(),
            Values::Text(_) => return None,
        };
        let width = column.width.unwrap_or(1);
        let dimensions =
            (0..width).map(|k| Dimension::of(values.iter().skip(k).step_by(width).copied().collect())).collect();
        Some(Self { count: (values.len() / width) as u64, dimensions })
    }

    /// Takes in the frames of another episode (Chan, Golub and LeVeque 1979).
    pub(super) fn merge(&mut self, other: &Self) {
        let total = self.count + other.count;
        let share = other.count as f64 / total as f64;
        for (a, b) in self.dimensions.iter_mut().zip(&other.dimensions) {
            let apart = b.mean - a.mean;
            a.min = a.min.min(b.min);
            a.max = a.max.max(b.max);
            a.mean += share * apart;
            a.variance += share * (b.variance - a.variance) + share * (1.0 - share) * apart * apart;
            for (a, b) in a.quantiles.iter_mut().zip(b.quantiles) {
                *a += share * (b - *a);
            }
        }
        self.count = total;
    }

    /// Each statistic's name and its numbers, in LeRobot's order without the count.
    pub(super) fn named(&self) -> Vec<(&'static str, Vec<f64>)> {
        let each = |of: &dyn Fn(&Dimension) -> f64| self.dimensions.iter().map(of).collect();
        let mut named = vec![
            ("min", each(&|d| d.min)),
            ("max", each(&|d| d.max)),
            ("mean", each(&|d| d.mean)),
            ("std", each(&|d| d.variance.sqrt())),
        ];
        named.extend(QUANTILES.iter().enumerate().map(|(k, (name, _))| (*name, each(&|d| d.quantiles[k]))));
        named
    }

    /// Frames.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// As in `meta/stats.json`.
    pub(super) fn to_json(&self) -> Value {
        let mut object: serde_json::Map<String, Value> =
            self.named().into_iter().map(|(name, numbers)| (name.to_owned(), json!(numbers))).collect();
        object.insert("count".into(), json!([self.count]));
        object.into()
    }
}

impl Dimension {
    fn of(mut values: Vec<f64>) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        values.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let at = q * (count - 1.0);
            let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
            below + (at - at.floor()) * (above - below)
        };
        Self { min: quantile(0.0), max: quantile(1.0), mean, variance, quantiles: QUANTILES.map(|(_, q)| quantile(q)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[f32]) -> Column {
        Column::lists("x", 2, Values::F32(values.to_vec()))
    }

    #[test]
    fn statistics_are_those_of_numpy() {
        let found = Statistics::of(&column(&[1.0, 10.0, 2.0, 20.0, 4.0, 40.0])).unwrap();
        let named: std::collections::BTreeMap<_, _> = found.named().into_iter().collect();
        // numpy.std and numpy.quantile of [1, 2, 4].
        assert_eq!(
            (&named["min"], &named["max"], &named["q50"]),
            (&vec![1.0, 10.0], &vec![4.0, 40.0], &vec![2.0, 20.0])
        );
        assert!(
            (named["mean"][0] - 7.0 / 3.0).abs() < 1e-12 && (named["std"][0] - 1.247_219_128_924_647).abs() < 1e-12
        );
        assert!((named["q90"][0] - 3.6).abs() < 1e-12 && (named["q01"][1] - 10.2).abs() < 1e-12);
        assert_eq!(found.count(), 3);
    }

    #[test]
    fn statistics_of_parts_are_those_of_the_whole() {
        let values: Vec<f32> = (0..40).map(|i| (i * i % 17) as f32 + 1e4).collect();
        let whole = Statistics::of(&column(&values)).unwrap();
        let mut merged = Statistics::of(&column(&values[..6])).unwrap();
        merged.merge(&Statistics::of(&column(&values[6..])).unwrap());
        assert_eq!(merged.count(), whole.count());
        for ((name, merged), (_, whole)) in merged.named().into_iter().zip(whole.named()).take(4) {
            assert!(merged.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-6), "{name}: {merged:?}, {whole:?}");
        }
    }
}
