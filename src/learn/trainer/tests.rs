use super::*;
use crate::env::{EnvError, GoalObservation, Outcome, RewardRule};
use crate::learn::replay::{ReplayBuffer, Trajectory, Transition};
use crate::learn::{Agent, Relabel};

const LAYOUT: Layout = Layout { observation: 2, goal: 1, action: 1 };

/// How an environment misbehaves.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Breaks,
    GivesNan,
    NeverEnds,
    GivesTooMuch,
}

/// A point on a line; half of every action is carried out.
struct Halver {
    at: f32,
    step: usize,
    fault: Fault,
}

impl Halver {
    fn boxed(fault: Fault) -> Box<dyn GoalEnv> {
        Box::new(Self { at: 0.0, step: 0, fault })
    }

    fn observe(&self, out: &mut GoalObservation) {
        *out = GoalObservation {
            observation: vec![self.at; if self.fault == Fault::GivesTooMuch { 3 } else { 2 }],
            achieved_goal: vec![if self.fault == Fault::GivesNan { f32::NAN } else { self.at }],
            desired_goal: vec![5.0],
        };
    }
}

impl GoalEnv for Halver {
    fn layout(&self) -> Layout {
        LAYOUT
    }

    fn reset(&mut self, seed: u64, out: &mut GoalObservation) -> Result<(), EnvError> {
        (self.at, self.step) = (0.01 * (seed % 16) as f32, 0);
        self.observe(out);
        Ok(())
    }

    fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError> {
        if self.fault == Fault::Breaks {
            return Err(EnvError::new(std::io::Error::other("the arm is gone")));
        }
        self.at += 0.5 * action[0];
        self.step += 1;
        self.observe(out);
        outcome.applied = vec![0.5 * action[0]];
        outcome.truncated = self.step == 10 && self.fault != Fault::NeverEnds;
        Ok(())
    }

    fn reward_rule(&self) -> RewardRule {
        RewardRule::Sparse { radius: 0.1 }
    }
}

/// Environments on a line.
pub(in crate::learn) fn halvers(count: usize) -> Vec<Box<dyn GoalEnv>> {
    (0..count).map(|_| Halver::boxed(Fault::None)).collect()
}

pub(super) fn hyper() -> Hyper {
    Hyper { hidden: vec![8], batch: 16, warmup_steps: 100, replay_transitions: 1_000, ..Hyper::default() }
}

pub(super) fn run(trainer: &mut Trainer, env_steps: u64) -> Result<Progress, TrainError> {
    trainer.run(Budget { env_steps: Some(env_steps), wall: None }, |_, _| ControlFlow::Continue(()))
}

#[test]
fn learning_looks_as_many_actions_ahead_as_is_asked_for() {
    let trainer = Trainer::new(Hyper { n_step: 4, gamma: 0.5, ..hyper() }, halvers(1), 0).unwrap();
    let mut batch = batch(trainer.agent());
    let seen = GoalObservation { observation: vec![0.0; 2], achieved_goal: vec![0.0], desired_goal: vec![5.0] };
    let mut episode = Trajectory::new(LAYOUT, 10);
    episode.begin(&seen).unwrap();
    (0..10).for_each(|_| episode.push(&[0.0], &seen).unwrap());
    let mut buffer = ReplayBuffer::new(LAYOUT, 100, 10);
    buffer.push(&episode).unwrap();
    let sources = [Source { buffer: &buffer, share: 1.0 }];
    assert!(batch.fill(&sources, Relabel::default(), |_, _| -1.0, &mut Pcg64Mcg::seed_from_u64(0)));
    assert!(batch.reward.contains(&-1.875), "{:?}", batch.reward);
}

#[test]
fn what_was_carried_out_is_learned_and_not_what_was_asked_for() {
    let mut trainer = Trainer::new(hyper(), halvers(6), 1).unwrap();
    let progress = run(&mut trainer, 400).unwrap();
    assert!(progress.intervened > 0.9, "{progress:?}");
    assert!(progress.updates > 0 && progress.env_steps == 420, "{progress:?}");
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let mut largest = 0.0f32;
    let [moved, ..] = trainer.memory.buffers();
    for _ in 0..200 {
        let drawn = moved.draw(&mut rng).unwrap();
        let now = moved.frame(drawn.start + drawn.step);
        let next = moved.frame(drawn.start + drawn.step + 1);
        assert!((now.achieved[0] + now.action[0] - next.achieved[0]).abs() < 1e-5);
        largest = largest.max(now.action[0].abs());
    }
    assert!((0.3..=0.5).contains(&largest), "{largest}");
}

#[test]
fn training_goes_on_where_it_stopped_and_with_real_episodes() {
    let mut trainer = Trainer::new(hyper(), vec![Halver::boxed(Fault::None)], 1).unwrap();
    run(&mut trainer, 200).unwrap();
    let agent = Agent::from_bytes(&trainer.into_agent().to_bytes()).unwrap();
    let (steps, updates) = (agent.env_steps(), agent.updates());
    assert!(steps == 200 && updates > 0);
    let seen = |x: f32| GoalObservation { observation: vec![x, x], achieved_goal: vec![x], desired_goal: vec![0.0] };
    let mut real = ReplayBuffer::new(LAYOUT, 100, 10);
    let mut episode = Trajectory::new(LAYOUT, 1);
    episode.begin(&seen(77.0)).unwrap();
    episode.push(&[0.0], &seen(77.0)).unwrap();
    real.push(&episode).unwrap();
    let trainer = Trainer::resume(agent, vec![Halver::boxed(Fault::None)], 2).unwrap();
    let mut trainer = trainer.with_real_episodes(RecordedEpisodes::held(real), 0.5).unwrap();
    run(&mut trainer, 200).unwrap();
    assert_eq!(trainer.agent().env_steps(), 2 * steps);
    assert!(trainer.agent().updates() > updates);
    assert_eq!(trainer.batch.achieved.iter().filter(|&&x| x == 77.0).count(), 8);
}

#[test]
fn an_environment_that_misbehaves_ends_the_training_with_the_reason() {
    let reason = |fault| {
        let envs = vec![Halver::boxed(Fault::None), Halver::boxed(fault)];
        run(&mut Trainer::new(hyper(), envs, 1).unwrap(), 1000).unwrap_err().to_string()
    };
    assert!(reason(Fault::Breaks).contains("environment 1 failed: the arm is gone"), "{}", reason(Fault::Breaks));
    assert!(reason(Fault::GivesNan).contains("achieved_goal"), "{}", reason(Fault::GivesNan));
    assert!(reason(Fault::NeverEnds).contains("time limit"), "{}", reason(Fault::NeverEnds));
    assert!(reason(Fault::GivesTooMuch).contains("3 numbers"), "{}", reason(Fault::GivesTooMuch));
    assert!(matches!(Trainer::new(hyper(), Vec::new(), 1), Err(TrainError::NoEnvironment)));
    let other = Layout { observation: 3, ..LAYOUT };
    let agent = Agent::new(hyper(), other, &mut Pcg64Mcg::seed_from_u64(0)).unwrap();
    let refused = Trainer::resume(agent, vec![Halver::boxed(Fault::None)], 1);
    assert!(matches!(refused, Err(TrainError::Layout { env: 0, .. })));
}

#[test]
fn what_imitates_learns_from_what_was_reached_quietly_and_without_its_critics() {
    let untaught = |imitate_from| Trainer::new(Hyper { imitate_from, ..hyper() }, halvers(2), 1).unwrap();
    let (mut imitating, mut other) = (untaught(0.0), untaught(1.0));
    let (actor, critics) = (imitating.agent.actor.clone(), imitating.agent.critics.clone());
    run(&mut imitating, 400).unwrap();
    run(&mut other, 400).unwrap();
    assert!(imitating.agent.actor != actor && imitating.agent.critics == critics);
    assert!(imitating.batch.reached.contains(&true) && other.batch.reached.is_empty());
    let noise = |trainer: &Trainer| match trainer.exploration() {
        Exploration::Noisy { epsilon, sigma } => [epsilon, sigma],
        Exploration::Random => panic!("random after the warm-up"),
    };
    assert_eq!((noise(&imitating), noise(&other)), ([0.0; 2], [hyper().epsilon, hyper().sigma]));
}

#[test]
fn what_imitates_stores_ends_without_their_luck() {
    for imitate_from in [0.0, 1.0] {
        let mut trainer = Trainer::new(Hyper { imitate_from, ..hyper() }, halvers(5), 1).unwrap();
        // 400 episodes, of which the last 100 are kept.
        run(&mut trainer, 4_000).unwrap();
        let [moved, ..] = trainer.memory.buffers();
        let differ = moved.stored().filter(|(episode, _)| {
            let last = moved.frame(episode.start + episode.length);
            last.desired != last.achieved
        });
        let (differ, episodes) = (differ.count(), moved.episodes());
        assert!(episodes > 50 && differ == if imitate_from < 1.0 { episodes } else { 0 }, "{differ} of {episodes}");
    }
}

#[test]
fn half_of_the_episodes_pursue_what_was_achieved_before() {
    let mut trainer = Trainer::new(Hyper { curriculum_share: 0.5, ..hyper() }, halvers(5), 1).unwrap();
    // Nothing was achieved before the first cycle.
    assert_eq!(run(&mut trainer, 50).unwrap().episodes, 5);
    run(&mut trainer, 700).unwrap();
    let [moved, ..] = trainer.memory.buffers();
    let episodes: Vec<_> = moved.stored().map(|(episode, _)| episode).collect();
    let frames = |episode: &Transition| episode.start..episode.start + episode.length;
    let achieved: Vec<f32> = episodes.iter().flat_map(|e| frames(e).map(|i| moved.frame(i + 1).achieved[0])).collect();
    let mut pursued = 0;
    for (number, episode) in episodes.iter().enumerate() {
        let goal = moved.frame(episode.start).desired[0];
        assert!(frames(episode).all(|i| moved.frame(i).desired[0] == goal), "one goal an episode");
        pursued += usize::from(goal != 5.0);
        assert!(goal == 5.0 || achieved[..10 * number].contains(&goal), "{goal} was achieved before");
        assert!(number >= 5 || goal == 5.0, "{goal} in the first cycle");
    }
    assert!((episodes.len() / 3..episodes.len() * 2 / 3).contains(&pursued), "{pursued} of {}", episodes.len());
}

#[test]
fn the_limit_that_is_reached_first_counts() {
    let budget = Budget { env_steps: Some(200), wall: None };
    assert_eq!(budget.spent(150, Duration::from_secs(9)), 0.75);
    assert_eq!(Budget::default().spent(150, Duration::from_secs(9)), 0.0);
}

/// A point in the plane that stays where it is, on the x axis as its goal does.
struct Plane;

impl Plane {
    fn observe(out: &mut GoalObservation) {
        *out = GoalObservation {
            observation: vec![1.0, 0.0],
            achieved_goal: vec![1.0, 0.0],
            desired_goal: vec![2.0, 0.0],
        };
    }
}

impl GoalEnv for Plane {
    fn layout(&self) -> Layout {
        Layout { observation: 2, goal: 2, action: 2 }
    }

    fn reset(&mut self, _seed: u64, out: &mut GoalObservation) -> Result<(), EnvError> {
        Self::observe(out);
        Ok(())
    }

    fn step(&mut self, action: &[f32], out: &mut GoalObservation, outcome: &mut Outcome) -> Result<(), EnvError> {
        Self::observe(out);
        outcome.applied = action.to_vec();
        outcome.truncated = true;
        Ok(())
    }

    fn symmetry(&self) -> Option<Symmetry> {
        Some(Symmetry { vectors: &[0], headings: &[] })
    }

    fn reward_rule(&self) -> RewardRule {
        RewardRule::Sparse { radius: 0.1 }
    }
}

#[test]
fn rows_are_turned_where_that_is_asked_for_and_refused_where_nothing_says_how() {
    for turn_rad in [0.0, 0.4] {
        let mut trainer = Trainer::new(Hyper { turn_rad, ..hyper() }, vec![Box::new(Plane)], 1).unwrap();
        run(&mut trainer, 200).unwrap();
        let turned = trainer.batch.goal.chunks(2).filter(|goal| goal[1] != 0.0).count();
        assert_eq!(turned, if turn_rad > 0.0 { trainer.batch.rows() } else { 0 });
        assert!(trainer.batch.goal.chunks(2).all(|goal| goal[0] > 0.9), "{:?}", trainer.batch.goal);
    }
    let refused = Trainer::new(Hyper { turn_rad: 0.4, ..hyper() }, halvers(1), 1);
    assert!(matches!(refused, Err(TrainError::NoSymmetry)));
}
