//! Recordings done again: by policy and safety filter, and by an arm.

use super::{episodes, hindsight, path, record};
use hindsight::episode::{Pace, Recorder, read};

#[test]
fn a_recording_is_repeated_by_policy_and_filter_and_the_first_difference_is_told() {
    let place = tempfile::tempdir().unwrap();
    let (source, bent) = (place.path().join("source"), place.path().join("bent.mcap"));
    let output = hindsight(&[
        "collect",
        "--port",
        "sim",
        "--task",
        "push",
        "--policy",
        "push",
        "--noise",
        "0",
        "--epsilon",
        "0",
        "--episodes",
        "2",
        "--out",
        path(&source),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (code, report) = episodes(&["resim", path(&source), "--policy", "push"]);
    assert_eq!((code, &report["differing"]), (0, &0.into()), "{report}");

    let episode = read(&source.join("episode-000000.mcap")).unwrap().episode;
    let mut recorder = Recorder::create(&bent, episode.start, Pace::Inline).unwrap();
    for mut tick in episode.ticks {
        if tick.step == 20 {
            tick.requested_action[0] = -tick.requested_action[0];
        }
        recorder.record(tick).unwrap();
    }
    recorder.finish(episode.end.unwrap()).unwrap();
    let (code, report) = episodes(&["resim", path(&bent), "--policy", "push"]);
    assert_eq!((code, &report["files"][0]["tick"]), (1, &200.into()), "{report}");
    assert_eq!(report["files"][0]["policy_step"], 20);
}

#[test]
fn a_replay_repeats_the_recorded_path_on_the_same_arm_and_tells_how_far_another_is_from_it() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    record(path(&source));
    let worst_m = |more: &[&str]| {
        let (code, told) = episodes(&[&["replay", path(&source), "--port", "sim"], more].concat());
        let rows = told["episodes"].as_array().unwrap();
        assert_eq!((code, rows.len()), (0, 3), "{told}");
        assert!(rows.iter().all(|row| row["steps"] == 50 && row["recorded_steps"] == 50), "{told}");
        rows.iter().map(|row| row["deviation_m"]["p95"].as_f64().unwrap()).fold(0.0, f64::max)
    };
    let (same, other) = (worst_m(&[]), worst_m(&["--differ", "3"]));
    assert!(same < 0.01 && other > 1.5 * same, "{same} m on the same arm, {other} m on another");
}
