//! Recorded episodes as a learner's memory: any number of files, in memory that does not grow with them.
//!
//! What fits is read once and stays. Of more files a random part is held, and every [`RecordedEpisodes::refresh`] puts
//! the next ones in the place of those that were read longest ago, so that all have their turn. Which ones come when
//! depends on the seed alone.

use super::replay::{ReplayBuffer, ReplayError, Trajectory};
use crate::env::{GoalObservation, Layout};
use crate::episode::{Episode, read};
use crate::task::{EPISODE_STEPS, Task};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use std::path::{Path, PathBuf};

/// Transitions that are held: ten thousand episodes, 70 MB with an object's observations.
pub const CAPACITY: usize = 500_000;
/// Files that a refresh reads: a two-hundredth of what is held, in about a tenth of a second.
const REFRESH: usize = 50;

/// Why recorded episodes cannot be learned from.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// An episode is of another task.
    #[error("{} is of task {found:?}, expected {expected:?}; give episodes of one task", path.display())]
    Task {
        /// The episode's file.
        path: PathBuf,
        /// The task that is learned.
        expected: String,
        /// The episode's.
        found: String,
    },
    /// An episode's numbers cannot be learned from.
    #[error("{}: {source}", path.display())]
    Episode {
        /// The episode's file.
        path: PathBuf,
        /// Why.
        source: ReplayError,
    },
}

/// Recorded episodes to draw transitions from.
#[derive(Debug)]
pub struct RecordedEpisodes {
    files: Vec<PathBuf>,
    /// The file that is read next.
    next: usize,
    /// Whether there are more than are held.
    rotates: bool,
    task: String,
    buffer: ReplayBuffer,
    trajectory: Trajectory,
    episodes: u64,
    transitions: u64,
    skipped: Vec<String>,
    rng: Pcg64Mcg,
}

impl RecordedEpisodes {
    /// Reads `files` of `task` until `capacity` transitions are held or all are read; if they are too many, in an order
    /// that `seed` draws. `on_episode` is given each, with how many files are read; it is not told of later ones.
    ///
    /// # Errors
    /// An episode is of another task or cannot be learned from. A file that cannot be read is no error: see
    /// [`Self::skipped`].
    pub fn open(
        files: &[PathBuf],
        task: &Task,
        capacity: usize,
        seed: u64,
        mut on_episode: impl FnMut(&Episode, usize),
    ) -> Result<Self, RecordedError> {
        let layout = task.layout();
        let mut recorded = Self {
            files: files.to_vec(),
            next: 0,
            rotates: false,
            task: task.kind.name().to_owned(),
            buffer: ReplayBuffer::new(layout, capacity, EPISODE_STEPS),
            trajectory: Trajectory::new(layout, EPISODE_STEPS),
            episodes: 0,
            transitions: 0,
            skipped: Vec::new(),
            rng: Pcg64Mcg::seed_from_u64(seed),
        };
        if files.len() > capacity / EPISODE_STEPS {
            recorded.files.shuffle(&mut recorded.rng);
        }
        while recorded.next < recorded.files.len() && recorded.buffer.transitions() + EPISODE_STEPS <= capacity {
            if let Some(episode) = recorded.take_next()? {
                on_episode(&episode, recorded.next);
            }
        }
        recorded.rotates = recorded.next < recorded.files.len();
        Ok(recorded)
    }

    #[cfg(test)]
    pub(super) fn held(buffer: ReplayBuffer) -> Self {
        Self {
            files: Vec::new(),
            next: 0,
            rotates: false,
            task: String::new(),
            trajectory: Trajectory::new(buffer.layout(), 0),
            buffer,
            episodes: 0,
            transitions: 0,
            skipped: Vec::new(),
            rng: Pcg64Mcg::seed_from_u64(0),
        }
    }

    /// Where transitions are drawn from.
    pub fn buffer(&self) -> &ReplayBuffer {
        &self.buffer
    }

    /// Sizes of the vectors.
    pub fn layout(&self) -> Layout {
        self.buffer.layout()
    }

    /// Episodes that were read so far, those that came again included.
    pub fn episodes(&self) -> u64 {
        self.episodes
    }

    /// Transitions of [`Self::episodes`].
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Why files gave nothing, those that were read so far.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Reads the next files if not all are held.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn refresh(&mut self) -> Result<(), RecordedError> {
        if !self.rotates {
            return Ok(());
        }
        for _ in 0..REFRESH.min(self.files.len()) {
            if self.next == self.files.len() {
                self.files.shuffle(&mut self.rng);
                self.next = 0;
            }
            self.take_next()?;
        }
        Ok(())
    }

    /// Takes in the next file's episode; `None` if it cannot be read.
    fn take_next(&mut self) -> Result<Option<Episode>, RecordedError> {
        let path = self.files[self.next].clone();
        self.next += 1;
        let episode = match read(&path) {
            Ok(recovered) => recovered.episode,
            Err(error) => {
                let text = error.to_string();
                // A file that is there again in the next round is told of once.
                if !self.skipped.contains(&text) {
                    self.skipped.push(text);
                }
                return Ok(None);
            }
        };
        self.take(&path, &episode)?;
        Ok(Some(episode))
    }

    /// Its whole steps, with the actions that were carried out.
    fn take(&mut self, path: &Path, episode: &Episode) -> Result<(), RecordedError> {
        if episode.start.task != self.task {
            let (expected, found) = (self.task.clone(), episode.start.task.clone());
            return Err(RecordedError::Task { path: path.to_owned(), expected, found });
        }
        let failed = |source| RecordedError::Episode { path: path.to_owned(), source };
        let mut started = false;
        for transition in episode.transitions(|_, _| 0.0) {
            let seen = |observation: &[f32], achieved: [f32; 3]| GoalObservation {
                observation: observation.to_vec(),
                achieved_goal: achieved.to_vec(),
                desired_goal: transition.desired_goal.to_vec(),
            };
            if !started {
                self.trajectory.begin(&seen(transition.observation, transition.achieved_goal)).map_err(failed)?;
                started = true;
            }
            let next = seen(transition.next_observation, transition.next_achieved_goal);
            self.trajectory.push(&transition.applied_action, &next).map_err(failed)?;
        }
        self.episodes += 1;
        if started {
            self.transitions += self.trajectory.steps() as u64;
            self.buffer.push(&self.trajectory).map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::tests::sample;
    use crate::episode::{Folder, Pace, Recorder};
    use crate::task::TaskKind;
    use std::collections::BTreeSet;

    /// A folder of `count` episodes of three steps; the numbers of each tell which it is.
    fn folder(count: u32, place: &Path) -> Vec<PathBuf> {
        let folder = Folder::create(place).unwrap();
        for number in 0..count {
            let episode = sample(3, 2);
            let mut recorder = Recorder::create(&folder.next_file().unwrap(), episode.start, Pace::Inline).unwrap();
            for mut tick in episode.ticks {
                tick.achieved_goal[2] = number as f32;
                recorder.record(tick).unwrap();
            }
            recorder.finish(episode.end.unwrap()).unwrap();
        }
        folder.files().unwrap()
    }

    fn held(recorded: &RecordedEpisodes) -> Vec<u32> {
        recorded.buffer.stored().map(|(first, _)| recorded.buffer.frame(first.start).achieved[2] as u32).collect()
    }

    #[test]
    fn what_fits_stays_and_of_more_files_all_have_their_turn_in_bounded_memory() {
        let place = tempfile::tempdir().unwrap();
        let files = folder(40, place.path());
        let task = Task::new(TaskKind::Push, 0.01);
        let open = |capacity, seed| RecordedEpisodes::open(&files, &task, capacity, seed, |_, _| {}).unwrap();
        let mut all = open(40 * EPISODE_STEPS, 1);
        let before = held(&all);
        assert_eq!((before.clone(), all.transitions()), ((0..40).collect(), 120));
        all.refresh().unwrap();
        assert_eq!((held(&all), all.episodes()), (before, 40), "nothing is read twice");

        // Room for fifteen episodes like these.
        let mut some = open(EPISODE_STEPS + 9, 1);
        let (first, kept) = (held(&some), some.buffer.transitions());
        assert!(first.len() < 40 && first != (0..first.len() as u32).collect::<Vec<_>>(), "{first:?}");
        let mut seen: BTreeSet<u32> = first.iter().copied().collect();
        for _ in 0..4 {
            some.refresh().unwrap();
            seen.extend(held(&some));
            assert!(some.buffer.transitions() <= EPISODE_STEPS + 9 && some.buffer.transitions() >= kept);
        }
        assert_eq!(some.episodes(), first.len() as u64 + 4 * 40);
        assert!(seen.len() > 25, "{seen:?}");
        let again = |seed| {
            let mut other = open(EPISODE_STEPS + 9, seed);
            (0..4).for_each(|_| other.refresh().unwrap());
            held(&other)
        };
        assert!(again(1) == held(&some) && again(2) != held(&some), "the seed says which");
    }

    #[test]
    fn what_cannot_be_read_is_told_once_and_another_task_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let files = folder(3, place.path());
        std::fs::write(&files[1], "mine").unwrap();
        let open = |kind| RecordedEpisodes::open(&files, &Task::new(kind, 0.01), EPISODE_STEPS, 1, |_, _| {});
        let mut some = open(TaskKind::Push).unwrap();
        (0..5).for_each(|_| some.refresh().unwrap());
        assert_eq!(some.skipped().len(), 1, "{:?}", some.skipped());
        assert!(matches!(open(TaskKind::Slide), Err(RecordedError::Task { .. })));
    }
}
