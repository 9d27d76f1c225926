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

/// A small experiment on reach, and its table but for the times that trainings took.
fn experiment(plan: &Path, out: &Path, jobs: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hindsight"));
    command.arg("experiment").arg(plan).args(["--jobs", jobs, "--out"]).arg(out);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = std::fs::read_to_string(out.join("README.md")).unwrap();
    table.lines().map(|line| line.rsplit_once(" | ").map_or(line, |(row, _time)| row).to_owned()).collect()
}

#[test]
fn an_experiment_gives_the_same_table_whatever_runs_side_by_side_and_keeps_what_was_run() {
    let place = tempfile::tempdir().unwrap();
    let plan = place.path().join("plan.toml");
    let text = r#"
        title = "Reach"
        task = "reach"
        seeds = [0, 1]
        env-steps = 2400
        episodes = 10
        hyper = { hidden = [32, 32], warmup_steps = 600 }
        variant = [{ name = "a" }, { name = "b", goals = "one", reward = "shaped" }]
        figure = [{ file = "both", title = "two ways", variants = ["a", "b"] }]
    "#;
    std::fs::write(&plan, text).unwrap();
    let [one, two] = ["one", "two"].map(|name| place.path().join(name));
    let table = experiment(&plan, &one, "1");
    assert_eq!(table, experiment(&plan, &two, "2"));
    assert!(table.iter().any(|row| row.starts_with("| b | one | shaped |")), "{table:?}");
    assert!(std::fs::read_to_string(one.join("both.svg")).unwrap().contains("two ways"));

    // A lost run is run again, a kept one is not.
    let [kept, lost] = ["runs/a-0.json", "runs/b-1.json"].map(|file| one.join(file));
    let before = std::fs::read(&kept).unwrap();
    std::fs::remove_file(&lost).unwrap();
    assert_eq!(experiment(&plan, &one, "1"), table);
    assert!(lost.exists() && std::fs::read(&kept).unwrap() == before);

    // Nor is it taken for a run of other settings.
    std::fs::write(&plan, text.replace("[32, 32]", "[16, 16]")).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_hindsight")).arg("experiment").arg(&plan).arg("--out").arg(&one).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("other settings"));
}
