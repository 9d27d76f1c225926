use super::super::hindsight::Strategy;
use super::super::replay::{ReplayError, Trajectory};
use super::*;
use crate::env::GoalObservation;
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

const LAYOUT: Layout = Layout { observation: 2, goal: 1, action: 1 };

/// Every number says which episode and step it belongs to: achieved = 1000·episode + step.
fn episode(number: usize, steps: usize) -> Trajectory {
    let seen = |step: usize| GoalObservation {
        observation: vec![number as f32, step as f32],
        achieved_goal: vec![(1000 * number + step) as f32],
        desired_goal: vec![-(number as f32) - 1.0],
    };
    let mut episode = Trajectory::new(LAYOUT, steps);
    episode.begin(&seen(0)).unwrap();
    for step in 0..steps {
        episode.push(&[(1000 * number + step) as f32], &seen(step + 1)).unwrap();
    }
    episode
}

/// Distinguishes its arguments, so that a wrong order shows.
fn reward(achieved: &[f32], desired: &[f32]) -> f32 {
    achieved[0] * 2.0 - desired[0]
}

fn draw(buffer: &ReplayBuffer, relabel: Relabel, rows: usize, seed: u64) -> Batch {
    let mut batch = Batch::new(LAYOUT, rows);
    let source = [Source { buffer, share: 1.0 }];
    assert!(batch.fill(&source, relabel, reward, &mut Pcg64Mcg::seed_from_u64(seed)));
    batch
}

proptest! {
    #[test]
    fn rows_belong_together_and_goals_stay_in_their_episode(
        lengths in prop::collection::vec(1usize..40, 1..30),
        strategy in prop::sample::select(vec![Strategy::Final, Strategy::Future, Strategy::Episode, Strategy::Random]),
        seed: u64,
    ) {
        // Room for about 100 frames: most cases evict.
        let mut buffer = ReplayBuffer::new(LAYOUT, 100, 40);
        for (number, &steps) in lengths.iter().enumerate() {
            buffer.push(&episode(number, steps)).unwrap();
        }
        let batch = draw(&buffer, Relabel { strategy, k: 4 }, 64, seed);
        for row in 0..64 {
            let (number, step) = (batch.observation[2 * row] as usize, batch.observation[2 * row + 1] as usize);
            let mark = (1000 * number + step) as f32;
            prop_assert_eq!(batch.achieved[row], mark);
            prop_assert_eq!(batch.action[row], mark);
            prop_assert_eq!(batch.next_observation[2 * row] as usize, number);
            prop_assert_eq!(batch.next_observation[2 * row + 1] as usize, step + 1);
            prop_assert_eq!(batch.next_achieved[row], mark + 1.0);
            prop_assert!(step < lengths[number]);
            let goal = batch.goal[row];
            prop_assert_eq!(batch.reward[row], 2.0 * (mark + 1.0) - goal);
            if goal >= 0.0 {
                let (goal_number, goal_step) = (goal as usize / 1000, goal as usize % 1000);
                match strategy {
                    Strategy::Future => prop_assert!(goal_number == number && goal_step > step),
                    Strategy::Final => prop_assert!(goal_number == number && goal_step == lengths[number]),
                    Strategy::Episode => prop_assert!(goal_number == number && goal_step > 0),
                    Strategy::Random => prop_assert!(goal_step > 0 && goal_step <= lengths[goal_number]),
                }
            } else {
                prop_assert_eq!(goal, -(number as f32) - 1.0);
            }
        }
    }

    #[test]
    fn only_whole_recent_episodes_are_kept(lengths in prop::collection::vec(1usize..40, 1..60)) {
        let mut buffer = ReplayBuffer::new(LAYOUT, 100, 40);
        for (number, &steps) in lengths.iter().enumerate() {
            buffer.push(&episode(number, steps)).unwrap();
            let kept = buffer.episodes();
            prop_assert!(kept >= 1);
            let newest: usize = lengths[number + 1 - kept..=number].iter().sum();
            prop_assert_eq!(buffer.transitions(), newest);
            prop_assert!(newest + kept <= 103);
        }
        let oldest = lengths.len() - buffer.episodes();
        let batch = draw(&buffer, Relabel::default(), 200, 9);
        for row in 0..200 {
            prop_assert!(batch.observation[2 * row] as usize >= oldest);
        }
    }
}

#[test]
fn every_transition_is_as_likely_whatever_its_episode() {
    let mut buffer = ReplayBuffer::new(LAYOUT, 100, 10);
    for (number, steps) in [(0, 1), (1, 9), (2, 30)] {
        buffer.push(&episode(number, steps)).unwrap();
    }
    let batch = draw(&buffer, Relabel::NONE, 40_000, 4);
    let mut counts = std::collections::BTreeMap::new();
    for row in 0..batch.rows() {
        *counts.entry(batch.achieved[row] as usize).or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), 40, "{counts:?}");
    // 1000 expected each, 31 the deviation.
    assert!(counts.values().all(|&n| (850..1150).contains(&n)), "{counts:?}");
}

#[test]
fn the_share_of_substituted_goals_is_k_in_k_plus_one() {
    let mut buffer = ReplayBuffer::new(LAYOUT, 100, 10);
    buffer.push(&episode(0, 50)).unwrap();
    let batch = draw(&buffer, Relabel::default(), 20_000, 1);
    let substituted = batch.goal.iter().filter(|&&goal| goal >= 0.0).count();
    assert_eq!(substituted, batch.relabelled);
    assert!((15_600..16_400).contains(&substituted), "{substituted}");
    assert_eq!(draw(&buffer, Relabel::NONE, 1000, 1).relabelled, 0);
}

#[test]
fn a_row_has_reached_its_goal_where_its_episode_ended_there() {
    let mut buffer = ReplayBuffer::new(LAYOUT, 100, 10);
    buffer.push_with_end(&episode(0, 5), &[4.25]).unwrap();
    buffer.push(&episode(1, 9)).unwrap();
    let met = |achieved: &[f32], desired: &[f32]| if achieved == desired { 0.0 } else { -1.0 };
    let source = [Source { buffer: &buffer, share: 1.0 }];
    let mut batch = Batch::new(LAYOUT, 400).with_reached();
    assert!(batch.fill(&source, Relabel::default(), met, &mut Pcg64Mcg::seed_from_u64(3)));
    for ((goal, reached), imitated) in batch.goal.iter().zip(&batch.reached).zip(&batch.imitated_goal) {
        assert_eq!(*reached, [5.0, 1009.0].contains(goal), "{goal}");
        assert_eq!(*imitated, if *goal == 5.0 { 4.25 } else { *goal });
    }
    let reached = batch.reached.iter().filter(|reached| **reached).count();
    assert!((80..240).contains(&reached), "{reached}");
    assert!(draw(&buffer, Relabel::default(), 8, 3).reached.is_empty());
}

/// Episode 0, cut off after 5 steps, and episode 1, whose fifth state is final for good.
fn cut_off_and_ended() -> ReplayBuffer {
    let mut buffer = ReplayBuffer::new(LAYOUT, 100, 10);
    buffer.push(&episode(0, 5)).unwrap();
    let mut ended = episode(1, 5);
    ended.terminate();
    buffer.push(&ended).unwrap();
    buffer
}

#[test]
fn a_time_limit_is_bootstrapped_through_and_a_real_end_is_not() {
    let buffer = cut_off_and_ended();
    let batch = draw(&buffer, Relabel::default(), 500, 2);
    for row in 0..500 {
        let last_of_ended = batch.next_achieved[row] == 1005.0;
        assert_eq!(batch.bootstrap[row] == 0.0, last_of_ended);
    }
}

#[test]
fn several_actions_add_their_discounted_rewards_and_end_with_the_episode() {
    let buffer = cut_off_and_ended();
    let source = [Source { buffer: &buffer, share: 1.0 }];
    let mut batch = Batch::new(LAYOUT, 500).with_n_step(3, 0.5);
    assert!(batch.fill(&source, Relabel::default(), reward, &mut Pcg64Mcg::seed_from_u64(4)));
    let mut actions = [0; 4];
    for row in 0..500 {
        let (number, step) = (batch.observation[2 * row], batch.observation[2 * row + 1] as usize);
        let taken = 3.min(5 - step);
        actions[taken] += 1;
        assert_eq!(batch.next_observation[2 * row..][..2], [number, (step + taken) as f32]);
        assert_eq!(batch.next_achieved[row], batch.achieved[row] + taken as f32);
        assert_eq!(batch.action[row], batch.achieved[row]);
        let after = |i: usize| reward(&[batch.achieved[row] + i as f32 + 1.0], &batch.goal[row..=row]);
        let sum: f32 = (0..taken).map(|i| 0.5f32.powi(i as i32) * after(i)).sum();
        assert!((batch.reward[row] - sum).abs() < 1e-3, "{} {sum}", batch.reward[row]);
        let final_for_good = number == 1.0 && step + taken == 5;
        assert_eq!(batch.bootstrap[row], if final_for_good { 0.0 } else { [1.0, 0.5, 0.25][taken - 1] });
    }
    assert!(actions[1..].iter().all(|&count| count > 50), "{actions:?}");
}

#[test]
fn shares_of_several_buffers_are_kept_and_empty_ones_skipped() {
    let mut real = ReplayBuffer::new(LAYOUT, 100, 10);
    let mut simulated = real.clone();
    let empty = real.clone();
    real.push(&episode(0, 3)).unwrap();
    simulated.push(&episode(1, 30)).unwrap();
    let sources = [
        Source { buffer: &empty, share: 5.0 },
        Source { buffer: &real, share: 0.25 },
        Source { buffer: &simulated, share: 0.75 },
    ];
    let mut batch = Batch::new(LAYOUT, 256);
    let mut rng = Pcg64Mcg::seed_from_u64(0);
    assert!(batch.fill(&sources, Relabel::default(), reward, &mut rng));
    let from_real = (0..256).filter(|row| batch.observation[2 * row] == 0.0).count();
    assert_eq!(from_real, 64);
    assert!(!batch.fill(&sources[..1], Relabel::default(), reward, &mut rng));
}

#[test]
fn bad_episodes_are_refused_and_nothing_is_evicted() {
    let mut buffer = ReplayBuffer::new(LAYOUT, 20, 10);
    buffer.push(&episode(0, 15)).unwrap();
    assert_eq!(buffer.push(&episode(1, 0)), Err(ReplayError::Empty));
    assert!(matches!(buffer.push(&episode(1, 30)), Err(ReplayError::TooLong { steps: 30, .. })));
    assert_eq!((buffer.episodes(), buffer.transitions()), (1, 15));
    let mut bad = episode(2, 1);
    let mut seen =
        GoalObservation { observation: vec![0.0; 2], achieved_goal: vec![f32::NAN], desired_goal: vec![0.0] };
    assert_eq!(bad.push(&[0.0], &seen), Err(ReplayError::NotFinite { what: "achieved_goal" }));
    seen.achieved_goal = vec![0.0, 0.0];
    let shape = ReplayError::Shape { what: "achieved_goal", expected: 1, found: 2 };
    assert_eq!(bad.push(&[0.0], &seen), Err(shape));
    assert_eq!(bad, episode(2, 1));
}

#[test]
fn a_turned_row_is_what_would_be_seen_of_the_turned_scene() {
    use crate::task::TaskKind;
    use crate::task::observation::{Hand, Object, symmetry, write};
    use nalgebra::{UnitQuaternion, Vector3};

    let mut rng = Pcg64Mcg::seed_from_u64(8);
    let mut vector = || -> [f64; 3] { std::array::from_fn(|_| rng.random_range(-0.5..0.5)) };
    let hand = Hand { position: vector(), velocity: vector(), commanded_velocity: vector(), ..Hand::default() };
    let (position, velocity, angular_velocity) = (vector(), vector(), vector());
    let flat = UnitQuaternion::from_euler_angles(0.0, 0.0, 3.0);
    for kind in [TaskKind::Reach, TaskKind::Push, TaskKind::Slide, TaskKind::PickAndPlace] {
        let see = |angle_rad: f64, out: &mut Vec<f32>| {
            let by = UnitQuaternion::from_euler_angles(0.0, 0.0, angle_rad);
            let turn = |v: [f64; 3]| -> [f64; 3] { (by * Vector3::from(v)).into() };
            let hand = Hand {
                position: turn(hand.position),
                velocity: turn(hand.velocity),
                commanded_velocity: turn(hand.commanded_velocity),
                ..hand
            };
            let object = Object {
                position: turn(position),
                orientation: (by * flat).coords.into(),
                velocity: turn(velocity),
                angular_velocity: turn(angular_velocity),
            };
            write(kind, &hand, (kind != TaskKind::Reach).then_some(&object), out);
        };
        let mut seen = Vec::new();
        see(0.0, &mut seen);
        let layout = Layout { observation: seen.len(), goal: 3, action: 4 };
        let mut batch = Batch::new(layout, 20).with_reached();
        for row in 0..20 {
            batch.observation[row * seen.len()..][..seen.len()].copy_from_slice(&seen);
            batch.goal[row * 3] = 0.5;
            batch.imitated_goal[row * 3] = 0.7;
            batch.action[row * 4 + 1] = 1.0;
        }
        batch.turn(symmetry(kind), 0.4, &mut rng);
        let mut widest = 0.0f32;
        for row in 0..20 {
            let angle_rad = batch.goal[row * 3 + 1].atan2(batch.goal[row * 3]);
            widest = widest.max(angle_rad.abs());
            let imitated = &batch.imitated_goal[row * 3..][..2];
            assert!((imitated[1].atan2(imitated[0]) - angle_rad).abs() < 1e-6, "{imitated:?}");
            let mut expected = Vec::new();
            see(angle_rad.into(), &mut expected);
            let turned = &batch.observation[row * seen.len()..][..seen.len()];
            assert!(turned.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{turned:?} {expected:?}");
            let (x, y) = (batch.action[row * 4], batch.action[row * 4 + 1]);
            assert!((x + angle_rad.sin()).abs() < 1e-6 && (y - angle_rad.cos()).abs() < 1e-6);
        }
        assert!(widest > 0.2 && widest <= 0.4, "{widest}");
    }
}
