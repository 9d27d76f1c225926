//! Promise: fine-tuning writes a better policy or nothing, and says which.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn hindsight(arguments: &[&str], place: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hindsight")).args(arguments).current_dir(place).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(output.stdout.trim_ascii_end().rsplit(|&byte| byte == b'\n').next().unwrap()).unwrap()
}

#[test]
fn a_better_policy_is_written_with_its_card_and_a_worse_one_is_not() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let train = ["train", "--task", "reach", "--env-steps", "4800", "--episodes", "1", "--out", "base.onnx"];
    assert!(hindsight(&train, place).status.success());
    let collect = ["collect", "--port", "sim", "--task", "reach", "--differ", "3", "--policy", "base.onnx"];
    let collect = [&collect[..], &["--episodes", "2", "--out", "episodes"]].concat();
    assert!(hindsight(&collect, place).status.success());

    let tune = ["finetune", "--policy", "base.onnx", "--episodes", "episodes", "--out", "tuned.onnx", "--json"];
    let tune = [&tune[..], &["--env-steps", "4800", "--gate-episodes", "20"]].concat();
    let report = json(&hindsight(&tune, place));
    for side in ["before", "after"] {
        let rate = report[side]["success_rate"].as_f64().unwrap();
        let [low, high] = [0, 1].map(|i| report[side]["success_ci95"][i].as_f64().unwrap());
        assert!(low <= rate && rate <= high, "{report}");
    }
    let (before, after) = (&report["fit"]["before"]["joints_rad"], &report["fit"]["after"]["joints_rad"]);
    assert!(after.as_f64() < before.as_f64(), "{report}");
    let accepted = report["accepted"].as_bool().unwrap();
    for file in ["tuned.onnx", "tuned.agent", "tuned.md", "tuned.sim.toml"] {
        assert_eq!(place.join(file).exists(), accepted, "{file}: {report}");
    }
}

#[test]
fn a_policy_without_its_learners_state_is_refused_by_the_files_name() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("push.onnx"), "a policy").unwrap();
    let tune = ["finetune", "--policy", "push.onnx", "--episodes", ".", "--out", "tuned.onnx"];
    let output = hindsight(&tune, place.path());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("push.agent") && error.contains("hindsight train"), "{error}");

    std::fs::write(place.path().join("tuned.md"), "an earlier card").unwrap();
    let output = hindsight(&tune, place.path());
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(place.path().join("tuned.md")).unwrap(), b"an earlier card");
}
