//! How well a training does while it lasts, and which of its policies was the best.

use anyhow::Result;
use hindsight::env::GoalEnv;
use hindsight::learn::evaluate::evaluate;
use hindsight::learn::{Actor, Agent, Memo, Progress};
use serde_json::{Value, json};

use super::super::plot::CurvePoint;
use super::EVALUATION_SEED;

/// Episodes of an evaluation during training.
pub(super) const GLANCE_EPISODES: u64 = 100;

/// Environments in which the agent is looked at while it learns.
pub(super) struct Judges(pub(super) Vec<Box<dyn GoalEnv>>);

impl Judges {
    /// Success rate over the `nth` lot of [`GLANCE_EPISODES`].
    fn look(&mut self, agent: &Agent, nth: u64) -> Result<f64> {
        let first = 2 * EVALUATION_SEED + nth * GLANCE_EPISODES;
        let seeds: Vec<u64> = (first..first + GLANCE_EPISODES).collect();
        Ok(evaluate(&mut self.0, || Ok(Actor::new(agent, 1)), &seeds)?.success_rate())
    }
}

/// What is remembered of a training besides the trainer's own state.
pub(super) struct Log {
    settings: Value,
    pub(super) curve: Vec<CurvePoint>,
    /// The agent that scored best, of equals the last.
    pub(super) best: Option<Agent>,
    /// Its success rate over both looks.
    best_score: f64,
    /// Environment steps at which to evaluate next.
    pub(super) next_glance: u64,
}

impl Log {
    pub(super) fn new(settings: Value) -> Self {
        Self { settings, curve: Vec::new(), best: None, best_score: 0.0, next_glance: 0 }
    }

    /// Looks at the agent, and again on other episodes if it may be the best: the best of many looks at the same episodes
    /// is partly the luckiest. Returns whether it has reached `target` in both together.
    pub(super) fn glance(
        &mut self,
        progress: &Progress,
        agent: &Agent,
        judges: &mut Judges,
        target: f64,
    ) -> Result<bool> {
        let success_rate = judges.look(agent, 0)?;
        let (env_steps, elapsed_s) = (progress.env_steps as f64, progress.elapsed.as_secs_f64());
        self.curve.push(CurvePoint { env_steps, elapsed_s, success_rate });
        // What never succeeds needs no second look.
        let score = match success_rate >= self.best_score && success_rate > 0.0 {
            true => (success_rate + judges.look(agent, 1)?) / 2.0,
            false => success_rate,
        };
        if score >= self.best_score {
            (self.best, self.best_score) = (Some(agent.clone()), score);
        }
        Ok(score >= target)
    }

    /// All that it remembers, to be stored.
    pub(super) fn memo(&self) -> Memo {
        let note = json!({
            "settings": self.settings, "curve": self.curve, "best_score": self.best_score,
            "next_glance": self.next_glance,
        });
        Memo { note, best: self.best.clone() }
    }

    /// What [`Log::memo`] remembered.
    pub(super) fn restored(memo: Memo) -> serde_json::Result<Self> {
        let Memo { mut note, best } = memo;
        let curve: Vec<CurvePoint> = serde_json::from_value(note["curve"].take())?;
        // Trainings of earlier programs looked once.
        let looked_once = || curve.iter().map(|point| point.success_rate).fold(0.0, f64::max);
        let best_score = note["best_score"].as_f64().unwrap_or_else(looked_once);
        let next_glance = note["next_glance"].as_u64().unwrap_or(0);
        Ok(Self { settings: note["settings"].take(), curve, best, best_score, next_glance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindsight::env::{EnvError, GoalObservation, Layout, Outcome, RewardRule};
    use hindsight::learn::Hyper;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    /// Episodes of a step that succeed with certain seeds.
    struct Lottery {
        wins: fn(u64) -> bool,
        seed: u64,
    }

    impl Lottery {
        fn observe(out: &mut GoalObservation) {
            *out = GoalObservation { observation: vec![0.0], achieved_goal: vec![0.0], desired_goal: vec![1.0] };
        }
    }

    impl GoalEnv for Lottery {
        fn layout(&self) -> Layout {
            Layout { observation: 1, goal: 1, action: 1 }
        }

        fn reset(&mut self, seed: u64, out: &mut GoalObservation) -> Result<(), EnvError> {
            self.seed = seed - 2 * EVALUATION_SEED;
            Self::observe(out);
            Ok(())
        }

        fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError> {
            Self::observe(out);
            outcome.applied = action.to_vec();
            outcome.truncated = true;
            outcome.success = (self.wins)(self.seed);
            Ok(())
        }

        fn reward_rule(&self) -> RewardRule {
            RewardRule::Sparse { radius: 0.1 }
        }
    }

    fn judges(wins: fn(u64) -> bool) -> Judges {
        Judges(vec![Box::new(Lottery { wins, seed: 0 })])
    }

    fn agent(seed: u64) -> Agent {
        let layout = Layout { observation: 1, goal: 1, action: 1 };
        Agent::new(Hyper { hidden: vec![2], ..Hyper::default() }, layout, &mut Pcg64Mcg::seed_from_u64(seed)).unwrap()
    }

    #[test]
    fn who_is_lucky_once_is_neither_done_nor_the_best() {
        let (mut log, progress) = (Log::new(json!({})), Progress::default());
        let mut glance = |seed, wins, target| log.glance(&progress, &agent(seed), &mut judges(wins), target).unwrap();
        assert!(!glance(1, |seed| seed % 10 < 8, 0.9));
        // All of the first hundred, and half of the second.
        assert!(!glance(2, |seed| seed < 150, 0.9));
        assert!(!glance(3, |seed| seed % 10 < 7, 0.9));
        assert!(glance(4, |seed| seed % 10 < 9, 0.9));
        assert_eq!(log.curve.iter().map(|point| point.success_rate).collect::<Vec<_>>(), [0.8, 1.0, 0.7, 0.9]);
        let log = Log::restored(log.memo()).unwrap();
        assert_eq!((log.best_score, log.curve.len()), (0.9, 4));
        assert_eq!(log.best.unwrap().to_bytes(), agent(4).to_bytes());
    }

    #[test]
    fn a_training_that_looked_once_goes_on_with_its_best_look() {
        let curve = json!([{ "env_steps": 1.0, "elapsed_s": 1.0, "success_rate": 0.4 }]);
        let note = json!({ "settings": {}, "curve": curve, "next_glance": 2 });
        let log = Log::restored(Memo { note, best: Some(agent(1)) }).unwrap();
        assert_eq!((log.best_score, log.next_glance), (0.4, 2));
    }
}
