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
    let statistics = relabel(log.path(), &out, how, 1, reward, |_| ()).unwrap();
    assert_eq!(bytes_of(log.path()), before, "the log is never touched");
    let (start, transitions) = read_derived(&out.join("relabelled-000001.mcap")).unwrap();
    let (source, source_sha256) = read_hashed(&log.file(1)).unwrap();
    assert_eq!(start.metadata[SOURCE_KEY], source_sha256);
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
        relabel(log.path(), &out, Relabel { strategy, k: 2 }, seed, reward, |_| ()).unwrap();
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
        relabel(log.path(), &out, Relabel { strategy, k: 3 }, 5, reward, |_| ()).unwrap();
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
    let into_source = relabel(log.path(), &log.path().join("../log"), Relabel::default(), 1, reward, |_| ());
    assert!(matches!(into_source, Err(RelabelError::IntoSource(_))));
    assert_eq!(bytes_of(log.path()), before);
    relabel(log.path(), &out, Relabel::default(), 1, reward, |_| ()).unwrap();
    let earlier = bytes_of(&out);
    let again = relabel(log.path(), &out, Relabel::default(), 2, reward, |_| ());
    assert!(matches!(again, Err(RelabelError::Write(WriteError::Exists(_)))));
    assert_eq!(bytes_of(&out), earlier);
    assert!(matches!(
        relabel(&out, &place.path().join("more"), Relabel::default(), 1, reward, |_| ()),
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
    let statistics = relabel(log.path(), &out, Relabel::default(), 1, reward, |_| ()).unwrap();
    assert_eq!((statistics.episodes, statistics.incomplete, statistics.skipped.len()), (2, 1, 1));
    let (_, transitions) = read_derived(&out.join("relabelled-000000.mcap")).unwrap();
    let whole = read(&log.file(0)).unwrap().episode.transitions(|_, _| 0.0).count();
    assert!(whole > 0 && whole < 6);
    assert_eq!(transitions.len(), whole * 5);
    assert!(!out.join("relabelled-000001.mcap").exists());
}
