//! Promise: emulated arms are what software takes for arms that nobody here wrote. The vendors' SDKs, rustypot and
//! LeRobot's followers, by the scripts in tests/peers, which tell what each asks for.
//!
//! They are slow to install and give up after some 20 ms of silence, which a busy machine may not keep, so they run when
//! they are asked for, with the Python 3.12 named in `HINDSIGHT_PYTHON` (tests/peers/requirements-servo.txt and
//! requirements-dynamixel.txt, which bring LeRobot):
//!
//! ```sh
//! HINDSIGHT_PYTHON=venv/bin/python cargo test --release --test clients -- --ignored --test-threads 1
//! ```

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hindsight");

/// The program, simulating servos behind a pty for as long as it lives.
struct Simulated(Child);

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a script of tests/peers do its work, and shows what it tells.
fn run(script: &str, arguments: &[&str]) {
    let python = std::env::var("HINDSIGHT_PYTHON").expect("HINDSIGHT_PYTHON: a Python with what the script needs");
    let script = format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(python).arg(&script).args(arguments).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{script}: {status}");
}

/// As [`run`], with the port of an emulated arm.
fn run_on(arm: &str, protocol: &str, script: &str) {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("arm");
    let port = link.to_str().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["sim", "--arm", arm, "--protocol", protocol, "--task", "reach", "--link", port]);
    let mut simulated = Simulated(command.stderr(Stdio::piped()).spawn().unwrap());
    let (mut stderr, mut told) = (BufReader::new(simulated.0.stderr.take().unwrap()), String::new());
    stderr.read_line(&mut told).unwrap();
    assert!(told.contains("simulating"), "{told}");
    run(script, &[port]);
}

#[test]
#[ignore = "needs HINDSIGHT_PYTHON"]
fn feetechs_sdk_and_rustypot_drive_an_emulated_so101() {
    run_on("so101", "feetech", "feetech_clients.py");
}

#[test]
#[ignore = "needs HINDSIGHT_PYTHON"]
fn robotis_sdk_drives_an_emulated_koch() {
    run_on("koch", "dynamixel", "dynamixel_clients.py");
}

#[test]
#[ignore = "needs HINDSIGHT_PYTHON"]
fn lerobots_so101_follower_sets_up_calibrates_reads_moves_and_lets_go() {
    run("lerobot_follower.py", &[PROGRAM, "so101"]);
}

#[test]
#[ignore = "needs HINDSIGHT_PYTHON"]
fn lerobots_koch_follower_sets_up_calibrates_reads_moves_and_lets_go() {
    run("lerobot_follower.py", &[PROGRAM, "koch"]);
}
