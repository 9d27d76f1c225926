//! What `hindsight episodes` promises: nothing whole is lost, nothing damaged goes unseen, no recording is touched.

use hindsight::episode::{EndReason, Episode, Folder, Pace, Recorder, read};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{ListAccessor, Row, RowAccessor};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn hindsight(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hindsight")).args(arguments).output().unwrap()
}

/// Exit code and JSON report of `hindsight episodes`.
fn episodes(arguments: &[&str]) -> (i32, Value) {
    let output = hindsight(&[&["episodes"], arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let code = output.status.code().unwrap();
    (code, report.unwrap_or_else(|| panic!("{code}: {}", String::from_utf8_lossy(&output.stderr))))
}

const COLLECT: [&str; 9] = ["collect", "--port", "sim", "--task", "push", "--policy", "expert", "--episodes", "3"];

/// Records three episodes of the simulated arm.
fn record(out: &str) {
    let output = hindsight(&[&COLLECT[..], &["--out", out]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_folder_is_listed_checked_split_and_merged_without_touching_it() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let source = at("source");
    record(path(&source));
    let folder = Folder::open(&source).unwrap();
    let files = || folder.files().unwrap().into_iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>();
    let before = files();

    let (code, listed) = episodes(&["list", path(&source)]);
    assert_eq!((code, listed["episodes"].as_array().unwrap().len()), (0, 3), "{listed}");
    let figures = &listed["episodes"][0]["figures"];
    assert_eq!((&figures["ticks"], &figures["steps"], &figures["gaps"]), (&501.into(), &50.into(), &0.into()));
    assert!((figures["rate_hz"].as_f64().unwrap() - 125.0).abs() < 0.1, "{figures}");
    let (code, checked) = episodes(&["check", path(&source)]);
    assert_eq!(code, 0, "{checked}");

    let (code, again) = episodes(&["resim", path(&source)]);
    assert_eq!((code, &again["differing"]), (0, &0.into()), "{again}");

    let picture = at("episode.svg");
    let (code, shown) = episodes(&["show", path(&folder.file(0)), "--out", path(&picture)]);
    assert_eq!((code, &shown["figures"]["ticks"]), (0, &501.into()));
    let drawn = fs::read_to_string(picture).unwrap();
    assert!(drawn.matches("<polyline").count() >= 8, "ring, two paths, distance, joints: {drawn}");

    let (first, second, merged) = (at("first"), at("second"), at("merged"));
    let (code, split) = episodes(&["split", path(&source), "--share", "0.67", "--out", path(&first), path(&second)]);
    assert_eq!((code, &split["episodes"]), (0, &serde_json::json!([2, 1])));
    let (code, _) = episodes(&["merge", path(&first), path(&second), "--out", path(&merged)]);
    let together = Folder::open(&merged).unwrap().files().unwrap();
    let mut together: Vec<_> = together.into_iter().map(|file| fs::read(file).unwrap()).collect();
    let mut expected = before.clone();
    together.sort();
    expected.sort();
    assert!(code == 0 && together == expected, "the same files, byte for byte");
    assert!(files() == before, "the recordings are only read");
}

#[test]
fn a_damaged_file_is_told_and_gives_back_every_whole_record() {
    let place = tempfile::tempdir().unwrap();
    record(path(place.path()));
    let folder = Folder::open(place.path()).unwrap();
    let whole = read(&folder.file(1)).unwrap().episode;
    let mut bytes = fs::read(folder.file(1)).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(folder.file(1), &bytes).unwrap();

    assert_eq!(episodes(&["list", path(place.path())]).0, 3);
    assert_eq!(episodes(&["check", path(place.path())]).0, 3);
    let out = place.path().join("recovered.mcap");
    let (code, report) = episodes(&["recover", path(&folder.file(1)), "--out", path(&out)]);
    assert_eq!(code, 3, "{report}");
    let recovered = read(&out).unwrap();
    let ticks = recovered.episode.ticks;
    assert!(recovered.damage.is_none() && ticks.len() > 200);
    assert_eq!(ticks, whole.ticks[..ticks.len()]);
    assert_eq!(report["ticks"], ticks.len());
    assert_eq!(report["lost_ticks"], whole.ticks.len() - ticks.len());
    assert_eq!(fs::read(folder.file(1)).unwrap(), bytes, "the damaged file stays as it is");

    let refused = hindsight(&["episodes", "recover", path(&folder.file(1)), "--out", path(&out)]);
    assert_eq!(refused.status.code(), Some(1), "nothing is overwritten");
}

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

/// Bytes of files, by their path within a folder.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file below a folder.
fn tree(folder: &Path) -> Files {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let at = entry.unwrap().path();
        let name = PathBuf::from(at.file_name().unwrap());
        if at.is_dir() {
            found.extend(tree(&at).into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            found.insert(name, fs::read(&at).unwrap());
        }
    }
    found
}

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

/// Foxglove's messages, by the numbers in its own schemas.
mod foxglove {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FrameTransforms {
        #[prost(message, repeated, tag = 1)]
        pub(super) transforms: Vec<FrameTransform>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FrameTransform {
        #[prost(string, tag = 2)]
        pub(super) parent_frame_id: String,
        #[prost(string, tag = 3)]
        pub(super) child_frame_id: String,
        #[prost(message, optional, tag = 4)]
        pub(super) translation: Option<Numbers>,
        #[prost(message, optional, tag = 5)]
        pub(super) rotation: Option<Numbers>,
    }

    /// A vector or a quaternion.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Numbers {
        #[prost(double, tag = 1)]
        pub(super) x: f64,
        #[prost(double, tag = 2)]
        pub(super) y: f64,
        #[prost(double, tag = 3)]
        pub(super) z: f64,
        #[prost(double, tag = 4)]
        pub(super) w: f64,
    }
}

#[test]
fn a_view_has_the_arm_and_the_object_where_they_were_at_every_tick() {
    let place = tempfile::tempdir().unwrap();
    let (source, out) = (place.path().join("source"), place.path().join("views"));
    record(path(&source));
    let export = &["export", path(&source), "--format", "foxglove", "--out", path(&out)];
    let (code, report) = episodes(export);
    assert_eq!((code, &report["episodes"], &report["rows"]), (0, &3.into(), &1503.into()), "{report}");
    assert_eq!(hindsight(&[&["episodes"], &export[..]].concat()).status.code(), Some(1), "nothing is overwritten");
    let model = sim::ArmModel::so101().unwrap();
    let kinematics = hindsight::kinematics::Kinematics::new(&model).unwrap();
    let episode = read(&source.join("episode-000001.mcap")).unwrap().episode;
    let bytes = fs::read(out.join("view-000001.mcap")).unwrap();
    let mut ticks = episode.ticks.iter();
    let mut scenes = Vec::new();
    for message in mcap::MessageStream::new(&bytes).unwrap() {
        let message = message.unwrap();
        if message.channel.topic == "/scene" {
            scenes.push(serde_json::from_slice::<Value>(&message.data).unwrap());
            continue;
        }
        let tick = ticks.next().unwrap();
        assert_eq!(message.log_time, tick.stamp_us * 1000);
        let found = <foxglove::FrameTransforms as prost::Message>::decode(&message.data[..]).unwrap();
        let mut frames = BTreeMap::from([("base".to_owned(), nalgebra::Isometry3::identity())]);
        for transform in found.transforms {
            let (at, turn) = (transform.translation.unwrap(), transform.rotation.unwrap());
            let turn = nalgebra::Quaternion::new(turn.w, turn.x, turn.y, turn.z);
            let pose = nalgebra::Isometry3::from_parts(
                nalgebra::Translation3::new(at.x, at.y, at.z),
                nalgebra::UnitQuaternion::new_normalize(turn),
            );
            let parent = frames[&transform.parent_frame_id];
            frames.insert(transform.child_frame_id, parent * pose);
        }
        let tip = (frames[&model.joints[model.tip_joint].link.name] * model.tip).translation.vector;
        let expected = kinematics.forward(&tick.joints.position_rad).position_m;
        assert!((0..3).all(|i| (tip[i] - expected[i]).abs() < 1e-6), "{tip:?} {expected:?}");
        let object = frames["object"].translation.vector;
        assert_eq!(<[f64; 3]>::from(object), tick.object.unwrap().position);
    }
    assert!(ticks.next().is_none() && scenes.len() == 1);
    let ids: Vec<&str> = scenes[0]["entities"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
    for id in ["base", "hand", "jaw", "goal", "fingertip_path", "object", "object_path"] {
        assert!(ids.contains(&id), "{id} not in {ids:?}");
    }
}

#[test]
fn a_table_has_every_tick_of_every_readable_episode() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let source = at("source");
    record(path(&source));
    fs::write(source.join("episode-000001.mcap"), "mine").unwrap();
    let export = |format: &str| {
        let (code, report) = episodes(&["export", path(&source), "--format", format, "--out", path(&at(format))]);
        assert_eq!((code, &report["rows"], &report["skipped"]), (3, &1002.into(), &1.into()), "{report}");
    };
    export("csv");
    export("parquet");
    let csv = fs::read_to_string(at("csv")).unwrap();
    let cells: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert!(cells.len() == 1003 && cells.iter().all(|line| line.len() == cells[0].len()));
    let episode = read(&source.join("episode-000002.mcap")).unwrap().episode;
    let column = cells[0].iter().position(|name| *name == "sent_rad.1").unwrap();
    for (line, tick) in cells[502..].iter().zip(&episode.ticks) {
        assert_eq!(line[0], "2", "numbered as its file is");
        let expected = tick.sent_rad.get(1).map_or(String::new(), ToString::to_string);
        assert_eq!(line[column], expected);
    }
    let parquet = SerializedFileReader::new(File::open(at("parquet")).unwrap()).unwrap();
    assert_eq!(parquet.metadata().file_metadata().num_rows(), 1002);
}

/// Wrong data that are all there are a failure, not a loss.
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
fn a_slow_loop_fails_the_check() {
    let place = tempfile::tempdir().unwrap();
    record(path(&place.path().join("source")));
    let episode = read(&place.path().join("source/episode-000000.mcap")).unwrap().episode;
    let slow = place.path().join("slow.mcap");
    let mut recorder = Recorder::create(&slow, episode.start, Pace::Inline).unwrap();
    for mut tick in episode.ticks {
        tick.stamp_us += if tick.index >= 100 { 50_000 } else { 0 };
        recorder.record(tick).unwrap();
    }
    recorder.finish(episode.end.unwrap()).unwrap();
    let (code, report) = episodes(&["check", path(&slow)]);
    assert_eq!((code, &report["worst"]), (1, &"wrong".into()));
    assert!(report.to_string().contains("the loop ran slow: 1 gaps, the longest 58.0 ms"), "{report}");
}

#[test]
fn a_full_disk_ends_the_session_by_name_and_all_that_was_written_is_read() {
    let place = tempfile::tempdir().unwrap();
    let (full, free) = (place.path().join("full"), place.path().join("free"));
    // A limit on the size of files stands in for a full disk: it needs no mount, and holds for root too.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 300; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_hindsight")])
        .args(COLLECT)
        .args(["--out", path(&full)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    for word in ["episode-000000.mcap", "File too large", "can be read", "free some space"] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    record(path(&free));
    let whole = read(&free.join("episode-000000.mcap")).unwrap().episode;
    let found = read(&full.join("episode-000000.mcap")).unwrap();
    let ticks = found.episode.ticks;
    assert!(!ticks.is_empty() && ticks == whole.ticks[..ticks.len()], "{} ticks", ticks.len());
    let room = fs::metadata(full.join("episode-000000.mcap")).unwrap().len();
    let whole_bytes = fs::metadata(free.join("episode-000000.mcap")).unwrap().len();
    assert!(room < whole_bytes && found.damage.is_some());
    assert!(!full.join("episode-000001.mcap").exists(), "the session ends");

    // With room again, the next session goes on beside the broken file.
    record(path(&full));
    assert_eq!(fs::metadata(full.join("episode-000000.mcap")).unwrap().len(), room);
    assert!(read(&full.join("episode-000003.mcap")).unwrap().is_complete());
}

#[test]
fn a_folder_that_takes_no_files_is_refused_before_the_arm_moves() {
    // Nobody can make a file there, root neither.
    let output = hindsight(&[&COLLECT[..], &["--out", "/sys/kernel"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "an error of use, not of a running arm: {said}");
    assert!(said.contains("cannot use /sys/kernel") && said.contains("can be read and written"), "{said}");
}

/// The first ticks of a recording of the simulated arm, as a file's bytes, and what is in them.
fn short_recording(ticks: usize) -> (Vec<u8>, Episode) {
    let place = tempfile::tempdir().unwrap();
    record(path(&place.path().join("source")));
    let mut episode = read(&place.path().join("source/episode-000000.mcap")).unwrap().episode;
    episode.ticks.truncate(ticks);
    let file = place.path().join("short.mcap");
    let mut recorder = Recorder::create(&file, episode.start.clone(), Pace::Inline).unwrap();
    episode.ticks.iter().for_each(|tick| recorder.record(tick.clone()).unwrap());
    recorder.finish(episode.end.clone().unwrap()).unwrap();
    (fs::read(file).unwrap(), episode)
}

/// What a reader makes of damaged bytes; it invents nothing.
fn beginning(bytes: &[u8], whole: &Episode) -> usize {
    let Ok(found) = hindsight::episode::reader::parse(Path::new("damaged"), bytes) else { return 0 };
    let ticks = found.episode.ticks;
    assert!(found.episode.start == whole.start && ticks.len() <= whole.ticks.len());
    assert!(ticks.iter().zip(&whole.ticks).all(|(found, written)| found == written));
    assert!(found.episode.end.is_none() || found.episode.end == whole.end);
    ticks.len()
}

#[test]
fn a_recording_cut_at_any_byte_gives_back_every_whole_tick() {
    let (bytes, whole) = short_recording(31);
    let mut before = 0;
    for cut in 0..=bytes.len() {
        let ticks = beginning(&bytes[..cut], &whole);
        // A reader that gave up a chunk with whole ticks in it would gain several at one byte.
        assert!(ticks == before || ticks == before + 1, "cut at {cut}: {ticks} after {before}");
        before = ticks;
    }
    assert_eq!(before, whole.ticks.len());
}

#[test]
fn ten_thousand_flips_and_cuts_never_panic_and_never_invent() {
    let (bytes, whole) = short_recording(31);
    let mut rng = Pcg64Mcg::seed_from_u64(0);
    for _ in 0..10_000 {
        let mut bad = bytes.clone();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bad.len());
            bad[at] ^= 1 << rng.random_range(0..8);
        }
        bad.truncate(rng.random_range(0..=bytes.len()));
        beginning(&bad, &whole);
    }
}

/// A file of version 1 that is never written again: every later program reads it.
#[test]
fn a_file_of_the_first_version_is_read_for_ever() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/episode-v1.mcap");
    let found = read(&file).unwrap();
    assert!(found.damage.is_none() && found.is_complete());
    assert_eq!(found.sha256, "a00205262c613fcf3f227b3d7737b50cb765b74ae50615d54617fdefa03219e1");
    let Episode { start, ticks, faults, end } = found.episode;
    assert_eq!((start.task.as_str(), start.arm.as_str(), start.policy.as_str()), ("push", "so101", "expert"));
    assert_eq!((start.control_period_us, start.ticks_per_step, start.seed), (8_000, 10, 0));
    assert_eq!((start.metadata["noise"].as_str(), start.success_radius_m), ("0.1", 0.03));
    assert_eq!((ticks.len(), faults.len(), end.unwrap().reason), (31, 0, EndReason::Completed));
    let tick = &ticks[25];
    assert_eq!((tick.index, tick.step, tick.begins_step, tick.stamp_us), (25, 2, false, 3_532_000));
    assert_eq!((tick.observation.len(), tick.sent_rad.len(), tick.joints.position_rad.len()), (25, 6, 6));
    assert_eq!(
        (tick.sent_rad[1], tick.joints.position_rad[2], tick.applied_action[0]),
        (-0.643_048_64, 0.871_301_1, -0.000_661_656_26)
    );
    assert_eq!(tick.object.unwrap().position[0], 0.213_761_794_147_636_85);
}
