//! Somebody at the keyboard who presses Enter when the arm is ready.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use anyhow::{Result, bail};

/// Lines of standard input, as they come.
pub(super) struct Person(Receiver<()>);

const GONE: &str = "nobody pressed Enter: standard input has ended; start again in a terminal";

impl Person {
    pub(super) fn listen() -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// Waits for Enter.
    ///
    /// # Errors
    /// Standard input has ended.
    pub(super) fn wait(&self) -> Result<()> {
        self.0.recv().map_err(|_| anyhow::anyhow!(GONE))
    }

    /// Whether Enter was pressed since it was last asked for.
    ///
    /// # Errors
    /// Standard input has ended.
    pub(super) fn said(&self) -> Result<bool> {
        match self.0.try_recv() {
            Ok(()) => Ok(true),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => bail!(GONE),
        }
    }
}
