//! Wrong input leads to one clear error, a code that is not 0, no motion, and nothing overwritten.

use firmware_bridge::message::Mode;
use hindsight::arm::{BridgeArm, BridgeOptions};
use hindsight::clock::SystemClock;
use hindsight::env::Layout;
use hindsight::learn::{Agent, Hyper, PolicyCard};
use hindsight::link::open;
use prost::Message;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use sim::{ArmModel, Device, Line, SimParams, World};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tract_onnx::pb::ModelProto;

const PUSH: Layout = Layout { observation: 25, goal: 3, action: 4 };

/// Runs the program, and gives its exit code and its one line of error.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hindsight")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap();
    assert_ne!(code, 0, "{arguments:?} was taken: {said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    (code, errors[0].to_owned())
}

/// As [`refused`], where `words` must stand in the error.
fn refused_with(code: i32, words: &[&str], arguments: &[&str]) {
    let (found, error) = refused(arguments);
    assert_eq!(found, code, "{arguments:?}: {error}");
    for word in words {
        assert!(error.contains(word), "expected {word:?} in: {error}");
    }
}

fn model(layout: Layout) -> ModelProto {
    let hyper = Hyper { hidden: vec![8, 8], ..Hyper::default() };
    let agent = Agent::new(hyper, layout, &mut Pcg64Mcg::seed_from_u64(1)).unwrap();
    let card = PolicyCard { task: "push".into(), layout: "fetch-25".into(), seed: 1 };
    ModelProto::decode(&agent.to_onnx(&card)[..]).unwrap()
}

/// A policy for the push task whose weights are replaced, given the layer, the row and the column.
fn with_weights(replace: impl Fn(usize, usize, usize) -> f32) -> ModelProto {
    let mut model = model(PUSH);
    let tensors = model.graph.as_mut().unwrap().initializer.iter_mut();
    for (layer, tensor) in tensors.filter(|tensor| tensor.name.starts_with("weights")).enumerate() {
        let (rows, columns) = (tensor.dims[0] as usize, tensor.dims[1] as usize);
        tensor.float_data.clear();
        let weight = |i: usize| replace(layer, i / columns, i % columns).to_le_bytes();
        tensor.raw_data = (0..rows * columns).flat_map(weight).collect();
    }
    model
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A simulated arm behind a pty, served by a thread of this process.
struct Far {
    folder: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Far {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut line = Line::open(&folder.path().join("arm")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut world = World::new(&ArmModel::so101().unwrap(), &SimParams::so101().unwrap(), 1).unwrap();
            world.reset(&hindsight::control::REST_RAD, None, 1).unwrap();
            let mut device = Device::new(world, 1);
            line.serve(&mut device, &stopped, |device| assert_eq!(device.mode(), Mode::Idle, "the arm got power"))
                .unwrap();
        });
        Self { folder, stop, thread }
    }

    fn port(&self) -> String {
        self.folder.path().join("arm").to_str().unwrap().to_owned()
    }

    /// Checks that the arm never got power.
    fn finish(self) {
        drop(BridgeArm::connect(open(&self.port(), SystemClock).unwrap(), SystemClock, BridgeOptions::default()));
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

#[test]
fn a_policy_that_is_none_or_for_something_else_is_refused_before_anything_moves() {
    let far = Far::start();
    let port = far.port();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| write(folder.path(), name, bytes);
    let narrow = model(Layout { observation: 10, ..PUSH }).encode_to_vec();
    let whole = model(PUSH).encode_to_vec();
    for (policy, words) in [
        (file("narrow.onnx", &narrow), &["narrow.onnx", "expected", "31", "found", "16"][..]),
        (file("text.onnx", b"this is no model at all"), &["text.onnx", "not an ONNX model"]),
        (file("empty.onnx", b""), &["empty.onnx"]),
        (file("cut.onnx", &whole[..whole.len() / 2]), &["cut.onnx"]),
        (file("nan.onnx", &with_weights(|_, _, _| f32::NAN).encode_to_vec()), &["nan.onnx", "NaN"]),
        (folder.path().join("missing.onnx").to_str().unwrap().to_owned(), &["missing.onnx", "expert, random, still"]),
        (folder.path().to_str().unwrap().to_owned(), &["cannot read the policy"]),
    ] {
        for command in ["run", "eval"] {
            refused_with(1, words, &[command, "--port", &port, "--task", "push", "--policy", &policy]);
        }
        let out = folder.path().join("out");
        let collect = ["collect", "--port", &port, "--task", "push", "--policy", &policy, "--out"];
        refused_with(1, words, &[&collect[..], &[out.to_str().unwrap()]].concat());
        assert!(!out.exists());
    }
    far.finish();
}

#[test]
fn a_policy_that_gives_nan_while_it_acts_ends_the_run_and_its_file() {
    let folder = tempfile::tempdir().unwrap();
    // Half of the first layer is large, all of the second infinite, and the third takes infinity from infinity; an
    // input of zeros, as a loader may try, gives zeros.
    let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let mut model = with_weights(|layer, row, column| match layer {
        0 => 1e30 * sign(column),
        1 => 1e30,
        _ => sign(row),
    });
    // The runtime's tanh would make a number of it.
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let squashed = nodes.pop_if(|node| node.op_type == "Tanh").unwrap();
    nodes.last_mut().unwrap().output = squashed.output;
    let bytes = model.encode_to_vec();
    let policy = write(folder.path(), "overflow.onnx", &bytes);
    let out = folder.path().join("out");
    let (code, error) = refused(&[
        "collect",
        "--port",
        "sim",
        "--task",
        "push",
        "--policy",
        &policy,
        "--noise",
        "0",
        "--epsilon",
        "0",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("NaN") && error.contains("parked"), "{error}");
    let recovered = hindsight::episode::read(&out.join("episode-000000.mcap")).unwrap();
    assert!(recovered.is_complete());
    assert_eq!((recovered.episode.transitions(|_, _| 0.0).count(), recovered.episode.faults.len()), (0, 1));
}

#[test]
fn a_port_that_is_none_or_speaks_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |port: &str| refused(&["run", "--port", port, "--task", "reach", "--policy", "still"]);
    let missing = folder.path().join("tty").to_str().unwrap().to_owned();
    let file = write(folder.path(), "file", b"kept");
    for (port, word) in [(&missing, "found here"), (&format!("unix:{missing}"), "start the program"), (&file, "serial")]
    {
        let (code, error) = run(port);
        assert_eq!(code, 1, "{error}");
        assert!(error.contains("cannot open port") && error.contains(word), "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");

    // A modem: it answers everything in words.
    let socket = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let modem = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut host, _) = listener.accept().unwrap();
        let mut buf = [0; 64];
        while host.read(&mut buf).is_ok_and(|count| count > 0) && host.write_all(b"ERROR\r\n").is_ok() {}
    });
    let (code, error) = run(&format!("unix:{}", socket.display()));
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("speaks something else") && error.contains("ERROR"), "{error}");
    modem.join().unwrap();
}

#[test]
fn wrong_and_contradictory_flags_are_told_as_wrong_use() {
    let sim = ["run", "--port", "sim", "--policy", "still", "--task"];
    let with = |task: &'static str, more: &[&'static str]| -> Vec<&'static str> {
        sim.iter().copied().chain([task]).chain(more.iter().copied()).collect()
    };
    refused_with(2, &["--goal", "x in 0.16..0.32"], &with("push", &["--goal", "0.5,0"]));
    refused_with(2, &["--goal", "z in 0.03..0.11"], &with("reach", &["--goal", "0.2,0,-0.1"]));
    refused_with(2, &["--goal", "X,Y"], &with("push", &["--goal", "over there"]));
    refused_with(2, &["--goal", "--episodes"], &with("push", &["--goal", "0.2,0", "--episodes", "3"]));
    refused_with(2, &["--tracker"], &with("push", &["--tracker", "127.0.0.1:47800"]));
    refused_with(2, &["--clear-fault"], &with("push", &["--clear-fault"]));
    refused_with(2, &["--arm"], &with("push", &["--arm", "puma"]));
    refused_with(2, &["--episodes"], &with("push", &["--episodes", "0"]));
    refused_with(2, &["--differ"], &["run", "--port", "/dev/null", "--task", "push", "--differ", "1"]);
    refused_with(2, &["--tracker"], &["sim", "--link", "/tmp/x", "--task", "reach", "--tracker", "127.0.0.1:1"]);
    refused_with(2, &["--protocol"], &["sim", "--link", "/tmp/x", "--protocol", "morse"]);
    refused_with(2, &["--noise"], &["collect", "--port", "sim", "--task", "push", "--noise", "2", "--out", "/tmp/x"]);
}

#[test]
fn foreign_and_truncated_episodes_are_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let episodes = folder.path().join("episodes");
    let (from, out) = (episodes.to_str().unwrap(), folder.path().join("derived"));
    let collect =
        ["collect", "--port", "sim", "--task", "push", "--policy", "random", "--episodes", "2", "--out", from];
    let made = Command::new(env!("CARGO_BIN_EXE_hindsight")).args(collect).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = |number: u32| -> PathBuf { episodes.join(format!("episode-{number:06}.mcap")) };
    let whole = std::fs::read(file(0)).unwrap();
    std::fs::write(file(1), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(file(2), "not an episode").unwrap();
    let before: Vec<_> = (0..3).map(|number| std::fs::read(file(number)).unwrap()).collect();

    let relabel = || {
        let arguments = ["relabel", from, "--out", out.to_str().unwrap()];
        Command::new(env!("CARGO_BIN_EXE_hindsight")).args(arguments).output().unwrap()
    };
    let output = relabel();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "finished, but not with everything: {said}");
    assert!(said.contains("skipped:") && said.contains("episode-000002.mcap"), "{said}");
    let after: Vec<_> = (0..3).map(|number| std::fs::read(file(number)).unwrap()).collect();
    assert!(before == after, "recordings were changed");

    let derived: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!derived.is_empty());
    let contents = || derived.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let kept = contents();
    assert_ne!(relabel().status.code(), Some(0), "derived files are not overwritten");
    assert!(contents() == kept);
}
