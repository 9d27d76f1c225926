//! Same seed, same bytes: recordings of a simulated arm in virtual time.

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
