//! Goals of many episodes in memory that does not grow with them.

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;

/// Goals that are kept to draw from, each achieved one with the same probability.
pub const POOL: usize = 1 << 16;

/// Side of a cell in which goals are counted, seen from above, m.
pub const CELL_M: f64 = 0.01;
/// Cells from the origin to the last one in each direction, which also counts what lies beyond.
const CELLS: i16 = 100;

/// Where a goal was achieved that another episode is relabelled with.
#[derive(Debug, Clone)]
pub(super) struct Achieved {
    file: u32,
    pub(super) goal_step: u32,
    pub(super) goal: [f32; 3],
}

/// A random sample of all goals that were achieved (reservoir sampling, Vitter 1985, algorithm R).
#[derive(Debug)]
pub(super) struct Pool {
    kept: Vec<Achieved>,
    /// Names of the files that goals are kept of.
    names: BTreeMap<u32, String>,
    seen: u64,
    rng: Pcg64Mcg,
}

impl Pool {
    pub(super) fn new(seed: u64) -> Self {
        Self { kept: Vec::new(), names: BTreeMap::new(), seen: 0, rng: Pcg64Mcg::seed_from_u64(seed) }
    }

    /// Adds what file `number` achieved, step after step.
    pub(super) fn add(&mut self, number: u32, name: &str, goals: &[[f32; 3]]) {
        for (goal, goal_step) in goals.iter().zip(1..) {
            self.seen += 1;
            let achieved = Achieved { file: number, goal_step, goal: *goal };
            if self.kept.len() < POOL {
                self.kept.push(achieved);
            } else if let Some(slot) = self.kept.get_mut(self.rng.random_range(0..self.seen) as usize) {
                *slot = achieved;
            } else {
                continue;
            }
            self.names.entry(number).or_insert_with(|| name.to_owned());
        }
    }

    /// One of them with its file's name; `None` if nothing was achieved.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Option<(&Achieved, &str)> {
        let achieved = self.kept.get(rng.random_range(0..self.kept.len().max(1)))?;
        Some((achieved, self.names.get(&achieved.file)?))
    }
}

/// Where goals lie.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread {
    count: u64,
    sum: [f64; 3],
    squares: [f64; 3],
    cells: BTreeMap<[i16; 2], u64>,
}

impl Spread {
    pub(super) fn add(&mut self, goal_m: [f32; 3]) {
        let goal_m = goal_m.map(f64::from);
        self.count += 1;
        for (axis, x) in goal_m.into_iter().enumerate() {
            self.sum[axis] += x;
            self.squares[axis] += x * x;
        }
        let cell = |x: f64| ((x / CELL_M).floor() as i16).clamp(-CELLS, CELLS - 1);
        *self.cells.entry([cell(goal_m[0]), cell(goal_m[1])]).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for axis in 0..3 {
            self.sum[axis] += other.sum[axis];
            self.squares[axis] += other.squares[axis];
        }
        for (cell, count) in &other.cells {
            *self.cells.entry(*cell).or_default() += count;
        }
    }

    /// Their mean, base frame, m; `None` without goals.
    #[must_use]
    pub fn mean_m(&self) -> Option<[f64; 3]> {
        (self.count > 0).then(|| self.sum.map(|sum| sum / self.count as f64))
    }

    /// Their standard deviation along each axis, m; `None` without goals.
    #[must_use]
    pub fn deviation_m(&self) -> Option<[f64; 3]> {
        let mean = self.mean_m()?;
        let variance = |axis: usize| self.squares[axis] / self.count as f64 - mean[axis] * mean[axis];
        Some(std::array::from_fn(|axis| variance(axis).max(0.0).sqrt()))
    }

    /// How many goals lie in each cell of [`CELL_M`], seen from above: x and y of its middle, base frame, m.
    pub fn cells(&self) -> impl Iterator<Item = ([f64; 2], u64)> {
        self.cells.iter().map(|(cell, count)| (cell.map(|k| (f64::from(k) + 0.5) * CELL_M), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_stays_small_and_every_goal_has_the_same_chance() {
        let mut pool = Pool::new(1);
        let files = 8;
        for file in 0..files {
            let goals: Vec<[f32; 3]> = (0..POOL).map(|step| [file as f32, step as f32, 0.0]).collect();
            pool.add(file, &file.to_string(), &goals);
        }
        assert_eq!(pool.kept.len(), POOL);
        let expected = POOL as f64 / f64::from(files);
        for file in 0..files {
            let kept = pool.kept.iter().filter(|achieved| achieved.file == file).count() as f64;
            // Five standard deviations of a hypergeometric count.
            assert!((kept - expected).abs() < 5.0 * (expected * 0.875 * 0.875).sqrt(), "{kept} of file {file}");
        }
        let (achieved, name) = pool.draw(&mut Pcg64Mcg::seed_from_u64(2)).unwrap();
        assert_eq!((name, achieved.goal[0]), (achieved.file.to_string().as_str(), achieved.file as f32));
        assert!(Pool::new(1).draw(&mut Pcg64Mcg::seed_from_u64(2)).is_none());
    }

    #[test]
    fn the_spread_of_parts_is_that_of_the_whole_and_what_is_far_off_is_counted_at_the_edge() {
        let goals = [[0.205, -0.011, 0.1], [0.201, -0.019, 0.3], [9.0, 0.0, 0.2]];
        let mut whole = Spread::default();
        let mut merged = Spread::default();
        for goal in goals {
            whole.add(goal);
            let mut part = Spread::default();
            part.add(goal);
            merged.merge(&part);
        }
        assert_eq!(whole, merged);
        let cells: Vec<_> =
            whole.cells().map(|([x, y], count)| ((1e3 * x).round(), (1e3 * y).round(), count)).collect();
        assert_eq!(cells, [(205.0, -15.0, 2), (995.0, 5.0, 1)]);
        assert!((whole.mean_m().unwrap()[2] - 0.2).abs() < 1e-6);
        assert!((whole.deviation_m().unwrap()[2] - (0.02_f64 / 3.0).sqrt()).abs() < 1e-6);
        assert_eq!(Spread::default().mean_m(), None);
    }
}
