//! Finds the whole messages of an MCAP file that may be cut or damaged anywhere. No input panics, and none makes it
//! allocate more than the file's own size, or than [`MAX_BYTES`] where a chunk is compressed.
//!
//! Chunks are compressed by others, such as `mcap compress`: of such a chunk nothing comes back unless it is whole.
//!
//! The crate `mcap` reads whole files and whole chunks. This reader is ours because the last chunk of a cut file
//! still holds whole messages, which their own check (see [`super::wire`]) tells from damaged ones.
//!
//! A record is an opcode (`u8`), a length (`u64`, little-endian) and a body of that length. Only these are read:
//! footer (2), schema (3), channel (4), message (5), chunk (6), attachment (9); the rest is skipped over.

use super::reader::MAX_BYTES;
use super::wire::{PACKAGE, Topic};
use std::collections::BTreeMap;
use std::io::Read;

const FOOTER: u8 = 0x02;
const SCHEMA: u8 = 0x03;
const CHANNEL: u8 = 0x04;
const MESSAGE: u8 = 0x05;
const CHUNK: u8 = 0x06;
const ATTACHMENT: u8 = 0x09;

/// Where and how a file stops making sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset} of {size}")]
pub struct Damage {
    /// Offset of the record that is damaged.
    pub offset: u64,
    /// Size of the file.
    pub size: u64,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What is wrong with a file from some byte on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// The file ends within a record.
    #[error("the file was cut off")]
    Cut,
    /// The file ends where a record could follow, but without the closing mark.
    #[error("the file was not closed")]
    NotClosed,
    /// A checksum is wrong, or a length leads nowhere.
    #[error("the bytes are damaged")]
    Corrupt,
    /// A chunk is compressed in a way that is not known.
    #[error(
        "expected a chunk that is compressed with zstd or lz4 or not at all, found `{0}` (`mcap decompress` undoes it)"
    )]
    Compressed(String),
    /// The messages are of another version of the format.
    #[error("the messages are of `{0}`, not of `{PACKAGE}`,")]
    Version(String),
    /// A message does not follow from those before it.
    #[error("a message does not continue the episode ({0})")]
    OutOfPlace(&'static str),
}

/// Something whole in a file.
pub(super) enum Item<'a> {
    /// A message of a known topic.
    Message(Topic, &'a [u8]),
    /// An attached file.
    Attachment {
        /// Its name.
        name: &'a str,
        /// Its media type.
        media_type: &'a str,
        /// Its content.
        bytes: &'a [u8],
    },
}

/// Hands everything whole to `take`, in the file's order, until the file ends or is damaged, and says how it ended.
/// `bytes` is what follows MCAP's opening magic, `base` the offset of its first byte. `take` returns what is wrong with
/// an item, which ends the scan too.
pub(super) fn scan(
    bytes: &[u8],
    base: u64,
    mut take: impl FnMut(Item<'_>) -> Result<(), DamageKind>,
) -> Result<(), Damage> {
    let size = base + bytes.len() as u64;
    let mut channels = BTreeMap::new();
    let mut rest = Bytes(bytes);
    loop {
        let offset = size - rest.0.len() as u64;
        let damage = |kind| Damage { offset, size, kind };
        if rest.0.is_empty() {
            return Err(damage(DamageKind::NotClosed));
        }
        let (opcode, body, is_cut) = match rest.record() {
            Some((opcode, length, body)) => (opcode, body, (body.len() as u64) < length),
            None => return Err(damage(DamageKind::Cut)),
        };
        match opcode {
            CHUNK => chunk(body, is_cut, &mut channels, &mut take).map_err(damage)?,
            _ if is_cut => return Err(damage(DamageKind::Cut)),
            CHANNEL => channel(body, &mut channels).map_err(damage)?,
            MESSAGE => message(body, &channels, &mut take).map_err(damage)?,
            ATTACHMENT => attachment(body).ok_or(DamageKind::Corrupt).and_then(&mut take).map_err(damage)?,
            FOOTER if rest.0 == mcap::MAGIC => return Ok(()),
            FOOTER => {
                return Err(damage(if mcap::MAGIC.starts_with(rest.0) {
                    DamageKind::Cut
                } else {
                    DamageKind::Corrupt
                }));
            }
            _ => {}
        }
    }
}

type Channels = BTreeMap<u16, Option<Topic>>;

fn chunk(
    body: &[u8],
    is_cut: bool,
    channels: &mut Channels,
    take: &mut impl FnMut(Item<'_>) -> Result<(), DamageKind>,
) -> Result<(), DamageKind> {
    let broken = if is_cut { DamageKind::Cut } else { DamageKind::Corrupt };
    let mut rest = Bytes(body);
    let header = (|| {
        rest.take(16)?; // first and last time
        let (size, sum) = (rest.u64()?, rest.u32()?);
        let compression = rest.string()?;
        Some((size, sum, compression, rest.u64()?))
    })();
    let Some((size, sum, compression, length)) = header else { return Err(broken) };
    let mut is_whole = !is_cut && rest.0.len() as u64 == length;
    let records;
    if !compression.is_empty() {
        if !is_whole {
            return Err(broken);
        }
        records = decompressed(compression, rest.0, size)?;
        rest = Bytes(&records);
    }
    is_whole &= sum == 0 || crc32fast::hash(rest.0) == sum;
    while !rest.0.is_empty() {
        let Some((opcode, length, body)) = rest.record() else { return Err(broken) };
        if (body.len() as u64) < length {
            return Err(broken);
        }
        match opcode {
            CHANNEL => channel(body, channels)?,
            MESSAGE => message(body, channels, take)?,
            SCHEMA if is_whole => schema(body)?,
            // Of a damaged chunk nothing is believed but messages, which have a check of their own.
            _ => {}
        }
    }
    if is_whole { Ok(()) } else { Err(broken) }
}

/// The records of a compressed chunk, which are `size` bytes.
fn decompressed(compression: &[u8], bytes: &[u8], size: u64) -> Result<Vec<u8>, DamageKind> {
    let decoder: Box<dyn Read + '_> = match compression {
        b"zstd" => Box::new(ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|_| DamageKind::Corrupt)?),
        b"lz4" => Box::new(lz4_flex::frame::FrameDecoder::new(bytes)),
        other => return Err(DamageKind::Compressed(String::from_utf8_lossy(other).into_owned())),
    };
    // Grows as bytes come, for a damaged size may be anything.
    let mut records = Vec::new();
    match decoder.take(size.min(MAX_BYTES)).read_to_end(&mut records) {
        Ok(count) if count as u64 == size => Ok(records),
        _ => Err(DamageKind::Corrupt),
    }
}

/// Refuses a schema of another version of the format: its fields may mean something else.
fn schema(body: &[u8]) -> Result<(), DamageKind> {
    let mut rest = Bytes(body);
    let name = (|| {
        rest.take(2)?; // id
        std::str::from_utf8(rest.string()?).ok()
    })();
    match name.and_then(|name| name.rsplit_once('.')) {
        Some((package, _)) if package.starts_with("hindsight.v") && package != PACKAGE => {
            Err(DamageKind::Version(package.to_owned()))
        }
        _ => Ok(()),
    }
}

fn channel(body: &[u8], channels: &mut Channels) -> Result<(), DamageKind> {
    let mut rest = Bytes(body);
    let parsed = (|| {
        let id = rest.u16()?;
        rest.u16()?; // schema
        Some((id, rest.string()?))
    })();
    let (id, name) = parsed.ok_or(DamageKind::Corrupt)?;
    channels.insert(id, std::str::from_utf8(name).ok().and_then(Topic::named));
    Ok(())
}

fn message(
    body: &[u8],
    channels: &Channels,
    take: &mut impl FnMut(Item<'_>) -> Result<(), DamageKind>,
) -> Result<(), DamageKind> {
    let mut rest = Bytes(body);
    let channel = (|| {
        let channel = rest.u16()?;
        rest.take(20)?; // sequence and times
        channels.get(&channel)
    })();
    match channel {
        None => Err(DamageKind::Corrupt),
        Some(None) => Ok(()),
        Some(Some(topic)) => take(Item::Message(*topic, rest.0)),
    }
}

/// An attached file; `None` where its check is wrong. (A check of 0 is none; we write one.)
fn attachment(body: &[u8]) -> Option<Item<'_>> {
    let (checked, sum) = body.split_last_chunk::<4>()?;
    let sum = u32::from_le_bytes(*sum);
    if sum != 0 && crc32fast::hash(checked) != sum {
        return None;
    }
    let mut rest = Bytes(checked);
    rest.take(16)?; // log and creation time
    let (name, media_type) = (rest.string()?, rest.string()?);
    let length = usize::try_from(rest.u64()?).ok()?;
    let bytes = rest.take(length)?;
    Some(Item::Attachment {
        name: std::str::from_utf8(name).ok()?,
        media_type: std::str::from_utf8(media_type).ok()?,
        bytes,
    })
}

/// The bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length.try_into().ok()?)
    }

    /// Opcode, length, and as much of the body as is there.
    fn record(&mut self) -> Option<(u8, u64, &'a [u8])> {
        let [opcode] = self.array()?;
        let length = self.u64()?;
        let there = usize::try_from(length).unwrap_or(usize::MAX).min(self.0.len());
        Some((opcode, length, self.take(there)?))
    }
}
