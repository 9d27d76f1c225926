//! Keeps the log's writing off the control thread.
//!
//! [`Recorder::record`] takes no lock, allocates nothing and never waits: it moves the tick into a bounded channel
//! that was allocated when the episode began. The writer's thread looks for ticks every few milliseconds instead of
//! being woken, because waking it would take a lock. If it cannot keep up, the log ends there with
//! [`EndReason::LogOverrun`]: a log with a hole in it would teach something that never happened.

use super::wire::Topic;
use super::writer::{EpisodeFile, WriteError, create_new};
use super::{Attachment, BusHealth, EndReason, EpisodeEnd, EpisodeStart, FaultEvent, Tick};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Ticks that may wait for the disk; about four seconds at 125 Hz.
pub const CAPACITY: usize = 512;

/// How often the writer's thread looks for ticks.
const POLL: Duration = Duration::from_millis(5);

/// Looks without a tick after which what is there goes to the operating system anyway.
const IDLE_POLLS: u32 = 10;

/// On which thread an episode is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// On a thread of its own; for real time.
    Threaded,
    /// On the caller's; for virtual time, where nobody waits.
    Inline,
}

/// Why a tick was not taken. The episode is over: stop the arm and call [`Recorder::finish`], which knows more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Ticks must come in order.
    #[error("expected tick {expected}, got {found}; number the ticks of an episode from 0 without gaps")]
    OutOfOrder {
        /// The next index.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// The disk is too slow.
    #[error("the disk is more than {CAPACITY} ticks behind; record to a faster disk")]
    Overrun,
    /// Writing failed; [`Recorder::finish`] says why.
    #[error("the episode's file cannot be written any more")]
    Stopped,
}

/// What became of an episode's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The file.
    pub path: PathBuf,
    /// Ticks in the file.
    pub ticks: u64,
    /// Ticks that the disk was too slow for; if not 0 the file's reason is [`EndReason::LogOverrun`].
    pub lost_ticks: u64,
}

/// Records one episode.
pub struct Recorder {
    path: PathBuf,
    start: EpisodeStart,
    sink: Sink,
    ticks: u64,
    lost_ticks: u64,
    stopped: bool,
}

enum Sink {
    Inline { file: Option<Box<EpisodeFile>>, error: Option<WriteError> },
    Threaded { entries: SyncSender<Entry>, writer: JoinHandle<Result<(), WriteError>> },
}

#[expect(clippy::large_enum_variant, reason = "boxing a tick would allocate on the control thread")]
enum Entry {
    Tick(Tick),
    Bus(BusHealth),
    Fault(FaultEvent),
    End(EpisodeEnd),
}

impl Recorder {
    /// Creates the episode's file, with its start on the disk, and the thread that writes it.
    ///
    /// # Errors
    /// The file, or the summary that will lie beside it, exists, or the file cannot be created or written.
    pub fn create(path: &Path, start: EpisodeStart, pace: Pace) -> Result<Self, WriteError> {
        Self::create_with(path, start, &[], pace)
    }

    /// As [`Recorder::create`], with files to keep within the episode's.
    ///
    /// # Errors
    /// As [`Recorder::create`].
    pub fn create_with(
        path: &Path,
        start: EpisodeStart,
        attachments: &[Attachment],
        pace: Pace,
    ) -> Result<Self, WriteError> {
        let summary = path.with_extension("json");
        if summary.exists() {
            return Err(WriteError::Exists(summary));
        }
        let mut file = EpisodeFile::create(path, &start, &Topic::RECORDED)?;
        attachments.iter().try_for_each(|attachment| file.attach(attachment))?;
        Self::over(file, start, pace)
    }

    fn over(file: EpisodeFile, start: EpisodeStart, pace: Pace) -> Result<Self, WriteError> {
        let path = file.path().to_owned();
        let sink = match pace {
            Pace::Inline => Sink::Inline { file: Some(Box::new(file)), error: None },
            Pace::Threaded => {
                let (entries, queue) = sync_channel(CAPACITY);
                let writer = thread::Builder::new()
                    .name("episode-writer".into())
                    .spawn(move || write(file, &queue))
                    .map_err(|cause| WriteError::Create { path: path.clone(), cause })?;
                Sink::Threaded { entries, writer }
            }
        };
        Ok(Self { path, start, sink, ticks: 0, lost_ticks: 0, stopped: false })
    }

    /// Takes a tick. Never waits when the pace is [`Pace::Threaded`].
    ///
    /// # Errors
    /// The tick is not in the log, and no later one will be; see [`RecordError`].
    pub fn record(&mut self, tick: Tick) -> Result<(), RecordError> {
        let expected = self.ticks + self.lost_ticks;
        if tick.index != expected {
            return Err(RecordError::OutOfOrder { expected, found: tick.index });
        }
        if self.lost_ticks > 0 {
            self.lost_ticks += 1;
            return Err(RecordError::Overrun);
        }
        match &mut self.sink {
            Sink::Inline { file, error } => {
                let written = file.as_mut().map(|open| open.tick(&tick));
                if let Some(Err(failure)) = written {
                    (*file, *error) = (None, Some(failure));
                }
                self.stopped |= file.is_none();
            }
            Sink::Threaded { entries, .. } => match entries.try_send(Entry::Tick(tick)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    self.lost_ticks = 1;
                    return Err(RecordError::Overrun);
                }
                Err(TrySendError::Disconnected(_)) => self.stopped = true,
            },
        }
        if self.stopped {
            return Err(RecordError::Stopped);
        }
        self.ticks += 1;
        Ok(())
    }

    /// Notes how arm and line are. Never waits when the pace is [`Pace::Threaded`]; where the disk is behind, nothing is
    /// noted: the ticks tell of that.
    pub fn bus(&mut self, bus: BusHealth) {
        match &mut self.sink {
            Sink::Inline { file, error } => {
                if let Some(Err(failure)) = file.as_mut().map(|open| open.bus(&bus)) {
                    (*file, *error) = (None, Some(failure));
                }
            }
            Sink::Threaded { entries, .. } => drop(entries.try_send(Entry::Bus(bus))),
        }
    }

    /// Notes that something went wrong. Not for every tick: it may wait for the disk.
    ///
    /// # Errors
    /// See [`RecordError::Stopped`].
    pub fn fault(&mut self, fault: FaultEvent) -> Result<(), RecordError> {
        let written = match &mut self.sink {
            Sink::Inline { file, error } => {
                if let Some(Err(failure)) = file.as_mut().map(|open| open.fault(&fault)) {
                    (*file, *error) = (None, Some(failure));
                }
                file.is_some()
            }
            Sink::Threaded { entries, .. } => entries.send(Entry::Fault(fault)).is_ok(),
        };
        self.stopped |= !written;
        if written { Ok(()) } else { Err(RecordError::Stopped) }
    }

    /// Writes the end, the file's index, and a summary for people beside it (`….json`). Waits for the disk: call it
    /// when the arm has stopped.
    ///
    /// # Errors
    /// The log is not whole; what was written before can be read.
    pub fn finish(self, mut end: EpisodeEnd) -> Result<Recording, WriteError> {
        if self.lost_ticks > 0 {
            (end.reason, end.lost_ticks) = (EndReason::LogOverrun, self.lost_ticks);
        }
        match self.sink {
            Sink::Inline { file: Some(file), .. } => file.finish(Some(&end))?,
            Sink::Inline { file: None, error } => return Err(error.unwrap_or(WriteError::Panicked(self.path))),
            Sink::Threaded { entries, writer } => {
                // A writer that is gone has left its reason for the join below.
                let _ = entries.send(Entry::End(end.clone()));
                drop(entries);
                writer.thread().unpark();
                writer.join().map_err(|_| WriteError::Panicked(self.path.clone()))??;
            }
        }
        write_summary(&self.path, &self.start, &end, self.ticks)?;
        Ok(Recording { path: self.path, ticks: self.ticks, lost_ticks: self.lost_ticks })
    }
}

/// The writer's thread.
fn write(mut file: EpisodeFile, queue: &Receiver<Entry>) -> Result<(), WriteError> {
    let mut idle_polls = 0;
    loop {
        match queue.try_recv() {
            Ok(Entry::Tick(tick)) => file.tick(&tick)?,
            Ok(Entry::Bus(bus)) => file.bus(&bus)?,
            Ok(Entry::Fault(fault)) => file.fault(&fault)?,
            Ok(Entry::End(end)) => return file.finish(Some(&end)),
            Err(TryRecvError::Disconnected) => return file.finish(None),
            Err(TryRecvError::Empty) => {
                idle_polls += 1;
                if idle_polls >= IDLE_POLLS && file.is_dirty() {
                    file.flush()?;
                }
                thread::park_timeout(POLL);
                continue;
            }
        }
        idle_polls = 0;
    }
}

#[derive(serde::Serialize)]
struct Summary<'a> {
    ticks: u64,
    #[serde(flatten)]
    start: &'a EpisodeStart,
    end: &'a EpisodeEnd,
}

/// Writes what a person wants to know beside the file. Everything in it is in the file too.
fn write_summary(path: &Path, start: &EpisodeStart, end: &EpisodeEnd, ticks: u64) -> Result<(), WriteError> {
    let path = path.with_extension("json");
    let mut file = create_new(&path)?;
    let failed = |cause: std::io::Error| WriteError::Write { path: path.clone(), ticks, cause };
    let mut text =
        serde_json::to_string_pretty(&Summary { ticks, start, end }).map_err(|error| failed(error.into()))?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests;
