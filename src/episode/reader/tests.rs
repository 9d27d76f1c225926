use super::*;
use crate::arm::Health;
use crate::episode::tests::sample;
use crate::episode::writer::{CHUNK_US, EpisodeFile};
use crate::episode::{EndReason, FaultEvent};
use proptest::prelude::*;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// A sink that can be looked into, as the operating system would see it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(episode: &Episode) -> Vec<u8> {
    let sink = Shared::default();
    let mut file =
        EpisodeFile::over(Path::new("test"), Box::new(sink.clone()), &episode.start, &Topic::RECORDED).unwrap();
    for tick in &episode.ticks {
        file.tick(tick).unwrap();
    }
    for fault in &episode.faults {
        file.fault(fault).unwrap();
    }
    file.finish(episode.end.as_ref()).unwrap();
    sink.0.lock().unwrap().clone()
}

fn parsed(bytes: &[u8]) -> Result<Recovered, ReadError> {
    parse(Path::new("test"), bytes)
}

/// `part` is a beginning of `whole`: nothing missing before, nothing changed, nothing made up.
fn assert_begins(part: &Episode, whole: &Episode) {
    assert_eq!(part.start, whole.start);
    assert_eq!(part.ticks, whole.ticks[..part.ticks.len()]);
    assert_eq!(part.faults, whole.faults[..part.faults.len()]);
    assert!(part.end.is_none() || (part.end == whole.end && part.ticks.len() == whole.ticks.len()));
}

#[test]
fn what_was_written_is_what_is_read() {
    let mut episode = sample(3, 10);
    episode.faults.push(FaultEvent { stamp_us: 6_000_000, what: "the cable came off".into() });
    episode.start.wall_us = Some(1_700_000_000_000_000);
    episode.end.as_mut().unwrap().reason = EndReason::PortLost;
    let bytes = written(&episode);
    let recovered = parsed(&bytes).unwrap();
    assert_eq!((recovered.episode, recovered.damage), (episode, None));
}

#[test]
fn how_the_line_was_comes_back_between_the_ticks() {
    let (episode, sink) = (sample(1, 5), Shared::default());
    let health = Health { asked: 700, lost: 3, damaged: 1, stale: 2, restarts: 1, temperature_max_c: 41 };
    let bus = BusHealth { stamp_us: 5_010_000, health };
    let mut file =
        EpisodeFile::over(Path::new("test"), Box::new(sink.clone()), &episode.start, &Topic::RECORDED).unwrap();
    file.tick(&episode.ticks[0]).unwrap();
    file.bus(&bus).unwrap();
    episode.ticks[1..].iter().try_for_each(|tick| file.tick(tick)).unwrap();
    file.finish(episode.end.as_ref()).unwrap();
    let recovered = parsed(&sink.0.lock().unwrap()).unwrap();
    assert_eq!((recovered.bus, recovered.episode), (vec![bus], episode));
}

#[test]
fn attached_files_come_back_and_a_flipped_bit_in_one_is_seen() {
    let urdf = Attachment {
        name: "arm.urdf".into(),
        media_type: "application/xml".into(),
        bytes: b"<robot name='of glass'/>".repeat(20),
    };
    let (episode, sink) = (sample(1, 5), Shared::default());
    let mut file =
        EpisodeFile::over(Path::new("test"), Box::new(sink.clone()), &episode.start, &Topic::RECORDED).unwrap();
    file.attach(&urdf).unwrap();
    episode.ticks.iter().try_for_each(|tick| file.tick(tick)).unwrap();
    file.finish(episode.end.as_ref()).unwrap();
    let mut bytes = sink.0.lock().unwrap().clone();
    let recovered = parsed(&bytes).unwrap();
    assert_eq!((&recovered.attachments[..], &recovered.episode), (&[urdf.clone()][..], &episode));
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    assert_eq!(summary.attachment_indexes[0].name, "arm.urdf", "other people's reader finds it too");

    let at = bytes.windows(urdf.bytes.len()).position(|window| window == urdf.bytes).unwrap();
    bytes[at + 100] ^= 4;
    let damaged = parsed(&bytes).unwrap();
    assert_eq!((damaged.attachments.len(), damaged.episode.ticks.len()), (0, 0));
    assert!(matches!(damaged.damage, Some(Damage { kind: DamageKind::Corrupt, .. })));
}

#[test]
fn the_same_episode_gives_the_same_bytes_and_no_ticks_are_fine() {
    assert_eq!(written(&sample(3, 10)), written(&sample(3, 10)));
    let mut empty = sample(1, 1);
    empty.ticks.clear();
    assert_eq!(parsed(&written(&empty)).unwrap().episode, empty);
}

#[test]
fn other_peoples_reader_sees_the_same_messages_at_the_ticks_own_times() {
    let episode = sample(3, 10);
    let bytes = written(&episode);
    let messages: Vec<_> = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap).collect();
    assert_eq!(messages.len(), episode.ticks.len() + 2);
    for (message, tick) in messages[1..].iter().zip(&episode.ticks) {
        let schema = message.channel.schema.as_ref().unwrap();
        assert_eq!((schema.name.as_str(), schema.encoding.as_str()), ("hindsight.v1.Tick", "protobuf"));
        assert_eq!(message.log_time, tick.stamp_us * 1000);
        let found = wire::decode::<wire::Tick>(Topic::Tick, &message.data).and_then(wire::Tick::into_tick);
        assert_eq!(found.as_ref(), Some(tick));
    }
    assert!(mcap::Summary::read(&bytes).unwrap().is_some(), "the index is there for seeking");
}

#[test]
fn a_file_cut_at_any_byte_gives_back_every_whole_tick() {
    let episode = sample(3, 10);
    let bytes = written(&episode);
    // Where each tick's bytes end in the file, found by their own unique contents.
    let mut encoded = Vec::new();
    let ends: Vec<usize> = episode
        .ticks
        .iter()
        .map(|tick| {
            wire::encode(Topic::Tick, &wire::Tick::from(tick), &mut encoded);
            bytes.windows(encoded.len()).position(|window| window == encoded).unwrap() + encoded.len()
        })
        .collect();
    for cut in 0..bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        match parsed(&bytes[..cut]) {
            Ok(recovered) => {
                assert_begins(&recovered.episode, &episode);
                assert_eq!(recovered.episode.ticks.len(), whole, "cut at {cut}");
                assert!(recovered.damage.is_some(), "cut at {cut}");
            }
            Err(ReadError::Empty(_)) => assert_eq!(cut, 0),
            Err(ReadError::NothingWhole { .. }) => assert_eq!(whole, 0, "cut at {cut}"),
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn a_killed_process_loses_no_more_than_a_chunk_of_ticks() {
    let episode = sample(6, 10);
    let sink = Shared::default();
    let mut file =
        EpisodeFile::over(Path::new("test"), Box::new(sink.clone()), &episode.start, &Topic::RECORDED).unwrap();
    for (count, tick) in episode.ticks.iter().enumerate() {
        file.tick(tick).unwrap();
        // All that a killed process leaves behind is what the sink has now.
        let left = parsed(&sink.0.lock().unwrap()).unwrap();
        assert_begins(&left.episode, &episode);
        let lost_us = (count + 1 - left.episode.ticks.len()) as u64 * 8_000;
        assert!(lost_us <= CHUNK_US, "{lost_us} µs lost after tick {count}");
    }
}

#[test]
fn a_clock_that_jumps_costs_a_killed_process_no_more_than_one_that_runs() {
    let (episode, sink) = (sample(6, 10), Shared::default());
    let mut file =
        EpisodeFile::over(Path::new("test"), Box::new(sink.clone()), &episode.start, &Topic::RECORDED).unwrap();
    for (count, tick) in episode.ticks.iter().enumerate() {
        // An hour ahead, back again, and then it stands still.
        let stamp_us = match count {
            0..10 => tick.stamp_us,
            10..25 => tick.stamp_us + 3_600_000_000,
            25..40 => tick.stamp_us,
            _ => episode.ticks[0].stamp_us,
        };
        file.tick(&Tick { stamp_us, ..tick.clone() }).unwrap();
        let left = parsed(&sink.0.lock().unwrap()).unwrap().episode.ticks.len();
        assert!(count + 1 - left <= (CHUNK_US / 8_000) as usize, "{} ticks lost after tick {count}", count + 1 - left);
    }
    file.finish(episode.end.as_ref()).unwrap();
    let recovered = parsed(&sink.0.lock().unwrap()).unwrap();
    assert_eq!((recovered.damage, recovered.episode.ticks.len()), (None, episode.ticks.len()));
}

#[test]
fn a_foreign_or_hopeless_file_is_refused_by_name() {
    assert!(matches!(parsed(b""), Err(ReadError::Empty(_))));
    assert!(matches!(parsed(b"PK\x03\x04 not ours"), Err(ReadError::Foreign(_))));
    assert!(matches!(parsed(mcap::MAGIC), Err(ReadError::NothingWhole { .. })));
    let mut other = io::Cursor::new(Vec::new());
    let mut writer = mcap::WriteOptions::new().compression(None).create(&mut other).unwrap();
    let channel = writer.add_channel(0, "/camera", "json", &Default::default()).unwrap();
    let header = mcap::records::MessageHeader { channel_id: channel, sequence: 0, log_time: 0, publish_time: 0 };
    writer.write_to_known_channel(&header, b"{}").unwrap();
    writer.finish().unwrap();
    drop(writer);
    assert!(matches!(parsed(&other.into_inner()), Err(ReadError::NotAnEpisode(_))));
    assert!(matches!(read(Path::new("does/not/exist.mcap")), Err(ReadError::Io { .. })));
}

#[test]
fn an_episode_with_a_hole_ends_at_the_hole() {
    let mut episode = sample(3, 10);
    episode.ticks.remove(20);
    let recovered = parsed(&written(&episode)).unwrap();
    assert_eq!(recovered.episode.ticks.len(), 20);
    assert!(matches!(recovered.damage, Some(Damage { kind: DamageKind::OutOfPlace(_), .. })));
    assert!(!recovered.is_complete());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_bits_never_panic_and_never_invent(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..6), cut in any::<Option<prop::sample::Index>>()) {
        let episode = sample(3, 10);
        let mut bytes = written(&episode);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(recovered) = parsed(&bytes) {
            assert_begins(&recovered.episode, &episode);
        }
    }

    #[test]
    fn any_bytes_after_the_magic_never_panic(tail in prop::collection::vec(any::<u8>(), 0..400), keep in any::<prop::sample::Index>()) {
        let episode = sample(2, 5);
        let whole = written(&episode);
        let mut bytes = whole[..keep.index(whole.len())].to_vec();
        bytes.extend(tail);
        if let Ok(recovered) = parsed(&bytes) {
            assert_begins(&recovered.episode, &episode);
        }
    }

    #[test]
    fn any_tick_survives_the_file(numbers in prop::collection::vec(any::<f32>(), 0..=32), joints in prop::collection::vec(any::<f32>(), 0..=8), step in any::<u32>(), bits in any::<u32>(), stamp_us in 0..u64::MAX / 1000, has_object in any::<bool>()) {
        let mut episode = sample(1, 1);
        episode.ticks.truncate(1);
        let tick = &mut episode.ticks[0];
        tick.observation = crate::episode::Observation::from_slice(&numbers).unwrap();
        tick.sent_rad = firmware_bridge::PerJoint::from_slice(&joints).unwrap();
        (tick.step, tick.interventions, tick.stamp_us) = (step, bits, stamp_us);
        if !has_object {
            tick.object = None;
        }
        let found = parsed(&written(&episode)).unwrap();
        // NaN differs from itself, so bits are compared through the encoding.
        let encoded = |tick: &Tick| {
            let mut out = Vec::new();
            wire::encode(Topic::Tick, &wire::Tick::from(tick), &mut out);
            out
        };
        prop_assert_eq!(encoded(&found.episode.ticks[0]), encoded(&episode.ticks[0]));
        prop_assert!(found.damage.is_none());
    }
}
