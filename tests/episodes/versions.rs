//! Files of earlier, later and other programs.

use super::damage::beginning;
use super::{hindsight, path};
use hindsight::episode::reader::{parse, read_hashed};
use hindsight::episode::{EndReason, Episode, ReadError, read};
use mcap::records::MessageHeader;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/episode-v1.mcap")
}

/// A file of version 1 that is never written again: every later program reads it.
#[test]
fn a_file_of_the_first_version_is_read_for_ever() {
    let (found, sha256) = read_hashed(&fixture()).unwrap();
    assert!(found.damage.is_none() && found.is_complete());
    assert_eq!(sha256, "a00205262c613fcf3f227b3d7737b50cb765b74ae50615d54617fdefa03219e1");
    let Episode { start, ticks, faults, end } = found.episode;
    assert_eq!((start.task.as_str(), start.arm.as_str(), start.policy.as_str()), ("push", "so101", "expert"));
    assert_eq!((start.control_period_us, start.ticks_per_step, start.seed), (8_000, 10, 0));
    assert_eq!((start.metadata["noise"].as_str(), start.success_radius_m), ("0.1", 0.03));
    assert_eq!((ticks.len(), faults.len(), end.unwrap().reason), (31, 0, EndReason::Completed));
    let tick = &ticks[25];
    assert_eq!((tick.index, tick.step, tick.begins_step, tick.stamp_us), (25, 2, false, 3_532_000));
    assert_eq!((tick.observation.len(), tick.sent_rad.len(), tick.joints.position_rad.len()), (25, 6, 6));
    assert_eq!(
        (tick.sent_rad[1], tick.joints.position_rad[2], tick.applied_action[0]),
        (-0.643_048_64, 0.871_301_1, -0.000_661_656_26)
    );
    assert_eq!(tick.object.unwrap().position[0], 0.213_761_794_147_636_85);
}

/// The file of the first version as another program would write it: `package` in place of `hindsight.v1`, `field` at the
/// end of every tick, and with `camera` a channel that nobody here knows.
fn written_by_another(package: &str, field: &[u8], camera: bool) -> Vec<u8> {
    let fixture = fs::read(fixture()).unwrap();
    let mut file = Cursor::new(Vec::new());
    let mut writer = mcap::WriteOptions::new().compression(None).create(&mut file).unwrap();
    let mut channels = BTreeMap::new();
    for message in mcap::MessageStream::new(&fixture).unwrap() {
        let message = message.unwrap();
        let topic = message.channel.topic.clone();
        let id = *channels.entry(topic.clone()).or_insert_with(|| {
            let schema = message.channel.schema.as_ref().unwrap();
            let name = schema.name.replace("hindsight.v1", package);
            let schema = writer.add_schema(&name, &schema.encoding, &schema.data).unwrap();
            writer.add_channel(schema, &topic, "protobuf", &BTreeMap::new()).unwrap()
        });
        // The check is a key of two bytes and CRC-32 of the topic's name and all that stands before.
        let mut body = message.data[..message.data.len() - 6].to_vec();
        if topic == "/tick" {
            body.extend(field);
        }
        let check = crc32fast::hash(&[topic.as_bytes(), &body].concat());
        body.extend([0xA5, 0x06]);
        body.extend(check.to_le_bytes());
        let mut header = MessageHeader {
            channel_id: id,
            sequence: message.sequence,
            log_time: message.log_time,
            publish_time: message.publish_time,
        };
        writer.write_to_known_channel(&header, &body).unwrap();
        if camera {
            let schema = writer.add_schema("hindsight.v1.Image", "protobuf", b"").unwrap();
            header.channel_id = writer.add_channel(schema, "/camera", "protobuf", &BTreeMap::new()).unwrap();
            writer.write_to_known_channel(&header, b"a picture").unwrap();
        }
    }
    writer.finish().unwrap();
    drop(writer);
    file.into_inner()
}

#[test]
fn fields_and_channels_of_later_programs_are_passed_over() {
    let whole = read(&fixture()).unwrap().episode;
    // Field 19, a varint; and field 1000, two bytes.
    for field in [&[0x98, 0x01, 0x07][..], &[0xC2, 0x3E, 0x02, 0xFF, 0xFF]] {
        let bytes = written_by_another("hindsight.v1", field, true);
        let found = parse(Path::new("later"), &bytes).unwrap();
        assert_eq!((found.damage, &found.episode), (None, &whole));
    }
}

#[test]
fn another_version_of_the_format_is_refused_by_what_was_expected_and_found() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("episode-000000.mcap");
    fs::write(&file, written_by_another("hindsight.v2", &[], false)).unwrap();
    let error = read(&file).unwrap_err();
    assert!(matches!(error, ReadError::Version { ref found, .. } if found == "hindsight.v2"), "{error}");
    let refused = hindsight(&["episodes", "show", path(&file)]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for word in ["found hindsight.v2", "expected hindsight.v1", "read it with"] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}

/// Rewritten by the MCAP project's own Python writer.
#[test]
fn a_file_that_others_have_compressed_is_read_as_it_was_and_damage_in_it_is_seen() {
    let whole = read(&fixture()).unwrap().episode;
    for compression in ["zstd", "lz4"] {
        let bytes = fs::read(fixture().with_extension(format!("{compression}.mcap"))).unwrap();
        let found = parse(Path::new("compressed"), &bytes).unwrap();
        assert_eq!((found.damage, &found.episode), (None, &whole));
        let mut rng = Pcg64Mcg::seed_from_u64(0);
        for _ in 0..2_000 {
            let mut bad = bytes.clone();
            let at = rng.random_range(0..bad.len());
            bad[at] ^= 1 << rng.random_range(0..8);
            bad.truncate(rng.random_range(at..=bytes.len()));
            beginning(&bad, &whole);
        }
    }
}
