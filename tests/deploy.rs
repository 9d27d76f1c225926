//! What holds between two processes, a host and an arm behind a pty, in real time.

use firmware_bridge::message::{Fault, Mode};
use hindsight::arm::{Arm, BridgeArm, BridgeOptions};
use hindsight::clock::SystemClock;
use hindsight::episode::{EndReason, Folder, Recovered};
use hindsight::link::{Port, open};
use serde_json::Value;
use std::io::Read;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Anything here that takes longer will never come.
const PATIENCE: Duration = Duration::from_secs(50);
/// Ticks after which an episode is well under way.
const UNDER_WAY: usize = 100;

/// Two rigs at once would compete for the processor, and a host that is not let run is rightly stopped.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_hindsight"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; what was printed is short enough for the pipes.
    fn finish(mut self) -> Output {
        let status = poll(|| self.0.try_wait().unwrap());
        let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
        self.0.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
        self.0.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
        output
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks again and again until there is something.
fn poll<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing came");
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lets a host run to its end, again if the machine starved it.
fn unless_starved(mut run: impl FnMut() -> Output) -> Output {
    for _ in 0..5 {
        let output = run();
        if !was_starved(&output) {
            return output;
        }
    }
    panic!("this machine is too busy for real time");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A simulated arm in another process.
struct Table {
    folder: tempfile::TempDir,
    tracker: String,
    sim: Process,
    _turn: MutexGuard<'static, ()>,
}

impl Table {
    fn set() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let tracker = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let link = folder.path().join("arm");
        let sim = Process::start(&["sim", "--link", link.to_str().unwrap(), "--tracker", &tracker, "--seed", "3"]);
        poll(|| link.exists().then_some(()));
        Self { folder, tracker, sim, _turn: turn }
    }

    fn port(&self) -> String {
        self.folder.path().join("arm").to_str().unwrap().to_owned()
    }

    fn episodes(&self) -> PathBuf {
        self.folder.path().join("episodes")
    }

    /// A host that works on this table.
    fn host(&self, command: &str, more: &[&str]) -> Process {
        let port = self.port();
        let mut arguments =
            vec![command, "--port", &port, "--task", "push", "--policy", "expert", "--tracker", &self.tracker];
        arguments.extend(more);
        Process::start(&arguments)
    }

    fn collect(&self, episodes: u32) -> Process {
        let (out, episodes) = (self.episodes(), episodes.to_string());
        self.host("collect", &["--json", "--clear-fault", "--episodes", &episodes, "--out", out.to_str().unwrap()])
    }

    /// A host that is recording, seen to be in the middle of an episode.
    fn host_under_way(&self) -> Process {
        poll(|| {
            let mut host = self.collect(10);
            let under_way = || {
                let recorded = self.recorded();
                recorded.is_some_and(|file| !file.is_complete() && file.episode.ticks.len() >= UNDER_WAY)
            };
            let ended = poll(|| {
                let ended = host.0.try_wait().unwrap().is_some();
                (ended || under_way()).then_some(ended)
            });
            if !ended {
                return Some(host);
            }
            let output = host.finish();
            assert!(was_starved(&output), "{}", text(&output.stderr));
            None
        })
    }

    /// The newest episode, if its file can be read at all.
    fn recorded(&self) -> Option<Recovered> {
        let file = Folder::open(&self.episodes()).ok()?.files().unwrap().pop()?;
        hindsight::episode::read(&file).ok()
    }

    /// Another host, that only looks.
    fn look(&self) -> BridgeArm<Port<SystemClock>, SystemClock> {
        let patient = BridgeOptions {
            answer_timeout_us: 5_000_000,
            silence_max_us: 60_000_000,
            fresh_us: 0,
            ..BridgeOptions::default()
        };
        // The line takes a while to notice that a client was killed.
        let port = poll(|| open(&self.port(), SystemClock).ok());
        BridgeArm::connect(port, SystemClock, patient).unwrap()
    }
}

/// Whether host and firmware lost each other, as they do when the machine does not let one of them run for 100 ms.
fn was_starved(output: &Output) -> bool {
    let said = text(&output.stderr);
    let lost = said.contains("no command came in time") || said.contains("the arm has not answered");
    output.status.code() == Some(3) && lost
}

#[test]
fn episodes_over_a_pty_are_recorded_whole_and_the_figures_are_told() {
    let table = Table::set();
    let output = unless_starved(|| table.collect(2).finish());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!((&report["task"], &report["episodes"], &report["seed"]), (&"push".into(), &2.into(), &0.into()));
    for path in [
        "/success_rate",
        "/success_ci95/0",
        "/success_ci95/1",
        "/final_distance_m/p50",
        "/final_distance_m/p95",
        "/elapsed_s",
        "/loop/rate_hz",
        "/loop/period_p50_us",
        "/loop/period_p999_us",
        "/loop/overruns",
        "/policy_latency_us/p50",
        "/policy_latency_us/p999",
    ] {
        assert!(report.pointer(path).is_some_and(Value::is_number), "{path} in {report}");
    }
    for file in report["files"].as_array().unwrap() {
        let recovered = hindsight::episode::read(file.as_str().unwrap().as_ref()).unwrap();
        assert!(recovered.is_complete());
        let episode = recovered.episode;
        assert_eq!(episode.end.as_ref().unwrap().reason, EndReason::Completed);
        assert_eq!((episode.ticks.len(), episode.transitions(|_, _| 0.0).count()), (501, 50));
        assert!(episode.ticks.iter().all(|tick| tick.object.is_some()));
        assert!(episode.start.wall_us.is_some() && episode.start.arm == "so101");
    }
    assert_eq!(table.look().mode(), Mode::Idle, "the arm ends without power");

    let link = table.port();
    table.sim.signal("-INT");
    assert!(table.sim.finish().status.success());
    assert!(std::fs::symlink_metadata(link).is_err(), "the link goes with the simulation");
}

#[test]
fn a_killed_host_leaves_an_arm_that_its_firmware_holds_and_another_takes_over() {
    let table = Table::set();
    // The writer may not be let run either just then; that it always loses more is another matter.
    let mut lost_s = f64::INFINITY;
    for _ in 0..3 {
        let host = table.host_under_way();
        host.signal("-KILL");
        let killed_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        drop(host);
        let episode = table.recorded().unwrap().episode;
        assert!(episode.end.is_none() && episode.ticks.len() >= UNDER_WAY);
        let (begin, last) = (&episode.start, episode.ticks.last().unwrap());
        let last_s = (begin.wall_us.unwrap() + last.stamp_us - begin.stamp_us) as f64 * 1e-6;
        lost_s = lost_s.min(killed_s - last_s);
        if lost_s <= 0.1 {
            break;
        }
    }
    assert!(lost_s <= 0.1, "{lost_s} s of the episode are lost");

    let mut arm = table.look();
    poll(|| {
        let at_rest = arm.read().unwrap().joints.velocity_rad_s.iter().all(|speed| speed.abs() < 0.02);
        (arm.mode() == Mode::Fault(Fault::Watchdog) && at_rest).then_some(())
    });
    let held = arm.read().unwrap().joints.position_rad;
    for _ in 0..100 {
        let now = arm.read().unwrap().joints.position_rad;
        assert!(now.iter().zip(&held).all(|(a, b)| (a - b).abs() < 0.01), "held at {held:?}, found at {now:?}");
    }
    drop(arm);

    let refused = table.host("run", &["--episodes", "1"]).finish();
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("--clear-fault"), "{}", text(&refused.stderr));
    let next = unless_starved(|| table.host("run", &["--episodes", "1", "--clear-fault"]).finish());
    assert!(next.status.success(), "{}", text(&next.stderr));
    assert_eq!(table.look().mode(), Mode::Idle);
}

#[test]
fn a_port_that_vanishes_ends_the_session_with_code_3_and_its_file_intact() {
    let mut table = Table::set();
    let host = table.host_under_way();
    table.sim.0.kill().unwrap();
    let gone = Instant::now();
    let output = host.finish();
    println!("ended {} ms after the port vanished", gone.elapsed().as_millis());
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is gone"), "{}", text(&output.stderr));
    let recovered = table.recorded().unwrap();
    assert!(recovered.is_complete());
    assert_eq!(recovered.episode.end.unwrap().reason, EndReason::PortLost);
    assert!(!recovered.episode.faults.is_empty());
}

#[test]
fn ctrl_c_parks_the_arm_releases_it_and_ends_the_file() {
    let table = Table::set();
    let output = unless_starved(|| {
        let host = table.host_under_way();
        host.signal("-INT");
        host.finish()
    });
    assert!(output.status.success(), "{}", text(&output.stderr));
    let recovered = table.recorded().unwrap();
    assert!(recovered.is_complete());
    assert_eq!(recovered.episode.end.unwrap().reason, EndReason::Stopped);
    let mut arm = table.look();
    assert_eq!(arm.mode(), Mode::Idle);
    let at = arm.read().unwrap().joints.position_rad;
    let rest = hindsight::control::REST_RAD;
    assert!(at.iter().zip(rest).all(|(at, rest)| (at - rest).abs() < 0.15), "parked at {at:?}");
}
