//! A child process and the pipes to it: every wait has a deadline, and what went wrong comes with its last words.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::message::{Answer, Hello, MAX_BODY, Question};
use super::{ChildError, ChildSpec};

/// Lines of standard error that are kept.
const LAST_LINES: usize = 12;
/// How long a child that shall end may take before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// A running child.
#[derive(Debug)]
pub(super) struct Process {
    spec: ChildSpec,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    drain: Option<JoinHandle<()>>,
    frame: Vec<u8>,
}

impl Process {
    pub(super) fn start(spec: &ChildSpec) -> Result<Self, ChildError> {
        let (program, arguments) = spec.command();
        let fail =
            |source| ChildError::Start { spec: spec.clone(), program: program.to_string_lossy().into_owned(), source };
        let mut child = Command::new(&program)
            .args(arguments)
            // One thread a child: the learner keeps all cores busy with several children.
            .envs(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"].map(|name| (name, "1")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(fail)?;
        let missing = || fail(io::Error::other("a pipe is missing"));
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let last_lines = Arc::new(Mutex::new(VecDeque::with_capacity(LAST_LINES)));
        let kept = Arc::clone(&last_lines);
        let drain = std::thread::spawn(move || {
            // In pieces, so that an endless line takes no memory without end.
            let mut reader = BufReader::new(stderr);
            let mut line = Vec::new();
            while (&mut reader).take(1024).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LAST_LINES {
                    kept.pop_front();
                }
                kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
        Ok(Self {
            spec: spec.clone(),
            child,
            stdin: Some(stdin),
            stdout,
            last_lines,
            drain: Some(drain),
            frame: Vec::new(),
        })
    }

    /// Sends a question. Questions are far smaller than a pipe, so that this does not wait.
    pub(super) fn ask(&mut self, question: &Question<'_>) -> Result<(), ChildError> {
        question.encode(&mut self.frame);
        let Some(stdin) = &mut self.stdin else { return Err(self.broken("it has failed before".into())) };
        match stdin.write_all(&self.frame) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(self.ended()),
            Err(error) => Err(self.broken(format!("cannot write to it: {error}"))),
        }
    }

    /// Waits for the answer to the last question. After an error the child is gone.
    pub(super) fn answer(&mut self, timeout: Duration, hello: Hello) -> Result<Answer, ChildError> {
        let deadline = Instant::now() + timeout;
        self.fill(4, deadline, timeout)?;
        let mut head = [0; 4];
        head.copy_from_slice(&self.frame[..4]);
        let length = u32::from_le_bytes(head) as usize;
        if !(1..=MAX_BODY).contains(&length) {
            return Err(self.broken(format!("it sent a frame of {length} bytes, expected 1 to {MAX_BODY}")));
        }
        self.fill(length, deadline, timeout)?;
        match Answer::decode(&self.frame, hello.layout) {
            Ok(Answer::Error(what)) => Err(self.broken(format!("it says: {what}"))),
            Ok(answer) => Ok(answer),
            Err(what) => Err(self.broken(what)),
        }
    }

    /// Reads exactly `length` bytes into `frame`.
    fn fill(&mut self, length: usize, deadline: Instant, timeout: Duration) -> Result<(), ChildError> {
        self.frame.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.stdout, PollFlags::IN)], Some(&wait)) {
                Ok(0) => return Err(self.broken(format!("it was silent for {} s", timeout.as_secs()))),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(self.broken(format!("cannot wait for it: {error}"))),
            }
            match self.stdout.read(&mut self.frame[filled..]) {
                Ok(0) => return Err(self.ended()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(format!("cannot read from it: {error}"))),
            }
        }
        Ok(())
    }

    fn ended(&mut self) -> ChildError {
        // It closed its pipe, so it is about to be gone; `broken` waits for it.
        self.stdin = None;
        let status = self.end().map_or_else(|| "without a status".to_owned(), |status| status.to_string());
        self.broken(format!("it ended early ({status})"))
    }

    /// Ends the child and tells what went wrong.
    pub(super) fn broken(&mut self, what: String) -> ChildError {
        self.stdin = None;
        self.end();
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        let stderr = lines.iter().map(|line| format!("\n  | {line}")).collect();
        ChildError::Broken { spec: self.spec.clone(), what, stderr }
    }

    /// Waits for the child's end, at first kindly, and for its last words.
    fn end(&mut self) -> Option<std::process::ExitStatus> {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if begun.elapsed() < END_TIMEOUT => std::thread::park_timeout(Duration::from_millis(2)),
                _ => {
                    let _ = self.child.kill();
                    break self.child.wait().ok();
                }
            }
        };
        if let Some(drain) = self.drain.take() {
            // A grandchild may hold the pipe open for ever: only what has arrived counts.
            while !drain.is_finished() && begun.elapsed() < 2 * END_TIMEOUT {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stdin.is_some() {
            let _ = self.ask(&Question::Close);
            self.stdin = None;
        }
        self.end();
    }
}
