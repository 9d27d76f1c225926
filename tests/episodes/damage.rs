//! Files that are cut, flipped, or out of room.

use super::{COLLECT, episodes, hindsight, path, record};
use hindsight::episode::{Episode, Folder, Pace, Recorder, read};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn a_damaged_file_is_told_and_gives_back_every_whole_record() {
    let place = tempfile::tempdir().unwrap();
    record(path(place.path()));
    let folder = Folder::open(place.path()).unwrap();
    let whole = read(&folder.file(1)).unwrap().episode;
    let mut bytes = fs::read(folder.file(1)).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(folder.file(1), &bytes).unwrap();

    assert_eq!(episodes(&["list", path(place.path())]).0, 3);
    assert_eq!(episodes(&["check", path(place.path())]).0, 3);
    let out = place.path().join("recovered.mcap");
    let (code, report) = episodes(&["recover", path(&folder.file(1)), "--out", path(&out)]);
    assert_eq!(code, 3, "{report}");
    let recovered = read(&out).unwrap();
    let ticks = recovered.episode.ticks;
    assert!(recovered.damage.is_none() && ticks.len() > 200);
    assert_eq!(ticks, whole.ticks[..ticks.len()]);
    assert_eq!(report["ticks"], ticks.len());
    assert_eq!(report["lost_ticks"], whole.ticks.len() - ticks.len());
    assert_eq!(fs::read(folder.file(1)).unwrap(), bytes, "the damaged file stays as it is");

    let refused = hindsight(&["episodes", "recover", path(&folder.file(1)), "--out", path(&out)]);
    assert_eq!(refused.status.code(), Some(1), "nothing is overwritten");
}

#[test]
fn a_full_disk_ends_the_session_by_name_and_all_that_was_written_is_read() {
    let place = tempfile::tempdir().unwrap();
    let (full, free) = (place.path().join("full"), place.path().join("free"));
    // A limit on the size of files stands in for a full disk: it needs no mount, and holds for root too.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 300; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_hindsight")])
        .args(COLLECT)
        .args(["--out", path(&full)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    for word in ["episode-000000.mcap", "File too large", "can be read", "free some space"] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    record(path(&free));
    let whole = read(&free.join("episode-000000.mcap")).unwrap().episode;
    let found = read(&full.join("episode-000000.mcap")).unwrap();
    let ticks = found.episode.ticks;
    assert!(!ticks.is_empty() && ticks == whole.ticks[..ticks.len()], "{} ticks", ticks.len());
    let room = fs::metadata(full.join("episode-000000.mcap")).unwrap().len();
    let whole_bytes = fs::metadata(free.join("episode-000000.mcap")).unwrap().len();
    assert!(room < whole_bytes && found.damage.is_some());
    assert!(!full.join("episode-000001.mcap").exists(), "the session ends");

    // With room again, the next session goes on beside the broken file.
    record(path(&full));
    assert_eq!(fs::metadata(full.join("episode-000000.mcap")).unwrap().len(), room);
    assert!(read(&full.join("episode-000003.mcap")).unwrap().is_complete());
}

#[test]
fn a_folder_that_takes_no_files_is_refused_before_the_arm_moves() {
    // Nobody can make a file there, root neither.
    let output = hindsight(&[&COLLECT[..], &["--out", "/sys/kernel"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "an error of use, not of a running arm: {said}");
    assert!(said.contains("cannot use /sys/kernel") && said.contains("can be read and written"), "{said}");
}

/// The first ticks of a recording of the simulated arm, as a file's bytes, and what is in them.
fn short_recording(ticks: usize) -> (Vec<u8>, Episode) {
    let place = tempfile::tempdir().unwrap();
    record(path(&place.path().join("source")));
    let mut episode = read(&place.path().join("source/episode-000000.mcap")).unwrap().episode;
    episode.ticks.truncate(ticks);
    let file = place.path().join("short.mcap");
    let mut recorder = Recorder::create(&file, episode.start.clone(), Pace::Inline).unwrap();
    episode.ticks.iter().for_each(|tick| recorder.record(tick.clone()).unwrap());
    recorder.finish(episode.end.clone().unwrap()).unwrap();
    (fs::read(file).unwrap(), episode)
}

/// What a reader makes of damaged bytes; it invents nothing.
pub(super) fn beginning(bytes: &[u8], whole: &Episode) -> usize {
    let Ok(found) = hindsight::episode::reader::parse(Path::new("damaged"), bytes) else { return 0 };
    let ticks = found.episode.ticks;
    assert!(found.episode.start == whole.start && ticks.len() <= whole.ticks.len());
    assert!(ticks.iter().zip(&whole.ticks).all(|(found, written)| found == written));
    assert!(found.episode.end.is_none() || found.episode.end == whole.end);
    ticks.len()
}

#[test]
fn a_recording_cut_at_any_byte_gives_back_every_whole_tick() {
    let (bytes, whole) = short_recording(31);
    let mut before = 0;
    for cut in 0..=bytes.len() {
        let ticks = beginning(&bytes[..cut], &whole);
        // A reader that gave up a chunk with whole ticks in it would gain several at one byte.
        assert!(ticks == before || ticks == before + 1, "cut at {cut}: {ticks} after {before}");
        before = ticks;
    }
    assert_eq!(before, whole.ticks.len());
}

#[test]
fn ten_thousand_flips_and_cuts_never_panic_and_never_invent() {
    let (bytes, whole) = short_recording(31);
    let mut rng = Pcg64Mcg::seed_from_u64(0);
    for _ in 0..10_000 {
        let mut bad = bytes.clone();
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bad.len());
            bad[at] ^= 1 << rng.random_range(0..8);
        }
        bad.truncate(rng.random_range(0..=bytes.len()));
        beginning(&bad, &whole);
    }
}
