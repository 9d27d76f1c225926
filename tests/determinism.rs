//! Same seed, same bytes: recordings of a simulated arm in virtual time, and trainings, killed or not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Records three episodes with noise, and gives every file's content.
fn collect(out: &Path, seed: &str) -> BTreeMap<String, Vec<u8>> {
    let output = Command::new(env!("CARGO_BIN_EXE_hindsight"))
        .args(["collect", "--port", "sim", "--task", "push", "--policy", "expert", "--differ", "5"])
        .args(["--episodes", "3", "--seed", seed, "--out"])
        .arg(out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_string_lossy().into(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn the_same_seed_gives_byte_equal_folders_and_another_seed_others() {
    let place = tempfile::tempdir().unwrap();
    let first = collect(&place.path().join("first"), "7");
    assert_eq!(first.len(), 6, "three episodes, each with its summary: {:?}", first.keys());
    let second = collect(&place.path().join("second"), "7");
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, bytes) in &first {
        assert!(second[name] == *bytes, "{name} differs");
    }
    let other = collect(&place.path().join("other"), "8");
    assert!(first.iter().all(|(name, bytes)| other[name] != *bytes));
}

#[test]
fn collecting_again_adds_to_the_folder_and_touches_nothing() {
    let place = tempfile::tempdir().unwrap();
    let before = collect(place.path(), "7");
    let after = collect(place.path(), "9");
    assert_eq!(after.len(), 2 * before.len());
    assert!(before.iter().all(|(name, bytes)| after[name] == *bytes));
    assert!(after.contains_key("episode-000005.mcap"));
}

/// A short training of reach that is stored after every cycle.
fn train(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hindsight"));
    command.args(["train", "--task", "reach", "--env-steps", "9600", "--seed", "3", "--episodes", "8"]);
    command.args(["--save-every", "0", "--out"]).arg(out).args(more);
    command
}

#[test]
fn a_killed_training_resumes_to_the_bytes_of_an_unbroken_one() {
    let place = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole.onnx", "killed.onnx"].map(|name| place.path().join(name));
    assert!(train(&whole, &[]).output().unwrap().status.success());

    let mut child = train(&killed, &[]).spawn().unwrap();
    let stored = killed.with_extension("training");
    while !stored.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended without storing anything");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.exists(), "it was killed too late");

    let fresh = train(&killed, &[]).output().unwrap();
    assert_eq!(fresh.status.code(), Some(2), "a stored training was passed over");
    let other = train(&killed, &["--resume", "--no-relabel"]).output().unwrap();
    assert_eq!(other.status.code(), Some(2), "{}", String::from_utf8_lossy(&other.stderr));
    let resumed = train(&killed, &["--resume"]).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    for extension in ["onnx", "agent"] {
        let [whole, killed] = [&whole, &killed].map(|path| std::fs::read(path.with_extension(extension)).unwrap());
        assert!(whole == killed, "the .{extension} differs");
    }
    assert!(!stored.exists(), "the stored training outlives its use");
}
