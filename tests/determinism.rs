//! Same seed, same bytes: recordings of a simulated arm in virtual time, and trainings, killed or not.

use hindsight::arm::{BridgeArm, BridgeOptions};
use hindsight::control::{ControlLoop, Planner};
use hindsight::env::arm::resim::resim;
use hindsight::env::arm::{ArmEnv, Start};
use hindsight::env::scene::Scene;
use hindsight::env::simulated::control_config;
use hindsight::env::{EnvError, GoalEnv, GoalObservation, Outcome};
use hindsight::episode::{EndReason, Pace, Recorder, read};
use hindsight::link::Link;
use hindsight::link::loopback::{Loopback, SimHandle};
use hindsight::task::{Task, TaskKind};
use hindsight::tracker::{ObjectSample, Tracker};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sim::{ArmModel, Device, FarEnd, SimParams, World};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// Whether things go wrong, and how often they have.
#[derive(Default)]
struct Trouble {
    is_on: AtomicBool,
    count: AtomicU64,
}

impl Trouble {
    /// Whether something goes wrong now, which it does with probability `share`.
    fn strikes(&self, rng: &mut Pcg64Mcg, share: f64) -> bool {
        let strikes = rng.random_bool(share) && self.is_on.load(Ordering::Relaxed);
        self.count.fetch_add(strikes.into(), Ordering::Relaxed);
        strikes
    }
}

/// A line that loses messages on the way there, and flips bits on both ways.
struct FaultyLink {
    link: Loopback,
    rng: Pcg64Mcg,
    trouble: Arc<Trouble>,
}

impl FaultyLink {
    fn flip(&mut self, bytes: &mut [u8]) {
        if !bytes.is_empty() && self.trouble.strikes(&mut self.rng, 0.01) {
            let at = self.rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << self.rng.random_range(0..8);
        }
    }
}

impl Link for FaultyLink {
    type Error = <Loopback as Link>::Error;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        if self.trouble.strikes(&mut self.rng, 0.02) {
            return Ok(());
        }
        let mut bytes = bytes.to_vec();
        self.flip(&mut bytes);
        self.link.write_all(&bytes)
    }

    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, Self::Error> {
        let count = self.link.read(buf, deadline_us)?;
        self.flip(&mut buf[..count]);
        Ok(count)
    }

    fn discard_input(&mut self) -> Result<(), Self::Error> {
        self.link.discard_input()
    }
}

/// A camera of 60 Hz before which somebody stands now and then, for up to half a second.
struct BlindableTracker {
    device: SimHandle,
    rng: Pcg64Mcg,
    trouble: Arc<Trouble>,
    due_us: u64,
}

impl Tracker for BlindableTracker {
    fn poll(&mut self, now_us: u64) -> Option<ObjectSample> {
        if now_us < self.due_us {
            return None;
        }
        self.due_us = now_us + 16_000;
        if self.trouble.strikes(&mut self.rng, 0.01) {
            self.due_us = now_us + self.rng.random_range(100_000..500_000);
            return None;
        }
        let object = self.device.lock().world().object()?;
        Some(ObjectSample { stamp_us: now_us, position: object.position, orientation: object.orientation })
    }
}

struct Rebuilt(SimHandle);

impl Scene for Rebuilt {
    fn rebuild(&mut self, joints_rad: &[f32], object_m: Option<[f64; 3]>, seed: u64) -> Result<bool, EnvError> {
        let mut device = self.0.lock();
        let object = object_m.map(|[x, y, _]| [x, y, 0.0]);
        device.world_mut().reset(joints_rad, object, seed).map_err(EnvError::new)?;
        // What the host measured before is now too old for it to go on with.
        let until_us = device.time_us() + 8_000;
        while device.time_us() <= until_us {
            device.step();
        }
        Ok(true)
    }

    fn ask_for_object_at(&mut self, _object_m: [f64; 3]) {}
}

/// Records bold random actions on an arm whose line and camera fail again and again, for `seconds` of its time, and
/// puts each recording through the safety filter once more. Gives the files' bytes, how often something went wrong,
/// and in how many ticks the arm was held because the object was out of sight.
fn faulty(out: &Path, seconds: f64) -> (Vec<Vec<u8>>, u64, usize) {
    let (model, params) = (ArmModel::so101().unwrap(), SimParams::so101().unwrap());
    let kind = TaskKind::Push;
    std::fs::create_dir(out).unwrap();
    let rng = |seed| Pcg64Mcg::seed_from_u64(seed);
    let device = SimHandle::new(Device::new(World::new(&model, &params, 0).unwrap(), 1));
    let trouble = Arc::new(Trouble::default());
    let link = FaultyLink { link: device.link(), rng: rng(1), trouble: Arc::clone(&trouble) };
    let arm = BridgeArm::connect(link, device.clock(), BridgeOptions::default()).unwrap();
    let config = control_config(&model, &params, kind, Some(sim::world::STEP_US as u32));
    let control = ControlLoop::new(arm, device.clock(), &model, config, Arc::default()).unwrap();
    let tracker = BlindableTracker { device: device.clone(), rng: rng(2), trouble: Arc::clone(&trouble), due_us: 0 };
    let task = Task::new(kind, params.object.rest_height_m());
    let mut env = ArmEnv::new(task, Start::Rebuilt, control, tracker, Rebuilt(device)).unwrap();
    let limits = std::array::from_fn(|joint| model.joints[joint].limits);
    let mut planner = Planner::new(&model, limits, &control_config(&model, &params, kind, None).planner).unwrap();
    let (mut seen, mut outcome, mut actions) = (GoalObservation::default(), Outcome::default(), rng(3));
    let (mut files, mut recorded_s, mut held) = (Vec::new(), 0.0, 0);
    while recorded_s < seconds {
        let path = out.join(format!("episode-{:06}.mcap", files.len()));
        trouble.is_on.store(false, Ordering::Relaxed);
        env.reset(files.len() as u64, &mut seen).unwrap();
        env.record(Recorder::create(&path, env.episode_start(files.len() as u64), Pace::Inline).unwrap());
        trouble.is_on.store(true, Ordering::Relaxed);
        outcome.truncated = false;
        while !outcome.truncated {
            let action: [f32; 4] = std::array::from_fn(|_| actions.random_range(-1.0..=1.0));
            env.step(&action, &mut seen, &mut outcome).unwrap();
        }
        env.finish_recording(EndReason::Completed).unwrap();
        let episode = read(&path).unwrap().episode;
        assert_eq!(resim(&episode, kind, &mut planner).unwrap(), None, "{}", path.display());
        recorded_s += episode.ticks.len() as f64 * 0.008;
        held += episode.ticks.iter().filter(|tick| tick.interventions & 1 << 3 != 0).count();
        files.push(std::fs::read(&path).unwrap());
        std::fs::remove_file(path).unwrap();
    }
    (files, trouble.count.load(Ordering::Relaxed), held)
}

/// `HINDSIGHT_FAULTY_S=3600` makes it an hour.
#[test]
fn a_faulty_line_and_camera_change_nothing_in_what_is_repeated() {
    let seconds = std::env::var("HINDSIGHT_FAULTY_S").map_or(20.0, |text| text.parse().unwrap());
    let place = tempfile::tempdir().unwrap();
    let (files, faults, held) = faulty(&place.path().join("first"), seconds);
    println!("{} episodes, {faults} faults, held for {held} ticks", files.len());
    assert!(faults as f64 > seconds && held > 0, "{faults} faults, held for {held} ticks: too few to show anything");
    let (again, ..) = faulty(&place.path().join("again"), seconds.min(20.0));
    assert!(files.starts_with(&again), "the same faults give the same bytes");
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

    // Nor is one that is older than a hyper-parameter.
    let older = String::from_utf8(before).unwrap().replace("turn_rad = 0.0\\n", "");
    assert!(!older.contains("turn_rad"));
    std::fs::write(&kept, &older).unwrap();
    assert_eq!(experiment(&plan, &one, "1"), table);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), older);

    // Nor is it taken for a run of other settings.
    std::fs::write(&plan, text.replace("[32, 32]", "[16, 16]")).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_hindsight")).arg("experiment").arg(&plan).arg("--out").arg(&one).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("other settings"));
}
