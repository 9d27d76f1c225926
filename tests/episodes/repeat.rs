//! Recordings done again: by policy and safety filter, and by an arm.

use super::{episodes, hindsight, path, record, tree};
use hindsight::episode::reader::read_hashed;
use hindsight::episode::{Episode, Folder, Pace, Recorder, read};
use std::path::Path;

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

#[test]
fn a_recorded_replay_is_an_episode_that_names_its_source() {
    let place = tempfile::tempdir().unwrap();
    let (source, out) = (place.path().join("source"), place.path().join("replayed"));
    record(path(&source));
    let before = tree(&source);
    let (code, told) = episodes(&["replay", path(&source), "--port", "sim", "--out", path(&out)]);
    assert_eq!(code, 0, "{told}");
    for number in 0..3 {
        let read = |folder| read_hashed(&Folder::open(folder).unwrap().file(number)).unwrap();
        let ((was, sha256), (is, _)) = (read(&source), read(&out));
        assert_eq!(is.episode.start.metadata["replayed_from_sha256"], sha256);
        assert_eq!((is.episode.start.task.as_str(), is.episode.start.goal), ("push", was.episode.start.goal));
        assert!(is.is_complete() && is.attachments.iter().any(|file| file.name == "so101.urdf"));
        let told = Path::new(told["episodes"][number as usize]["recording"].as_str().unwrap());
        assert_eq!(told, Folder::open(&out).unwrap().file(number));
        let asked = |of: &Episode| of.transitions(|_, _| 0.0).map(|step| step.requested_action).collect::<Vec<_>>();
        let done = |of: &Episode| of.transitions(|_, _| 0.0).map(|step| step.applied_action).collect::<Vec<_>>();
        assert!(asked(&is.episode) == done(&was.episode), "it is asked for what was done");
        // The object lies where it lay, as well as it was seen.
        let [was, is] = [&was, &is].map(|found| found.episode.ticks[0].object.unwrap().position);
        assert!((0..2).all(|i| (was[i] - is[i]).abs() < 0.01), "{was:?} {is:?}");
    }
    assert_eq!(episodes(&["check", path(&out)]).0, 0);
    let (code, again) = episodes(&["resim", path(&out)]);
    assert_eq!((code, &again["differing"]), (0, &0.into()), "{again}");
    assert_eq!(tree(&source), before, "the recordings are only read");
}
