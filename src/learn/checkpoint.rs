//! A whole agent in one file, to go on learning from.
//!
//! All numbers little-endian:
//!
//! | Bytes | What |
//! |---|---|
//! | 8 | magic `HINDSAGT` |
//! | 4 | version, 1 |
//! | 4 | length of the hyper-parameters, then these as TOML (UTF-8) |
//! | 3 × 4 | layout: observation, goal, action |
//! | 2 × 8 | updates, environment steps |
//! | 8 + width × 16 | normaliser: rows seen; means, then sums of squared differences, f64. Imported (2⁶⁴ − 1 rows): shifts, then scales |
//! | each of actor, critic (, second critic) | 8: Adam's steps; then network, target, Adam's mean, Adam's square: parameters × 4 each, f32 |
//! | 32 | SHA-256 of everything before it |
//!
//! The networks' sizes follow from layout and hyper-parameters and are not stored twice.

use super::adam::Adam;
use super::agent::{Agent, Learned};
use super::features;
use super::hyper::{Hyper, HyperError};
use super::network::{Network, Output, parameter_count};
use super::normalizer::Normalizer;
use crate::env::Layout;
use sha2::{Digest, Sha256};
use std::path::Path;

const MAGIC: &[u8; 8] = b"HINDSAGT";
const VERSION: u32 = 1;
const CHECKSUM_BYTES: usize = 32;
/// Largest vector that a layout may hold; keeps a forged file from asking for all memory.
const LARGEST_VECTOR: u32 = 4096;

/// Why an agent's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not an agent's file.
    #[error("not an agent's file (it does not begin with HINDSAGT); pass the .agent file that lies beside the policy")]
    Magic,
    /// Written by another version.
    #[error("an agent's file of version {found}, this program reads version {VERSION}; train again or use its program")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// Changed or cut since it was written.
    #[error("the agent's file is damaged (its checksum does not match); copy it again")]
    Checksum,
    /// Shorter or longer than its contents say.
    #[error("the agent's file is malformed: {0}")]
    Malformed(&'static str),
    /// Its hyper-parameters cannot be used.
    #[error("the agent's file: {0}")]
    Hyper(#[from] HyperError),
}

impl Agent {
    /// The agent as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        // Hyper-parameters are plain numbers, words and lists: TOML can always say them.
        let hyper = toml::to_string(&self.hyper).unwrap_or_default();
        out.extend_from_slice(&(hyper.len() as u32).to_le_bytes());
        out.extend_from_slice(hyper.as_bytes());
        for size in [self.layout.observation, self.layout.goal, self.layout.action] {
            out.extend_from_slice(&(size as u32).to_le_bytes());
        }
        for count in [self.updates, self.env_steps, self.normalizer.count] {
            out.extend_from_slice(&count.to_le_bytes());
        }
        for number in self.normalizer.mean.iter().chain(&self.normalizer.spread) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for learned in [&self.actor].into_iter().chain(&self.critics) {
            out.extend_from_slice(&learned.adam.steps.to_le_bytes());
            let parts =
                [learned.network.parameters(), learned.target.parameters(), &learned.adam.mean, &learned.adam.square];
            for number in parts.into_iter().flatten() {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let checksum = Sha256::digest(&out);
        out.extend_from_slice(&checksum);
        out
    }

    /// Reads what [`Agent::to_bytes`] wrote.
    ///
    /// # Errors
    /// See [`CheckpointError`]; no bytes panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(CheckpointError::Magic)?;
        let mut reader = Reader { rest };
        let version = reader.u32()?;
        if version != VERSION {
            return Err(CheckpointError::Version { found: version });
        }
        let (contents, checksum) = bytes
            .split_at_checked(bytes.len().saturating_sub(CHECKSUM_BYTES))
            .ok_or(CheckpointError::Malformed("it ends too early"))?;
        if Sha256::digest(contents)[..] != *checksum {
            return Err(CheckpointError::Checksum);
        }
        reader.rest = contents.get(MAGIC.len() + 4..).ok_or(CheckpointError::Malformed("it ends too early"))?;
        let length = reader.u32()? as usize;
        let text = std::str::from_utf8(reader.take(length)?)
            .map_err(|_| CheckpointError::Malformed("its hyper-parameters are not UTF-8"))?;
        let hyper = Hyper::from_toml(text)?;
        let layout = Layout { observation: reader.size()?, goal: reader.size()?, action: reader.size()? };
        hyper.check_columns(layout)?;
        let (updates, env_steps, rows) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let width = features::width(layout);
        let (mean, spread) = (reader.f64s(width)?, reader.f64s(width)?);
        if spread.iter().any(|&s| s < 0.0) {
            return Err(CheckpointError::Malformed("it holds a negative sum of squares"));
        }
        let input = features::input_width(layout, &hyper);
        let actor = reader.learned(input, &hyper, layout.action, Output::Tanh)?;
        let critics = (0..if hyper.twin_critic { 2 } else { 1 })
            .map(|_| reader.learned(input + layout.action, &hyper, 1, Output::Linear))
            .collect::<Result<Vec<_>, _>>()?;
        if !reader.rest.is_empty() {
            return Err(CheckpointError::Malformed("it goes on after its end"));
        }
        let normalizer = Normalizer::from_statistics(rows, mean, spread);
        Ok(Self::from_parts(hyper, layout, normalizer, actor, critics, updates, env_steps))
    }

    /// Writes the agent to a file, whole or not at all: a file beside it is written first and then renamed.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let fail = |source| CheckpointError::Io { path: path.display().to_string(), source };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        std::fs::write(&beside, self.to_bytes()).map_err(fail)?;
        std::fs::rename(&beside, path).map_err(fail)
    }

    /// Reads an agent from a file.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let fail = |source| CheckpointError::Io { path: path.display().to_string(), source };
        Self::from_bytes(&std::fs::read(path).map_err(fail)?)
    }
}

/// Reads from the front; lengths are checked before memory is asked for.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], CheckpointError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(CheckpointError::Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(CheckpointError::Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        self.array().map(u64::from_le_bytes)
    }

    fn size(&mut self) -> Result<usize, CheckpointError> {
        match self.u32()? {
            size @ 1..=LARGEST_VECTOR => Ok(size as usize),
            _ => Err(CheckpointError::Malformed("its layout has an impossible size")),
        }
    }

    fn f64s(&mut self, count: usize) -> Result<Vec<f64>, CheckpointError> {
        let numbers: Vec<f64> = self.take(count * 8)?.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        finite(numbers.iter().all(|x| x.is_finite()), numbers)
    }

    fn f32s(&mut self, count: usize) -> Result<Vec<f32>, CheckpointError> {
        let numbers: Vec<f32> = self.take(count * 4)?.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        finite(numbers.iter().all(|x| x.is_finite()), numbers)
    }

    fn learned(
        &mut self,
        inputs: usize,
        hyper: &Hyper,
        outputs: usize,
        output: Output,
    ) -> Result<Learned, CheckpointError> {
        let sizes: Vec<usize> = [inputs].into_iter().chain(hyper.hidden.iter().copied()).chain([outputs]).collect();
        let count = parameter_count(&sizes);
        let steps = self.u64()?;
        let mut network = || {
            let parameters = self.f32s(count)?;
            Network::from_parts(sizes.clone(), output, parameters).ok_or(CheckpointError::Malformed("a network's size"))
        };
        let (network, target) = (network()?, network()?);
        let (mean, square) = (self.f32s(count)?, self.f32s(count)?);
        if square.iter().any(|&s| s < 0.0) {
            return Err(CheckpointError::Malformed("it holds a negative mean of squares"));
        }
        Ok(Learned { network, target, adam: Adam { mean, square, steps } })
    }
}

fn finite<T>(all: bool, numbers: Vec<T>) -> Result<Vec<T>, CheckpointError> {
    if all { Ok(numbers) } else { Err(CheckpointError::Malformed("it holds a number that is not finite")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, proptest};
    use rand::SeedableRng;

    fn agent() -> Agent {
        let hyper = Hyper { hidden: vec![8, 6], twin_critic: true, batch: 128, ..Hyper::default() };
        let layout = Layout { observation: 5, goal: 2, action: 3 };
        let mut agent = Agent::new(hyper, layout, &mut rand_pcg::Pcg64Mcg::seed_from_u64(1)).unwrap();
        for i in 0..10 {
            agent.normalizer.observe(&[i as f32 * 0.3; 11]);
        }
        agent.normalizer.refresh();
        agent.actor.adam.steps = 12;
        agent.critics[1].adam.square[3] = 0.25;
        (agent.updates, agent.env_steps) = (12, 345);
        agent
    }

    #[test]
    fn an_agent_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("push.agent");
        agent().save(&path).unwrap();
        assert!(Agent::load(&path).unwrap() == agent());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(matches!(Agent::load(&folder.path().join("none")), Err(CheckpointError::Io { .. })));
    }

    #[test]
    fn a_file_that_enlarges_a_number_beyond_its_observation_is_refused() {
        let hyper = Hyper { zoomed_columns: vec![4], ..agent().hyper };
        let mut agent = Agent::new(hyper, agent().layout, &mut rand_pcg::Pcg64Mcg::seed_from_u64(1)).unwrap();
        assert!(Agent::from_bytes(&agent.to_bytes()).unwrap() == agent);
        agent.hyper.zoomed_columns = vec![5];
        let found = Agent::from_bytes(&agent.to_bytes());
        assert!(matches!(found, Err(CheckpointError::Hyper(HyperError::Columns { .. }))), "{:?}", found.err());
    }

    /// Damages the contents and makes the checksum fit again, as someone hostile would.
    fn forged(damage: impl FnOnce(&mut Vec<u8>)) -> Result<Agent, CheckpointError> {
        let mut bytes = agent().to_bytes();
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        damage(&mut bytes);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        Agent::from_bytes(&bytes)
    }

    #[test]
    fn foreign_damaged_and_forged_files_are_told_apart() {
        let bytes = agent().to_bytes();
        assert!(matches!(Agent::from_bytes(b"GGUF, a model of another kind"), Err(CheckpointError::Magic)));
        assert!(matches!(Agent::from_bytes(&bytes[..bytes.len() - 1]), Err(CheckpointError::Checksum)));
        let found = forged(|bytes| bytes[8] = 9).map(|_| ());
        assert!(matches!(found, Err(CheckpointError::Version { found: 9 })), "{found:?}");
        let longer = forged(|bytes| bytes.push(0)).map(|_| ());
        assert!(matches!(longer, Err(CheckpointError::Malformed(_))), "{longer:?}");
        let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let huge = forged(|bytes| bytes[16 + length..20 + length].fill(0xFF)).map(|_| ());
        assert!(matches!(huge, Err(CheckpointError::Malformed(_))), "{huge:?}");
        let wide = forged(|bytes| bytes[12..16].fill(0xFF)).map(|_| ());
        assert!(matches!(wide, Err(CheckpointError::Malformed(_))), "{wide:?}");
        let end = bytes.len() - CHECKSUM_BYTES;
        let nan = forged(|bytes| bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes())).map(|_| ());
        assert!(matches!(nan, Err(CheckpointError::Malformed(_))), "{nan:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..200), place in 0usize..3000, byte: u8, cut in 0usize..3000) {
            let _ = Agent::from_bytes(&tail);
            let _ = Agent::from_bytes(&[&MAGIC[..], &tail].concat());
            let _ = Agent::from_bytes(&[&MAGIC[..], &VERSION.to_le_bytes(), &tail].concat());
            let _ = forged(|bytes| bytes.truncate(cut));
            let _ = forged(|bytes| { let length = bytes.len(); bytes[place % length] = byte; });
            prop_assert!(Agent::from_bytes(&agent().to_bytes()[..cut.min(3000)]).is_err());
        }
    }
}
