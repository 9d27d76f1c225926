//! Fills one episode file, on whatever thread it is called.

use super::wire::{self, Topic};
use super::{Attachment, BusHealth, EpisodeEnd, EpisodeStart, FaultEvent, Tick, schema};
use mcap::records::MessageHeader;
use mcap::write::NoSeek;
use mcap::{McapError, WriteOptions, Writer};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Span of the ticks in one chunk, µs: what a killed process may lose, with room to 100 ms for the writer's thread
/// to wake up.
pub const CHUNK_US: u64 = 40_000;

/// Name of the program in the file's header.
const LIBRARY: &str = concat!("hindsight-arm ", env!("CARGO_PKG_VERSION"));

/// Larger than any chunk, so that a chunk and its index reach the operating system in one write.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why an episode could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file is there already; nothing was changed.
    #[error("{} exists already and is not overwritten; name another file or folder", .0.display())]
    Exists(PathBuf),
    /// The file could not be created.
    #[error("cannot create {}: {cause}; name a folder that exists and can be written to", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file could not be written to its end.
    #[error("cannot write {} after {ticks} ticks: {cause}; what was written before can be read: free some space \
             and record again", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Ticks handed to the file before the error.
        ticks: u64,
        /// What went wrong.
        cause: io::Error,
    },
    /// The thread that writes ended unexpectedly.
    #[error("the thread that writes {} panicked; what was written before can be read", .0.display())]
    Panicked(PathBuf),
}

/// An episode file being written. Dropping it leaves a readable file without an end.
pub struct EpisodeFile {
    path: PathBuf,
    mcap: Writer<NoSeek<BufWriter<Box<dyn Write + Send>>>>,
    channels: BTreeMap<&'static str, (u16, u32)>,
    start_us: u64,
    wall_us: Option<u64>,
    ticks: u64,
    /// Stamp of the first tick that the operating system does not have yet.
    unflushed_since_us: Option<u64>,
    /// Ticks that the operating system does not have yet.
    unflushed: u64,
    /// Time between two ticks, µs; the next tick is foreseen so that a chunk never spans more than [`CHUNK_US`].
    period_us: u64,
    bytes: Vec<u8>,
}

/// Creates `path`, and fails if it is there already.
pub(super) fn create_new(path: &Path) -> Result<File, WriteError> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => WriteError::Exists(path.to_owned()),
        _ => WriteError::Create { path: path.to_owned(), cause },
    })
}

/// What `mcap` wraps, the system's own words are clearer without.
fn failure(path: &Path, ticks: u64, error: McapError) -> WriteError {
    let cause = match error {
        McapError::Io(cause) => cause,
        other => io::Error::other(other),
    };
    WriteError::Write { path: path.to_owned(), ticks, cause }
}

impl EpisodeFile {
    /// Creates the file and writes the start, which is with the operating system when this returns.
    ///
    /// # Errors
    /// The file exists, or cannot be created or written.
    pub fn create(path: &Path, start: &EpisodeStart, topics: &[Topic]) -> Result<Self, WriteError> {
        let file = create_new(path)?;
        Self::over(path, Box::new(file), start, topics)
    }

    /// Writes to any sink; `path` is only for messages.
    pub(super) fn over(
        path: &Path,
        sink: Box<dyn Write + Send>,
        start: &EpisodeStart,
        topics: &[Topic],
    ) -> Result<Self, WriteError> {
        let failed = |error| failure(path, 0, error);
        // Without seeking, a chunk is put together in memory and is never on the disk without its length.
        let options = WriteOptions::new().library(LIBRARY).compression(None).chunk_size(None).disable_seeking(true);
        let sink = NoSeek::new(BufWriter::with_capacity(BUFFER_BYTES, sink));
        let mut mcap = options.create(sink).map_err(failed)?;
        let mut channels = BTreeMap::new();
        for topic in topics {
            let (name, descriptor) = schema::of(*topic);
            let schema = mcap.add_schema(&name, "protobuf", &descriptor).map_err(failed)?;
            let channel = mcap.add_channel(schema, topic.name(), "protobuf", &BTreeMap::new()).map_err(failed)?;
            channels.insert(topic.name(), (channel, 0));
        }
        let mut file = Self {
            path: path.to_owned(),
            mcap,
            channels,
            start_us: start.stamp_us,
            wall_us: start.wall_us,
            ticks: 0,
            unflushed_since_us: None,
            unflushed: 0,
            period_us: start.control_period_us.into(),
            bytes: Vec::new(),
        };
        file.message(Topic::Start, start.stamp_us, &wire::Start::from(start))?;
        file.flush()?;
        Ok(file)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a file within this one; it is with the operating system when this returns.
    ///
    /// # Errors
    /// See [`WriteError::Write`].
    pub fn attach(&mut self, attachment: &Attachment) -> Result<(), WriteError> {
        let time_ns = self.time_ns(self.start_us);
        let record = mcap::Attachment {
            log_time: time_ns,
            create_time: time_ns,
            name: attachment.name.clone(),
            media_type: attachment.media_type.clone(),
            data: attachment.bytes.as_slice().into(),
        };
        self.mcap.attach(&record).map_err(|error| failure(&self.path, self.ticks, error))?;
        self.flush()
    }

    /// Writes a tick.
    ///
    /// # Errors
    /// See [`WriteError::Write`].
    pub fn tick(&mut self, tick: &Tick) -> Result<(), WriteError> {
        self.message(Topic::Tick, tick.stamp_us, &wire::Tick::from(tick))?;
        self.ticks += 1;
        let since_us = *self.unflushed_since_us.get_or_insert(tick.stamp_us);
        self.unflushed += 1;
        // A clock that jumps back or stands still must not keep ticks in memory: their number tells time too.
        let span_us = tick.stamp_us.abs_diff(since_us).saturating_add(self.period_us);
        if span_us.max(self.unflushed * self.period_us) >= CHUNK_US {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes how arm and line are, with the ticks around it.
    ///
    /// # Errors
    /// See [`WriteError::Write`].
    pub fn bus(&mut self, bus: &BusHealth) -> Result<(), WriteError> {
        self.message(Topic::Bus, bus.stamp_us, &wire::Bus::from(bus))
    }

    /// Writes a fault, at once.
    ///
    /// # Errors
    /// See [`WriteError::Write`].
    pub fn fault(&mut self, fault: &FaultEvent) -> Result<(), WriteError> {
        self.message(Topic::Fault, fault.stamp_us, &wire::Fault::from(fault))?;
        self.flush()
    }

    /// Writes one transition of a derived file.
    pub(super) fn transition(&mut self, transition: &wire::Transition) -> Result<(), WriteError> {
        self.message(Topic::Transition, transition.stamp_us, transition)
    }

    /// Whether something is not with the operating system yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.unflushed_since_us.is_some()
    }

    /// Closes the chunk and hands it to the operating system.
    ///
    /// # Errors
    /// See [`WriteError::Write`].
    pub fn flush(&mut self) -> Result<(), WriteError> {
        (self.unflushed_since_us, self.unflushed) = (None, 0);
        self.mcap.flush().map_err(|error| failure(&self.path, self.ticks, error))
    }

    /// Writes the end and the index.
    ///
    /// # Errors
    /// See [`WriteError::Write`].
    pub fn finish(mut self, end: Option<&EpisodeEnd>) -> Result<(), WriteError> {
        if let Some(end) = end {
            self.message(Topic::End, end.stamp_us, &wire::End::from(end))?;
        }
        self.flush()?;
        let failed = |error| failure(&self.path, self.ticks, error);
        self.mcap.finish().map_err(failed)?;
        self.mcap.into_inner().into_inner().flush().map_err(|error| failed(error.into()))
    }

    fn message(&mut self, topic: Topic, stamp_us: u64, message: &impl prost::Message) -> Result<(), WriteError> {
        let failed = |error| failure(&self.path, self.ticks, error);
        wire::encode(topic, message, &mut self.bytes);
        let known = self.channels.get_mut(topic.name());
        let (channel_id, sequence) = known.ok_or_else(|| failed(McapError::UnknownChannel(0, 0)))?;
        let (channel_id, sequence) = (*channel_id, std::mem::replace(sequence, sequence.wrapping_add(1)));
        let time_ns = self.time_ns(stamp_us);
        let header = MessageHeader { channel_id, sequence, log_time: time_ns, publish_time: time_ns };
        let written = self.mcap.write_to_known_channel(&header, &self.bytes);
        written.map_err(|error| failure(&self.path, self.ticks, error))
    }

    /// Time of a record, ns: Unix time where it was known at the start, else the host's clock.
    fn time_ns(&self, stamp_us: u64) -> u64 {
        let time_us = match self.wall_us {
            Some(wall_us) => wall_us.saturating_add(stamp_us.saturating_sub(self.start_us)),
            None => stamp_us,
        };
        time_us.saturating_mul(1000)
    }
}
