//! Ctrl-C: once to stop in good order, twice to stop at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// What a person has asked for with Ctrl-C; the signals to terminate and to hang up count as well.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt {
    /// Set by the first: end in good order.
    pub stop: Arc<AtomicBool>,
    /// Set by the second: cut the power now.
    pub release: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens from now on. `told` is printed when the first signal has come.
    ///
    /// # Errors
    /// The system takes no handler.
    pub(super) fn listen(told: &'static str) -> Result<Self> {
        let interrupt = Self::default();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().context("cannot listen for Ctrl-C")?;
        let mut signals = {
            let _entered = runtime.enter();
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [a, b, c] = kinds.map(signal);
            (a?, b?, c?)
        };
        let Self { stop, release } = interrupt.clone();
        let serve = async move {
            loop {
                tokio::select! {
                    _ = signals.0.recv() => {}
                    _ = signals.1.recv() => {}
                    _ = signals.2.recv() => {}
                }
                if stop.swap(true, Ordering::Relaxed) {
                    release.store(true, Ordering::Relaxed);
                } else {
                    eprintln!("{told}");
                }
            }
        };
        let listen = move || runtime.block_on(serve);
        std::thread::Builder::new().name("signals".into()).spawn(listen).context("cannot listen for Ctrl-C")?;
        Ok(interrupt)
    }

    /// Whether a person has asked to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
