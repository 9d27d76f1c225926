use std::ops::ControlFlow;

use super::*;
use crate::learn::trainer::tests::{halvers, hyper};
use crate::learn::{Budget, Hyper, Progress};

fn budget(env_steps: u64) -> Budget {
    Budget { env_steps: Some(env_steps), wall: None }
}

/// Small enough for episodes to be evicted; with updates left over after a cycle and a warm-up of the critics, so that
/// no counter is without effect.
fn small() -> Hyper {
    Hyper {
        replay_transitions: 1_000,
        steps_per_update: 3.7,
        critic_warmup_updates: 150,
        curriculum_share: 0.5,
        ..hyper()
    }
}

/// Trains and stores after `cycles`, as a run does that is killed right after.
fn killed_after(cycles: usize, hyper: Hyper, path: &Path) {
    let mut trainer = Trainer::new(hyper, halvers(5), 3).unwrap();
    let mut left = cycles;
    trainer
        .run(budget(3_000), |progress, trainer| {
            left -= 1;
            if left > 0 {
                return ControlFlow::Continue(());
            }
            let memo = Memo { note: serde_json::json!({ "cycles": cycles }), best: Some(trainer.agent().clone()) };
            trainer.save(path, progress.elapsed, &memo).unwrap();
            ControlFlow::Break(())
        })
        .unwrap();
}

#[test]
fn a_killed_training_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.training");
    // What imitates knows of luck soon after the last of these cycles, from what it saw before.
    for imitate_from in [1.0, 0.3] {
        let hyper = Hyper { imitate_from, ..small() };
        let mut whole = Trainer::new(hyper.clone(), halvers(5), 3).unwrap();
        let end = whole.run(budget(3_000), |_, _| ControlFlow::Continue(())).unwrap();
        for cycles in [1, 7, 41] {
            killed_after(cycles, hyper.clone(), &path);
            let (mut trainer, memo) = Trainer::restore(&path, halvers(5)).unwrap();
            assert_eq!(memo.note["cycles"], cycles);
            assert!(memo.best.as_ref() == Some(trainer.agent()));
            let resumed = trainer.run(budget(3_000), |_, _| ControlFlow::Continue(())).unwrap();
            let counts = |p: &Progress| (p.env_steps, p.updates, p.episodes);
            assert_eq!(counts(&resumed), counts(&end));
            assert!(trainer.agent().to_bytes() == whole.agent().to_bytes(), "after {cycles} cycles");
        }
    }
}

#[test]
fn a_cut_or_changed_file_is_refused_and_no_file_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.training");
    killed_after(5, small(), &path);
    let bytes = std::fs::read(&path).unwrap();
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    let foreign = b"GGUF, a model of another kind".to_vec();
    for broken in [other, foreign, bytes[..bytes.len() - 1].to_vec(), bytes[..20].to_vec(), Vec::new()] {
        std::fs::write(&path, &broken).unwrap();
        let refused = Trainer::restore(&path, halvers(5)).map(|_| ());
        assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "{refused:?}");
    }
    // Changed, with a checksum that fits again, as someone hostile would: any error or none, but no panic.
    for place in (0..bytes.len()).step_by(bytes.len() / 97) {
        let mut forged = bytes[..bytes.len() - 4].to_vec();
        if place < forged.len() {
            forged[place] ^= 0x55;
        }
        let crc = crc32fast::hash(&forged);
        forged.extend(crc.to_le_bytes());
        std::fs::write(&path, &forged).unwrap();
        let _ = Trainer::restore(&path, halvers(5));
    }
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(Trainer::restore(&path, halvers(4)), Err(SnapshotError::Damaged { .. })));
    let missing = Trainer::restore(&folder.path().join("none"), halvers(5)).map(|_| ());
    assert!(matches!(missing, Err(SnapshotError::Io { .. })), "{missing:?}");
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.training");
    killed_after(2, small(), &path);
    let earlier = std::fs::read(&path).unwrap();
    // The file that is written first cannot be made, as a folder of its name is there.
    std::fs::create_dir(folder.path().join("push.training.part")).unwrap();
    let trainer = Trainer::new(small(), halvers(5), 3).unwrap();
    assert!(matches!(trainer.save(&path, Duration::ZERO, &Memo::default()), Err(SnapshotError::Io { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), earlier);
}
