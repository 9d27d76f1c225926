//! A whole training in one file, from which a killed run goes on as if nothing had happened: the same bits follow.
//!
//! All numbers little-endian:
//!
//! | Bytes | What |
//! |---|---|
//! | 8 | magic `HINDSTRN` |
//! | 4 | version, 3 |
//! | 8, then as many | a JSON object: counters, random numbers' states, and what the caller wants to remember |
//! | 8, then as many | the agent, as an `.agent` file |
//! | 8, then as many | the best agent so far, likewise; empty without one |
//! | three times | a replay buffer: 3 × 8 bytes of episodes, cursor, frames used; then an episode after another, the oldest first: 8 first frame, 8 transitions, 1 terminated, frames × numbers × 4 |
//! | 4 | CRC-32 of everything before it |
//!
//! Environments are not stored: a cycle begins with their reset, which depends on its seed alone.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::{TrainError, Trainer};
use crate::env::GoalEnv;
use crate::learn::agent::Agent;
use crate::learn::checkpoint::CheckpointError;
use crate::learn::replay::ReplayBuffer;

const MAGIC: &[u8; 8] = b"HINDSTRN";
const VERSION: u32 = 3;
/// Longest header or agent, bytes; keeps a forged file from asking for all memory.
const LONGEST_PART: u64 = 1 << 28;

/// What the one who trains wants back with the trainer.
#[derive(Debug, Clone, Default)]
pub struct Memo {
    /// Anything that JSON can say: settings, the learning curve.
    pub note: serde_json::Value,
    /// The best agent so far.
    pub best: Option<Agent>,
}

/// Why a training cannot be stored or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Not a training's file, of another version, cut or changed.
    #[error("{path} holds no training to go on with: {what}; train from the start")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The environments given are not those of the training.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// The JSON part.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    rng: Pcg64Mcg,
    explorers: Vec<Pcg64Mcg>,
    next_seed: u64,
    /// As bits: decimal fractions might be rounded.
    owed_updates_bits: u64,
    env_steps: u64,
    updates: u64,
    episodes: u64,
    recent_updates: u64,
    /// What it knows of luck, as bits; none where nothing is imitated.
    foresight_bits: Option<Vec<u64>>,
    elapsed_s: f64,
    note: serde_json::Value,
}

impl Trainer {
    /// Stores the training between two cycles, whole or not at all: a file beside `path` is written first, brought to
    /// the disk, and then renamed. Recorded episodes ([`Trainer::with_real_episodes`]) are not stored.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]; an earlier file at `path` is then as it was.
    pub fn save(&self, path: &Path, elapsed: Duration, memo: &Memo) -> Result<(), SnapshotError> {
        let fail = |source| SnapshotError::Io { path: path.display().to_string(), source };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        let written = self.write(Path::new(&beside), elapsed, memo);
        if written.is_err() {
            // A full disk needs the room back.
            let _ = std::fs::remove_file(&beside);
        }
        written.and_then(|()| std::fs::rename(&beside, path)).map_err(fail)
    }

    fn write(&self, path: &Path, elapsed: Duration, memo: &Memo) -> io::Result<()> {
        let header = Header {
            rng: self.rng.clone(),
            explorers: self.collector.explorers(),
            next_seed: self.next_seed,
            owed_updates_bits: self.owed_updates.to_bits(),
            env_steps: self.env_steps,
            updates: self.updates,
            episodes: self.episodes,
            recent_updates: self.agent.recent_updates,
            foresight_bits: self.foresight.as_ref().map(|it| it.sums().into_iter().map(f64::to_bits).collect()),
            elapsed_s: elapsed.as_secs_f64(),
            note: memo.note.clone(),
        };
        let file = Checked { inner: File::create(path)?, crc: crc32fast::Hasher::new() };
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        let best = memo.best.as_ref().map(Agent::to_bytes).unwrap_or_default();
        for part in [serde_json::to_vec(&header)?, self.agent.to_bytes(), best] {
            out.write_all(&(part.len() as u64).to_le_bytes())?;
            out.write_all(&part)?;
        }
        for buffer in self.memory.buffers() {
            buffer.write(&mut out)?;
        }
        out.flush()?;
        let crc = out.get_ref().crc.clone().finalize();
        out.write_all(&crc.to_le_bytes())?;
        out.flush()?;
        out.get_ref().inner.sync_all()
    }

    /// Goes on with a stored training in environments like those it had; the next [`Trainer::run`] counts its budget
    /// from the stored training's beginning.
    ///
    /// # Errors
    /// See [`SnapshotError`]; no file panics.
    pub fn restore(path: &Path, envs: Vec<Box<dyn GoalEnv>>) -> Result<(Self, Memo), SnapshotError> {
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                SnapshotError::Damaged { path: path.display().to_string(), what: source.to_string() }
            }
            _ => SnapshotError::Io { path: path.display().to_string(), source },
        };
        check(path).map_err(fail)?;
        let mut from = BufReader::with_capacity(1 << 20, File::open(path).map_err(fail)?);
        from.read_exact(&mut [0; 12]).map_err(fail)?;
        let header: Header = serde_json::from_slice(&part(&mut from).map_err(fail)?).map_err(|e| fail(e.into()))?;
        let agent_of =
            |bytes: &[u8]| Agent::from_bytes(bytes).map_err(|e: CheckpointError| fail(damaged(&e.to_string())));
        let mut agent = agent_of(&part(&mut from).map_err(fail)?)?;
        let best = part(&mut from).map_err(fail)?;
        let best = if best.is_empty() { None } else { Some(agent_of(&best)?) };
        agent.recent_updates = header.recent_updates;
        let mut trainer = Self::resume(agent, envs, 0)?;
        if !trainer.collector.set_explorers(&header.explorers) {
            return Err(fail(damaged("it was made with another number of environments")));
        }
        for buffer in trainer.memory.buffers_mut() {
            buffer.read(&mut from).map_err(fail)?;
        }
        if let (Some(foresight), Some(bits)) = (&mut trainer.foresight, header.foresight_bits) {
            let sums: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
            if !foresight.set_sums(&sums) {
                return Err(fail(damaged("what it knows of luck is not of this size")));
            }
        }
        trainer.rng = header.rng;
        trainer.next_seed = header.next_seed;
        trainer.owed_updates = f64::from_bits(header.owed_updates_bits);
        (trainer.env_steps, trainer.updates, trainer.episodes) = (header.env_steps, header.updates, header.episodes);
        trainer.earlier = Some(Duration::try_from_secs_f64(header.elapsed_s).unwrap_or_default());
        Ok((trainer, Memo { note: header.note, best }))
    }
}

pub(in crate::learn) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Whether the file is a training's, of this version, and as it was written.
fn check(path: &Path) -> io::Result<()> {
    let mut from = BufReader::with_capacity(1 << 20, File::open(path)?);
    let length = from.get_ref().metadata()?.len();
    let mut head = [0; 12];
    from.read_exact(&mut head)?;
    if head[..8] != *MAGIC {
        return Err(damaged("it does not begin with HINDSTRN"));
    }
    if head[8..] != VERSION.to_le_bytes() {
        return Err(damaged("it was written by another version of this program"));
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head);
    let mut rest = (&mut from).take(length.saturating_sub(12 + 4));
    let mut block = vec![0; 1 << 16];
    loop {
        match rest.read(&mut block)? {
            0 => break,
            read => crc.update(&block[..read]),
        }
    }
    let mut stored = [0; 4];
    from.read_exact(&mut stored)?;
    if stored != crc.finalize().to_le_bytes() {
        return Err(damaged("its checksum does not match"));
    }
    Ok(())
}

fn part(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_PART {
        return Err(damaged("a part of it is impossibly long"));
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(damaged("it ends too early")) }
}

/// Counts what is written into a checksum.
struct Checked<W> {
    inner: W,
    crc: crc32fast::Hasher,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl ReplayBuffer {
    /// Writes what is stored, the oldest episode first.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let (cursor, used) = self.extent();
        for number in [self.episodes(), cursor, used] {
            out.write_all(&(number as u64).to_le_bytes())?;
        }
        for (transition, frames) in self.stored() {
            out.write_all(&(transition.start as u64).to_le_bytes())?;
            out.write_all(&(transition.length as u64).to_le_bytes())?;
            out.write_all(&[u8::from(transition.terminated)])?;
            for number in frames {
                out.write_all(&number.to_le_bytes())?;
            }
        }
        Ok(())
    }

    /// Reads what [`ReplayBuffer::write`] wrote into an empty buffer of the same size.
    fn read(&mut self, from: &mut impl Read) -> io::Result<()> {
        let number = |from: &mut dyn Read| -> io::Result<usize> {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes)?;
            usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| damaged("a number in it is too large"))
        };
        let impossible = || damaged("its replay buffer is not of this size");
        let (episodes, cursor, used) = (number(from)?, number(from)?, number(from)?);
        for _ in 0..episodes {
            let (start, steps) = (number(from)?, number(from)?);
            let mut terminated = [0];
            from.read_exact(&mut terminated)?;
            let frames = self.place(start, steps, terminated[0] != 0).ok_or_else(impossible)?;
            for slot in frames {
                let mut bytes = [0; 4];
                from.read_exact(&mut bytes)?;
                *slot = f32::from_le_bytes(bytes);
            }
        }
        if self.set_extent(cursor, used) { Ok(()) } else { Err(impossible()) }
    }
}

#[cfg(test)]
mod tests;
