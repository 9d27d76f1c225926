//! Episodes in three dimensions, as MCAP files that Foxglove opens as they are: `view-000012.mcap` for
//! `episode-000012.mcap`.
//!
//! | Topic | Schema | Encoding | When |
//! |---|---|---|---|
//! | `/tf` | `foxglove.FrameTransforms` | protobuf | every tick: each link in its parent's frame, and the object |
//! | `/scene` | `foxglove.SceneUpdate` | JSON | once: shapes of arm, object and goal, and the paths of fingertip and object |
//! | `/robot_description` | `std_msgs/msg/String` | CDR | once: the arm's URDF, from which Rerun, which knows no scenes, draws it |
//!
//! Times are those of the recording. The recording itself goes beside it in the same viewer, for its numbers.

mod wire;

use super::{ExportError, Exported};
use crate::episode::{Episode, Tick, read};
use crate::kinematics::Kinematics;
use mcap::records::MessageHeader;
use mcap::{McapError, WriteOptions};
use nalgebra::{Isometry3, Translation3, UnitQuaternion};
use prost::Message as _;
use serde_json::{Value, json};
use sim::model::{LinkModel, Shape};
use sim::params::ObjectShape;
use sim::{ArmModel, SimParams};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Writes a view of each of `files`, of the arm `model` that `urdf` describes, into the folder `target`, an episode in memory at a time. `on_episode` is called
/// after each. A file that cannot be read, or has no tick, is skipped.
///
/// # Errors
/// A view exists or cannot be written, an episode is of another arm, or there is nothing to export.
pub fn export(
    files: &[PathBuf],
    target: &Path,
    model: &ArmModel,
    urdf: &str,
    kinematics: &Kinematics,
    twin: impl Fn(&Episode) -> Option<SimParams>,
    mut on_episode: impl FnMut(),
) -> Result<Exported, ExportError> {
    fs::create_dir_all(target).map_err(|cause| ExportError::io(target, cause))?;
    let mut exported = Exported::default();
    for file in files {
        match read(file) {
            Ok(recovered) if recovered.episode.ticks.is_empty() => {}
            Ok(recovered) => {
                let episode = &recovered.episode;
                check_arm(file, episode, model)?;
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let path = target.join(format!("view-{}", name.trim_start_matches("episode-")));
                let object = twin(episode).map(|twin| twin.object.shape);
                write(&path, episode, model, urdf, kinematics, object)?;
                exported.episodes += 1;
                exported.rows += episode.ticks.len() as u64;
                exported.incomplete += u64::from(!recovered.is_complete());
            }
            Err(error) => exported.skipped.push(error),
        }
        on_episode();
    }
    exported.checked()
}

fn check_arm(file: &Path, episode: &Episode, model: &ArmModel) -> Result<(), ExportError> {
    let joints = model.joints.len();
    if episode.start.arm == model.name && episode.ticks.iter().all(|t| t.joints.position_rad.len() == joints) {
        return Ok(());
    }
    let (expected, found) = (model.name.clone(), episode.start.arm.clone());
    Err(ExportError::Arm { path: file.to_owned(), expected, found })
}

fn write(
    path: &Path,
    episode: &Episode,
    model: &ArmModel,
    urdf: &str,
    kinematics: &Kinematics,
    object: Option<ObjectShape>,
) -> Result<(), ExportError> {
    let failed = |error: McapError| match error {
        McapError::Io(cause) => ExportError::io(path, cause),
        other => ExportError::io(path, io::Error::other(other)),
    };
    let sink = BufWriter::new(super::create_new(path)?);
    let library = concat!("hindsight-arm ", env!("CARGO_PKG_VERSION"));
    let mut mcap = WriteOptions::new().library(library).compression(None).create(sink).map_err(failed)?;
    let none = BTreeMap::new();
    let schema = mcap.add_schema("foxglove.FrameTransforms", "protobuf", &descriptor::frame_transforms());
    let transforms = mcap.add_channel(schema.map_err(failed)?, "/tf", "protobuf", &none).map_err(failed)?;
    let text = scene_schema().to_string();
    let schema = mcap.add_schema("foxglove.SceneUpdate", "jsonschema", text.as_bytes()).map_err(failed)?;
    let scene = mcap.add_channel(schema, "/scene", "json", &none).map_err(failed)?;
    let schema = mcap.add_schema("std_msgs/msg/String", "ros2msg", b"string data").map_err(failed)?;
    let description = mcap.add_channel(schema, "/robot_description", "cdr", &none).map_err(failed)?;
    let mut put = |channel_id, sequence, time_ns, bytes: &[u8]| {
        let header = MessageHeader { channel_id, sequence, log_time: time_ns, publish_time: time_ns };
        mcap.write_to_known_channel(&header, bytes).map_err(failed)
    };
    let start = &episode.start;
    let time_ns = |tick: &Tick| {
        let wall_us = start.wall_us.map(|wall_us| wall_us.saturating_add(tick.stamp_us.saturating_sub(start.stamp_us)));
        wall_us.unwrap_or(tick.stamp_us).saturating_mul(1000)
    };
    for (sequence, tick) in (0..).zip(&episode.ticks) {
        let now_ns = time_ns(tick);
        if sequence == 0 {
            let update = scene_update(episode, model, kinematics, object, now_ns).to_string();
            put(scene, 0, now_ns, update.as_bytes())?;
            put(description, 0, now_ns, &wire::ros_string(urdf))?;
        }
        put(transforms, sequence, now_ns, &frame_transforms(tick, model, now_ns).encode_to_vec())?;
    }
    mcap.finish().map_err(failed)?;
    mcap.into_inner().flush().map_err(|cause| ExportError::io(path, cause))
}

/// Name of the object's frame and entity.
const OBJECT: &str = "object";

/// Where every link is in its parent's frame, and the object in the base's.
fn frame_transforms(tick: &Tick, model: &ArmModel, now_ns: u64) -> wire::FrameTransforms {
    let parent = |joint: Option<usize>| joint.map_or(&model.base, |joint| &model.joints[joint].link);
    let links = model.joints.iter().zip(&tick.joints.position_rad).map(|(joint, rad)| {
        let turned = joint.origin * UnitQuaternion::from_axis_angle(&joint.axis, f64::from(*rad));
        transform(&parent(joint.parent).name, &joint.link.name, &turned, now_ns)
    });
    let object = tick.object.map(|object| {
        let [x, y, z, w] = object.orientation;
        let rotation = UnitQuaternion::new_normalize(nalgebra::Quaternion::new(w, x, y, z));
        let pose = Isometry3::from_parts(Translation3::from(object.position), rotation);
        transform(&model.base.name, OBJECT, &pose, now_ns)
    });
    wire::FrameTransforms { transforms: links.chain(object).collect() }
}

fn transform(parent: &str, child: &str, pose: &Isometry3<f64>, now_ns: u64) -> wire::FrameTransform {
    let (at, turn) = (pose.translation.vector, pose.rotation.coords);
    wire::FrameTransform {
        timestamp: Some(wire::Timestamp {
            seconds: (now_ns / 1_000_000_000) as i64,
            nanos: (now_ns % 1_000_000_000) as i32,
        }),
        parent_frame_id: parent.to_owned(),
        child_frame_id: child.to_owned(),
        translation: Some(wire::Vector3 { x: at.x, y: at.y, z: at.z }),
        rotation: Some(wire::Quaternion { x: turn.x, y: turn.y, z: turn.z, w: turn.w }),
    }
}

/// Colours of the entities: red, green, blue and opacity.
const GREY: [f64; 4] = [0.75, 0.75, 0.72, 1.0];
const ORANGE: [f64; 4] = [0.9, 0.49, 0.13, 1.0];
const BLUE: [f64; 4] = [0.12, 0.47, 0.71, 1.0];
const GREEN: [f64; 4] = [0.17, 0.63, 0.17, 0.35];
/// Width of a path, m.
const PATH_M: f64 = 0.002;

fn scene_update(
    episode: &Episode,
    model: &ArmModel,
    kinematics: &Kinematics,
    object: Option<ObjectShape>,
    now_ns: u64,
) -> Value {
    let base = model.base.name.as_str();
    let entity = |frame: &str, id: &str| Entity::new(frame, id, now_ns);
    let links = std::iter::once(&model.base).chain(model.joints.iter().map(|joint| &joint.link));
    let mut entities: Vec<Value> = links.map(|link| of_link(entity(&link.name, &link.name), link)).collect();
    let goal_m = episode.start.goal.map(f64::from);
    let size = [2.0 * episode.start.success_radius_m; 3];
    let goal = Isometry3::from_parts(Translation3::from(goal_m), UnitQuaternion::identity());
    entities.push(entity(base, "goal").add("spheres", &goal, size, GREEN).json());
    let tips = episode.ticks.iter().map(|tick| kinematics.forward(&tick.joints.position_rad).position_m);
    entities.push(entity(base, "fingertip_path").line(tips, BLUE).json());
    let seen = episode.ticks.iter().filter_map(|tick| tick.object.map(|object| object.position));
    if let (Some(shape), true) = (object, seen.clone().next().is_some()) {
        let middle = Isometry3::identity();
        let shown = match shape {
            ObjectShape::Cylinder { radius_m, height_m } => {
                entity(OBJECT, OBJECT).add("cylinders", &middle, [2.0 * radius_m, 2.0 * radius_m, height_m], ORANGE)
            }
            ObjectShape::Cube { edge_m } => entity(OBJECT, OBJECT).add("cubes", &middle, [edge_m; 3], ORANGE),
        };
        entities.push(shown.json());
        entities.push(entity(base, "object_path").line(seen, ORANGE).json());
    }
    json!({ "deletions": [], "entities": entities })
}

fn of_link(entity: Entity, link: &LinkModel) -> Value {
    let shapes = link.shapes.iter();
    shapes
        .fold(entity, |entity, (pose, shape)| match *shape {
            Shape::Cuboid(half) => entity.add("cubes", pose, (half * 2.0).into(), GREY),
            Shape::Cylinder(radius, half) => {
                entity.add("cylinders", pose, [2.0 * radius, 2.0 * radius, 2.0 * half], GREY)
            }
            Shape::Ball(radius) => entity.add("spheres", pose, [2.0 * radius; 3], GREY),
            Shape::Capsule(radius, half) => {
                let entity = entity.add("cylinders", pose, [2.0 * radius, 2.0 * radius, 2.0 * half], GREY);
                [-half, half].into_iter().fold(entity, |entity, z| {
                    entity.add("spheres", &(pose * Translation3::new(0.0, 0.0, z)), [2.0 * radius; 3], GREY)
                })
            }
        })
        .json()
}

/// A `foxglove.SceneEntity` that moves with its frame and stays.
struct Entity(Value);

impl Entity {
    fn new(frame: &str, id: &str, now_ns: u64) -> Self {
        Self(json!({
            "timestamp": { "sec": now_ns / 1_000_000_000, "nsec": now_ns % 1_000_000_000 },
            "frame_id": frame,
            "id": id,
            "lifetime": { "sec": 0, "nsec": 0 },
            "frame_locked": true,
            "metadata": [], "arrows": [], "cubes": [], "spheres": [], "cylinders": [], "lines": [], "triangles": [],
            "texts": [], "models": [],
        }))
    }

    /// Adds a primitive; `size_m` is its whole extent along each axis.
    fn add(mut self, kind: &str, pose: &Isometry3<f64>, size_m: [f64; 3], color: [f64; 4]) -> Self {
        let mut primitive = json!({ "pose": self::pose(pose), "size": vector(size_m), "color": self::color(color) });
        if kind == "cylinders" {
            (primitive["bottom_scale"], primitive["top_scale"]) = (1.0.into(), 1.0.into());
        }
        if let Some(list) = self.0[kind].as_array_mut() {
            list.push(primitive);
        }
        self
    }

    /// Adds a line through points, m.
    fn line(mut self, points: impl Iterator<Item = [f64; 3]>, color: [f64; 4]) -> Self {
        self.0["lines"] = json!([{
            "type": 0,
            "pose": pose(&Isometry3::identity()),
            "thickness": PATH_M,
            "scale_invariant": false,
            "points": points.map(vector).collect::<Vec<_>>(),
            "color": self::color(color),
            "colors": [],
            "indices": [],
        }]);
        self
    }

    fn json(self) -> Value {
        self.0
    }
}

fn vector([x, y, z]: [f64; 3]) -> Value {
    json!({ "x": x, "y": y, "z": z })
}

fn pose(pose: &Isometry3<f64>) -> Value {
    let turn = pose.rotation.coords;
    let orientation = json!({ "x": turn.x, "y": turn.y, "z": turn.z, "w": turn.w });
    json!({ "position": vector(pose.translation.vector.into()), "orientation": orientation })
}

fn color([r, g, b, a]: [f64; 4]) -> Value {
    json!({ "r": r, "g": g, "b": b, "a": a })
}

/// The schema of `/scene`, as far as it is used; viewers know it by its name.
fn scene_schema() -> Value {
    let object = |properties: Value| json!({ "type": "object", "properties": properties });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let number = || json!({ "type": "number" });
    let text = || json!({ "type": "string" });
    let time = || object(json!({ "sec": { "type": "integer" }, "nsec": { "type": "integer" } }));
    let vector = || object(json!({ "x": number(), "y": number(), "z": number() }));
    let turn = object(json!({ "x": number(), "y": number(), "z": number(), "w": number() }));
    let pose = object(json!({ "position": vector(), "orientation": turn }));
    let color = object(json!({ "r": number(), "g": number(), "b": number(), "a": number() }));
    let solid = object(json!({ "pose": pose, "size": vector(), "color": color }));
    let cylinder = object(json!({
        "pose": pose, "size": vector(), "bottom_scale": number(), "top_scale": number(), "color": color,
    }));
    let line = object(json!({
        "type": { "type": "integer" }, "pose": pose, "thickness": number(), "scale_invariant": { "type": "boolean" },
        "points": list(vector()), "color": color, "colors": list(color.clone()), "indices": list(number()),
    }));
    let unused = || list(object(json!({})));
    let entity = object(json!({
        "timestamp": time(), "frame_id": text(), "id": text(), "lifetime": time(),
        "frame_locked": { "type": "boolean" }, "metadata": unused(), "arrows": unused(), "cubes": list(solid.clone()),
        "spheres": list(solid), "cylinders": list(cylinder), "lines": list(line), "triangles": unused(),
        "texts": unused(), "models": unused(),
    }));
    let mut schema = object(json!({ "deletions": unused(), "entities": list(entity) }));
    schema["title"] = "foxglove.SceneUpdate".into();
    schema
}

/// The descriptors of [`wire`].
mod descriptor {
    use crate::episode::schema::{Described, files};

    const VECTOR: &str = ".foxglove.Vector3";
    const MESSAGES: [Described; 4] = [
        ("FrameTransforms", &[("transforms", 1, 11, true, ".foxglove.FrameTransform")]),
        (
            "FrameTransform",
            &[
                ("timestamp", 1, 11, false, ".google.protobuf.Timestamp"),
                ("parent_frame_id", 2, 9, false, ""),
                ("child_frame_id", 3, 9, false, ""),
                ("translation", 4, 11, false, VECTOR),
                ("rotation", 5, 11, false, ".foxglove.Quaternion"),
            ],
        ),
        ("Vector3", &[("x", 1, 1, false, ""), ("y", 2, 1, false, ""), ("z", 3, 1, false, "")]),
        (
            "Quaternion",
            &[("x", 1, 1, false, ""), ("y", 2, 1, false, ""), ("z", 3, 1, false, ""), ("w", 4, 1, false, "")],
        ),
    ];
    const TIMESTAMP: [Described; 1] = [("Timestamp", &[("seconds", 1, 3, false, ""), ("nanos", 2, 5, false, "")])];

    /// A serialised `FileDescriptorSet`.
    pub(super) fn frame_transforms() -> Vec<u8> {
        files(&[
            ("google/protobuf/timestamp.proto", "google.protobuf", &[], &TIMESTAMP),
            ("foxglove/FrameTransforms.proto", "foxglove", &["google/protobuf/timestamp.proto"], &MESSAGES),
        ])
    }
}
