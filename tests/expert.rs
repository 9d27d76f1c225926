//! Promise: the push task can be done, through the whole control path and on arms that differ from their twin, by an
//! arm that only knows where it was sent and what the tracker sees; and not by luck.

use hindsight::env::simulated::simulated_many;
use hindsight::learn::evaluate;
use hindsight::learn::evaluate::Evaluation;
use hindsight::policy::{Policy, PushExpert, RandomPolicy};
use hindsight::task::{Task, TaskKind};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use sim::params::Ranges;
use sim::{ArmModel, SimParams};

fn evaluated<P: Policy>(arms: &[SimParams], policy: impl Fn() -> P) -> Evaluation {
    let model = ArmModel::so101().unwrap();
    let twin = SimParams::so101().unwrap();
    let task = Task::new(TaskKind::Push, twin.object.height_m / 2.0);
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
        let rate = evaluated(arms, PushExpert::default).success_rate();
        assert!(rate >= least, "{rate}");
    }
    let luck = evaluated(&[twin], || RandomPolicy::new(1)).success_rate();
    assert!(luck < 0.2, "{luck}");
}
