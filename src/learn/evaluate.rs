//! How good a policy is: deterministic episodes over common seeds, with intervals, and whether one is better than
//! another beyond chance.

use super::collector::{distance, moved};
use crate::env::{EnvError, GoalEnv, GoalObservation, Outcome};
use crate::policy::{Policy, PolicyError};
use rayon::prelude::*;

/// An episode that has not ended after so many steps never will.
const ENDLESS_STEPS: usize = 10_000;
/// Two-sided 95 % quantile of the normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// What came of one episode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpisodeResult {
    /// The seed that it was drawn from.
    pub seed: u64,
    /// Whether the goal was achieved at the *last* step.
    pub success: bool,
    /// Distance of the achieved from the desired goal at the last step, m.
    pub final_distance_m: f32,
    /// Sum of rewards.
    pub episode_return: f32,
    /// Whether the object moved by more than 5 mm.
    pub contact: bool,
    /// Steps taken.
    pub steps: usize,
    /// Steps whose action the safety filter changed.
    pub interventions: usize,
}

/// Results in the seeds' order.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// One a seed.
    pub episodes: Vec<EpisodeResult>,
}

/// Why an evaluation could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The environment failed.
    #[error("the environment failed in the episode of seed {seed}: {source}")]
    Env {
        /// The episode's seed.
        seed: u64,
        /// Why.
        source: EnvError,
    },
    /// The policy failed.
    #[error("the policy failed: {0}")]
    Policy(#[from] PolicyError),
    /// The environment never ends its episode.
    #[error("the episode of seed {seed} has not ended after {ENDLESS_STEPS} steps; give the task a time limit")]
    Endless {
        /// The episode's seed.
        seed: u64,
    },
    /// Nothing to evaluate in, or on.
    #[error("an evaluation needs at least one environment and one seed; got {envs} and {seeds}")]
    Nothing {
        /// Environments given.
        envs: usize,
        /// Seeds given.
        seeds: usize,
    },
    /// Two evaluations that are to be compared were made on different seeds.
    #[error("evaluations on different seeds cannot be compared in pairs; evaluate both on the same seeds")]
    Unpaired,
}

/// Runs one episode for each seed, in parallel over `envs`. `policy` makes each environment's own policy.
///
/// The result depends on neither the number of environments nor of threads, where `reset` depends on the seed alone.
///
/// # Errors
/// See [`EvaluateError`].
pub fn evaluate<P: Policy>(
    envs: &mut [Box<dyn GoalEnv>],
    policy: impl Fn() -> Result<P, PolicyError>,
    seeds: &[u64],
) -> Result<Evaluation, EvaluateError> {
    evaluate_watched(envs, policy, seeds, || ())
}

/// [`evaluate`], with `on_episode` called after each episode, by the thread that ran it: for a bar of progress.
///
/// # Errors
/// See [`EvaluateError`].
pub fn evaluate_watched<P: Policy>(
    envs: &mut [Box<dyn GoalEnv>],
    policy: impl Fn() -> Result<P, PolicyError>,
    seeds: &[u64],
    on_episode: impl Fn() + Sync,
) -> Result<Evaluation, EvaluateError> {
    if envs.is_empty() || seeds.is_empty() {
        return Err(EvaluateError::Nothing { envs: envs.len(), seeds: seeds.len() });
    }
    let stride = envs.len();
    let mut pairs = Vec::with_capacity(stride);
    for env in envs.iter_mut() {
        pairs.push((env, policy()?));
    }
    let run = |(first, (env, policy)): (usize, &mut (&mut Box<dyn GoalEnv>, P))| {
        let own = seeds.iter().skip(first).step_by(stride);
        own.map(|&seed| episode(env.as_mut(), policy, seed).inspect(|_| on_episode())).collect()
    };
    let columns: Vec<Result<Vec<EpisodeResult>, EvaluateError>> =
        pairs.par_iter_mut().enumerate().with_max_len(1).map(run).collect();
    let columns = columns.into_iter().collect::<Result<Vec<_>, _>>()?;
    let episodes = (0..seeds.len()).map(|i| columns[i % stride][i / stride]).collect();
    Ok(Evaluation { episodes })
}

fn episode(env: &mut dyn GoalEnv, policy: &mut impl Policy, seed: u64) -> Result<EpisodeResult, EvaluateError> {
    let fail = |source| EvaluateError::Env { seed, source };
    let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
    let mut action = vec![0.0; env.layout().action];
    env.reset(seed, &mut seen).map_err(fail)?;
    let start = seen.achieved_goal.clone();
    let mut result = EpisodeResult {
        seed,
        success: false,
        final_distance_m: 0.0,
        episode_return: 0.0,
        contact: false,
        steps: 0,
        interventions: 0,
    };
    while result.steps < ENDLESS_STEPS {
        policy.act(&seen, &mut action)?;
        env.step(&action, &mut seen, &mut outcome).map_err(fail)?;
        result.steps += 1;
        result.episode_return += outcome.reward;
        result.contact |= moved(&start, &seen.achieved_goal);
        result.interventions += usize::from(outcome.intervened);
        if outcome.terminated || outcome.truncated {
            result.success = outcome.success;
            result.final_distance_m = distance(&seen.achieved_goal, &seen.desired_goal);
            return Ok(result);
        }
    }
    Err(EvaluateError::Endless { seed })
}

impl Evaluation {
    /// Episodes that ended at their goal.
    pub fn successes(&self) -> usize {
        self.episodes.iter().filter(|e| e.success).count()
    }

    /// Share of episodes that ended at their goal.
    pub fn success_rate(&self) -> f64 {
        self.successes() as f64 / self.episodes.len() as f64
    }

    /// Wilson's 95 % interval of the success rate.
    pub fn success_ci95(&self) -> [f64; 2] {
        wilson_95(self.successes(), self.episodes.len())
    }

    /// Quantile (0 to 1) of the final distances, m: the smallest distance that at least this share stays within.
    pub fn final_distance_m(&self, quantile: f64) -> f32 {
        let mut distances: Vec<f32> = self.episodes.iter().map(|e| e.final_distance_m).collect();
        distances.sort_by(f32::total_cmp);
        let rank = (quantile.clamp(0.0, 1.0) * distances.len() as f64).ceil() as usize;
        distances[rank.clamp(1, distances.len()) - 1]
    }

    /// Mean sum of rewards an episode.
    pub fn mean_return(&self) -> f64 {
        self.episodes.iter().map(|e| f64::from(e.episode_return)).sum::<f64>() / self.episodes.len() as f64
    }

    /// Share of episodes in which the object moved by more than 5 mm.
    pub fn contact_fraction(&self) -> f64 {
        self.episodes.iter().filter(|e| e.contact).count() as f64 / self.episodes.len() as f64
    }
}

/// Wilson's 95 % interval for `successes` out of `trials`; [0, 1] without trials.
///
/// Wilson, E. B. (1927), "Probable inference, the law of succession, and statistical inference".
pub fn wilson_95(successes: usize, trials: usize) -> [f64; 2] {
    if trials == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (trials as f64, successes as f64 / trials as f64);
    let z2 = Z95 * Z95;
    let center = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    [(center - half).max(0.0), (center + half).min(1.0)]
}

/// A paired comparison of a candidate with an incumbent on the same seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Seeds on which the candidate alone succeeded.
    pub won: usize,
    /// Seeds on which the incumbent alone succeeded.
    pub lost: usize,
    /// Probability that an equally good candidate wins at least so many of the differing seeds (McNemar's exact test,
    /// one-sided).
    pub p_value: f64,
}

impl Comparison {
    /// Compares two evaluations seed by seed.
    ///
    /// # Errors
    /// [`EvaluateError::Unpaired`] where the seeds are not the same.
    pub fn new(candidate: &Evaluation, incumbent: &Evaluation) -> Result<Self, EvaluateError> {
        let seeds = |e: &Evaluation| e.episodes.iter().map(|e| e.seed).collect::<Vec<_>>();
        if seeds(candidate) != seeds(incumbent) {
            return Err(EvaluateError::Unpaired);
        }
        let pairs = || candidate.episodes.iter().zip(&incumbent.episodes).map(|(c, i)| (c.success, i.success));
        let won = pairs().filter(|&pair| pair == (true, false)).count();
        let lost = pairs().filter(|&pair| pair == (false, true)).count();
        Ok(Self { won, lost, p_value: binomial_tail(won, won + lost) })
    }

    /// Whether the candidate is better beyond chance at the 5 % level.
    pub fn candidate_is_better(&self) -> bool {
        self.won > self.lost && self.p_value < 0.05
    }
}

/// P(X ≥ k) for X binomial with n fair tosses; in logarithms, for any n.
fn binomial_tail(k: usize, n: usize) -> f64 {
    let mut ln_choose = 0.0f64;
    let mut tail = 0.0;
    for i in 0..=n {
        if i >= k {
            tail += (ln_choose - n as f64 * std::f64::consts::LN_2).exp();
        }
        ln_choose += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    tail.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::simulated_many;
    use crate::policy::StillPolicy;
    use crate::task::{Task, TaskKind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe (1998), table I: 81/263, 15/148, 0/20, 1/29.
        for (r, n, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let [l, h] = wilson_95(r, n);
            assert!((l - low).abs() < 1e-4 && (h - high).abs() < 1e-4, "{r}/{n}: {l} {h}");
        }
        assert_eq!(wilson_95(0, 0), [0.0, 1.0]);
    }

    fn evaluation(successes: &[bool]) -> Evaluation {
        let episode = |(seed, &success): (usize, &bool)| EpisodeResult {
            seed: seed as u64,
            success,
            final_distance_m: seed as f32,
            episode_return: -1.0,
            contact: true,
            steps: 50,
            interventions: 0,
        };
        Evaluation { episodes: successes.iter().enumerate().map(episode).collect() }
    }

    #[test]
    fn every_episode_is_told_of_once_and_changes_nothing() {
        let (model, arm) = (sim::ArmModel::so101().unwrap(), sim::SimParams::so101().unwrap());
        let task = Task::new(TaskKind::Reach, arm.object.rest_height_m());
        let mut envs = simulated_many(&model, &arm, std::slice::from_ref(&arm), &task, 3).unwrap();
        let (told, seeds) = (AtomicUsize::new(0), [4, 5, 6, 7]);
        let count = || {
            told.fetch_add(1, Ordering::Relaxed);
        };
        let watched = evaluate_watched(&mut envs, || Ok(StillPolicy), &seeds, count).unwrap();
        assert_eq!((told.into_inner(), watched.episodes.len()), (4, 4));
        assert_eq!(watched, evaluate(&mut envs, || Ok(StillPolicy), &seeds).unwrap());
    }

    #[test]
    fn only_a_win_beyond_chance_is_better() {
        let lost = evaluation(&[false; 10]);
        let five = evaluation(&[true, true, true, true, true, false, false, false, false, false]);
        let compared = Comparison::new(&five, &lost).unwrap();
        assert_eq!((compared.won, compared.lost), (5, 0));
        assert!((compared.p_value - 1.0 / 32.0).abs() < 1e-12 && compared.candidate_is_better());
        let four = evaluation(&[true, true, true, true, false, false, false, false, false, false]);
        let compared = Comparison::new(&four, &lost).unwrap();
        assert!((compared.p_value - 1.0 / 16.0).abs() < 1e-12 && !compared.candidate_is_better());
        assert!(!Comparison::new(&lost, &five).unwrap().candidate_is_better());
        assert_eq!(Comparison::new(&five, &five).unwrap().p_value, 1.0);
        assert!(matches!(Comparison::new(&five, &evaluation(&[true])), Err(EvaluateError::Unpaired)));
    }

    #[test]
    fn binomial_tail_is_exact_and_does_not_underflow() {
        // 8 or more heads of 10: (45 + 10 + 1) / 1024.
        assert!((binomial_tail(8, 10) - 56.0 / 1024.0).abs() < 1e-12);
        assert!((binomial_tail(1000, 2000) - 0.508_920).abs() < 1e-5, "{}", binomial_tail(1000, 2000));
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_distances() {
        let evaluation = evaluation(&[true; 20]);
        assert_eq!(evaluation.final_distance_m(0.5), 9.0);
        assert_eq!(evaluation.final_distance_m(0.95), 18.0);
        assert_eq!(evaluation.final_distance_m(1.0), 19.0);
        assert_eq!(evaluation.final_distance_m(0.0), 0.0);
    }
}
