//! What `hindsight episodes` promises: nothing whole is lost, nothing damaged goes unseen, no recording is touched.

mod damage;
mod dataset;
mod repeat;
mod versions;
mod views;

use hindsight::episode::{Folder, Pace, Recorder, read};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
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

/// Wrong data that are all there are a failure, not a loss.
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
