//! Every tick of every episode as a row of one flat table, for spreadsheets, pandas, DuckDB and the like.
//!
//! Columns are the fields of [`crate::episode::Tick`] with a number a column (`position_rad.0` is the joint next
//! to the base), after `episode`, the number in the source file's name. What an episode lacks is an empty cell in CSV
//! and NaN in Parquet. Nothing is resampled.

use super::table::{Column, CsvFile, ParquetFile, Values};
use super::{ExportError, Exported};
use crate::episode::{MAX_OBSERVATION, ObjectTrack, Tick, read};
use std::path::{Path, PathBuf};

/// The joints that the table has columns for.
const JOINTS: usize = crate::kinematics::JOINTS;

/// Which kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RFC 4180, a line of names first.
    Csv,
    /// Apache Parquet, Snappy, a row group an episode.
    Parquet,
}

enum Out {
    Csv(CsvFile),
    Parquet(ParquetFile),
}

/// Writes the ticks of `files` to the new file `target`, an episode in memory at a time. `on_episode` is called after
/// each. A file that cannot be read is skipped.
///
/// # Errors
/// `target` exists or cannot be written, or there is no tick at all.
pub fn export(
    files: &[PathBuf],
    target: &Path,
    kind: Kind,
    mut on_episode: impl FnMut(),
) -> Result<Exported, ExportError> {
    let mut out = None;
    let mut exported = Exported::default();
    for (number, file) in files.iter().enumerate() {
        match read(file) {
            Ok(recovered) => {
                let ticks = &recovered.episode.ticks;
                let columns = columns(number_of(file).unwrap_or(number as i64), ticks);
                let out = match &mut out {
                    Some(out) => out,
                    None => out.insert(match kind {
                        Kind::Csv => Out::Csv(CsvFile::create(target, &columns)?),
                        Kind::Parquet => Out::Parquet(ParquetFile::create(target, &columns, &[])?),
                    }),
                };
                match out {
                    Out::Csv(out) => out.push(&columns, ticks.len())?,
                    Out::Parquet(out) => out.push(&columns)?,
                }
                exported.episodes += 1;
                exported.incomplete += u64::from(!recovered.is_complete());
                exported.rows += ticks.len() as u64;
            }
            Err(error) => exported.skipped.push(error),
        }
        on_episode();
    }
    match out {
        Some(Out::Csv(out)) => out.finish()?,
        Some(Out::Parquet(out)) => out.finish()?,
        None => {}
    }
    exported.checked()
}

/// The number in `episode-NUMBER.mcap`.
fn number_of(file: &Path) -> Option<i64> {
    file.file_stem()?.to_str()?.strip_prefix("episode-")?.parse().ok()
}

fn columns(episode: i64, ticks: &[Tick]) -> Vec<Column> {
    let whole = |name: &str, of: &dyn Fn(&Tick) -> i64| Column::new(name, Values::I64(ticks.iter().map(of).collect()));
    let mut columns = vec![
        whole("episode", &|_| episode),
        whole("index", &|tick| tick.index as i64),
        whole("stamp_us", &|tick| tick.stamp_us as i64),
        whole("step", &|tick| i64::from(tick.step)),
        Column::new("begins_step", Values::Bool(ticks.iter().map(|tick| tick.begins_step).collect())),
        whole("reading_age_us", &|tick| i64::from(tick.reading_age_us)),
        whole("interventions", &|tick| i64::from(tick.interventions)),
    ];
    let mut floats = |name: &str, width: usize, of: &dyn Fn(&Tick, usize) -> Option<f32>| {
        columns.extend((0..width).map(|k| {
            let values = ticks.iter().map(|tick| of(tick, k).unwrap_or(f32::NAN)).collect();
            Column::new(format!("{name}.{k}"), Values::F32(values))
        }));
    };
    floats("position_rad", JOINTS, &|tick, k| tick.joints.position_rad.get(k).copied());
    floats("velocity_rad_s", JOINTS, &|tick, k| tick.joints.velocity_rad_s.get(k).copied());
    floats("load", JOINTS, &|tick, k| tick.joints.load.get(k).copied());
    floats("requested_rad", JOINTS, &|tick, k| tick.requested_rad.get(k).copied());
    floats("applied_rad", JOINTS, &|tick, k| tick.applied_rad.get(k).copied());
    floats("sent_rad", JOINTS, &|tick, k| tick.sent_rad.get(k).copied());
    floats("requested_action", 4, &|tick, k| tick.requested_action.get(k).copied());
    floats("applied_action", 4, &|tick, k| tick.applied_action.get(k).copied());
    floats("achieved_goal", 3, &|tick, k| tick.achieved_goal.get(k).copied());
    floats("desired_goal", 3, &|tick, k| tick.desired_goal.get(k).copied());
    floats("observation", MAX_OBSERVATION, &|tick, k| tick.observation.get(k).copied());
    let mut doubles = |name: &str, width: usize, of: &dyn Fn(&ObjectTrack, usize) -> f64| {
        columns.extend((0..width).map(|k| {
            let values = ticks.iter().map(|tick| tick.object.as_ref().map_or(f64::NAN, |object| of(object, k)));
            Column::new(format!("object.{name}.{k}"), Values::F64(values.collect()))
        }));
    };
    doubles("raw_position", 3, &|object, k| object.raw_position[k]);
    doubles("raw_orientation", 4, &|object, k| object.raw_orientation[k]);
    doubles("position", 3, &|object, k| object.position[k]);
    doubles("orientation", 4, &|object, k| object.orientation[k]);
    doubles("velocity_m_s", 3, &|object, k| object.velocity_m_s[k]);
    doubles("angular_velocity_rad_s", 3, &|object, k| object.angular_velocity_rad_s[k]);
    doubles("age_us", 1, &|object, _| f64::from(object.age_us));
    columns
}
