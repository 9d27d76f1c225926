//! The second stage of an update: a block of parameters at a time, its gradient, its Adam step and its target.

use super::adam::{Step, soft_update};
use super::agent::Learned;
use super::network::{Block, Pass};
use rayon::prelude::*;

/// What is to be done with one network.
pub(crate) struct Descent<'a> {
    pub(crate) blocks: &'a [Block],
    pub(crate) rate: f64,
    /// How far the target follows, where it is its turn.
    pub(crate) tau: Option<f32>,
    /// The slices' passes, in the slices' order.
    pub(crate) passes: Vec<&'a Pass>,
}

/// One block and everything that it changes; blocks share nothing, so that they may be done in any order.
pub(crate) struct Work<'a> {
    block: &'a Block,
    passes: Vec<&'a Pass>,
    step: Step,
    tau: Option<f32>,
    gradient: &'a mut [f32],
    parameters: &'a mut [f32],
    target: &'a mut [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

impl<'a> Descent<'a> {
    /// Cuts the network into its blocks.
    pub(crate) fn cut(self, learned: &'a mut Learned, gradient: &'a mut [f32], work: &mut Vec<Work<'a>>) {
        let step = learned.adam.begin(self.rate);
        let mut gradient = gradient;
        let mut parameters = learned.network.parameters_mut();
        let mut target = learned.target.parameters_mut();
        let mut mean = &mut learned.adam.mean[..];
        let mut square = &mut learned.adam.square[..];
        for block in self.blocks {
            let length = block.span.len();
            work.push(Work {
                block,
                passes: self.passes.clone(),
                step,
                tau: self.tau,
                gradient: take(&mut gradient, length),
                parameters: take(&mut parameters, length),
                target: take(&mut target, length),
                mean: take(&mut mean, length),
                square: take(&mut square, length),
            });
        }
    }
}

fn take<'a>(rest: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (head, tail) = std::mem::take(rest).split_at_mut(length);
    *rest = tail;
    head
}

/// Does all of it.
pub(crate) fn run(work: Vec<Work<'_>>) {
    work.into_par_iter().with_max_len(1).for_each(|work| {
        work.block.gradient(work.passes.iter().copied(), work.gradient);
        work.step.apply(work.parameters, work.gradient, work.mean, work.square);
        if let Some(tau) = work.tau {
            soft_update(work.target, work.parameters, tau);
        }
    });
}
