//! What is known of a folder's episodes, kept beside them, so that a large folder is not read anew to be listed.
//!
//! The files are the truth and the index is a copy: it may be deleted, and an entry counts only for a file of the same
//! size and time of change. What it says of other files is thrown away when it is brought up to date.

use super::inspect::Figures;
use super::reader::read_hashed;
use super::{Folder, ReadError, folder::FolderError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Name of the index in its folder.
pub const FILE: &str = "index.json";
/// Version of the index's form; an index of another one is made anew.
const VERSION: u32 = 1;

/// What is known of an episode file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Size of the file, bytes.
    bytes: u64,
    /// When it was changed, Unix time, ns.
    changed_ns: u64,
    /// Task's name.
    pub task: String,
    /// Arm's name.
    pub arm: String,
    /// Name of the policy that acted.
    pub policy: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// Whether all of the recording is there.
    pub whole: bool,
    /// The episode in numbers.
    pub figures: Figures,
}

/// What is known of a folder's episodes, by their file names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Index {
    version: u32,
    /// What is known of each readable file.
    pub episodes: BTreeMap<String, Entry>,
}

/// A folder's index that is up to date.
#[derive(Debug)]
pub struct Indexed {
    /// Every readable file's entry.
    pub index: Index,
    /// Files that gave nothing, each with the reason.
    pub unreadable: BTreeMap<String, ReadError>,
    /// How many files were read for it.
    pub read: usize,
}

impl Index {
    /// Brings the index of `folder` up to date: files that are new or have changed are read, on all cores. `on_files` is
    /// told how many more are known. With `anew`, every file is read. That the index cannot be written, such as to a
    /// read-only folder, is no error.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn update(folder: &Folder, anew: bool, on_files: impl Fn(u64) + Sync) -> Result<Indexed, FolderError> {
        let place = folder.path().join(FILE);
        let kept = if anew { Self::default() } else { Self::load(&place).unwrap_or_default() };
        let known = |file: &PathBuf| {
            let (name, stamp) = (name(file), stamp(file));
            let entry = kept.episodes.get(&name).filter(|entry| stamp == Some((entry.bytes, entry.changed_ns)));
            let (entry, was_read) = entry.map_or_else(|| (Entry::of(file), true), |entry| (Ok(entry.clone()), false));
            on_files(1);
            (name, entry, was_read)
        };
        let found: Vec<_> = folder.files()?.par_iter().map(known).collect();
        let mut indexed = Indexed {
            index: Self { version: VERSION, episodes: BTreeMap::new() },
            unreadable: BTreeMap::new(),
            read: found.iter().filter(|(_, _, was_read)| *was_read).count(),
        };
        for (name, entry, _) in found {
            match entry {
                Ok(entry) => drop(indexed.index.episodes.insert(name, entry)),
                Err(error) => drop(indexed.unreadable.insert(name, error)),
            }
        }
        if indexed.index != kept {
            // A copy of what the files say: without it, only time is lost.
            let _ = indexed.index.save(&place);
        }
        Ok(indexed)
    }

    /// The index in a file; `None` if there is none of this version.
    fn load(file: &Path) -> Option<Self> {
        let index: Self = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        (index.version == VERSION).then_some(index)
    }

    /// Writes the index whole or not at all.
    fn save(&self, file: &Path) -> std::io::Result<()> {
        let unfinished = file.with_extension(format!("json.{}", std::process::id()));
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let written = std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, file));
        if written.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        written
    }
}

impl Entry {
    /// What a file says.
    ///
    /// # Errors
    /// It gives no episode.
    pub fn of(file: &Path) -> Result<Self, ReadError> {
        // Before reading: what is written meanwhile makes the entry old.
        let (bytes, changed_ns) = stamp(file).unwrap_or_default();
        let (recovered, sha256) = read_hashed(file)?;
        let start = &recovered.episode.start;
        Ok(Self {
            bytes,
            changed_ns,
            task: start.task.clone(),
            arm: start.arm.clone(),
            policy: start.policy.clone(),
            whole: recovered.is_complete() && recovered.damage.is_none(),
            figures: Figures::of(&recovered.episode),
            sha256,
        })
    }
}

/// Size and time of change of a file.
fn stamp(file: &Path) -> Option<(u64, u64)> {
    let data = std::fs::metadata(file).ok()?;
    let changed = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((data.len(), u64::try_from(changed.as_nanos()).ok()?))
}

fn name(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::tests::sample;
    use crate::episode::{Pace, Recorder};

    fn record(folder: &Folder) {
        let episode = sample(3, 10);
        let mut recorder = Recorder::create(&folder.next_file().unwrap(), episode.start, Pace::Inline).unwrap();
        episode.ticks.into_iter().try_for_each(|tick| recorder.record(tick)).unwrap();
        recorder.finish(episode.end.unwrap()).unwrap();
    }

    fn update(folder: &Folder, anew: bool) -> Indexed {
        Index::update(folder, anew, |_| {}).unwrap()
    }

    #[test]
    fn only_what_is_new_or_has_changed_is_read_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(place.path()).unwrap();
        (0..3).for_each(|_| record(&folder));
        let first = update(&folder, false);
        assert_eq!((first.read, first.index.episodes.len()), (3, 3));
        assert_eq!(first.index.episodes["episode-000001.mcap"].figures, Figures::of(&sample(3, 10)));
        let second = update(&folder, false);
        assert_eq!((second.read, &second.index), (0, &first.index));

        record(&folder);
        std::fs::remove_file(folder.file(0)).unwrap();
        let cut = std::fs::read(folder.file(1)).unwrap();
        std::fs::write(folder.file(1), &cut[..cut.len() / 2]).unwrap();
        std::fs::write(folder.file(2), "not an episode").unwrap();
        let third = update(&folder, false);
        assert_eq!(third.read, 3, "the new one, the cut one, and the one that is none");
        assert_eq!(third.index.episodes.keys().collect::<Vec<_>>(), ["episode-000001.mcap", "episode-000003.mcap"]);
        assert!(!third.index.episodes["episode-000001.mcap"].whole);
        assert!(matches!(third.unreadable["episode-000002.mcap"], ReadError::Foreign(_)));
    }

    #[test]
    fn an_index_that_is_damaged_or_of_another_version_or_lies_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(place.path()).unwrap();
        record(&folder);
        let truth = update(&folder, false).index;
        let file = place.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        for bad in ["{", "", &text.replace("\"version\": 1", "\"version\": 99")] {
            std::fs::write(&file, bad).unwrap();
            let found = update(&folder, false);
            assert_eq!((found.read, &found.index), (1, &truth), "{bad}");
        }
        std::fs::write(&file, text.replace("\"contact\": true", "\"contact\": false")).unwrap();
        assert_ne!(update(&folder, false).index, truth, "this test sees what the index says");
        assert_eq!(update(&folder, true).index, truth, "asked for, everything is read anew");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}
