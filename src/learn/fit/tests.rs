use super::*;
use crate::env::simulated::simulated;
use crate::env::{GoalEnv, GoalObservation, Outcome, Start};
use crate::episode::{self, EndReason, Folder, Pace, Recorder};
use crate::policy::{Policy, PushExpert, RandomPolicy};
use crate::task::{Task, TaskKind};
use std::path::Path;

/// Episodes of `arm`, recorded and read back: in turns by rules and at random.
pub(in crate::learn) fn record(arm: &SimParams, kind: TaskKind, count: u64, place: &Path) -> Vec<Episode> {
    let (model, twin) = (ArmModel::so101().unwrap(), SimParams::so101().unwrap());
    let task = Task::new(kind, twin.object.rest_height_m());
    let mut env = simulated(&model, &twin, std::slice::from_ref(arm), task, Start::Rebuilt).unwrap();
    let folder = Folder::create(place).unwrap();
    let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
    let (mut rules, mut random) = (PushExpert::default(), RandomPolicy::new(1));
    for seed in 0..count {
        env.reset(seed, &mut seen).unwrap();
        let start = env.episode_start(seed);
        env.record(Recorder::create(&folder.next_file().unwrap(), start, Pace::Inline).unwrap());
        let mut action = [0.0; 4];
        while {
            let expert = kind == TaskKind::Push && seed % 3 != 2;
            if expert { rules.act(&seen, &mut action) } else { random.act(&seen, &mut action) }.unwrap();
            env.step(&action, &mut seen, &mut outcome).unwrap();
            !outcome.truncated
        } {}
        env.finish_recording(EndReason::Completed).unwrap();
    }
    folder.files().unwrap().iter().map(|file| episode::read(file).unwrap().episode).collect()
}

pub(in crate::learn) fn drawn(seed: u64) -> SimParams {
    SimParams::so101().unwrap().draw(&Ranges::so101().unwrap(), &mut Pcg64Mcg::seed_from_u64(seed))
}

fn fitted(episodes: &[Episode], budget: FitBudget) -> Result<Fit, FitError> {
    let (model, twin) = (ArmModel::so101().unwrap(), SimParams::so101().unwrap());
    let mut candidates = Candidates::new(model.joints.len(), budget);
    episodes.iter().for_each(|episode| candidates.add(episode));
    fit(&model, &twin, &Ranges::so101().unwrap(), &candidates, budget, 3, |_| {})
}

/// How far replays with `params` leave the object from where it was seen in `episodes`, root mean square.
fn object_error_m(params: &SimParams, episodes: &[Episode]) -> f64 {
    let (model, ranges) = (ArmModel::so101().unwrap(), Ranges::so101().unwrap());
    let budget = FitBudget { object_episodes: episodes.len(), ..FitBudget::default() };
    let mut candidates = Candidates::new(model.joints.len(), budget);
    episodes.iter().for_each(|episode| candidates.add(episode));
    let context = Context { model: &model, nominal: params, ranges: &ranges, budget };
    object::misfit(&context, params, delay_s(params), &candidates.for_object.recordings()).unwrap().rms()
}

const SMALL: FitBudget = FitBudget { population: 16, generations: 5, arm_episodes: 2, object_episodes: 2, elites: 4 };

/// Product of gain and voltage of each body joint that the tasks turn.
fn gains(params: &SimParams) -> Vec<f64> {
    params.servos[..4].iter().map(|servo| servo.p_gain * servo.voltage).collect()
}

#[test]
fn a_drawn_arm_is_recovered_from_its_own_episodes() {
    // As users fit, but for fewer episodes: less does not tell the second arm's gains from its frictions.
    let budget = FitBudget { object_episodes: 4, elites: SMALL.elites, ..FitBudget::default() };
    for seed in [3, 4] {
        let place = tempfile::tempdir().unwrap();
        let arm = drawn(seed);
        let episodes = record(&arm, TaskKind::Push, 15, place.path());
        let (told, others) = episodes.split_at(6);
        let fit = fitted(told, budget).unwrap();
        for (found, expected) in gains(&fit.best).into_iter().zip(gains(&arm)) {
            assert!((found / expected - 1.0).abs() < 0.1, "arm {seed}: gain {found}, expected {expected}");
        }
        let latency_us = |p: &SimParams| p.command_latency.mean_us + p.feedback_latency.mean_us;
        let error_us = latency_us(&fit.best) - latency_us(&arm);
        assert!(error_us.abs() < 5_000.0, "arm {seed}: the latencies' sum is off by {error_us} µs");
        assert!(fit.after.joints_rad < fit.before.joints_rad / 5.0, "{:?} {:?}", fit.before, fit.after);
        // On other pushes: among the few that were fitted one whose puck goes another way outweighs the rest.
        let [before_m, after_m] =
            [&SimParams::so101().unwrap(), &fit.best].map(|params| object_error_m(params, others));
        assert!(after_m < before_m / 2.0, "arm {seed}: replays of other pushes are off by {before_m}, then {after_m}");
        assert_eq!(fit.elites.len(), SMALL.elites);
        fit.elites.iter().chain([&fit.best]).for_each(|params| params.check().unwrap());
    }
}

#[test]
fn what_the_episodes_do_not_tell_stays_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let episodes = record(&drawn(3), TaskKind::Reach, 2, place.path());
    let fit = fitted(&episodes, FitBudget { population: 8, generations: 2, ..SMALL }).unwrap();
    let (found, expected) = (fit.best.object.mass_kg, SimParams::so101().unwrap().object.mass_kg);
    assert!((found - expected).abs() < 1e-9, "{found}");
    assert_eq!(fit.after.object_m, None);
    for parameter in &fit.parameters {
        let silent = ["object", "gripper", "command"].iter().any(|name| parameter.name.starts_with(name));
        assert!(!(silent && parameter.identified), "{parameter:?}");
    }
    assert!(fit.parameters.iter().any(|p| p.name == "shoulder_pan.p_gain" && p.identified));
}

#[test]
fn a_fit_does_not_depend_on_the_number_of_threads_and_reads_what_is_whole() {
    let place = tempfile::tempdir().unwrap();
    let mut episodes = record(&drawn(2), TaskKind::Push, 2, place.path());
    let tiny = FitBudget { population: 5, generations: 1, arm_episodes: 2, object_episodes: 2, elites: 2 };
    episodes[1].ticks.truncate(200);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fitted(&episodes, tiny).unwrap())
    };
    let fit = on(1);
    assert_eq!(fit, on(3));
    assert_eq!(fit.episodes, 2);
    for episode in &mut episodes {
        episode.ticks.truncate(30);
    }
    let refused = fitted(&episodes, tiny).unwrap_err();
    assert!(matches!(refused, FitError::NoRecording { found: 2, joints: 6 }), "{refused}");
}

#[test]
fn an_arm_that_stands_still_tells_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut episodes = record(&drawn(2), TaskKind::Reach, 1, place.path());
    let first = episodes[0].ticks[0].clone();
    for tick in &mut episodes[0].ticks {
        tick.sent_rad.clone_from(&first.sent_rad);
    }
    assert!(matches!(fitted(&episodes, SMALL), Err(FitError::Still)));
}
