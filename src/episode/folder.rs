//! A folder of episodes: `episode-000000.mcap`, `episode-000001.mcap` and so on, each with a summary
//! `episode-000000.json` for people beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder of episodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} as a folder of episodes: {cause}; name a folder that can be read and written", path.display())]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

impl Folder {
    /// Opens a folder that is there.
    ///
    /// # Errors
    /// It is not, or is not a folder, or cannot be listed.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        fs::read_dir(path).map_err(|cause| FolderError { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned() })
    }

    /// Opens a folder, and makes it and its parents if they are not there.
    ///
    /// # Errors
    /// It cannot be made or listed.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(|cause| FolderError { path: path.to_owned(), cause })?;
        Self::open(path)
    }

    /// As [`Folder::create`], for episodes to be recorded: a folder that takes no files is refused here, before an arm
    /// moves, and not at the first episode.
    ///
    /// # Errors
    /// It cannot be made, listed, or written to.
    pub fn create_to_record(path: &Path) -> Result<Self, FolderError> {
        let folder = Self::create(path)?;
        // Only trying tells: access rights say nothing of a read-only disk, and to root nothing at all.
        let probe = path.join(".hindsight-probe");
        let tried = fs::write(&probe, []).and_then(|()| fs::remove_file(&probe));
        tried.map_err(|cause| FolderError { path: path.to_owned(), cause })?;
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of an episode by its number.
    pub fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("episode-{number:06}.mcap"))
    }

    /// Where the next episode goes: one after the largest number, so that deleting an episode never moves another.
    ///
    /// # Errors
    /// The folder cannot be listed any more.
    pub fn next_file(&self) -> Result<PathBuf, FolderError> {
        let last = self.numbered()?.into_iter().map(|(number, _)| number).max();
        Ok(self.file(last.map_or(0, |number| number.saturating_add(1))))
    }

    /// Episode files in the order of their numbers.
    ///
    /// # Errors
    /// The folder cannot be listed any more.
    pub fn files(&self) -> Result<Vec<PathBuf>, FolderError> {
        let mut files = self.numbered()?;
        files.retain(|(_, path)| path.extension().is_some_and(|extension| extension == "mcap"));
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    /// Files and summaries with their numbers.
    fn numbered(&self) -> Result<Vec<(u64, PathBuf)>, FolderError> {
        let failed = |cause| FolderError { path: self.path.clone(), cause };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_prefix("episode-"));
            if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
                found.push((number, path));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::tests::sample;
    use crate::episode::{Pace, Recorder};

    #[test]
    fn a_folder_numbers_its_episodes_and_leaves_other_files_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("a/b")).unwrap();
        for number in [0, 1, 2, 3] {
            let next = folder.next_file().unwrap();
            assert_eq!(next, folder.file(number));
            let recorder = Recorder::create(&next, sample(1, 1).start, Pace::Inline).unwrap();
            recorder.finish(sample(1, 1).end.unwrap()).unwrap();
        }
        std::fs::remove_file(folder.file(1)).unwrap();
        std::fs::write(folder.file(2), "not an episode").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        assert_eq!(folder.files().unwrap(), [folder.file(0), folder.file(2), folder.file(3)]);
        assert_eq!(folder.next_file().unwrap(), folder.file(4));
        assert!(Folder::open(&place.path().join("nowhere")).is_err());
    }
}
