//! A LeRobotDataset 3.0 on the disk: what it says of itself, and its frames, an episode at a time.
//!
//! LeRobot finds frames by counting rows, so that a row too few silently shifts every later episode. Here the counts of
//! description, index and data must agree before anything is taken.

use super::ImportError;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The version that is read.
const VERSION: &str = "v3.0";

/// `meta/info.json`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Info {
    robot_type: Option<String>,
    fps: f64,
    features: BTreeMap<String, Feature>,
    total_episodes: u64,
    total_frames: u64,
}

/// A feature as `info.json` describes it.
#[derive(Debug, Deserialize)]
pub(super) struct Feature {
    dtype: String,
    shape: Vec<usize>,
    #[serde(default)]
    names: Value,
}

impl Feature {
    /// Numbers in a frame.
    pub(super) fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Names of the numbers, where there are some.
    pub(super) fn names(&self) -> Vec<&str> {
        let list = match &self.names {
            // Some versions put the list below a word such as "motors".
            Value::Object(named) => named.values().next(),
            names => Some(names),
        };
        list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn is_picture(&self) -> bool {
        self.dtype == "video" || self.dtype == "image"
    }
}

/// A dataset whose description, index and row counts agree.
#[derive(Debug)]
pub(super) struct Dataset {
    root: PathBuf,
    info: Info,
    /// Frames of each episode.
    lengths: Vec<u64>,
    data: Vec<PathBuf>,
}

/// The frames of one episode.
#[derive(Debug, Default)]
pub(super) struct Frames {
    columns: BTreeMap<String, Column>,
    length: usize,
}

#[derive(Debug, Default)]
struct Column {
    width: usize,
    values: Vec<f64>,
}

impl Frames {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The numbers of a feature in a frame; none if the feature was not read.
    pub(super) fn row(&self, name: &str, frame: usize) -> &[f64] {
        let Some(column) = self.columns.get(name) else { return &[] };
        column.values.get(frame * column.width..(frame + 1) * column.width).unwrap_or_default()
    }

    /// The first number of a feature in a frame.
    pub(super) fn number(&self, name: &str, frame: usize) -> f64 {
        self.row(name, frame).first().copied().unwrap_or_default()
    }
}

impl Dataset {
    /// Opens a dataset and checks that its parts agree.
    ///
    /// # Errors
    /// A part is missing or damaged, the version is another, or the counts disagree.
    pub(super) fn open(root: &Path) -> Result<Self, ImportError> {
        let path = root.join("meta/info.json");
        let text = fs::read(&path).map_err(|cause| ImportError::NoDataset { root: root.to_owned(), cause })?;
        let json: Value = serde_json::from_slice(&text).map_err(|cause| ImportError::json(&path, &cause))?;
        // Before the rest is looked at, which another version may have otherwise.
        let version = json["codebase_version"].as_str().unwrap_or("none").to_owned();
        if version != VERSION {
            return Err(ImportError::Version { path, expected: VERSION, found: version });
        }
        let info: Info = serde_json::from_value(json).map_err(|cause| ImportError::json(&path, &cause))?;
        if !(info.fps.is_finite() && info.fps > 0.0) {
            let what = format!("{} frames a second", info.fps);
            return Err(ImportError::Damaged { path, what });
        }
        let mut dataset = Self { root: root.to_owned(), info, lengths: Vec::new(), data: Vec::new() };
        dataset.lengths = dataset.read_index()?;
        dataset.data = dataset.parquet_files("data")?;
        let mut rows = 0;
        for file in &dataset.data {
            rows += u64::try_from(open(file)?.metadata().file_metadata().num_rows()).unwrap_or_default();
        }
        dataset.expect_count("rows in data/", dataset.info.total_frames, rows)?;
        Ok(dataset)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn fps(&self) -> f64 {
        self.info.fps
    }

    pub(super) fn robot(&self) -> &str {
        self.info.robot_type.as_deref().unwrap_or("unknown")
    }

    pub(super) fn episodes(&self) -> u64 {
        self.info.total_episodes
    }

    pub(super) fn feature(&self, name: &str) -> Option<&Feature> {
        self.info.features.get(name)
    }

    /// Names of the features that are pictures.
    pub(super) fn cameras(&self) -> Vec<String> {
        self.info.features.iter().filter(|(_, feature)| feature.is_picture()).map(|(name, _)| name.clone()).collect()
    }

    /// Gives `each` the episodes in order, with the features of these names.
    ///
    /// # Errors
    /// A file is damaged or does not hold what the description says; or what `each` says.
    pub(super) fn each_episode(
        &self,
        names: &[&str],
        mut each: impl FnMut(u64, Frames) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let widths = names.iter().map(|&name| (name, self.feature(name).map_or(1, Feature::width)));
        let columns: Vec<(&str, usize)> = widths.chain([("episode_index", 1), ("frame_index", 1)]).collect();
        let (mut episode, mut frames) = (0, Frames::default());
        for file in &self.data {
            let reader = open(file)?;
            for group in 0..reader.num_row_groups() {
                let group = reader.get_row_group(group).map_err(|cause| ImportError::parquet(file, &cause))?;
                let rows = read_group(file, group.as_ref(), &columns)?;
                for row in 0..rows.length {
                    if frames.length as u64 == self.lengths.get(episode as usize).copied().unwrap_or_default() {
                        each(episode, std::mem::take(&mut frames))?;
                        episode += 1;
                    }
                    let found = (rows.number("episode_index", row), rows.number("frame_index", row));
                    if found != (episode as f64, frames.length as f64) {
                        let what = format!(
                            "expected frame {} of episode {episode}, found frame {} of episode {}",
                            frames.length, found.1, found.0
                        );
                        return Err(ImportError::Damaged { path: file.clone(), what });
                    }
                    for (name, width) in &columns {
                        let values = rows.row(name, row);
                        if values.iter().any(|value| !value.is_finite()) {
                            let frame = frames.length;
                            let what = format!("{name} of frame {frame} of episode {episode} is not finite");
                            return Err(ImportError::Damaged { path: file.clone(), what });
                        }
                        let column = frames.columns.entry((*name).to_owned()).or_default();
                        column.width = *width;
                        column.values.extend(values);
                    }
                    frames.length += 1;
                }
            }
        }
        if frames.length > 0 {
            each(episode, frames)?;
        }
        Ok(())
    }

    /// What the dataset calls its tasks.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub(super) fn tasks(&self) -> Result<Vec<String>, ImportError> {
        let path = self.root.join("meta/tasks.parquet");
        let failed = |cause| ImportError::parquet(&path, &cause);
        let mut tasks = Vec::new();
        for row in open(&path)?.get_row_iter(None).map_err(failed)? {
            let row = row.map_err(failed)?;
            let texts = row.get_column_iter().filter_map(|(_, field)| match field {
                parquet::record::Field::Str(text) => Some(text.clone()),
                _ => None,
            });
            tasks.extend(texts);
        }
        Ok(tasks)
    }

    /// Lengths of the episodes, from `meta/episodes`.
    fn read_index(&self) -> Result<Vec<u64>, ImportError> {
        let columns = ["episode_index", "length", "dataset_from_index", "dataset_to_index"];
        let (mut lengths, mut frames) = (Vec::new(), 0);
        for file in self.parquet_files("meta/episodes")? {
            let reader = open(&file)?;
            for group in 0..reader.num_row_groups() {
                let group = reader.get_row_group(group).map_err(|cause| ImportError::parquet(&file, &cause))?;
                let rows = read_group(&file, group.as_ref(), &columns.map(|name| (name, 1)))?;
                for row in 0..rows.length {
                    let found = columns.map(|name| rows.number(name, row) as u64);
                    let length = found[1];
                    if found != [lengths.len() as u64, length, frames, frames + length] || length == 0 {
                        let what = format!("episode {}, its length and its first and last frame disagree", found[0]);
                        return Err(ImportError::Damaged { path: file, what });
                    }
                    lengths.push(length);
                    frames += length;
                }
            }
        }
        self.expect_count("episodes in meta/episodes", self.info.total_episodes, lengths.len() as u64)?;
        self.expect_count("frames in meta/episodes", self.info.total_frames, frames)?;
        Ok(lengths)
    }

    fn expect_count(&self, what: &'static str, expected: u64, found: u64) -> Result<(), ImportError> {
        if expected == found {
            return Ok(());
        }
        Err(ImportError::Counts { root: self.root.clone(), what, expected, found })
    }

    /// The files `chunk-NUMBER/file-NUMBER.parquet` below a folder, in order.
    fn parquet_files(&self, below: &str) -> Result<Vec<PathBuf>, ImportError> {
        let folder = self.root.join(below);
        let list = |folder: &Path| -> Result<Vec<PathBuf>, ImportError> {
            let failed = |cause| ImportError::Io { path: folder.to_owned(), cause };
            let entries = fs::read_dir(folder).map_err(failed)?;
            entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
        };
        let mut files = Vec::new();
        for chunk in list(&folder)?.into_iter().filter(|path| path.is_dir()) {
            files.extend(list(&chunk)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "parquet")));
        }
        // Numbers have leading zeros up to a thousand, and sort by length beyond.
        files.sort_by_key(|path| {
            (path.parent().map(|chunk| chunk.as_os_str().len()), path.as_os_str().len(), path.clone())
        });
        Ok(files)
    }
}

fn open(path: &Path) -> Result<SerializedFileReader<File>, ImportError> {
    let file = File::open(path).map_err(|cause| ImportError::Io { path: path.to_owned(), cause })?;
    SerializedFileReader::new(file).map_err(|cause| ImportError::parquet(path, &cause))
}

/// The columns of these names and widths.
fn read_group(file: &Path, group: &dyn RowGroupReader, columns: &[(&str, usize)]) -> Result<Frames, ImportError> {
    let length = usize::try_from(group.metadata().num_rows()).unwrap_or_default();
    let mut found = Frames { length, columns: BTreeMap::new() };
    for &(name, width) in columns {
        let described = group.metadata().columns();
        let place = described.iter().position(|column| column.column_path().parts().first().is_some_and(|p| p == name));
        let damaged = |what: &str| ImportError::Damaged { path: file.to_owned(), what: format!("{name} {what}") };
        let place = place.ok_or_else(|| damaged("is missing"))?;
        let failed = |cause| ImportError::parquet(file, &cause);
        let reader = group.get_column_reader(place).map_err(failed)?;
        let read = match reader {
            ColumnReader::FloatColumnReader(reader) => values(reader, length, width, f64::from),
            ColumnReader::DoubleColumnReader(reader) => values(reader, length, width, |x| x),
            ColumnReader::Int64ColumnReader(reader) => values(reader, length, width, |x| x as f64),
            ColumnReader::Int32ColumnReader(reader) => values(reader, length, width, f64::from),
            ColumnReader::BoolColumnReader(reader) => values(reader, length, width, f64::from),
            _ => return Err(damaged("does not hold numbers")),
        };
        let values = read.map_err(failed)?.ok_or_else(|| damaged(&format!("does not hold {width} numbers a frame")))?;
        found.columns.insert(name.to_owned(), Column { width, values });
    }
    Ok(found)
}

/// All values of a column, `width` a row; `None` if a row has another number of them.
fn values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    width: usize,
    widen: impl Fn(T::T) -> f64,
) -> Result<Option<Vec<f64>>, ParquetError> {
    let (mut definition, mut repetition, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let (records, ..) =
            reader.read_records(rows - read, Some(&mut definition), Some(&mut repetition), &mut values)?;
        if records == 0 {
            break;
        }
        read += records;
    }
    // A repetition level of 0 begins a row (Dremel); a missing value has a level but no value.
    let even = repetition.iter().enumerate().all(|(at, level)| (*level == 0) == (at % width.max(1) == 0));
    let whole = read == rows && values.len() == rows * width && even;
    Ok(whole.then(|| values.into_iter().map(widen).collect()))
}
