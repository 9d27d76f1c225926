//! Export for viewers and as a table.

use super::{episodes, hindsight, path, record};
use hindsight::episode::read;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};

/// Foxglove's messages, by the numbers in its own schemas.
mod foxglove {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FrameTransforms {
        #[prost(message, repeated, tag = 1)]
        pub(super) transforms: Vec<FrameTransform>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FrameTransform {
        #[prost(string, tag = 2)]
        pub(super) parent_frame_id: String,
        #[prost(string, tag = 3)]
        pub(super) child_frame_id: String,
        #[prost(message, optional, tag = 4)]
        pub(super) translation: Option<Numbers>,
        #[prost(message, optional, tag = 5)]
        pub(super) rotation: Option<Numbers>,
    }

    /// A vector or a quaternion.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Numbers {
        #[prost(double, tag = 1)]
        pub(super) x: f64,
        #[prost(double, tag = 2)]
        pub(super) y: f64,
        #[prost(double, tag = 3)]
        pub(super) z: f64,
        #[prost(double, tag = 4)]
        pub(super) w: f64,
    }
}

#[test]
fn a_view_has_the_arm_and_the_object_where_they_were_at_every_tick() {
    let place = tempfile::tempdir().unwrap();
    let (source, out) = (place.path().join("source"), place.path().join("views"));
    record(path(&source));
    let export = &["export", path(&source), "--format", "foxglove", "--out", path(&out)];
    let (code, report) = episodes(export);
    assert_eq!((code, &report["episodes"], &report["rows"]), (0, &3.into(), &1503.into()), "{report}");
    assert_eq!(hindsight(&[&["episodes"], &export[..]].concat()).status.code(), Some(1), "nothing is overwritten");
    let model = sim::ArmModel::so101().unwrap();
    let kinematics = hindsight::kinematics::Kinematics::new(&model).unwrap();
    let episode = read(&source.join("episode-000001.mcap")).unwrap().episode;
    let bytes = fs::read(out.join("view-000001.mcap")).unwrap();
    let mut ticks = episode.ticks.iter();
    let mut scenes = Vec::new();
    for message in mcap::MessageStream::new(&bytes).unwrap() {
        let message = message.unwrap();
        if message.channel.topic == "/scene" {
            scenes.push(serde_json::from_slice::<Value>(&message.data).unwrap());
            continue;
        }
        if message.channel.topic == "/robot_description" {
            let urdf = std::str::from_utf8(&message.data[8..message.data.len() - 1]).unwrap();
            assert_eq!(sim::ArmModel::from_urdf(urdf).unwrap().joints.len(), model.joints.len());
            continue;
        }
        let tick = ticks.next().unwrap();
        assert_eq!(message.log_time, tick.stamp_us * 1000);
        let found = <foxglove::FrameTransforms as prost::Message>::decode(&message.data[..]).unwrap();
        let mut frames = BTreeMap::from([("base".to_owned(), nalgebra::Isometry3::identity())]);
        for transform in found.transforms {
            let (at, turn) = (transform.translation.unwrap(), transform.rotation.unwrap());
            let turn = nalgebra::Quaternion::new(turn.w, turn.x, turn.y, turn.z);
            let pose = nalgebra::Isometry3::from_parts(
                nalgebra::Translation3::new(at.x, at.y, at.z),
                nalgebra::UnitQuaternion::new_normalize(turn),
            );
            let parent = frames[&transform.parent_frame_id];
            frames.insert(transform.child_frame_id, parent * pose);
        }
        let tip = (frames[&model.joints[model.tip_joint].link.name] * model.tip).translation.vector;
        let expected = kinematics.forward(&tick.joints.position_rad).position_m;
        assert!((0..3).all(|i| (tip[i] - expected[i]).abs() < 1e-6), "{tip:?} {expected:?}");
        let object = frames["object"].translation.vector;
        assert_eq!(<[f64; 3]>::from(object), tick.object.unwrap().position);
    }
    assert!(ticks.next().is_none() && scenes.len() == 1);
    let ids: Vec<&str> = scenes[0]["entities"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
    for id in ["base", "hand", "jaw", "goal", "fingertip_path", "object", "object_path"] {
        assert!(ids.contains(&id), "{id} not in {ids:?}");
    }
}

#[test]
fn a_table_has_every_tick_of_every_readable_episode() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let source = at("source");
    record(path(&source));
    fs::write(source.join("episode-000001.mcap"), "mine").unwrap();
    let export = |format: &str| {
        let (code, report) = episodes(&["export", path(&source), "--format", format, "--out", path(&at(format))]);
        assert_eq!((code, &report["rows"], &report["skipped"]), (3, &1002.into(), &1.into()), "{report}");
    };
    export("csv");
    export("parquet");
    let csv = fs::read_to_string(at("csv")).unwrap();
    let cells: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert!(cells.len() == 1003 && cells.iter().all(|line| line.len() == cells[0].len()));
    let episode = read(&source.join("episode-000002.mcap")).unwrap().episode;
    let column = cells[0].iter().position(|name| *name == "sent_rad.1").unwrap();
    for (line, tick) in cells[502..].iter().zip(&episode.ticks) {
        assert_eq!(line[0], "2", "numbered as its file is");
        let expected = tick.sent_rad.get(1).map_or(String::new(), ToString::to_string);
        assert_eq!(line[column], expected);
    }
    let parquet = SerializedFileReader::new(File::open(at("parquet")).unwrap()).unwrap();
    assert_eq!(parquet.metadata().file_metadata().num_rows(), 1002);
}
