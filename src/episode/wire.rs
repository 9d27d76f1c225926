//! What the bytes of an episode file mean.
//!
//! A file is an [MCAP](https://mcap.dev/spec) file, version 0; this program writes no chunk compressed. Its messages are
//! protobuf (proto3), each schema is carried by the file as a `FileDescriptorSet`, so Foxglove and `mcap` open it
//! as it is.
//!
//! | Topic | Schema | When |
//! |---|---|---|
//! | `/episode/start` | `hindsight.v1.EpisodeStart` | first message, once |
//! | `/tick` | `hindsight.v1.Tick` | every control period; `index` counts from 0 without gaps |
//! | `/bus` | `hindsight.v1.BusHealth` | every second, and before the end |
//! | `/fault` | `hindsight.v1.FaultEvent` | when something went wrong |
//! | `/episode/end` | `hindsight.v1.EpisodeEnd` | last message, once; missing if the recording was cut off |
//! | `/transition` | `hindsight.v1.Transition` | only in derived files, instead of ticks; see [`super::relabel`] |
//!
//! - Units are in the fields' names; positions are in the base frame in m, quaternions [x, y, z, w], joints in the
//!   arm's order from the base outwards. Fields and their numbers stand below, in [`Tick`] and its neighbours.
//! - `log_time` is Unix time in ns if the start carries `wall_us`, otherwise the host's monotonic clock in ns: it is
//!   always computed from the message's own stamp, so that virtual time gives the same bytes every time.
//!   `publish_time` equals it; `sequence` counts from 0 on each topic.
//! - The last field of every message is `check = 100` (`fixed32`, bytes `A5 06` and four more, little-endian):
//!   CRC-32 (IEEE) of the topic's name followed by the message's bytes before the field.
//!
//! > **Why a check in each message?** MCAP has a CRC a chunk. When a recording is cut in the middle of a chunk, its
//! > CRC is of no use, and without a check of its own a whole record could not be told from a damaged one.
//!
//! - A chunk holds at most 40 ms of ticks, and reaches the operating system at once.
//!
//! > **Why?** A process that is killed loses what is still in its memory, and nothing else. `fsync` would guard
//! > against a power cut too, at the price of a disk that stalls; we do not call it.

/// Package of the protobuf messages.
pub const PACKAGE: &str = "hindsight.v1";

/// Key of the `check` field: number 100, wire type 5 (32 bits).
const CHECK_KEY: [u8; 2] = [0xA5, 0x06];

/// A channel of an episode file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// `/episode/start`
    Start,
    /// `/tick`
    Tick,
    /// `/bus`
    Bus,
    /// `/fault`
    Fault,
    /// `/episode/end`
    End,
    /// `/transition`
    Transition,
}

impl Topic {
    /// The topics of a recorded episode.
    pub const RECORDED: [Self; 5] = [Self::Start, Self::Tick, Self::Fault, Self::End, Self::Bus];
    /// The topics of a derived file.
    pub const DERIVED: [Self; 3] = [Self::Start, Self::Transition, Self::End];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "/episode/start",
            Self::Tick => "/tick",
            Self::Bus => "/bus",
            Self::Fault => "/fault",
            Self::End => "/episode/end",
            Self::Transition => "/transition",
        }
    }

    /// The topic of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Start, Self::Tick, Self::Bus, Self::Fault, Self::End, Self::Transition]
            .into_iter()
            .find(|topic| topic.name() == name)
    }

    /// Name of its messages' schema without the package, and their fields.
    pub(super) fn schema(self) -> (&'static str, &'static [Field]) {
        match self {
            Self::Start => ("EpisodeStart", Start::FIELDS),
            Self::Tick => ("Tick", Tick::FIELDS),
            Self::Bus => ("BusHealth", Bus::FIELDS),
            Self::Fault => ("FaultEvent", Fault::FIELDS),
            Self::End => ("EpisodeEnd", End::FIELDS),
            Self::Transition => ("Transition", Transition::FIELDS),
        }
    }
}

/// A field of a message, for the file's schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: i32,
    pub(super) kind: Kind,
}

/// Protobuf type and label of a field, and the message's name if it is one.
pub(super) type Kind = (i32, i32, &'static str);

// FieldDescriptorProto's numbers for types and labels.
const OPTIONAL: i32 = 1;
const REPEATED: i32 = 3;
const DOUBLE: Kind = (1, OPTIONAL, "");
const DOUBLES: Kind = (1, REPEATED, "");
const FLOAT: Kind = (2, OPTIONAL, "");
const FLOATS: Kind = (2, REPEATED, "");
const U64: Kind = (4, OPTIONAL, "");
const I32: Kind = (5, OPTIONAL, "");
pub(super) const FIXED32: Kind = (7, OPTIONAL, "");
const BOOL: Kind = (8, OPTIONAL, "");
const STRING: Kind = (9, OPTIONAL, "");
const U32: Kind = (13, OPTIONAL, "");
const OBJECT: Kind = (11, OPTIONAL, "ObjectTrack");
const ENTRIES: Kind = (11, REPEATED, "Entry");

/// Declares a message once, for the encoder and for the file's schema.
macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($tag:tt $field:ident: $ty:ty, ($($prost:tt)*) $kind:ident;)* }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct $name {
            $(#[prost($($prost)*, tag = $tag)] #[allow(missing_docs)] pub $field: $ty,)*
        }
        impl $name {
            pub(super) const FIELDS: &'static [Field] =
                &[$(Field { name: stringify!($field), number: $tag, kind: $kind }),*];
        }
    };
}

message! {
    /// `hindsight.v1.Entry`: one pair of the start's metadata.
    Entry {
        1 key: String, (string) STRING;
        2 value: String, (string) STRING;
    }
}

message! {
    /// `hindsight.v1.EpisodeStart`: see [`super::EpisodeStart`]. `wall_us` is 0 in virtual time.
    Start {
        1 task: String, (string) STRING;
        2 arm: String, (string) STRING;
        3 seed: u64, (uint64) U64;
        4 policy: String, (string) STRING;
        5 policy_sha256: String, (string) STRING;
        6 software: String, (string) STRING;
        7 control_period_us: u32, (uint32) U32;
        8 ticks_per_step: u32, (uint32) U32;
        9 goal: Vec<f32>, (float, repeated) FLOATS;
        10 success_radius_m: f64, (double) DOUBLE;
        11 stamp_us: u64, (uint64) U64;
        12 wall_us: u64, (uint64) U64;
        13 metadata: Vec<Entry>, (message, repeated) ENTRIES;
    }
}

message! {
    /// `hindsight.v1.ObjectTrack`: see [`super::ObjectTrack`].
    Object {
        1 raw_position: Vec<f64>, (double, repeated) DOUBLES;
        2 raw_orientation: Vec<f64>, (double, repeated) DOUBLES;
        3 position: Vec<f64>, (double, repeated) DOUBLES;
        4 orientation: Vec<f64>, (double, repeated) DOUBLES;
        5 velocity_m_s: Vec<f64>, (double, repeated) DOUBLES;
        6 angular_velocity_rad_s: Vec<f64>, (double, repeated) DOUBLES;
        7 age_us: u32, (uint32) U32;
    }
}

message! {
    /// `hindsight.v1.Tick`: see [`super::Tick`].
    Tick {
        1 index: u64, (uint64) U64;
        2 stamp_us: u64, (uint64) U64;
        3 step: u32, (uint32) U32;
        4 begins_step: bool, (bool) BOOL;
        5 observation: Vec<f32>, (float, repeated) FLOATS;
        6 achieved_goal: Vec<f32>, (float, repeated) FLOATS;
        7 desired_goal: Vec<f32>, (float, repeated) FLOATS;
        8 requested_action: Vec<f32>, (float, repeated) FLOATS;
        9 applied_action: Vec<f32>, (float, repeated) FLOATS;
        10 requested_rad: Vec<f32>, (float, repeated) FLOATS;
        11 applied_rad: Vec<f32>, (float, repeated) FLOATS;
        12 sent_rad: Vec<f32>, (float, repeated) FLOATS;
        13 position_rad: Vec<f32>, (float, repeated) FLOATS;
        14 velocity_rad_s: Vec<f32>, (float, repeated) FLOATS;
        15 load: Vec<f32>, (float, repeated) FLOATS;
        16 reading_age_us: u32, (uint32) U32;
        17 object: Option<Object>, (message, optional) OBJECT;
        18 interventions: u32, (uint32) U32;
    }
}

message! {
    /// `hindsight.v1.BusHealth`: what arm and line have been through since the connection, see [`crate::arm::Health`].
    Bus {
        1 stamp_us: u64, (uint64) U64;
        2 asked: u64, (uint64) U64;
        3 lost: u64, (uint64) U64;
        4 damaged: u64, (uint64) U64;
        5 stale: u64, (uint64) U64;
        6 restarts: u64, (uint64) U64;
        7 temperature_max_c: i32, (int32) I32;
    }
}

message! {
    /// `hindsight.v1.FaultEvent`: see [`super::FaultEvent`].
    Fault {
        1 stamp_us: u64, (uint64) U64;
        2 what: String, (string) STRING;
    }
}

message! {
    /// `hindsight.v1.EpisodeEnd`: see [`super::EpisodeEnd`]; `reason` is 1 completed, 2 stopped, 3 fault, 4 port lost,
    /// 5 log overrun.
    End {
        1 reason: u32, (uint32) U32;
        2 stamp_us: u64, (uint64) U64;
        3 success: bool, (bool) BOOL;
        4 steps: u32, (uint32) U32;
        5 final_distance_m: f64, (double) DOUBLE;
        6 lost_ticks: u64, (uint64) U64;
    }
}

message! {
    /// `hindsight.v1.Transition`: a policy step with the goal it is trained for. `goal_step` is the step whose end
    /// achieved the goal, counted from 1; 0 marks the original goal. `goal_file` names the episode file that it was
    /// achieved in, if that is not the step's own. `action` is the applied one. `success` says that the reward is 0.
    Transition {
        1 step: u32, (uint32) U32;
        2 goal_step: u32, (uint32) U32;
        3 observation: Vec<f32>, (float, repeated) FLOATS;
        4 achieved_goal: Vec<f32>, (float, repeated) FLOATS;
        5 desired_goal: Vec<f32>, (float, repeated) FLOATS;
        6 action: Vec<f32>, (float, repeated) FLOATS;
        7 next_observation: Vec<f32>, (float, repeated) FLOATS;
        8 next_achieved_goal: Vec<f32>, (float, repeated) FLOATS;
        9 reward: f32, (float) FLOAT;
        10 success: bool, (bool) BOOL;
        11 stamp_us: u64, (uint64) U64;
        12 goal_file: String, (string) STRING;
    }
}

/// Encodes a message with its check into `out`, which is cleared first.
pub(super) fn encode(topic: Topic, message: &impl prost::Message, out: &mut Vec<u8>) {
    out.clear();
    // Encoding into a Vec cannot run out of room, which is the only way it fails.
    if message.encode(out).is_ok() {
        let check = check(topic, out);
        out.extend_from_slice(&CHECK_KEY);
        out.extend_from_slice(&check.to_le_bytes());
    }
}

/// Decodes a message if its check is right and its fields are what they should be.
pub(super) fn decode<M: prost::Message + Default>(topic: Topic, bytes: &[u8]) -> Option<M> {
    M::decode(checked(topic, bytes)?).ok()
}

/// A message without its check, if that is right.
pub(super) fn checked(topic: Topic, bytes: &[u8]) -> Option<&[u8]> {
    let (body, tail) = bytes.split_at_checked(bytes.len().checked_sub(6)?)?;
    let (key, sum) = tail.split_at_checked(2)?;
    (key == CHECK_KEY && sum == check(topic, body).to_le_bytes()).then_some(body)
}

fn check(topic: Topic, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(topic.name().as_bytes());
    hasher.update(body);
    hasher.finalize()
}
