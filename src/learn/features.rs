//! What the networks see of an observation and a goal.

use super::normalizer::{CLIP, Normalizer};
use crate::env::Layout;

/// How many numbers are normalised: observation, achieved goal, goal, and the goal relative to what is achieved.
pub fn width(layout: Layout) -> usize {
    layout.observation + 3 * layout.goal
}

/// Length of the networks' input: what is normalised and, where `zoom` is above 0, the goal seen through it: its
/// difference once more and their length.
pub fn input_width(layout: Layout, zoom: f32) -> usize {
    width(layout) + if zoom > 0.0 { layout.goal + 1 } else { 0 }
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

/// [`assemble`], then normalised, then the goal through the `zoom`: `zoom · (goal − achieved) / deviation` without the
/// mean, and its length, each cut at ±5. What is worth 0 and what is worth −50 lie less than a deviation apart, and
/// networks are slow to learn an edge as steep as that.
///
/// # Panics
/// If `out` is not [`input_width`] long.
pub(crate) fn prepare(
    normalizer: &Normalizer,
    zoom: f32,
    observation: &[f32],
    achieved: &[f32],
    goal: &[f32],
    out: &mut [f32],
) {
    let (seen, near) = out.split_at_mut(normalizer.width());
    assemble(observation, achieved, goal, seen);
    normalizer.normalize(seen);
    let Some((length, near)) = near.split_last_mut() else { return };
    let factors = zoom_factors(normalizer, zoom, goal.len());
    let mut square = 0.0;
    for (((near, factor), g), a) in near.iter_mut().zip(factors).zip(goal).zip(achieved) {
        let enlarged = factor * (g - a);
        square += enlarged * enlarged;
        *near = enlarged.clamp(-CLIP, CLIP);
    }
    *length = square.sqrt().min(CLIP);
}

/// What the zoom multiplies each of the goal's differences with.
pub(crate) fn zoom_factors(normalizer: &Normalizer, zoom: f32, goal: usize) -> impl Iterator<Item = f32> {
    normalizer.scale()[normalizer.width() - goal..].iter().map(move |scale| zoom / scale)
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
        let see = |zoom: f32, goal: [f32; 2]| {
            let mut out = vec![f32::NAN; input_width(layout, zoom)];
            prepare(&normalizer, zoom, &[0.0], &[1.0, 1.0], &goal, &mut out);
            out.split_off(width(layout))
        };
        assert!(see(0.0, [1.0, 2.0]).is_empty());
        assert_eq!(see(6.0, [1.0, 1.0]), [0.0; 3]);
        assert_eq!(see(6.0, [1.25, 2.0]), [3.0, 3.0, 18.0f32.sqrt()]);
        assert_eq!(see(6.0, [1.25, -9.0]), [3.0, -CLIP, CLIP]);
    }
}
