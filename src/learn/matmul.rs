//! Matrix products: one function over the `gemm` crate, so that the engine can be changed in one place.

use gemm::{Parallelism, gemm};
use std::ops::Range;

/// A dense matrix seen through its strides; rows are contiguous unless transposed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns` numbers, row after row.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a {rows}x{columns} matrix");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Some of the columns.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.columns, "columns {range:?} of {}", self.columns);
        Self { data: &self.data[range.start * self.column_stride..], columns: range.len(), ..self }
    }

    /// The same numbers with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `out = a · b`, or `out += a · b` where `accumulate`; `out` is row-major, `a.rows × b.columns`.
///
/// One thread: the caller splits the work, so that the bits do not depend on how many threads there are.
pub(crate) fn multiply(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    assert_eq!(a.columns, b.rows, "inner dimensions");
    assert_eq!(out.len(), a.rows * b.columns, "output of {}x{}", a.rows, b.columns);
    // SAFETY: every matrix holds rows × columns numbers at strides that stay within its slice (`new`, `columns`
    // and `transposed` are the only ways to make one), the asserts above match the shapes, and `out` is borrowed exclusively, so it
    // overlaps neither input.
    unsafe {
        gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn products_agree_with_the_definition_in_every_orientation() {
        let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(1);
        for (m, n, k) in [(1, 1, 1), (5, 3, 7), (64, 256, 34), (4, 1, 256), (33, 17, 1), (8, 256, 65)] {
            let a: Vec<f32> = (0..m * k).map(|_| rng.random_range(-1.0..1.0)).collect();
            let b: Vec<f32> = (0..k * n).map(|_| rng.random_range(-1.0..1.0)).collect();
            let transpose = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns).map(|i| x[(i % rows) * columns + i / rows]).collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            let left = [Matrix::new(&a, m, k), Matrix::new(&at, k, m).transposed()];
            let right = [Matrix::new(&b, k, n), Matrix::new(&bt, n, k).transposed()];
            for (l, r) in left.iter().flat_map(|l| right.iter().map(move |r| (*l, *r))) {
                let mut out = vec![0.5; m * n];
                multiply(&mut out, l, r, true);
                for i in 0..m {
                    for j in 0..n {
                        let exact: f64 = (0..k).map(|p| a[i * k + p] as f64 * b[p * n + j] as f64).sum();
                        assert!((out[i * n + j] as f64 - exact - 0.5).abs() < 1e-4, "{m}x{n}x{k} at {i},{j}");
                    }
                }
            }
        }
    }
}
