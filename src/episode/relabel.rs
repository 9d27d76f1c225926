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

use super::reader::{ReadError, SOURCE_KEY, parse_with, read};
use super::wire::{self, Topic};
use super::writer::{EpisodeFile, WriteError};
use super::{Episode, EpisodeStart, Folder, Recovered, Transition, folder::FolderError};
use crate::learn::hindsight::{Relabel, Strategy};
use crate::task::CONTACT_M;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
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
    /// Files that gave nothing, each with the reason.
    pub skipped: Vec<ReadError>,
}

impl Statistics {
    /// Fraction of the episodes with contact; `None` without episodes.
    pub fn contact_fraction(&self) -> Option<f64> {
        (self.episodes > 0).then(|| self.with_contact as f64 / self.episodes as f64)
    }
}

/// Where a goal was achieved that another episode is relabelled with.
struct Achieved {
    file: String,
    goal_step: u32,
    goal: [f32; 3],
}

/// Relabels every episode of `source` into `target`, one at a time in memory. `reward(start, achieved, desired)` is
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
    reward: impl Fn(&EpisodeStart, &[f32], &[f32]) -> f32 + Copy,
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
    let pool = if how.strategy == Strategy::Random { achieved_anywhere(&files) } else { Vec::new() };
    let mut statistics = Statistics::default();
    for file in &files {
        match read(file) {
            Ok(recovered) => {
                let path = derived_path(&target, file);
                derive(&path, &recovered, how, seed, &pool, reward, &mut statistics)?;
            }
            Err(error) => statistics.skipped.push(error),
        }
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

fn achieved_anywhere(files: &[PathBuf]) -> Vec<Achieved> {
    let mut pool = Vec::new();
    // What cannot be read is reported when its own turn comes.
    for (file, recovered) in files.iter().filter_map(|file| Some((file, read(file).ok()?))) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        pool.extend(recovered.episode.transitions(|_, _| 0.0).zip(1..).map(|(transition, goal_step)| Achieved {
            file: name.clone().into_owned(),
            goal_step,
            goal: transition.next_achieved_goal,
        }));
    }
    pool
}

fn derive(
    path: &Path,
    recovered: &Recovered,
    how: Relabel,
    seed: u64,
    pool: &[Achieved],
    reward: impl Fn(&EpisodeStart, &[f32], &[f32]) -> f32 + Copy,
    statistics: &mut Statistics,
) -> Result<(), WriteError> {
    let Recovered { episode, sha256, .. } = recovered;
    let reward = |achieved: &[f32], desired: &[f32]| reward(&episode.start, achieved, desired);
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ u64::from_str_radix(&sha256[..16], 16).unwrap_or(0));
    let mut file = EpisodeFile::create(path, &start(episode, sha256, how, seed), &Topic::DERIVED)?;
    let transitions: Vec<_> = episode.transitions(reward).collect();
    let (mut hits, mut relabelled, mut relabelled_hits) = (0, 0, 0);
    for (step, transition) in transitions.iter().enumerate() {
        hits += u64::from(transition.reward >= 0.0);
        file.transition(&message(transition, transition.desired_goal, transition.reward, 0, ""))?;
        for _ in 0..how.k {
            let (goal, goal_step, goal_file) = match how.strategy.goal_index(step, transitions.len(), &mut rng) {
                Some(index) => (transitions[index - 1].next_achieved_goal, index as u32, ""),
                // The pool holds at least this episode's own, unless its file was changed since it was collected.
                None if pool.is_empty() => continue,
                None => {
                    let other = &pool[rng.random_range(0..pool.len())];
                    (other.goal, other.goal_step, other.file.as_str())
                }
            };
            let reward = reward(&transition.next_achieved_goal, &goal);
            relabelled += 1;
            relabelled_hits += u64::from(reward >= 0.0);
            file.transition(&message(transition, goal, reward, goal_step, goal_file))?;
        }
        file.flush()?;
    }
    file.finish(episode.end.as_ref())?;
    let is_miss = transitions.last().is_none_or(|last| last.reward < 0.0);
    statistics.episodes += 1;
    statistics.incomplete += u64::from(!recovered.is_complete());
    statistics.misses += u64::from(is_miss);
    statistics.misses_turned_hits += u64::from(is_miss && relabelled_hits > 0);
    statistics.with_contact += u64::from(episode.object_travel_m() > CONTACT_M);
    statistics.transitions += transitions.len() as u64;
    statistics.transition_hits += hits;
    statistics.relabelled += relabelled;
    statistics.relabelled_hits += relabelled_hits;
    Ok(())
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

fn message(
    transition: &Transition<'_>,
    goal: [f32; 3],
    reward: f32,
    goal_step: u32,
    goal_file: &str,
) -> wire::Transition {
    wire::Transition {
        step: transition.step,
        goal_step,
        observation: transition.observation.to_vec(),
        achieved_goal: transition.achieved_goal.to_vec(),
        desired_goal: goal.to_vec(),
        action: transition.applied_action.to_vec(),
        next_observation: transition.next_observation.to_vec(),
        next_achieved_goal: transition.next_achieved_goal.to_vec(),
        reward,
        success: reward >= 0.0,
        stamp_us: transition.stamp_us,
        goal_file: goal_file.to_owned(),
    }
}

/// Reads a derived file: its start and its transitions, as far as they are whole.
///
/// # Errors
/// The file is not MCAP or holds no start.
pub fn read_derived(path: &Path) -> Result<(EpisodeStart, Vec<wire::Transition>), ReadError> {
    let (mut start, mut transitions) = (None, Vec::new());
    let bytes = super::reader::load(path)?;
    parse_with(path, &bytes, |topic, bytes| {
        let corrupt = super::reader::DamageKind::Corrupt;
        match topic {
            Topic::Start => start = wire::decode(topic, bytes).and_then(wire::Start::into_start),
            Topic::Transition => transitions.push(wire::decode(topic, bytes).ok_or(corrupt)?),
            _ => {}
        }
        Ok(())
    })?;
    start.map(|start| (start, transitions)).ok_or_else(|| ReadError::NotAnEpisode(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::tests::sample;
    use crate::episode::{Pace, Recorder};
    use std::collections::BTreeMap;
    use std::fs;

    fn reward(_: &EpisodeStart, achieved: &[f32], desired: &[f32]) -> f32 {
        let far = achieved.iter().zip(desired).any(|(a, d)| (a - d).abs() > 0.5);
        if far { -1.0 } else { 0.0 }
    }

    /// A folder of three episodes; each achieves places that no other does.
    fn recorded(place: &Path) -> Folder {
        let folder = Folder::create(&place.join("log")).unwrap();
        for number in 0..3u8 {
            let mut episode = sample(6, 4);
            episode.start.seed = number.into();
            let mut recorder = Recorder::create(&folder.next_file().unwrap(), episode.start, Pace::Inline).unwrap();
            for mut tick in episode.ticks {
                tick.achieved_goal[1] = 100.0 * f32::from(number + 1);
                recorder.record(tick).unwrap();
            }
            recorder.finish(episode.end.unwrap()).unwrap();
        }
        folder
    }

    fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        names.map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap())).collect()
    }

    #[test]
    fn a_relabelled_step_is_rewarded_for_what_the_same_episode_achieved_after_it() {
        let place = tempfile::tempdir().unwrap();
        let log = recorded(place.path());
        let before = bytes_of(log.path());
        let out = place.path().join("out");
        let how = Relabel { strategy: Strategy::Future, k: 4 };
        let statistics = relabel(log.path(), &out, how, 1, reward).unwrap();
        assert_eq!(bytes_of(log.path()), before, "the log is never touched");
        let (start, transitions) = read_derived(&out.join("relabelled-000001.mcap")).unwrap();
        let source = read(&log.file(1)).unwrap();
        assert_eq!(start.metadata[SOURCE_KEY], source.sha256);
        assert_eq!((start.metadata["strategy"].as_str(), start.metadata["k"].as_str()), ("future", "4"));
        let originals: Vec<_> = source.episode.transitions(|_, _| 0.0).collect();
        assert_eq!(transitions.len(), 6 * 5);
        for derived in &transitions {
            let original = originals[derived.step as usize];
            assert_eq!(
                (&derived.observation[..], &derived.action[..]),
                (original.observation, &original.applied_action[..])
            );
            assert_eq!(derived.reward, reward(&start, &derived.next_achieved_goal, &derived.desired_goal));
            match derived.goal_step {
                0 => assert_eq!(derived.desired_goal, original.desired_goal),
                goal_step => {
                    assert!(goal_step > derived.step && goal_step <= 6);
                    assert_eq!(derived.desired_goal, originals[goal_step as usize - 1].next_achieved_goal);
                    // Steps are 4 apart here, so a step hits exactly the goal that its own end achieved.
                    assert_eq!(derived.success, goal_step == derived.step + 1);
                }
            }
        }
        assert_eq!((statistics.episodes, statistics.transitions, statistics.relabelled), (3, 18, 72));
        assert_eq!((statistics.misses, statistics.misses_turned_hits, statistics.transition_hits), (3, 3, 0));
        assert!(statistics.relabelled_hits >= 12, "the last step always hits its own end");
        assert_eq!(statistics.contact_fraction(), Some(1.0));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
        let place = tempfile::tempdir().unwrap();
        let log = recorded(place.path());
        let run = |name: &str, strategy, seed| {
            let out = place.path().join(name);
            relabel(log.path(), &out, Relabel { strategy, k: 2 }, seed, reward).unwrap();
            bytes_of(&out)
        };
        for (k, strategy) in
            [Strategy::Final, Strategy::Future, Strategy::Episode, Strategy::Random].into_iter().enumerate()
        {
            assert_eq!(run(&format!("a{k}"), strategy, 5), run(&format!("b{k}"), strategy, 5));
        }
        assert_ne!(run("c", Strategy::Future, 5), run("d", Strategy::Future, 6));
    }

    #[test]
    fn random_goals_come_from_other_episodes_and_final_ones_from_the_end() {
        let place = tempfile::tempdir().unwrap();
        let log = recorded(place.path());
        let derive = |strategy| {
            let out = place.path().join(format!("{strategy:?}"));
            relabel(log.path(), &out, Relabel { strategy, k: 3 }, 5, reward).unwrap();
            read_derived(&out.join("relabelled-000000.mcap")).unwrap().1
        };
        let random = derive(Strategy::Random);
        let mut files: Vec<_> =
            random.iter().filter(|t| t.goal_step > 0).map(|t| (t.goal_file.clone(), t.desired_goal[1])).collect();
        files.sort_by(|a, b| a.partial_cmp(b).unwrap());
        files.dedup();
        assert_eq!(files, [0, 1, 2].map(|n| (format!("episode-00000{n}.mcap"), 100.0 * (n + 1) as f32)));
        assert!(derive(Strategy::Final).iter().all(|t| t.goal_step == 0 || t.goal_step == 6));
    }

    #[test]
    fn the_log_and_earlier_work_are_safe() {
        let place = tempfile::tempdir().unwrap();
        let log = recorded(place.path());
        let out = place.path().join("out");
        let before = bytes_of(log.path());
        let into_source = relabel(log.path(), &log.path().join("../log"), Relabel::default(), 1, reward);
        assert!(matches!(into_source, Err(RelabelError::IntoSource(_))));
        assert_eq!(bytes_of(log.path()), before);
        relabel(log.path(), &out, Relabel::default(), 1, reward).unwrap();
        let earlier = bytes_of(&out);
        let again = relabel(log.path(), &out, Relabel::default(), 2, reward);
        assert!(matches!(again, Err(RelabelError::Write(WriteError::Exists(_)))));
        assert_eq!(bytes_of(&out), earlier);
        assert!(matches!(
            relabel(&out, &place.path().join("more"), Relabel::default(), 1, reward),
            Err(RelabelError::NoEpisodes(_))
        ));
        fs::copy(out.join("relabelled-000000.mcap"), place.path().join("copy.mcap")).unwrap();
        assert!(matches!(read(&place.path().join("copy.mcap")), Err(ReadError::Derived(_))));
    }

    #[test]
    fn a_cut_episode_gives_its_whole_steps_and_a_foreign_file_is_skipped() {
        let place = tempfile::tempdir().unwrap();
        let log = recorded(place.path());
        let bytes = fs::read(log.file(0)).unwrap();
        fs::write(log.file(0), &bytes[..bytes.len() / 2]).unwrap();
        fs::write(log.file(1), "mine").unwrap();
        let out = place.path().join("out");
        let statistics = relabel(log.path(), &out, Relabel::default(), 1, reward).unwrap();
        assert_eq!((statistics.episodes, statistics.incomplete, statistics.skipped.len()), (2, 1, 1));
        let (_, transitions) = read_derived(&out.join("relabelled-000000.mcap")).unwrap();
        let whole = read(&log.file(0)).unwrap().episode.transitions(|_, _| 0.0).count();
        assert!(whole > 0 && whole < 6);
        assert_eq!(transitions.len(), whole * 5);
        assert!(!out.join("relabelled-000001.mcap").exists());
    }
}
