//! Reads an episode back, however its recording ended.

pub use super::scan::{Damage, DamageKind};

use super::decode;
use super::scan::{Item, scan};
use super::wire::{self, PACKAGE, Topic};
use super::{Attachment, BusHealth, Episode, EpisodeEnd, EpisodeStart, Tick};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The largest file that is read, bytes. An episode of an hour at 125 Hz is a quarter of it.
pub const MAX_BYTES: u64 = 1 << 30;

/// Key in a start's metadata that marks a derived file; its value is the SHA-256 of the file it was derived from.
pub const SOURCE_KEY: &str = "relabelled_from_sha256";

/// An episode with what is known about its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// Everything whole in the file.
    pub episode: Episode,
    /// Files kept within the episode's.
    pub attachments: Vec<Attachment>,
    /// How arm and line were, in order.
    pub bus: Vec<BusHealth>,
    /// Where the file stops making sense; `None` if it is whole. What was read before is right.
    pub damage: Option<Damage>,
}

impl Recovered {
    /// Whether the recording is known to be all there: its end was read. (Only the index may be damaged then.)
    pub fn is_complete(&self) -> bool {
        self.episode.end.is_some()
    }
}

/// Why a file gave no episode at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read {}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file has no bytes.
    #[error("{} is empty: its recording was killed before it began; delete it", .0.display())]
    Empty(PathBuf),
    /// The file is far larger than an episode.
    #[error("{} has {found} bytes, an episode at most {MAX_BYTES}; name an episode file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, bytes.
        found: u64,
    },
    /// The file does not begin as MCAP does.
    #[error("{} is not an MCAP file; name an episode file, which is called episode-NUMBER.mcap", .0.display())]
    Foreign(PathBuf),
    /// The file is MCAP, but does not begin with an episode's start.
    #[error("{} is MCAP but not an episode: its first message is not on {}", .0.display(), Topic::Start.name())]
    NotAnEpisode(PathBuf),
    /// The file was derived from an episode.
    #[error("{} was derived by relabelling; name the episodes that it was made from", .0.display())]
    Derived(PathBuf),
    /// The file is of another version of the format.
    #[error("{}: expected {PACKAGE}, found {found}; read it with the program that recorded it, or with a later one \
             than this", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its messages' package.
        found: String,
    },
    /// Nothing whole is left.
    #[error("{} holds no whole message: {damage}; nothing can be recovered from it", path.display())]
    NothingWhole {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
}

/// Reads an episode file.
///
/// # Errors
/// The file is not an episode, or nothing of it is whole. A file that is damaged after its start is not an error:
/// see [`Recovered::damage`].
pub fn read(path: &Path) -> Result<Recovered, ReadError> {
    parse(path, &load(path)?)
}

/// As [`read`], with the SHA-256 of the file's bytes in lower-case hexadecimal. On one core that takes a third longer.
///
/// # Errors
/// As [`read`].
pub fn read_hashed(path: &Path) -> Result<(Recovered, String), ReadError> {
    let bytes = load(path)?;
    let (recovered, sha256) = rayon::join(|| parse(path, &bytes), || sha256_hex(&bytes));
    Ok((recovered?, sha256))
}

/// Reads a file whole, if it may be an episode's.
pub(super) fn load(path: &Path) -> Result<Vec<u8>, ReadError> {
    let failed = |cause| ReadError::Io { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    if found > MAX_BYTES {
        return Err(ReadError::TooLarge { path: path.to_owned(), found });
    }
    // One more, so that the end is found without growing.
    let mut bytes = Vec::with_capacity(found as usize + 1);
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Reads an episode from the bytes of a file; `path` is only for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Recovered, ReadError> {
    let mut parts = Parts::default();
    let damage = parse_with(path, bytes, |item| parts.take(item))?;
    let Parts { start: Some(start), attachments, ticks, bus, faults, end } = parts else {
        return Err(match damage {
            Some(damage) => ReadError::NothingWhole { path: path.to_owned(), damage },
            None => ReadError::NotAnEpisode(path.to_owned()),
        });
    };
    if start.metadata.contains_key(SOURCE_KEY) {
        return Err(ReadError::Derived(path.to_owned()));
    }
    Ok(Recovered { episode: Episode { start, ticks, faults, end }, attachments, bus, damage })
}

/// Checks the magic and scans the rest.
pub(super) fn parse_with(
    path: &Path,
    bytes: &[u8],
    take: impl FnMut(Item<'_>) -> Result<(), DamageKind>,
) -> Result<Option<Damage>, ReadError> {
    if bytes.is_empty() {
        return Err(ReadError::Empty(path.to_owned()));
    }
    match bytes.strip_prefix(mcap::MAGIC) {
        Some(rest) => match scan(rest, mcap::MAGIC.len() as u64, take).err() {
            Some(Damage { kind: DamageKind::Version(found), .. }) => {
                Err(ReadError::Version { path: path.to_owned(), found })
            }
            damage => Ok(damage),
        },
        None if mcap::MAGIC.starts_with(bytes) => {
            let size = bytes.len() as u64;
            Ok(Some(Damage { offset: 0, size, kind: DamageKind::Cut }))
        }
        None => Err(ReadError::Foreign(path.to_owned())),
    }
}

/// SHA-256 as lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Default)]
struct Parts {
    start: Option<EpisodeStart>,
    attachments: Vec<Attachment>,
    ticks: Vec<Tick>,
    bus: Vec<BusHealth>,
    faults: Vec<super::FaultEvent>,
    end: Option<EpisodeEnd>,
}

impl Parts {
    fn take(&mut self, item: Item<'_>) -> Result<(), DamageKind> {
        use DamageKind::{Corrupt, OutOfPlace};
        let (topic, bytes) = match item {
            Item::Message(topic, bytes) => (topic, bytes),
            Item::Attachment { name, media_type, bytes } => {
                let (name, media_type) = (name.to_owned(), media_type.to_owned());
                self.attachments.push(Attachment { name, media_type, bytes: bytes.to_owned() });
                return Ok(());
            }
        };
        if self.start.is_none() && topic != Topic::Start {
            return Err(OutOfPlace("it comes before the start"));
        }
        if self.end.is_some() {
            return Err(OutOfPlace("it comes after the end"));
        }
        match topic {
            Topic::Start => {
                if self.start.is_some() {
                    return Err(OutOfPlace("it is a second start"));
                }
                self.start =
                    Some(wire::decode::<wire::Start>(topic, bytes).and_then(wire::Start::into_start).ok_or(Corrupt)?);
            }
            Topic::Tick => {
                let index = self.ticks.len() as u64;
                if decode::push_tick(bytes, &mut self.ticks).ok_or(Corrupt)?.index != index {
                    self.ticks.pop();
                    return Err(OutOfPlace("a tick is missing before it"));
                }
            }
            Topic::Bus => self.bus.push(wire::decode::<wire::Bus>(topic, bytes).ok_or(Corrupt)?.into_health()),
            Topic::Fault => {
                self.faults.push(wire::decode::<wire::Fault>(topic, bytes).ok_or(Corrupt)?.into_fault());
            }
            Topic::End => {
                self.end = Some(wire::decode::<wire::End>(topic, bytes).and_then(wire::End::into_end).ok_or(Corrupt)?);
            }
            Topic::Transition => return Err(OutOfPlace("it is of a derived file, not of a recording")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
