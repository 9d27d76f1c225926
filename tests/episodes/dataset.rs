//! Export to LeRobot datasets and import from them.

use super::{Files, episodes, hindsight, path, record, tree};
use hindsight::episode::{Episode, Folder, read};
use parquet::file::reader::SerializedFileReader;
use parquet::record::{ListAccessor, Row, RowAccessor};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What LeRobot itself makes of it: `tests/peers/lerobot_export.py`.
#[test]
fn an_exported_dataset_holds_the_recorded_transitions_and_the_same_bytes_every_time() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let source = at("source");
    record(path(&source));
    let before = tree(&source);
    for out in ["first", "second"] {
        let (code, report) = episodes(&["export", path(&source), "--out", path(&at(out))]);
        assert_eq!((code, &report["episodes"], &report["rows"]), (0, &3.into(), &303.into()), "{report}");
    }
    let first = tree(&at("first"));
    assert_eq!((first.len(), &first), (5, &tree(&at("second"))));
    assert_eq!(tree(&source), before, "the recordings are only read");
    let refused = hindsight(&["episodes", "export", path(&source), "--out", path(&at("first"))]);
    assert_eq!((refused.status.code(), tree(&at("first"))), (Some(1), first.clone()), "nothing is overwritten");

    let info: Value = serde_json::from_slice(&first[Path::new("meta/info.json")]).unwrap();
    assert_eq!((&info["codebase_version"], &info["total_frames"]), (&"v3.0".into(), &303.into()));
    assert_eq!(info["features"]["action"]["names"][5], "gripper.pos");
    let data = File::open(at("first/data/chunk-000/file-000.parquet")).unwrap();
    let rows: Vec<Row> = SerializedFileReader::new(data).unwrap().into_iter().map(Result::unwrap).collect();
    let column = |name: &str| rows[0].get_column_iter().position(|(column, _)| column == name).unwrap();
    let (step, action, frame) = (column("step.index"), column("step.applied_action"), column("frame_index"));
    for (number, rows) in rows.chunks(101).enumerate() {
        let episode = read(&source.join(format!("episode-{number:06}.mcap"))).unwrap().episode;
        let steps: Vec<_> = episode.transitions(|_, _| 0.0).collect();
        for (k, row) in rows.iter().enumerate() {
            // Two frames a step, and one for what the last step led to.
            assert_eq!((row.get_long(frame).unwrap(), row.get_long(step).unwrap()), (k as i64, k as i64 / 2));
            let Some(recorded) = steps.get(k / 2) else { continue };
            let found = row.get_list(action).unwrap();
            assert!((0..4).all(|i| found.get_float(i).unwrap() == recorded.applied_action[i]), "frame {k}");
        }
    }
}

/// Transitions with the f32s' bits, without the stamps: an import has those of its frames.
fn transitions(folder: &Path) -> Vec<Vec<(u32, Vec<u32>, bool)>> {
    let read = |file: &PathBuf| read(file).unwrap().episode;
    let all = |episode: Episode| {
        let steps = episode.transitions(|achieved, desired| episode.start.compute_reward(achieved, desired));
        let numbers = steps.map(|t| {
            let parts = [t.observation, &t.achieved_goal, &t.desired_goal, &t.requested_action, &t.applied_action];
            let after = [t.next_observation, &t.next_achieved_goal, &[t.reward]];
            let bits = parts.into_iter().chain(after).flatten().map(|x| x.to_bits()).collect();
            (t.step, bits, t.intervened)
        });
        numbers.collect::<Vec<_>>()
    };
    Folder::open(folder).unwrap().files().unwrap().iter().map(read).map(all).collect()
}

/// Takes from a dataset what this program adds to LeRobot's own features.
fn strip(dataset: &Path) {
    let info = dataset.join("meta/info.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&info).unwrap()).unwrap();
    let features = json["features"].as_object_mut().unwrap();
    features.retain(|name, _| !name.starts_with("step.") && name != "stamp_us");
    fs::write(info, json.to_string()).unwrap();
}

#[test]
fn an_export_comes_back_with_the_same_transitions_at_any_rate() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let source = at("source");
    record(path(&source));
    let recorded = transitions(&source);
    assert!(recorded.iter().all(|steps| steps.len() == 50) && recorded.len() == 3);
    for rate in ["25", "30", "200"] {
        let (dataset, back) = (at(&format!("dataset{rate}")), at(&format!("back{rate}")));
        let (code, _) = episodes(&["export", path(&source), "--rate", rate, "--out", path(&dataset)]);
        assert_eq!(code, 0);
        let (code, report) = episodes(&["import", path(&dataset), "--task", "push", "--out", path(&back)]);
        assert_eq!((code, &report["episodes"], &report["transitions"]), (0, &3.into(), &150.into()), "{report}");
        assert!(transitions(&back) == recorded, "at {rate} Hz");
        let (code, report) = episodes(&["list", path(&back)]);
        assert_eq!((code, &report["contact_fraction"]), (0, &1.0.into()), "{report}");
    }
    let refused =
        hindsight(&["episodes", "import", path(&at("dataset25")), "--task", "slide", "--out", path(&at("no"))]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("expected \"slide\""), "{told}");
}

#[test]
fn a_demonstration_in_joint_goals_becomes_the_actions_that_made_it() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let source = at("source");
    record(path(&source));
    let recorded = |number: u64| read(&Folder::open(&source).unwrap().file(number)).unwrap().episode;
    for rate in ["25", "30", "100"] {
        let (dataset, back) = (at(&format!("dataset{rate}")), at(&format!("back{rate}")));
        let (code, _) = episodes(&["export", path(&source), "--rate", rate, "--out", path(&dataset)]);
        assert_eq!(code, 0);
        strip(&dataset);
        let (code, report) = episodes(&["import", path(&dataset), "--task", "push", "--out", path(&back)]);
        assert_eq!((code, &report["episodes"]), (0, &3.into()), "{report}");
        assert_eq!(report["losses"]["outside_limits"], 0, "{report}");
        assert!(report["losses"]["hand_off_rad"].as_f64().unwrap() < 0.2, "{report}");
        for number in 0..3 {
            let (before, after) = (recorded(number), read(&Folder::open(&back).unwrap().file(number)).unwrap().episode);
            let pairs: Vec<_> = before.transitions(|_, _| 0.0).zip(after.transitions(|_, _| 0.0)).collect();
            assert!(pairs.len() >= 49, "{}", pairs.len());
            let mean = |of: &dyn Fn(usize) -> f64| (0..pairs.len()).map(of).sum::<f64>() / pairs.len() as f64;
            let apart = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
            };
            let moved_m = mean(&|k| apart(&pairs[k].0.observation[..3], &pairs[k].1.observation[..3]));
            let acted = mean(&|k| apart(&pairs[k].0.applied_action[..3], &pairs[k].1.applied_action[..3]));
            let usual = mean(&|k| apart(&pairs[k].0.applied_action[..3], &[0.0; 3]));
            assert!(moved_m < 0.003 && acted < 0.5 * usual, "{rate} Hz: {moved_m} m, {acted} of {usual}");
        }
    }
}

#[test]
fn a_dataset_that_does_not_fit_is_refused_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    record(path(&at("source")));
    let (code, _) = episodes(&["export", path(&at("source")), "--out", path(&at("good"))]);
    assert_eq!(code, 0);
    let good = tree(&at("good"));
    let data = Path::new("data/chunk-000/file-000.parquet");
    let mut cases = 0;
    let mut refused = |expected: &str, change: &dyn Fn(&mut Files)| {
        let (mut files, bad, out) = (good.clone(), at(&format!("bad{cases}")), at("out"));
        cases += 1;
        change(&mut files);
        for (name, bytes) in files {
            fs::create_dir_all(bad.join(&name).parent().unwrap()).unwrap();
            fs::write(bad.join(name), bytes).unwrap();
        }
        let output = hindsight(&["episodes", "import", path(&bad), "--task", "push", "--out", path(&out)]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(expected), "expected {expected:?} in {told:?}");
        assert!(!out.exists() || tree(&out).is_empty(), "{expected}");
    };
    let info = |from: &'static str, to: &'static str| {
        move |files: &mut Files| {
            let text = files.get_mut(Path::new("meta/info.json")).unwrap();
            let changed = String::from_utf8(text.clone()).unwrap().replace(from, to);
            assert_ne!(changed.as_bytes(), &text[..]);
            *text = changed.into_bytes();
        }
    };
    refused("says version v2.1, expected v3.0", &info("v3.0", "v2.1"));
    refused("robot \"koch_follower\", expected so101_follower", &info("so101_follower", "koch_follower"));
    refused("wrist_flex.pos", &info("\"wrist_flex.pos\"", "\"main_wrist_flex\""));
    refused("expected 302 frames in meta/episodes", &info("\"total_frames\": 303", "\"total_frames\": 302"));
    refused("expected 4 episodes in meta/episodes", &info("\"total_episodes\": 3", "\"total_episodes\": 4"));
    refused("info.json is damaged", &|files| files.get_mut(Path::new("meta/info.json")).unwrap().truncate(100));
    refused("is no LeRobot dataset", &|files| drop(files.remove(Path::new("meta/info.json"))));
    refused("file-000.parquet is damaged", &|files| files.get_mut(data).unwrap().truncate(5000));
    refused("expected 303 rows in data/", &|files| {
        drop(files.remove(data).map(|_| files.insert("data/chunk-000/x".into(), vec![])))
    });
    // A page whose bytes were changed is told by the decoder, or by what it gives.
    let middle = good[data].len() / 2;
    refused("file-000.parquet", &|files| files.get_mut(data).unwrap()[middle - 2000..middle + 2000].fill(0xff));
}
