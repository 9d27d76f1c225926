//! Whether imitation aims better than critics do, on throws whose ends are partly luck.

use super::tests::run;
use super::*;
use crate::env::{EnvError, GoalObservation, Outcome};
use crate::learn::Actor;
use crate::learn::evaluate::evaluate;

/// A ball on a line: the first of ten actions throws it, it flies for four steps and then lies still.
struct Throw {
    at: f32,
    speed: f32,
    goal: f32,
    step: usize,
    /// How far luck takes a throw at most, either way.
    most_luck: f32,
    luck: f32,
}

impl Throw {
    fn many(most_luck: f32) -> Vec<Box<dyn GoalEnv>> {
        let throw = || Self { at: 0.0, speed: 0.0, goal: 0.0, step: 0, most_luck, luck: 0.0 };
        (0..8).map(|_| Box::new(throw()) as Box<dyn GoalEnv>).collect()
    }

    fn observe(&self, out: &mut GoalObservation) {
        *out = GoalObservation {
            observation: vec![self.at, self.speed],
            achieved_goal: vec![self.at],
            desired_goal: vec![self.goal],
        };
    }
}

impl GoalEnv for Throw {
    fn layout(&self) -> Layout {
        Layout { observation: 2, goal: 1, action: 1 }
    }

    fn reset(&mut self, seed: u64, out: &mut GoalObservation) -> Result<(), EnvError> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        (self.at, self.speed, self.step) = (rng.random_range(-0.05..0.05), 0.0, 0);
        self.goal = rng.random_range(0.35..0.65);
        self.luck = self.most_luck * rng.random_range(-1.0..1.0f32);
        self.observe(out);
        Ok(())
    }

    fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError> {
        self.speed = match self.step {
            0 => (0.5 + 0.25 * action[0] + self.luck) / 4.0,
            4.. => 0.0,
            _ => self.speed,
        };
        self.at += self.speed;
        self.step += 1;
        self.observe(out);
        outcome.applied = action.to_vec();
        outcome.truncated = self.step == 10;
        Ok(())
    }

    fn reward_rule(&self) -> RewardRule {
        RewardRule::Sparse { radius: 0.02 }
    }
}

/// Median distance from the goal of throws without luck, after a training with it; the goals' own from their middle is
/// 0.075.
fn off(imitate_from: f64, seed: u64) -> f32 {
    let hyper = Hyper {
        hidden: vec![32, 32],
        batch: 64,
        warmup_steps: 400,
        steps_per_update: 4.0,
        goal_zoom: 6.0,
        twin_critic: true,
        actor_every: 2,
        imitate_from,
        replay_transitions: 10_000,
        ..Hyper::default()
    };
    let mut trainer = Trainer::new(hyper, Throw::many(0.03), seed).unwrap();
    run(&mut trainer, 30_000).unwrap();
    let agent = trainer.into_agent();
    let seeds: Vec<u64> = (1 << 40..(1 << 40) + 100).collect();
    let judged = evaluate(&mut Throw::many(0.0), || Ok(Actor::new(&agent, 1)), &seeds).unwrap();
    judged.final_distance_m(0.5)
}

#[test]
fn imitation_aims_where_critics_blur() {
    for seed in 0..3 {
        let (critics_m, imitation_m) = (off(1.0, seed), off(0.2, seed));
        assert!(imitation_m < 0.4 * critics_m && imitation_m < 0.01, "{critics_m} and {imitation_m}, seed {seed}");
    }
}
