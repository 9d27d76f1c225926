//! A folder of episodes as a LeRobotDataset, version 3.0, that LeRobot's own tools train on.
//!
//! | File | What |
//! |---|---|
//! | `meta/info.json` | features, rate, totals |
//! | `meta/stats.json` | statistics of every feature over all frames |
//! | `meta/tasks.parquet` | the task's name |
//! | `meta/episodes/chunk-000/file-000.parquet` | a row an episode: length, where its frames lie, its statistics |
//! | `data/chunk-000/file-000.parquet`, … | the frames, a row group an episode, a new file every 100 MB |
//!
//! What a frame holds stands in `frames.rs`. `action` is the joint goal that was really sent. There is no camera, so
//! there are no videos.

use super::frames::{Feature, features};
use super::statistics::Statistics;
use super::table::{Column, ParquetFile, Values};
use super::{ExportError, Exported};
use crate::episode::{Episode, read};
use crate::kinematics::Kinematics;
use serde_json::{Value, json};
use sim::ArmModel;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// LeRobot's defaults: files in a folder, and their largest size, MB.
const CHUNK_FILES: u64 = 1000;
const FILE_MB: u64 = 100;
/// Episodes whose rows are in memory at a time.
const PENDING: usize = 500;

/// Writes `files` into the new folder `target` at `rate_hz` frames a second, an episode in memory at a time.
/// `on_episode` is called after each. A file that cannot be read, or has no tick, is skipped.
///
/// # Errors
/// `target` exists or cannot be written; an episode is of another arm or task than the others, or a step falls between
/// two frames; or there is nothing to export. What was written until then is of no use.
pub fn export(
    files: &[PathBuf],
    target: &Path,
    model: &ArmModel,
    kinematics: &Kinematics,
    rate_hz: u32,
    mut on_episode: impl FnMut(),
) -> Result<Exported, ExportError> {
    if target.exists() {
        return Err(ExportError::Exists(target.to_owned()));
    }
    let mut exported = Exported::default();
    let mut dataset = None;
    for file in files {
        match read(file) {
            Ok(recovered) if recovered.episode.ticks.is_empty() => {}
            Ok(recovered) => {
                let features = features(file, &recovered.episode, model, kinematics, rate_hz)?;
                let dataset = match &mut dataset {
                    Some(dataset) => dataset,
                    None => dataset.insert(Dataset::create(target, &recovered.episode, &features, rate_hz)?),
                };
                dataset.push(file, &recovered.episode, features)?;
                exported.episodes += 1;
                exported.incomplete += u64::from(!recovered.is_complete());
            }
            Err(error) => exported.skipped.push(error),
        }
        on_episode();
    }
    if let Some(dataset) = dataset {
        exported.rows = dataset.frames;
        dataset.finish(&format!("{}_follower", model.name))?;
    }
    exported.checked()
}

/// A file's place: chunk and number.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    chunk: u64,
    file: u64,
}

impl Place {
    fn next(self) -> Self {
        let file = self.file + 1;
        if file < CHUNK_FILES { Self { file, ..self } } else { Self { chunk: self.chunk + 1, file: 0 } }
    }

    fn path(self, root: &Path) -> PathBuf {
        root.join(format!("data/chunk-{:03}/file-{:03}.parquet", self.chunk, self.file))
    }
}

/// A dataset being written.
struct Dataset {
    root: PathBuf,
    task: String,
    rate_hz: u32,
    /// Name, type and names within of every feature, as in `info.json`.
    features: BTreeMap<String, Value>,
    statistics: BTreeMap<String, Statistics>,
    place: Place,
    data: Option<ParquetFile>,
    index: Option<ParquetFile>,
    pending: Vec<Vec<Column>>,
    episodes: u64,
    frames: u64,
}

impl Dataset {
    fn create(root: &Path, episode: &Episode, features: &[Feature], rate_hz: u32) -> Result<Self, ExportError> {
        let mut described: BTreeMap<String, Value> = features
            .iter()
            .map(|feature| {
                let column = &feature.column;
                let shape = [column.width.unwrap_or(1)];
                (column.name.clone(), json!({ "dtype": dtype(column), "shape": shape, "names": feature.names }))
            })
            .collect();
        for column in counters(0, 0, 1, rate_hz) {
            described.insert(column.name.clone(), json!({ "dtype": dtype(&column), "shape": [1], "names": null }));
        }
        Ok(Self {
            root: root.to_owned(),
            task: episode.start.task.clone(),
            rate_hz,
            features: described,
            statistics: BTreeMap::new(),
            place: Place::default(),
            data: None,
            index: None,
            pending: Vec::new(),
            episodes: 0,
            frames: 0,
        })
    }

    fn push(&mut self, file: &Path, episode: &Episode, features: Vec<Feature>) -> Result<(), ExportError> {
        let mixed = |what, expected: &str, found: &str| {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            ExportError::Mixed { path: file.to_owned(), what, expected, found }
        };
        if episode.start.task != self.task {
            return Err(mixed("task", &self.task, &episode.start.task));
        }
        let length = episode_length(&features);
        let mut columns: Vec<Column> = features.into_iter().map(|feature| feature.column).collect();
        columns.extend(counters(self.frames, self.episodes, length, self.rate_hz));
        let names = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.join(", ")
        };
        let found = names(columns.iter().map(|column| column.name.as_str()).collect());
        let expected = names(self.features.keys().map(String::as_str).collect());
        if found != expected {
            return Err(mixed("features", &expected, &found));
        }
        let mut row = self.place_of_episode(length);
        for column in &columns {
            let Some(statistics) = Statistics::of(column) else { continue };
            let key = |name| format!("stats/{}/{name}", column.name);
            for (name, numbers) in statistics.named() {
                row.push(Column::lists(key(name), numbers.len(), Values::F64(numbers)));
            }
            row.push(Column::lists(key("count"), 1, Values::I64(vec![statistics.count() as i64])));
            match self.statistics.get_mut(&column.name) {
                Some(all) => all.merge(&statistics),
                None => drop(self.statistics.insert(column.name.clone(), statistics)),
            }
        }
        self.write_frames(&columns, &mut row)?;
        self.pending.push(row);
        if self.pending.len() >= PENDING {
            self.write_index()?;
        }
        self.episodes += 1;
        self.frames += length;
        Ok(())
    }

    /// The row of an episode in the index, without its statistics; the data file's place comes last.
    fn place_of_episode(&self, length: u64) -> Vec<Column> {
        let whole = |name: &str, value: u64| Column::new(name, Values::I64(vec![value as i64]));
        vec![
            whole("episode_index", self.episodes),
            Column::lists("tasks", 1, Values::Text(vec![self.task.clone()])),
            whole("length", length),
            whole("dataset_from_index", self.frames),
            whole("dataset_to_index", self.frames + length),
            whole("meta/episodes/chunk_index", 0),
            whole("meta/episodes/file_index", 0),
        ]
    }

    /// Appends an episode's frames to the data file, or to the next one if that is full, and notes where.
    fn write_frames(&mut self, columns: &[Column], row: &mut Vec<Column>) -> Result<(), ExportError> {
        if self.data.as_ref().is_some_and(|data| data.bytes() >= FILE_MB << 20)
            && let Some(full) = self.data.take()
        {
            full.finish()?;
            self.place = self.place.next();
        }
        let data = match &mut self.data {
            Some(data) => data,
            None => {
                let path = create_parents(self.place.path(&self.root))?;
                let features: serde_json::Map<String, Value> =
                    columns.iter().map(|column| (column.name.clone(), hugging_face(column))).collect();
                let metadata = json!({ "info": { "features": features } }).to_string();
                self.data.insert(ParquetFile::create(&path, columns, &[("huggingface", metadata)])?)
            }
        };
        data.push(columns)?;
        row.push(Column::new("data/chunk_index", Values::I64(vec![self.place.chunk as i64])));
        row.push(Column::new("data/file_index", Values::I64(vec![self.place.file as i64])));
        Ok(())
    }

    fn write_index(&mut self) -> Result<(), ExportError> {
        let mut rows = self.pending.drain(..);
        let Some(mut columns) = rows.next() else { return Ok(()) };
        for row in rows {
            columns.iter_mut().zip(row).for_each(|(column, cell)| column.append(cell));
        }
        let index = match &mut self.index {
            Some(index) => index,
            None => {
                let path = create_parents(self.root.join("meta/episodes/chunk-000/file-000.parquet"))?;
                self.index.insert(ParquetFile::create(&path, &columns, &[])?)
            }
        };
        index.push(&columns)
    }

    fn finish(mut self, robot: &str) -> Result<(), ExportError> {
        self.write_index()?;
        self.data.take().map_or(Ok(()), ParquetFile::finish)?;
        self.index.take().map_or(Ok(()), ParquetFile::finish)?;
        let tasks = [
            Column::new("task_index", Values::I64(vec![0])),
            Column::new("task", Values::Text(vec![self.task.clone()])),
        ];
        let mut file =
            ParquetFile::create(&self.root.join("meta/tasks.parquet"), &tasks, &[("pandas", pandas_index())])?;
        file.push(&tasks)?;
        file.finish()?;
        let statistics: BTreeMap<_, _> = self.statistics.iter().map(|(name, all)| (name, all.to_json())).collect();
        self.write_json("meta/stats.json", &json!(statistics))?;
        let info = json!({
            "codebase_version": "v3.0",
            "robot_type": robot,
            "fps": self.rate_hz,
            "features": self.features,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": 1,
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": FILE_MB,
            "video_files_size_in_mb": 200,
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": null,
            "splits": { "train": format!("0:{}", self.episodes) },
        });
        // Last: a dataset without it is not taken for one.
        self.write_json("meta/info.json", &info)
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<(), ExportError> {
        let path = self.root.join(name);
        let mut file = super::create_new(&path)?;
        file.write_all(format!("{value:#}\n").as_bytes()).map_err(|cause| ExportError::io(&path, cause))
    }
}

fn episode_length(features: &[Feature]) -> u64 {
    features.first().map_or(0, |feature| (feature.column.len() / feature.column.width.unwrap_or(1)) as u64)
}

/// The columns that every LeRobot dataset has.
fn counters(first: u64, episode: u64, length: u64, rate_hz: u32) -> [Column; 5] {
    let whole = |name: &str, of: &dyn Fn(u64) -> u64| {
        Column::new(name, Values::I64((0..length).map(|frame| of(frame) as i64).collect()))
    };
    let stamps = (0..length).map(|frame| (frame as f64 / f64::from(rate_hz)) as f32).collect();
    [
        Column::new("timestamp", Values::F32(stamps)),
        whole("frame_index", &|frame| frame),
        whole("episode_index", &|_| episode),
        whole("index", &|frame| first + frame),
        whole("task_index", &|_| 0),
    ]
}

/// NumPy's name of a column's type.
fn dtype(column: &Column) -> &'static str {
    match column.values {
        Values::F32(_) => "float32",
        Values::F64(_) => "float64",
        Values::I64(_) => "int64",
        Values::Bool(_) => "bool",
        Values::Text(_) => "string",
    }
}

/// A column as the `datasets` package describes it.
fn hugging_face(column: &Column) -> Value {
    let value = json!({ "dtype": dtype(column), "_type": "Value" });
    match column.width {
        Some(length) => json!({ "feature": value, "length": length, "_type": "List" }),
        None => value,
    }
}

/// Tells pandas that the tasks' names are the table's index, where LeRobot looks for them.
fn pandas_index() -> String {
    let column = |name: &str, kind: &str, numpy: &str| json!({ "name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": null });
    json!({
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "pandas_version": "2.0.0",
    })
    .to_string()
}

fn create_parents(path: PathBuf) -> Result<PathBuf, ExportError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|cause| ExportError::io(folder, cause))?;
    }
    Ok(path)
}
