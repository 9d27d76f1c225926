//! Messages on the wire: `foxglove/FrameTransforms.proto` and what it uses; field numbers are those of Foxglove's schemas.

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FrameTransforms {
    #[prost(message, repeated, tag = 1)]
    pub(super) transforms: Vec<FrameTransform>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FrameTransform {
    #[prost(message, optional, tag = 1)]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(string, tag = 2)]
    pub(super) parent_frame_id: String,
    #[prost(string, tag = 3)]
    pub(super) child_frame_id: String,
    #[prost(message, optional, tag = 4)]
    pub(super) translation: Option<Vector3>,
    #[prost(message, optional, tag = 5)]
    pub(super) rotation: Option<Quaternion>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Vector3 {
    #[prost(double, tag = 1)]
    pub(super) x: f64,
    #[prost(double, tag = 2)]
    pub(super) y: f64,
    #[prost(double, tag = 3)]
    pub(super) z: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Quaternion {
    #[prost(double, tag = 1)]
    pub(super) x: f64,
    #[prost(double, tag = 2)]
    pub(super) y: f64,
    #[prost(double, tag = 3)]
    pub(super) z: f64,
    #[prost(double, tag = 4)]
    pub(super) w: f64,
}

/// `google/protobuf/timestamp.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = 1)]
    pub(super) seconds: i64,
    #[prost(int32, tag = 2)]
    pub(super) nanos: i32,
}

/// A `std_msgs/msg/String` as ROS 2 writes it: CDR, little-endian, with the length and a closing zero.
pub(super) fn ros_string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len() + 1).unwrap_or(u32::MAX);
    [&[0, 1, 0, 0], &length.to_le_bytes(), text.as_bytes(), &[0]].concat()
}
