//! What the networks see of an observation and a goal.

use super::hyper::Hyper;
use super::normalizer::{CLIP, Normalizer};
use crate::env::Layout;

/// How many numbers are normalised: observation, achieved goal, goal, and the goal relative to what is achieved.
pub fn width(layout: Layout) -> usize {
    layout.observation + 3 * layout.goal
}

/// Length of the networks' input: what is normalised, the [`Hyper::zoomed_columns`] and, where [`Hyper::goal_zoom`] is
/// above 0, the goal seen through it: its difference once more and their length.
pub fn input_width(layout: Layout, hyper: &Hyper) -> usize {
    width(layout) + hyper.zoomed_columns.len() + if hyper.goal_zoom > 0.0 { layout.goal + 1 } else { 0 }
}

/// Writes the raw numbers: `[observation, achieved, goal, goal − achieved]`. The difference is computed here, after any
/// substitution of the goal, and so always agrees with it.
///
/// # Panics
/// If `out` is not [`width`] long.
pub(crate) fn assemble(observation: &[f32], achieved: &[f32], goal: &[f32], out: &mut [f32]) {
    let (first, rest) = out.split_at_mut(observation.len());
    let (second, rest) = rest.split_at_mut(achieved.len());
    let (third, difference) = rest.split_at_mut(goal.len());
    first.copy_from_slice(observation);
    second.copy_from_slice(achieved);
    third.copy_from_slice(goal);
    for ((d, g), a) in difference.iter_mut().zip(goal).zip(achieved) {
        *d = g - a;
    }
}

/// [`assemble`], then normalised, then what is enlarged, each cut at ±5: the [`Hyper::zoomed_columns`], and the goal
/// through the zoom, `goal_zoom · (goal − achieved) / deviation` without the mean, with its length. What is worth 0 and
/// what is worth −50 lie less than a deviation apart, and networks are slow to learn an edge as steep as that.
///
/// # Panics
/// If `out` is not [`input_width`] long.
pub(crate) fn prepare(
    normalizer: &Normalizer,
    hyper: &Hyper,
    observation: &[f32],
    achieved: &[f32],
    goal: &[f32],
    out: &mut [f32],
) {
    let (seen, enlarged) = out.split_at_mut(normalizer.width());
    assemble(observation, achieved, goal, seen);
    normalizer.normalize(seen);
    let (columns, near) = enlarged.split_at_mut(hyper.zoomed_columns.len());
    let factors = column_factors(normalizer, hyper);
    for ((out, &column), factor) in columns.iter_mut().zip(&hyper.zoomed_columns).zip(factors) {
        *out = (factor * observation[column]).clamp(-CLIP, CLIP);
    }
    let Some((length, near)) = near.split_last_mut() else { return };
    let factors = goal_factors(normalizer, hyper, goal.len());
    let mut square = 0.0;
    for (((near, factor), g), a) in near.iter_mut().zip(factors).zip(goal).zip(achieved) {
        let enlarged = factor * (g - a);
        square += enlarged * enlarged;
        *near = enlarged.clamp(-CLIP, CLIP);
    }
    *length = square.sqrt().min(CLIP);
}

/// What each of the [`Hyper::zoomed_columns`] is multiplied with.
pub(crate) fn column_factors(normalizer: &Normalizer, hyper: &Hyper) -> impl Iterator<Item = f32> {
    hyper.zoomed_columns.iter().map(|&column| hyper.column_zoom / normalizer.scale()[column])
}

/// What each of the goal's differences is multiplied with.
pub(crate) fn goal_factors(normalizer: &Normalizer, hyper: &Hyper, goal: usize) -> impl Iterator<Item = f32> {
    normalizer.scale()[normalizer.width() - goal..].iter().map(|scale| hyper.goal_zoom / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zoom_enlarges_the_way_to_the_goal_and_its_length() {
        let layout = Layout { observation: 1, goal: 2, action: 1 };
        let mut normalizer = Normalizer::new(width(layout));
        // The last two, the differences, deviate by 0.5 and 2 from a mean that is not 0.
        for sign in [-1.0, 1.0] {
            normalizer.observe(&[0.0, 0.0, 0.0, 0.0, 0.0, 3.0 + 0.5 * sign, 1.0 + 2.0 * sign]);
        }
        normalizer.refresh();
        let see = |goal_zoom: f32, goal: [f32; 2]| {
            let hyper = Hyper { goal_zoom, ..Hyper::default() };
            let mut out = vec![f32::NAN; input_width(layout, &hyper)];
            prepare(&normalizer, &hyper, &[0.0], &[1.0, 1.0], &goal, &mut out);
            out.split_off(width(layout))
        };
        assert!(see(0.0, [1.0, 2.0]).is_empty());
        assert_eq!(see(6.0, [1.0, 1.0]), [0.0; 3]);
        assert_eq!(see(6.0, [1.25, 2.0]), [3.0, 3.0, 18.0f32.sqrt()]);
        assert_eq!(see(6.0, [1.25, -9.0]), [3.0, -CLIP, CLIP]);
    }

    #[test]
    fn columns_that_are_asked_for_are_seen_once_more_and_larger_whatever_their_mean() {
        let layout = Layout { observation: 3, goal: 1, action: 1 };
        let mut normalizer = Normalizer::new(width(layout));
        // Deviations of 1, 0.5 and 4.
        for sign in [-1.0, 1.0] {
            normalizer.observe(&[sign, 3.0 + 0.5 * sign, 1.0 + 4.0 * sign, 0.0, 0.0, sign]);
        }
        normalizer.refresh();
        for (goal_zoom, goal) in [(0.0, vec![]), (2.0, vec![0.5, 0.5])] {
            let hyper = Hyper { goal_zoom, zoomed_columns: vec![2, 1], column_zoom: 8.0, ..Hyper::default() };
            let mut out = vec![f32::NAN; input_width(layout, &hyper)];
            prepare(&normalizer, &hyper, &[0.1, 0.25, -1.5], &[0.5], &[0.75], &mut out);
            assert_eq!(out[width(layout)..], [vec![-3.0, 4.0], goal].concat());
            prepare(&normalizer, &hyper, &[0.1, -1.0, 2.75], &[0.5], &[0.75], &mut out);
            assert_eq!(out[width(layout)..][..2], [CLIP, -CLIP]);
        }
    }
}
