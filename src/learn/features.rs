//! What the networks see of an observation and a goal.

use super::normalizer::Normalizer;
use crate::env::Layout;

/// Length of the networks' input: observation, achieved goal, goal, and the goal relative to what is achieved.
pub fn width(layout: Layout) -> usize {
    layout.observation + 3 * layout.goal
}

/// Writes the raw input: `[observation, achieved, goal, goal − achieved]`. The difference is computed here, after any
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

/// [`assemble`], then normalised.
pub(crate) fn prepare(normalizer: &Normalizer, observation: &[f32], achieved: &[f32], goal: &[f32], out: &mut [f32]) {
    assemble(observation, achieved, goal, out);
    normalizer.normalize(out);
}
