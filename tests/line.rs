//! What a simulated arm behind a pty promises to other processes.

use firmware_bridge::frame::{MAX_FRAME, encode};
use firmware_bridge::message::{Fault, HostMessage, Mode, PROTOCOL_VERSION};
use hindsight::arm::{Arm, ArmError, BridgeArm, BridgeOptions};
use hindsight::clock::SystemClock;
use hindsight::link::{Link, LinkError, Port, open};
use sim::{ArmModel, Device, Line, LineError, LineReport, SimParams, World};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

type Bridge = BridgeArm<Port<SystemClock>, SystemClock>;

/// A simulated SO-101 that another thread serves, and the folder that its link is in.
struct Far {
    folder: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    /// One message a physics step.
    steps: Receiver<()>,
    thread: JoinHandle<LineReport>,
}

impl Far {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut line = Line::open(&folder.path().join("arm")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (counter, steps) = channel();
        let thread = std::thread::spawn(move || {
            let world = World::new(&ArmModel::so101().unwrap(), &SimParams::so101().unwrap(), 1).unwrap();
            let mut device = Device::new(world, 1);
            line.serve(&mut device, &stopped, |_| counter.send(()).unwrap_or_default()).unwrap()
        });
        Self { folder, stop, steps, thread }
    }

    fn open(&self) -> Result<Port<SystemClock>, LinkError> {
        open(self.folder.path().join("arm").to_str().unwrap(), SystemClock)
    }

    fn connect(&self) -> Bridge {
        // Patient: a machine under load shall not fail the test.
        let options = BridgeOptions {
            answer_timeout_us: 5_000_000,
            silence_max_us: 60_000_000,
            fresh_us: 0,
            ..BridgeOptions::default()
        };
        BridgeArm::connect(self.open().unwrap(), SystemClock, options).unwrap()
    }

    fn stop(self) -> (PathBuf, LineReport, tempfile::TempDir) {
        self.stop.store(true, Ordering::Relaxed);
        (self.folder.path().join("arm"), self.thread.join().unwrap(), self.folder)
    }
}

#[test]
fn an_arm_behind_a_pty_moves_and_survives_clients_that_come_and_go() {
    let far = Far::start();
    let mut arm = far.connect();
    arm.activate().unwrap();
    let start = arm.read().unwrap().joints.position_rad;
    let mut goal = start.clone();
    goal[0] += 0.05;
    while arm.read().unwrap_or_default().joints.position_rad.first().is_none_or(|now| *now < start[0] + 0.02) {
        match arm.write(&firmware_bridge::JointCommand { position_rad: goal.clone() }) {
            Ok(_) => {}
            // This thread was not let run for 100 ms, and the arm has rightly stopped.
            Err(ArmError::Fault(Fault::Watchdog)) => {
                arm.clear_fault().unwrap();
                arm.activate().unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Another program cannot break in meanwhile.
    assert!(matches!(far.open(), Err(LinkError::Open { .. })));
    drop(arm);

    let mut arm = far.connect();
    assert!(arm.mode() != Mode::Active, "dropping the driver cut the power");
    arm.read().unwrap();
    drop(arm);
    let (link, report, _folder) = far.stop();
    assert!(report.steps > 0, "{report:?}");
    assert!(std::fs::symlink_metadata(link).is_err(), "the link went with the line");
}

#[test]
fn a_killed_client_leaves_a_held_arm_that_the_next_one_takes_over() {
    let far = Far::start();
    // All that a killed process leaves: bytes sent, a port closed, no goodbye.
    let mut port = far.open().unwrap();
    for message in [HostMessage::Hello { version: PROTOCOL_VERSION }, HostMessage::Activate { seq: 1 }] {
        let mut frame = [0; MAX_FRAME];
        let len = encode(&message, &mut frame).unwrap();
        port.write_all(&frame[..len]).unwrap();
    }
    assert!(port.read(&mut [0; 1], u64::MAX).unwrap() > 0, "the answers come");
    drop(port);
    for _ in 0..50 {
        far.steps.recv().unwrap();
    }
    let mut arm = far.connect();
    assert_eq!(arm.mode(), Mode::Fault(Fault::Watchdog));
    arm.clear_fault().unwrap();
    arm.activate().unwrap();
    assert_eq!(arm.mode(), Mode::Active);
}

#[test]
fn a_host_is_told_when_the_simulated_arm_goes_away() {
    let far = Far::start();
    let mut arm = far.connect();
    arm.read().unwrap();
    let (_, _, _folder) = far.stop();
    match arm.read() {
        Err(ArmError::Link(error)) => {
            assert!(matches!(error.downcast_ref(), Some(LinkError::Vanished { .. })), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_replaces_old_links_and_leaves_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arm");
    std::fs::write(&path, "kept").unwrap();
    assert!(matches!(Line::open(&path), Err(LineError::Occupied(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    let to_file = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &to_file).unwrap();
    assert!(matches!(Line::open(&to_file), Err(LineError::Occupied(_))));
    assert!(matches!(Line::open(Path::new("/no such folder/arm")), Err(LineError::Link { .. })));

    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/pts/4000000000", &path).unwrap();
    let first = Line::open(&path).unwrap();
    assert_eq!(std::fs::read_link(&path).unwrap(), first.name());
    let second = Line::open(&path).unwrap();
    drop(first);
    assert_eq!(std::fs::read_link(&path).unwrap(), second.name(), "the first must not remove the link of the second");
    drop(second);
    assert!(std::fs::symlink_metadata(&path).is_err());
}
