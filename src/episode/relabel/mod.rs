//! Derived files: recorded episodes with the goals that were achieved put in place of those that were wanted
//! (hindsight experience replay, arXiv 1707.01495).
//!
//! The learner relabels by itself while it samples and needs none of this. The files are for looking at what it
//! learns from, and for other people's learners. The log is only read; `episode-000012.mcap` becomes
//! `relabelled-000012.mcap` in another folder, with `/transition` messages instead of ticks. Its start names the
//! source by SHA-256 in its metadata (`relabelled_from_sha256`), next to `strategy`, `k` and `relabel_seed`.
//!
//! For each whole step come the original transition and then k relabelled ones, on the action that was applied and
//! with reward and success computed anew. What is drawn depends on the seed and the source's bytes alone (with
//! [`Strategy::Random`], on all sources'), so an episode may be added or deleted without changing the others.
//!
//! Memory holds an episode a thread, and what does not grow with their number: of the goals that
//! [`Strategy::Random`] draws from, a fixed number is kept (see [`POOL`]).

mod goals;

pub use goals::{CELL_M, POOL, Spread};

use super::reader::{ReadError, SOURCE_KEY, parse_with, read, read_hashed};
use super::scan::Item;
use super::wire::{self, Topic};
use super::writer::{EpisodeFile, WriteError};
use super::{Episode, EpisodeStart, Folder, Recovered, Transition, folder::FolderError};
use crate::learn::hindsight::{Relabel, Strategy};
use crate::task::CONTACT_M;
use goals::{Achieved, Pool};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Why a folder could not be relabelled.
#[derive(Debug, thiserror::Error)]
pub enum RelabelError {
    /// Source or target is not a usable folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The target is the source.
    #[error("{} is the folder of the recordings; name another one for what is derived from them", .0.display())]
    IntoSource(PathBuf),
    /// There is nothing to relabel.
    #[error("{} holds no episode; name a folder with episode-NUMBER.mcap files", .0.display())]
    NoEpisodes(PathBuf),
    /// None of the files can be read.
    #[error("none of the {count} files in {} can be read; of the first: {first}", folder.display())]
    NoneReadable {
        /// The folder.
        folder: PathBuf,
        /// How many files it holds.
        count: usize,
        /// Why the first cannot be read.
        first: ReadError,
    },
    /// See [`WriteError`].
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What became of a folder's episodes.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Episodes relabelled.
    pub episodes: u64,
    /// Of these, how many were cut off or damaged; their whole steps were used.
    pub incomplete: u64,
    /// Of these, how many ended away from their goal.
    pub misses: u64,
    /// Of the misses, how many hold at least one relabelled step that hits.
    pub misses_turned_hits: u64,
    /// Of the episodes, how many moved their object by more than [`CONTACT_M`].
    pub with_contact: u64,
    /// Original transitions.
    pub transitions: u64,
    /// Of these, how many reached their goal.
    pub transition_hits: u64,
    /// Relabelled transitions.
    pub relabelled: u64,
    /// Of these, how many reach their new goal.
    pub relabelled_hits: u64,
    /// Where the original goals lie, a step each.
    pub wanted: Spread,
    /// Where the substituted goals lie, a relabelled step each.
    pub substituted: Spread,
    /// Files that gave nothing, each with the reason.
    pub skipped: Vec<ReadError>,
}

impl Statistics {
    fn merge(&mut self, other: Self) {
        self.episodes += other.episodes;
        self.incomplete += other.incomplete;
        self.misses += other.misses;
        self.misses_turned_hits += other.misses_turned_hits;
        self.with_contact += other.with_contact;
        self.transitions += other.transitions;
        self.transition_hits += other.transition_hits;
        self.relabelled += other.relabelled;
        self.relabelled_hits += other.relabelled_hits;
        self.wanted.merge(&other.wanted);
        self.substituted.merge(&other.substituted);
        self.skipped.extend(other.skipped);
    }

    /// Fraction of the episodes with contact; `None` without episodes.
    pub fn contact_fraction(&self) -> Option<f64> {
        (self.episodes > 0).then(|| self.with_contact as f64 / self.episodes as f64)
    }
}

/// Files that are worked on before their statistics are added up.
const BATCH: usize = 256;

/// Steps of a derived file whose transitions are one chunk; what a process that is killed loses can be derived again.
const STEPS_IN_CHUNK: usize = 64;

/// Relabels every episode of `source` into `target`, one at a time on each thread. `on_episodes` is told how many more
/// are done. `reward(start, achieved, desired)` is
/// that of the episode's task, 0 at the goal and less elsewhere: [`EpisodeStart::compute_reward`] for ours.
///
/// # Errors
/// `target` is `source`, holds a derived file already (nothing is overwritten), or cannot be written; or `source`
/// gives no episode. An unreadable source file is not an error: see [`Statistics::skipped`].
pub fn relabel(
    source: &Path,
    target: &Path,
    how: Relabel,
    seed: u64,
    reward: impl Fn(&EpisodeStart, &[f32], &[f32]) -> f32 + Copy + Sync,
    mut on_episodes: impl FnMut(u64),
) -> Result<Statistics, RelabelError> {
    let source = Folder::open(source)?;
    let files = source.files()?;
    if files.is_empty() {
        return Err(RelabelError::NoEpisodes(source.path().to_owned()));
    }
    let target = Folder::create(target)?;
    let is_source = matches!((target.path().canonicalize(), source.path().canonicalize()), (Ok(target), Ok(source)) if target == source);
    if is_source {
        return Err(RelabelError::IntoSource(target.path().to_owned()));
    }
    if let Some(taken) = files.iter().map(|file| derived_path(&target, file)).find(|path| path.exists()) {
        return Err(WriteError::Exists(taken).into());
    }
    let pool = match how.strategy {
        Strategy::Random => Some(achieved_anywhere(&files, seed)),
        Strategy::Final | Strategy::Future | Strategy::Episode => None,
    };
    let mut statistics = Statistics::default();
    for batch in files.chunks(BATCH) {
        let derived: Vec<_> = batch
            .par_iter()
            .map(|file| match read_hashed(file) {
                Ok(source) => derive(&derived_path(&target, file), &source, how, seed, pool.as_ref(), reward),
                Err(error) => Ok(Statistics { skipped: vec![error], ..Statistics::default() }),
            })
            .collect();
        // In the files' order, whichever thread was first.
        for derived in derived {
            statistics.merge(derived?);
        }
        on_episodes(batch.len() as u64);
    }
    if statistics.episodes == 0 && !statistics.skipped.is_empty() {
        let (folder, count) = (source.path().to_owned(), files.len());
        return Err(RelabelError::NoneReadable { folder, count, first: statistics.skipped.swap_remove(0) });
    }
    Ok(statistics)
}

fn derived_path(target: &Folder, source: &Path) -> PathBuf {
    let name = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    target.path().join(format!("relabelled-{}", name.trim_start_matches("episode-")))
}

fn achieved_anywhere(files: &[PathBuf], seed: u64) -> Pool {
    let mut pool = Pool::new(seed);
    for (batch, numbers) in files.chunks(BATCH).zip((0..).step_by(BATCH)) {
        let achieved: Vec<Vec<[f32; 3]>> = batch
            .par_iter()
            .map(|file| match read(file) {
                Ok(found) => found.episode.transitions(|_, _| 0.0).map(|step| step.next_achieved_goal).collect(),
                // What cannot be read is reported when its own turn comes.
                Err(_) => Vec::new(),
            })
            .collect();
        for (file, (number, goals)) in batch.iter().zip((numbers..).zip(achieved)) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            pool.add(number, &name, &goals);
        }
    }
    pool
}

fn derive(
    path: &Path,
    (recovered, sha256): &(Recovered, String),
    how: Relabel,
    seed: u64,
    pool: Option<&Pool>,
    reward: impl Fn(&EpisodeStart, &[f32], &[f32]) -> f32,
) -> Result<Statistics, WriteError> {
    let episode = &recovered.episode;
    let reward = |achieved: &[f32], desired: &[f32]| reward(&episode.start, achieved, desired);
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ u64::from_str_radix(&sha256[..16], 16).unwrap_or(0));
    let mut file = EpisodeFile::create(path, &start(episode, sha256, how, seed), &Topic::DERIVED)?;
    let transitions: Vec<_> = episode.transitions(reward).collect();
    let mut statistics = Statistics { episodes: 1, transitions: transitions.len() as u64, ..Statistics::default() };
    for (step, transition) in transitions.iter().enumerate() {
        statistics.transition_hits += u64::from(transition.reward >= 0.0);
        statistics.wanted.add(transition.desired_goal);
        let mut message = message(transition);
        file.transition(&message)?;
        for _ in 0..how.k {
            let (goal, goal_step, goal_file) = match how.strategy.goal_index(step, transitions.len(), &mut rng) {
                Some(index) => (transitions[index - 1].next_achieved_goal, index as u32, ""),
                // The pool holds at least this episode's own, unless its file was changed since it was collected.
                None => match pool.and_then(|pool| pool.draw(&mut rng)) {
                    Some((Achieved { goal, goal_step, .. }, file)) => (*goal, *goal_step, file),
                    None => continue,
                },
            };
            let reward = reward(&transition.next_achieved_goal, &goal);
            statistics.relabelled += 1;
            statistics.relabelled_hits += u64::from(reward >= 0.0);
            statistics.substituted.add(goal);
            message.desired_goal.copy_from_slice(&goal);
            (message.reward, message.success) = (reward, reward >= 0.0);
            (message.goal_step, message.goal_file) = (goal_step, goal_file.to_owned());
            file.transition(&message)?;
        }
        if step % STEPS_IN_CHUNK == STEPS_IN_CHUNK - 1 {
            file.flush()?;
        }
    }
    file.finish(episode.end.as_ref())?;
    let is_miss = transitions.last().is_none_or(|last| last.reward < 0.0);
    statistics.incomplete = u64::from(!recovered.is_complete());
    statistics.misses = u64::from(is_miss);
    statistics.misses_turned_hits = u64::from(is_miss && statistics.relabelled_hits > 0);
    statistics.with_contact = u64::from(episode.object_travel_m() > CONTACT_M);
    Ok(statistics)
}

fn start(episode: &Episode, sha256: &str, how: Relabel, seed: u64) -> EpisodeStart {
    let mut start = episode.start.clone();
    let mut add = |key: &str, value: String| start.metadata.insert(key.to_owned(), value);
    add(SOURCE_KEY, sha256.to_owned());
    add("strategy", format!("{:?}", how.strategy).to_lowercase());
    add("k", how.k.to_string());
    add("relabel_seed", seed.to_string());
    start
}

/// The transition with its original goal.
fn message(transition: &Transition<'_>) -> wire::Transition {
    wire::Transition {
        step: transition.step,
        goal_step: 0,
        observation: transition.observation.to_vec(),
        achieved_goal: transition.achieved_goal.to_vec(),
        desired_goal: transition.desired_goal.to_vec(),
        action: transition.applied_action.to_vec(),
        next_observation: transition.next_observation.to_vec(),
        next_achieved_goal: transition.next_achieved_goal.to_vec(),
        reward: transition.reward,
        success: transition.reward >= 0.0,
        stamp_us: transition.stamp_us,
        goal_file: String::new(),
    }
}

/// Reads a derived file: its start and its transitions, as far as they are whole.
///
/// # Errors
/// The file is not MCAP or holds no start.
pub fn read_derived(path: &Path) -> Result<(EpisodeStart, Vec<wire::Transition>), ReadError> {
    let (mut start, mut transitions) = (None, Vec::new());
    let bytes = super::reader::load(path)?;
    parse_with(path, &bytes, |item| {
        let corrupt = super::reader::DamageKind::Corrupt;
        match item {
            Item::Message(topic @ Topic::Start, bytes) => {
                start = wire::decode(topic, bytes).and_then(wire::Start::into_start);
            }
            Item::Message(topic @ Topic::Transition, bytes) => {
                transitions.push(wire::decode(topic, bytes).ok_or(corrupt)?);
            }
            _ => {}
        }
        Ok(())
    })?;
    start.map(|start| (start, transitions)).ok_or_else(|| ReadError::NotAnEpisode(path.to_owned()))
}

#[cfg(test)]
mod tests;
