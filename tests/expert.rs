//! Promise: the tasks with an object can be done, through the whole control path and on arms that differ from their
//! twin, by an arm that only knows where it was sent and what the tracker sees; and not by luck.

use hindsight::env::simulated::simulated_many;
use hindsight::learn::evaluate;
use hindsight::learn::evaluate::Evaluation;
use hindsight::policy::{PickExpert, Policy, PushExpert, RandomPolicy, SlideExpert};
use hindsight::task::{Task, TaskKind};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use sim::params::Ranges;
use sim::{ArmModel, SimParams};

fn evaluated<P: Policy>(kind: TaskKind, arms: &[SimParams], policy: impl Fn() -> P) -> Evaluation {
    let model = ArmModel::so101().unwrap();
    let twin = SimParams::so101_with(kind.prop()).unwrap();
    let task = Task::new(kind, twin.object.rest_height_m());
    let mut envs = simulated_many(&model, &twin, arms, &task, 2).unwrap();
    let seeds: Vec<u64> = (0..30).collect();
    evaluate(&mut envs, || Ok(policy()), &seeds).unwrap()
}

#[test]
fn rules_push_the_puck_to_its_goal_on_the_twin_and_on_arms_that_differ() {
    let twin = SimParams::so101().unwrap();
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let ranges = Ranges::so101().unwrap();
    let drawn: Vec<SimParams> = (0..30).map(|_| twin.draw(&ranges, &mut rng)).collect();
    for (arms, least) in [(std::slice::from_ref(&twin), 0.95), (&drawn[..], 0.85)] {
        let rate = evaluated(TaskKind::Push, arms, PushExpert::default).success_rate();
        assert!(rate >= least, "{rate}");
    }
    let luck = evaluated(TaskKind::Push, &[twin], || RandomPolicy::new(1)).success_rate();
    assert!(luck < 0.2, "{luck}");
}

#[test]
fn rules_grasp_the_cube_and_bring_it_to_goals_on_the_table_and_in_the_air() {
    let twin = SimParams::so101_with(TaskKind::PickAndPlace.prop()).unwrap();
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let ranges = Ranges::so101_with(TaskKind::PickAndPlace.prop()).unwrap();
    let drawn: Vec<SimParams> = (0..30).map(|_| twin.draw(&ranges, &mut rng)).collect();
    for (arms, least) in [(std::slice::from_ref(&twin), 0.95), (&drawn[..], 0.85)] {
        let rate = evaluated(TaskKind::PickAndPlace, arms, PickExpert::default).success_rate();
        assert!(rate >= least, "{rate}");
    }
    // Pushing alone brings the cube to no goal in the air.
    let pushed = evaluated(TaskKind::PickAndPlace, &[twin], PushExpert::default).success_rate();
    assert!(pushed < 0.6, "{pushed}");
}

/// One strike, reckoned with the nominal friction; on another table or another arm it goes too far or not far enough.
#[test]
fn rules_let_the_puck_slide_to_goals_that_the_arm_does_not_reach() {
    let twin = SimParams::so101_with(TaskKind::Slide.prop()).unwrap();
    let rate = evaluated(TaskKind::Slide, std::slice::from_ref(&twin), SlideExpert::default).success_rate();
    assert!(rate >= 0.5, "{rate}");
    let luck = evaluated(TaskKind::Slide, &[twin], || RandomPolicy::new(1)).success_rate();
    assert!(luck < 0.05, "{luck}");
}
