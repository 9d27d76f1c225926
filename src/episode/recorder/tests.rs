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
