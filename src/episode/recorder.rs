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
mod tests {
    use super::*;
    use crate::episode::read;
    use crate::episode::tests::sample;
    use std::io;
    use std::sync::{Arc, Mutex, mpsc};

    fn record_all(path: &Path, pace: Pace) -> Recording {
        let episode = sample(5, 10);
        let mut recorder = Recorder::create(path, episode.start, pace).unwrap();
        for tick in episode.ticks {
            recorder.record(tick).unwrap();
        }
        recorder.finish(episode.end.unwrap()).unwrap()
    }

    #[test]
    fn both_paces_write_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = [Pace::Inline, Pace::Threaded].map(|pace| {
            let path = folder.path().join(format!("{pace:?}.mcap"));
            assert_eq!(record_all(&path, pace), Recording { path: path.clone(), ticks: 51, lost_ticks: 0 });
            assert_eq!(read(&path).unwrap().episode, sample(5, 10));
            std::fs::read(path).unwrap()
        });
        assert_eq!(bytes[0], bytes[1]);
    }

    #[test]
    fn a_person_can_read_the_summary_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("episode-000000.mcap");
        record_all(&path, Pace::Inline);
        let text = std::fs::read_to_string(folder.path().join("episode-000000.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&summary["task"], &summary["ticks"]), (&"push".into(), &51.into()));
        assert_eq!(summary["end"]["reason"], "completed");
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("episode-000000.mcap");
        for taken in ["episode-000000.mcap", "episode-000000.json"] {
            let taken = folder.path().join(taken);
            std::fs::write(&taken, "precious").unwrap();
            let refused = Recorder::create(&path, sample(1, 1).start, Pace::Inline).err().unwrap();
            assert!(matches!(refused, WriteError::Exists(ref found) if *found == taken), "{refused}");
            assert_eq!(std::fs::read_to_string(&taken).unwrap(), "precious");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
            std::fs::remove_file(taken).unwrap();
        }
        let nowhere = folder.path().join("missing/episode-000000.mcap");
        let refused = Recorder::create(&nowhere, sample(1, 1).start, Pace::Inline).err().unwrap();
        assert!(matches!(refused, WriteError::Create { .. }), "{refused}");
    }

    /// Takes `room` bytes, then says that the disk is full.
    #[derive(Clone)]
    struct FullDisk {
        room: usize,
        kept: Arc<Mutex<Vec<u8>>>,
    }

    impl io::Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.kept.lock().unwrap().extend_from_slice(&bytes[..taken]);
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn over(path: &Path, sink: impl io::Write + Send + 'static, pace: Pace) -> Recorder {
        let start = sample(1, 1).start;
        let file = EpisodeFile::over(path, Box::new(sink), &start, &Topic::RECORDED).unwrap();
        Recorder::over(file, start, pace).unwrap()
    }

    #[test]
    fn a_full_disk_stops_the_recording_and_says_so() {
        for pace in [Pace::Inline, Pace::Threaded] {
            let disk = FullDisk { room: 50_000, kept: Arc::default() };
            let mut recorder = over(Path::new("test"), disk.clone(), pace);
            let mut ticks = sample(1, 500).ticks.into_iter();
            let stopped = ticks.find_map(|tick| recorder.record(tick).err());
            let taken = recorder.ticks as usize;
            if pace == Pace::Inline {
                assert_eq!(stopped, Some(RecordError::Stopped), "the caller hears of it at the tick");
            }
            let error = recorder.finish(sample(1, 1).end.unwrap()).unwrap_err();
            assert!(
                matches!(error, WriteError::Write { ref cause, .. } if cause.kind() == io::ErrorKind::StorageFull),
                "{error}"
            );
            let kept = crate::episode::reader::parse(Path::new("test"), &disk.kept.lock().unwrap()).unwrap();
            let ticks = kept.episode.ticks;
            assert_eq!(ticks, sample(1, 500).ticks[..ticks.len()]);
            if pace == Pace::Inline {
                // The chunk that found no room, and the tick that was refused.
                assert!(!ticks.is_empty() && taken - ticks.len() < 10, "{taken} taken, {} there", ticks.len());
            }
        }
    }

    /// A disk that hangs at every write but the first, until told to go on.
    struct SlowDisk {
        go_on: mpsc::Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
        is_open: bool,
    }

    impl io::Write for SlowDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_open {
                let _ = self.go_on.recv();
            }
            self.is_open = true;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_hangs_never_holds_the_arm_and_the_log_says_where_it_ends() {
        let ((go_on, wait), (written, bytes)) = (mpsc::channel(), mpsc::channel());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("episode-000000.mcap");
        let mut recorder = over(&path, SlowDisk { go_on: wait, written, is_open: false }, Pace::Threaded);
        let template = sample(1, 1).ticks.remove(0);
        let tick = |index| Tick { index, stamp_us: 5_000_000 + index * 8_000, ..template.clone() };
        // The disk hangs, so this loop ends only because the queue is bounded and never waits.
        let full = (0..).find(|index| recorder.record(tick(*index)) == Err(RecordError::Overrun)).unwrap();
        assert!(full >= CAPACITY as u64);
        assert_eq!(recorder.record(tick(full + 1)), Err(RecordError::Overrun), "no hole: what comes later is lost too");
        drop(go_on);
        let recording = recorder.finish(sample(1, 1).end.unwrap()).unwrap();
        assert_eq!((recording.ticks, recording.lost_ticks), (full, 2));
        let file: Vec<u8> = bytes.iter().flatten().collect();
        let found = crate::episode::reader::parse(&path, &file).unwrap();
        let end = found.episode.end.unwrap();
        assert_eq!((found.damage, end.reason, end.lost_ticks), (None, EndReason::LogOverrun, 2));
        assert_eq!(found.episode.ticks.len() as u64, full);
    }

    #[test]
    fn a_tick_out_of_order_is_refused() {
        let mut recorder = over(Path::new("test"), io::sink(), Pace::Inline);
        let ticks = sample(1, 5).ticks;
        recorder.record(ticks[0].clone()).unwrap();
        assert_eq!(recorder.record(ticks[2].clone()), Err(RecordError::OutOfOrder { expected: 1, found: 2 }));
    }

    #[test]
    fn a_recorder_that_is_dropped_leaves_a_file_without_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("episode-000000.mcap");
        let mut recorder = Recorder::create(&path, sample(1, 1).start, Pace::Inline).unwrap();
        recorder.record(sample(1, 1).ticks.remove(0)).unwrap();
        drop(recorder);
        let found = read(&path).unwrap();
        assert_eq!((found.episode.ticks.len(), found.is_complete()), (1, false));
    }
}
