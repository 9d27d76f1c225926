//! Promise: any goal environment of Gymnasium is a twin. Needs a Python with the packages of
//! `tests/peers/requirements-gymnasium.txt`, named in `HINDSIGHT_PYTHON`; `.ci/run` makes one.
//!
//! `cargo test --test gymnasium -- --ignored`

use hindsight::env::child::child_many;
use hindsight::env::{ChildSpec, GoalObservation, Layout, Outcome};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A point on a line with bounded speed, in several variants. What it was told last stands in its observation.
const POINTS: &str = r#"
import gymnasium, numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import register

class Point(gymnasium.Env):
    distance_threshold = 0.25

    def __init__(self, shaped=False, fails=False, blind=False):
        real = lambda size: spaces.Box(-np.inf, np.inf, (size,), np.float64)
        names = {} if blind else {"achieved_goal": real(1), "desired_goal": real(1)}
        self.observation_space = spaces.Dict({"observation": real(2), **names})
        self.action_space = spaces.Box(np.array([0.0, -2.0], "f4"), np.array([4.0, 2.0], "f4"))
        self.shaped, self.fails = shaped, fails
        print("an environment may print")

    def seen(self, told):
        return {"observation": np.array([self.at, told]), "achieved_goal": np.array([self.at]), "desired_goal": self.goal}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = self.np_random.uniform(-1, 1), self.np_random.uniform(-1, 1, 1)
        return self.seen(0.0), {}

    def step(self, action):
        assert self.action_space.contains(action.astype("f4")), action
        if self.fails:
            raise RuntimeError("the wheel has come off")
        self.at += 0.05 * float(action[1])
        near = abs(self.at - self.goal[0]) <= self.distance_threshold
        return self.seen(float(action[0])), -1.0 + near, False, False, {"is_success": near}

    def compute_reward(self, achieved, desired, info):
        distance = np.linalg.norm(achieved - desired, axis=-1)
        return -distance if self.shaped else -(distance > self.distance_threshold).astype(np.float64)

for name, kwargs in {"Point": {}, "Shaped": {"shaped": True}, "Failing": {"fails": True}, "Blind": {"blind": True}}.items():
    register(f"{name}-v0", entry_point=Point, kwargs=kwargs, max_episode_steps=10)
register("Endless-v0", entry_point=Point)
"#;

fn python() -> String {
    std::env::var("HINDSIGHT_PYTHON").expect("HINDSIGHT_PYTHON names a Python with gymnasium")
}

fn points() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("points.py"), POINTS).unwrap();
    folder
}

/// The program's own server, started so that it finds the environments in `folder`.
fn spec(folder: &Path, name: &str) -> ChildSpec {
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/src/env/child/gymnasium.py");
    // As the program starts it; run as a file it would be taken for the package of its name.
    let (folder, python) = (folder.display(), python());
    ChildSpec::Exec(format!("PYTHONPATH='{folder}' exec '{python}' -c \"$(cat '{server}')\" points:{name}"))
}

fn refusal(name: &str) -> String {
    let folder = points();
    let Err(error) = child_many(&spec(folder.path(), name), 1) else { panic!("{name} was taken") };
    error.to_string()
}

fn hindsight(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hindsight"))
        .args(arguments)
        .env("PYTHONPATH", folder)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The JSON object at the end of what a command prints.
fn told(output: Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
#[ignore = "needs Python with gymnasium in HINDSIGHT_PYTHON; .ci/run makes one and runs this"]
fn sizes_bounds_seeds_limits_and_success_are_the_environments_own() {
    let folder = points();
    let mut envs = child_many(&spec(folder.path(), "Point-v0"), 5).unwrap();
    assert_eq!(envs[0].layout(), Layout { observation: 2, goal: 1, action: 2 });
    let (mut first, mut seen, mut outcome) =
        (GoalObservation::default(), GoalObservation::default(), Outcome::default());
    envs[0].reset(7, &mut first).unwrap();
    envs[4].reset(7, &mut seen).unwrap();
    assert_eq!(first, seen, "an episode depends on its seed alone");
    envs[4].reset(8, &mut seen).unwrap();
    assert_ne!(first, seen);
    let mut hits = 0;
    for seed in 0..20 {
        envs[1].reset(seed, &mut seen).unwrap();
        for step in 1..=10 {
            let before = seen.achieved_goal[0];
            let away = (seen.desired_goal[0] - before).signum();
            envs[1].step(&[-0.5, away], &mut seen, &mut outcome).unwrap();
            // −1..1 is 0..4 and −2..2 here.
            assert_eq!(seen.observation[1], 1.0);
            assert!((seen.achieved_goal[0] - before - 0.1 * away).abs() < 1e-6);
            assert_eq!((outcome.terminated, outcome.truncated), (false, step == 10));
            let near = (seen.achieved_goal[0] - seen.desired_goal[0]).abs() <= 0.25;
            assert_eq!((outcome.success, outcome.reward == 0.0), (near, near));
            hits += u32::from(near);
        }
    }
    assert!((20..200).contains(&hits), "{hits} of 200 steps at the goal");
    // Untouched by its neighbours' episodes.
    envs[0].step(&[1.0, 0.0], &mut seen, &mut outcome).unwrap();
    assert_eq!((seen.observation[1], seen.achieved_goal[0]), (4.0, first.achieved_goal[0]));
}

#[test]
#[ignore = "needs Python with gymnasium in HINDSIGHT_PYTHON; .ci/run makes one and runs this"]
fn what_is_no_sparse_goal_environment_with_a_time_limit_is_refused_and_an_exception_is_told() {
    for (name, words) in
        [("Shaped-v0", "not a sparse one"), ("Blind-v0", "no goal environment"), ("Endless-v0", "no time limit")]
    {
        assert!(refusal(name).contains(words), "{}", refusal(name));
    }
    let folder = points();
    let mut env = child_many(&spec(folder.path(), "Failing-v0"), 1).unwrap().remove(0);
    let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
    env.reset(0, &mut seen).unwrap();
    let error = env.step(&[0.0, 0.0], &mut seen, &mut outcome).unwrap_err().to_string();
    assert!(error.contains("RuntimeError: the wheel has come off"), "{error}");
}

#[test]
#[ignore = "needs Python with gymnasium in HINDSIGHT_PYTHON; .ci/run makes one and runs this"]
fn a_policy_is_trained_resumed_and_judged_in_an_environment_of_gymnasium() {
    let folder = points();
    let hyper = "hidden = [16]\nbatch = 32\nwarmup_steps = 480\nreplay_transitions = 10000\nsteps_per_update = 4.0\n";
    std::fs::write(folder.path().join("h.toml"), hyper).unwrap();
    let train = |out: &str, more: &[&str]| {
        let fixed = ["train", "--env", "gymnasium:points:Point-v0", "--hyper", "h.toml", "--seed", "3", "--json"];
        let budget = ["--env-steps", "6000", "--episodes", "100", "--save-every", "0", "--out", out];
        hindsight(folder.path(), &[&fixed[..], &budget, more].concat())
    };
    let whole = told(train("whole.onnx", &[]));
    let card = std::fs::read_to_string(folder.path().join("whole.md")).unwrap();
    assert!(
        card.contains("hidden = [16]") && card.contains("twin_critic = true"),
        "the file's, over the preset's: {card}"
    );
    assert!(whole["success_rate"].as_f64().unwrap() > whole["floors"]["random"].as_f64().unwrap() + 0.2, "{whole}");

    // Killed as soon as there is something to go on from.
    let mut killed = Command::new(env!("CARGO_BIN_EXE_hindsight"))
        .args([
            "train",
            "--env",
            "gymnasium:points:Point-v0",
            "--hyper",
            "h.toml",
            "--seed",
            "3",
            "--env-steps",
            "6000",
        ])
        .args(["--episodes", "100", "--save-every", "0", "--out", "resumed.onnx", "--json"])
        .env("PYTHONPATH", folder.path())
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    while !folder.path().join("resumed.training").exists() && killed.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!folder.path().join("resumed.onnx").exists(), "it was done before it was killed");
    told(train("resumed.onnx", &["--resume"]));
    let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
    assert!(read("whole.agent") == read("resumed.agent"), "a resumed training ends elsewhere");
    assert!(String::from_utf8(read("resumed.csv")).unwrap().lines().count() > 5);

    let eval = ["eval", "--env", "gymnasium:points:Point-v0", "--policy", "whole.onnx", "--episodes", "100", "--json"];
    let judged = told(hindsight(folder.path(), &eval));
    assert_eq!(judged["success_rate"], whole["success_rate"], "the same seeds, the same policy");
    assert!(judged["success_ci95"][0].as_f64() < judged["success_rate"].as_f64());
    assert!(judged["floors"]["still"].is_number() && judged["floors"]["random"].is_number(), "{judged}");
}
