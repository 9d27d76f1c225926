//! The arm's part of a fit: each joint's own numbers, and one latency.

use super::recording::Recording;
use super::replay::{Misfit, replay};
use super::search::{Axis, Search, gaussian};
use super::{Context, FitError, Parameter, is_identified, shift_s, widened};
use rand::{Rng, RngExt};
use rayon::prelude::*;
use sim::SimParams;
use sim::world::SimError;

/// Numbers of a joint: logarithm of gain × voltage, free play (rad), dry friction (N·m).
const AXES: usize = 3;
const GAIN: usize = 0;
/// Names of the numbers.
const NAMES: [&str; AXES] = ["p_gain", "backlash_rad", "friction_nm"];
/// Smallest deviations of the elites: a fit is never surer than its model.
const FLOORS: [f64; AXES] = [0.03, 0.003, 0.01];
/// The same for the latencies' sum, s.
const SHIFT_FLOOR_S: f64 = 1.5e-3;
/// A joint whose goal ranges over less than this tells nothing, rad.
const MOVING_RAD: f64 = 0.03;
/// Latencies that are tried, a millisecond apart from none.
const SHIFTS: usize = 90;
const SHIFT_S: f64 = 1e-3;

/// What is believed about the arm.
#[derive(Debug, Clone)]
pub(super) struct ArmFit {
    /// Numbers of each joint.
    values: Vec<[f64; AXES]>,
    deviations: Vec<[f64; AXES]>,
    identified: Vec<[bool; AXES]>,
    /// From a goal's sending to its being measured, s.
    pub(super) shift_s: f64,
    /// Joints that move.
    pub(super) moving: Vec<usize>,
}

/// Losses of a candidate: for each latency, for each joint.
type Grid = Vec<Vec<Misfit>>;

impl ArmFit {
    pub(super) fn search(
        context: &Context<'_>,
        recordings: &[&Recording],
        rng: &mut impl Rng,
        report: &mut impl FnMut(usize, f64),
    ) -> Result<Self, FitError> {
        let joints = context.model.joints.len();
        let ranges = |joint: usize| recordings.iter().map(move |r| r.ranges_rad()[joint]).fold(0.0, f64::max);
        let moving: Vec<usize> = (0..joints).filter(|&joint| ranges(joint) > MOVING_RAD).collect();
        if moving.is_empty() {
            return Err(FitError::Still);
        }
        let mut searches = vec![Search::new(axes(context)); joints];
        let population = context.budget.population.max(4);
        let mut shift = 0;
        for generation in 0..context.budget.generations.max(1) {
            let drawn: Vec<Vec<Vec<f64>>> = searches.iter().map(|search| search.draw(population, rng)).collect();
            let candidate = |k: usize| drawn.iter().map(|joint| std::array::from_fn(|i| joint[k][i])).collect();
            let grids = (0..population)
                .into_par_iter()
                .map(|k| grid(context, candidate(k), recordings))
                .collect::<Result<Vec<Grid>, SimError>>()?;
            // A joint's best candidate tells how good a latency can be for it.
            let best = |shift: usize, joint: usize| grids.iter().map(|g| g[shift][joint].loss).fold(f64::MAX, f64::min);
            let losses: Vec<f64> = (0..SHIFTS).map(|s| moving.iter().map(|&joint| best(s, joint)).sum()).collect();
            shift = (0..SHIFTS).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap_or(0);
            for &joint in &moving {
                let losses: Vec<f64> = grids.iter().map(|grid| grid[shift][joint].loss).collect();
                searches[joint].learn(&drawn[joint], &losses);
            }
            let samples = grids[0][shift][0].samples * moving.len();
            report(generation + 1, losses[shift] / samples.max(1) as f64);
        }
        let values = searches.iter().map(|search| std::array::from_fn(|i| search.mean[i])).collect();
        let deviations = searches.iter().map(|search| std::array::from_fn(|i| search.deviation[i])).collect();
        let found = Self {
            values,
            deviations,
            identified: vec![[false; AXES]; joints],
            shift_s: shift as f64 * SHIFT_S,
            moving,
        };
        Ok(found.checked(context, recordings)?)
    }

    /// Finds out what is identified, and puts the rest back.
    fn checked(mut self, context: &Context<'_>, recordings: &[&Recording]) -> Result<Self, SimError> {
        let axes = axes(context);
        let turned: Vec<(usize, f64)> = (0..AXES).flat_map(|i| [(i, -0.25), (i, 0.25)]).collect();
        let base = grid(context, self.values.clone(), recordings)?;
        let grids = turned
            .par_iter()
            .map(|&(i, part)| {
                let mut values = self.values.clone();
                values.iter_mut().for_each(|joint| joint[i] += part * axes[i].width());
                grid(context, values, recordings)
            })
            .collect::<Result<Vec<Grid>, SimError>>()?;
        let shift = (self.shift_s / SHIFT_S).round() as usize;
        let at = |grid: &Grid, joint: usize| grid[shift][joint].loss;
        for &joint in &self.moving {
            for (i, axis) in axes.iter().enumerate() {
                let mut growth = f64::INFINITY;
                for (grid, (_, part)) in grids.iter().zip(&turned).filter(|(_, (turned, _))| *turned == i) {
                    if (axis.lower..=axis.upper).contains(&(self.values[joint][i] + part * axis.width())) {
                        growth = growth.min(at(grid, joint) - at(&base, joint));
                    }
                }
                self.identified[joint][i] = growth.is_finite() && is_identified(growth);
            }
        }
        let nominal = values(context.nominal);
        let known: Vec<f64> =
            (0..nominal.len()).filter(|&j| self.identified[j][GAIN]).map(|j| self.values[j][GAIN]).collect();
        for (joint, nominal) in nominal.iter().enumerate() {
            for (i, &nominal) in nominal.iter().enumerate() {
                if !self.identified[joint][i] {
                    // An arm's servos are set alike.
                    let of_others =
                        (i == GAIN && !known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
                    self.values[joint][i] = of_others.unwrap_or(nominal);
                }
            }
        }
        Ok(self)
    }

    /// The nominal arm with what is believed.
    pub(super) fn put(&self, context: &Context<'_>) -> SimParams {
        put(context.nominal, &self.values)
    }

    /// Another arm that may be this one.
    pub(super) fn vary(&self, context: &Context<'_>, rng: &mut impl Rng) -> Self {
        let axes = axes(context);
        let mut varied = self.clone();
        for joint in 0..self.values.len() {
            for (i, &Axis { lower, upper }) in axes.iter().enumerate() {
                let deviation = self.deviations[joint][i].max(FLOORS[i]);
                let known = self.identified[joint][i] || i == GAIN;
                let drawn = if known {
                    self.values[joint][i] + deviation.min(2.0 * FLOORS[i]) * gaussian(rng)
                } else {
                    rng.random_range(lower..upper)
                };
                varied.values[joint][i] = drawn.clamp(lower, upper);
            }
        }
        varied.shift_s = (self.shift_s + SHIFT_FLOOR_S * gaussian(rng)).max(0.0);
        varied
    }

    /// What was found.
    pub(super) fn parameters(&self, context: &Context<'_>) -> Vec<Parameter> {
        let (fitted, nominal) = (&self.values, values(context.nominal));
        let mut parameters = Vec::new();
        for (joint, model) in context.model.joints.iter().enumerate() {
            for i in 0..AXES {
                let number = |value: f64| if i == GAIN { value.exp() } else { value };
                parameters.push(Parameter {
                    name: format!("{}.{}", model.name, NAMES[i]),
                    nominal: number(nominal[joint][i]),
                    fitted: number(fitted[joint][i]),
                    identified: self.identified[joint][i],
                });
            }
        }
        parameters.push(Parameter {
            name: "latency_us".into(),
            nominal: 1e6 * (shift_s(context.nominal) - shift_s(&without_latency(context.nominal))),
            fitted: 1e6 * self.latency_s(),
            identified: true,
        });
        parameters
    }

    /// Sum of the mean latencies, s.
    pub(super) fn latency_s(&self) -> f64 {
        (self.shift_s - 2.0 * super::LINE_S).max(0.0)
    }
}

fn without_latency(params: &SimParams) -> SimParams {
    let mut params = params.clone();
    (params.command_latency.mean_us, params.feedback_latency.mean_us) = (0.0, 0.0);
    params
}

fn axes(context: &Context<'_>) -> Vec<Axis> {
    let ranges = context.ranges;
    let gain = [
        (ranges.p_gain[0] * ranges.p_gain_spread[0] * ranges.voltage[0]).ln(),
        (ranges.p_gain[1] * ranges.p_gain_spread[1] * ranges.voltage[1]).ln(),
    ];
    vec![widened(gain, f64::MIN), widened(ranges.backlash_rad, 0.0), widened(ranges.friction_nm, 0.0)]
}

/// The numbers of each joint.
fn values(params: &SimParams) -> Vec<[f64; AXES]> {
    params.servos.iter().map(|s| [(s.p_gain * s.voltage).ln(), s.backlash_rad, s.friction_nm]).collect()
}

/// An arm with other numbers. Gain and voltage show as their product alone; the voltage stays.
fn put(nominal: &SimParams, values: &[[f64; AXES]]) -> SimParams {
    let mut params = nominal.clone();
    for (servo, &[gain, backlash_rad, friction_nm]) in params.servos.iter_mut().zip(values) {
        servo.p_gain = gain.exp() / servo.voltage;
        servo.backlash_rad = backlash_rad.max(0.0);
        servo.friction_nm = friction_nm.max(0.0);
    }
    params
}

fn grid(context: &Context<'_>, values: Vec<[f64; AXES]>, recordings: &[&Recording]) -> Result<Grid, SimError> {
    let params = put(context.nominal, &values);
    let mut grid = vec![vec![Misfit::default(); values.len()]; SHIFTS];
    for recording in recordings {
        let trace = replay(context.model, &params, recording, 0.0, recording.duration_s())?;
        for (shift, misfits) in grid.iter_mut().enumerate() {
            trace.joints_misfit(recording, shift as f64 * SHIFT_S, misfits);
        }
    }
    Ok(grid)
}
