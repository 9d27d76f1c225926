//! The object's part of a fit, with the arm as it was found: mass, frictions, and which latency is whose.

use super::arm::ArmFit;
use super::recording::Recording;
use super::replay::{AFTER_CONTACT_S, LINE_S, Misfit, replay};
use super::search::{Axis, Search, gaussian};
use super::{Context, Parameter, is_identified, scaled, total, widened};
use rand::{Rng, RngExt};
use rayon::prelude::*;
use sim::SimParams;
use sim::world::SimError;

/// Logarithm of the mass (kg), friction with the table, friction with the fingers, the command's share of the latency.
const AXES: usize = 4;
const MASS: usize = 0;
const SHARE: usize = 3;
/// Names of the first numbers.
const NAMES: [&str; SHARE] = ["object.mass_kg", "object.table_friction", "object.finger_friction"];
/// Smallest deviations of the elites: a fit is never surer than its model.
const FLOORS: [f64; AXES] = [0.15, 0.04, 0.05, 0.06];
/// The command's share of the latency is searched for here; beyond, one of the two would be next to nothing.
const SHARES: Axis = Axis { lower: 0.2, upper: 0.95 };

/// What is believed about the object.
#[derive(Debug, Clone)]
pub(super) struct ObjectFit {
    values: [f64; AXES],
    deviations: [f64; AXES],
    identified: [bool; AXES],
}

impl ObjectFit {
    pub(super) fn search(
        context: &Context<'_>,
        arm: &ArmFit,
        recordings: &[&Recording],
        rng: &mut impl Rng,
        report: &mut impl FnMut(usize, f64),
    ) -> Result<Self, SimError> {
        let nominal = values(context.nominal);
        if recordings.is_empty() {
            return Ok(Self { values: nominal, deviations: [0.0; AXES], identified: [false; AXES] });
        }
        let base = arm.put(context);
        let loss = |values: &[f64]| {
            let found: [f64; AXES] = std::array::from_fn(|i| values[i]);
            let params = put(arm, base.clone(), &found);
            misfit(context, &params, super::delay_s(&params), recordings)
        };
        let mut search = Search::new(axes(context));
        let generations = context.budget.generations.max(1);
        for generation in 0..generations {
            let candidates = search.draw(context.budget.population.max(4), rng);
            let misfits =
                candidates.par_iter().map(|values| loss(values)).collect::<Result<Vec<Misfit>, SimError>>()?;
            let losses: Vec<f64> = misfits.iter().map(|misfit| misfit.loss).collect();
            search.learn(&candidates, &losses);
            let least = losses.iter().copied().fold(f64::MAX, f64::min);
            report(generations + generation + 1, least / misfits[0].samples.max(1) as f64);
        }
        let mut found = Self {
            values: std::array::from_fn(|i| search.mean[i]),
            deviations: std::array::from_fn(|i| search.deviation[i]),
            identified: [false; AXES],
        };
        let least = loss(&found.values)?.loss;
        for (i, axis) in search.axes().iter().enumerate() {
            let mut growth = f64::INFINITY;
            for part in [-0.25, 0.25] {
                let mut turned = found.values;
                turned[i] += part * axis.width();
                if (axis.lower..=axis.upper).contains(&turned[i]) {
                    growth = growth.min(loss(&turned)?.loss - least);
                }
            }
            found.identified[i] = growth.is_finite() && is_identified(growth);
        }
        for (i, nominal) in nominal.into_iter().enumerate() {
            if !found.identified[i] {
                found.values[i] = nominal;
            }
        }
        Ok(found)
    }

    /// `params` with what is believed about the object and the latencies.
    pub(super) fn put(&self, arm: &ArmFit, params: SimParams) -> SimParams {
        put(arm, params, &self.values)
    }

    /// Another object that may be this one.
    pub(super) fn vary(&self, context: &Context<'_>, rng: &mut impl Rng) -> Self {
        let mut varied = self.clone();
        for (i, Axis { lower, upper }) in axes(context).into_iter().enumerate() {
            let deviation = self.deviations[i].clamp(FLOORS[i], 2.0 * FLOORS[i]);
            let drawn = if self.identified[i] {
                self.values[i] + deviation * gaussian(rng)
            } else {
                rng.random_range(lower..upper)
            };
            varied.values[i] = drawn.clamp(lower, upper);
        }
        varied
    }

    /// What was found.
    pub(super) fn parameters(&self, context: &Context<'_>, best: &SimParams) -> Vec<Parameter> {
        let nominal = values(context.nominal);
        let number = |i: usize, value: f64| if i == MASS { value.exp() } else { value };
        let object = NAMES.iter().enumerate().map(|(i, &name)| Parameter {
            name: name.into(),
            nominal: number(i, nominal[i]),
            fitted: number(i, self.values[i]),
            identified: self.identified[i],
        });
        let latencies = [
            ("command_latency.mean_us", context.nominal.command_latency, best.command_latency),
            ("feedback_latency.mean_us", context.nominal.feedback_latency, best.feedback_latency),
        ];
        let latencies = latencies.map(|(name, nominal, fitted)| Parameter {
            name: name.into(),
            nominal: nominal.mean_us,
            fitted: fitted.mean_us,
            identified: self.identified[SHARE],
        });
        object.chain(latencies).collect()
    }
}

fn axes(context: &Context<'_>) -> Vec<Axis> {
    let ranges = context.ranges;
    vec![
        widened(ranges.mass_kg.map(f64::ln), f64::MIN),
        widened(ranges.table_friction, 0.05),
        widened(ranges.finger_friction, 0.05),
        SHARES,
    ]
}

fn values(params: &SimParams) -> [f64; AXES] {
    let (command_us, feedback_us) = (params.command_latency.mean_us, params.feedback_latency.mean_us);
    let share = if command_us + feedback_us > 0.0 { command_us / (command_us + feedback_us) } else { 0.5 };
    [params.object.mass_kg.ln(), params.object.table_friction, params.object.finger_friction, share]
}

fn put(arm: &ArmFit, mut params: SimParams, &[mass, table, finger, share]: &[f64; AXES]) -> SimParams {
    params.object.mass_kg = mass.exp();
    params.object.table_friction = table;
    params.object.finger_friction = finger;
    let latency_us = 1e6 * arm.latency_s();
    params.command_latency = scaled(params.command_latency, share * latency_us);
    params.feedback_latency = scaled(params.feedback_latency, (1.0 - share) * latency_us);
    params
}

/// How far replayed objects are from the recorded ones.
pub(super) fn misfit(
    context: &Context<'_>,
    params: &SimParams,
    delay_s: f64,
    recordings: &[&Recording],
) -> Result<Misfit, SimError> {
    let one = |recording: &&Recording| {
        let contact_s = recording.track.as_ref().and_then(|track| track.contact_s).unwrap_or(0.0);
        let duration_s = (contact_s + AFTER_CONTACT_S + LINE_S).min(recording.duration_s());
        Ok(replay(context.model, params, recording, delay_s, duration_s)?.object_misfit(recording))
    };
    total(recordings.par_iter().map(one).collect())
}
