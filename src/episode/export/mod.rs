//! Recorded episodes for other people's tools: [`lerobot`] datasets, [`ticks`] as one flat table, and [`foxglove`] views
//! in three dimensions.
//!
//! The recordings are only read, one at a time; nothing is overwritten; the same episodes give the same bytes.

pub mod foxglove;
mod frames;
pub mod lerobot;
mod statistics;
mod table;
pub mod ticks;

use super::folder::FolderError;
use super::reader::ReadError;
use parquet::errors::ParquetError;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Why episodes could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The target is there already; nothing was changed.
    #[error("{} exists already and is not overwritten; name another place", .0.display())]
    Exists(PathBuf),
    /// A file or folder could not be made or written.
    #[error("cannot write {}: {cause}; free some space, or name a place that can be written to", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A Parquet file could not be written.
    #[error("cannot write {}: {cause}; free some space, or name a place that can be written to", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        cause: ParquetError,
    },
    /// The source is not a usable folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// No episode was given, or none could be read.
    #[error("there is no episode with a tick to export{}", .0.as_ref().map_or_else(String::new, |first| format!("; of those that cannot be read, the first: {first}")))]
    Nothing(Option<Box<ReadError>>),
    /// An episode does not go with the ones before it.
    #[error("{} has {what} {found}, the episodes before it {expected}; export them apart", path.display())]
    Mixed {
        /// The episode's file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// Of the first episode.
        expected: String,
        /// Of this one.
        found: String,
    },
    /// The arm's joints are not known, or an episode has another number of them.
    #[error("{} is of arm {found:?}, expected {expected:?} with its six joints in every tick", path.display())]
    Arm {
        /// The episode's file.
        path: PathBuf,
        /// The arm that the export is for.
        expected: String,
        /// The episode's.
        found: String,
    },
    /// A policy step falls between two frames.
    #[error("at {rate_hz} frames a second a policy step of {} would have no frame; choose a higher rate", path.display())]
    TooSlow {
        /// The episode's file.
        path: PathBuf,
        /// The rate that was asked for.
        rate_hz: u32,
    },
}

impl ExportError {
    fn io(path: &Path, cause: io::Error) -> Self {
        Self::Io { path: path.to_owned(), cause }
    }

    fn parquet(path: &Path, cause: ParquetError) -> Self {
        Self::Parquet { path: path.to_owned(), cause }
    }
}

/// What an export has done.
#[derive(Debug, Default)]
pub struct Exported {
    /// Episodes written.
    pub episodes: u64,
    /// Of these, how many were cut off or damaged; what is whole was written.
    pub incomplete: u64,
    /// Rows written.
    pub rows: u64,
    /// Files that gave nothing, each with the reason.
    pub skipped: Vec<ReadError>,
}

impl Exported {
    /// An export without a row is an error, not a result.
    fn checked(mut self) -> Result<Self, ExportError> {
        if self.rows == 0 {
            let first = (!self.skipped.is_empty()).then(|| Box::new(self.skipped.swap_remove(0)));
            return Err(ExportError::Nothing(first));
        }
        Ok(self)
    }
}

/// Creates a file that is not there yet.
fn create_new(path: &Path) -> Result<File, ExportError> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => ExportError::Exists(path.to_owned()),
        _ => ExportError::io(path, cause),
    })
}
