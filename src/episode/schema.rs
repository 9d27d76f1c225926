//! The schemas that an episode file carries: protobuf's own description of our messages, made from the tables in
//! [`super::wire`] so that no code generator is needed.

use super::wire::{self, FIXED32, Field, PACKAGE, Topic};
use prost::Message as _;

// The parts of google/protobuf/descriptor.proto that a reader needs; numbers are those of that file.

#[derive(Clone, PartialEq, prost::Message)]
struct FileDescriptorSet {
    #[prost(message, repeated, tag = 1)]
    file: Vec<FileDescriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FileDescriptor {
    #[prost(string, tag = 1)]
    name: String,
    #[prost(string, tag = 2)]
    package: String,
    #[prost(string, repeated, tag = 3)]
    dependency: Vec<String>,
    #[prost(message, repeated, tag = 4)]
    message_type: Vec<Descriptor>,
    #[prost(string, tag = 12)]
    syntax: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Descriptor {
    #[prost(string, tag = 1)]
    name: String,
    #[prost(message, repeated, tag = 2)]
    field: Vec<FieldDescriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FieldDescriptor {
    #[prost(string, tag = 1)]
    name: String,
    #[prost(int32, tag = 3)]
    number: i32,
    #[prost(int32, tag = 4)]
    label: i32,
    #[prost(int32, tag = 5)]
    kind: i32,
    #[prost(string, optional, tag = 6)]
    type_name: Option<String>,
}

const CHECK: Field = Field { name: "check", number: 100, kind: FIXED32 };

/// Full name of a topic's schema, and the schema as a serialised `FileDescriptorSet`.
pub(super) fn of(topic: Topic) -> (String, Vec<u8>) {
    let (name, fields) = topic.schema();
    let mut root = describe(name, fields);
    root.field.push(field(&CHECK));
    let message_type =
        vec![root, describe("Entry", wire::Entry::FIELDS), describe("ObjectTrack", wire::Object::FIELDS)];
    let file = FileDescriptor {
        name: format!("hindsight/v1/{name}.proto"),
        package: PACKAGE.into(),
        dependency: Vec::new(),
        message_type: message_type
            .into_iter()
            .filter(|message| message.name == name || uses(fields, &message.name))
            .collect(),
        syntax: "proto3".into(),
    };
    (format!("{PACKAGE}.{name}"), FileDescriptorSet { file: vec![file] }.encode_to_vec())
}

/// A message of somebody else's: its name, and its fields with number, type, whether they repeat, and message type's name.
pub(super) type Described = (&'static str, &'static [(&'static str, i32, i32, bool, &'static str)]);

/// Files of somebody else's messages as a serialised `FileDescriptorSet`: each file's name, package, imports and messages.
pub(super) fn files(described: &[(&str, &str, &[&str], &[Described])]) -> Vec<u8> {
    // Numbers of descriptor.proto: optional, repeated.
    let label = |repeated: bool| if repeated { 3 } else { 1 };
    let message = |&(name, fields): &Described| Descriptor {
        name: name.into(),
        field: fields
            .iter()
            .map(|&(name, number, kind, repeated, message)| FieldDescriptor {
                name: name.into(),
                number,
                label: label(repeated),
                kind,
                type_name: (!message.is_empty()).then(|| message.into()),
            })
            .collect(),
    };
    let file = described.iter().map(|(name, package, imports, messages)| FileDescriptor {
        name: (*name).into(),
        package: (*package).into(),
        dependency: imports.iter().map(|&import| import.into()).collect(),
        message_type: messages.iter().map(message).collect(),
        syntax: "proto3".into(),
    });
    FileDescriptorSet { file: file.collect() }.encode_to_vec()
}

fn uses(fields: &[Field], message: &str) -> bool {
    fields.iter().any(|field| field.kind.2 == message)
}

fn describe(name: &str, fields: &[Field]) -> Descriptor {
    Descriptor { name: name.into(), field: fields.iter().map(field).collect() }
}

fn field(field: &Field) -> FieldDescriptor {
    let (kind, label, message) = field.kind;
    FieldDescriptor {
        name: field.name.into(),
        number: field.number,
        label,
        kind,
        type_name: (!message.is_empty()).then(|| format!(".{PACKAGE}.{message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
    use std::collections::BTreeMap;

    /// Field numbers and wire types of an encoded message.
    fn fields_of(mut bytes: &[u8]) -> BTreeMap<u32, WireType> {
        let mut found = BTreeMap::new();
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes).unwrap();
            skip_field(wire, number, &mut bytes, DecodeContext::default()).unwrap();
            found.insert(number, wire);
        }
        found
    }

    /// Wire type that protobuf gives a field of this type and label; repeated numbers are packed in proto3.
    fn wire_type((kind, label, _): wire::Kind) -> WireType {
        match (kind, label) {
            (9 | 11, _) | (_, 3) => WireType::LengthDelimited,
            (1, _) => WireType::SixtyFourBit,
            (2 | 7, _) => WireType::ThirtyTwoBit,
            _ => WireType::Varint,
        }
    }

    #[test]
    fn the_schema_in_the_file_is_the_encoding_of_the_messages() {
        let episode = crate::episode::tests::sample(2, 3);
        let mut tick = wire::Tick::from(&episode.ticks[1]);
        tick.reading_age_us = 1;
        tick.begins_step = true;
        tick.step = 1;
        let mut start = wire::Start::from(&episode.start);
        start.wall_us = 1;
        let mut end = wire::End::from(episode.end.as_ref().unwrap());
        (end.success, end.lost_ticks) = (true, 1);
        let mut bytes = Vec::new();
        let mut check = |topic: Topic, fill: &dyn Fn(&mut Vec<u8>)| {
            fill(&mut bytes);
            let (_, fields) = topic.schema();
            let expected: BTreeMap<_, _> =
                fields.iter().chain([&CHECK]).map(|field| (field.number as u32, wire_type(field.kind))).collect();
            assert_eq!(fields_of(&bytes), expected, "{topic:?}");
        };
        check(Topic::Tick, &|out| wire::encode(Topic::Tick, &tick, out));
        check(Topic::Start, &|out| wire::encode(Topic::Start, &start, out));
        check(Topic::End, &|out| wire::encode(Topic::End, &end, out));
        let bus = wire::Bus { stamp_us: 1, asked: 1, lost: 1, damaged: 1, stale: 1, restarts: 1, temperature_max_c: 1 };
        check(Topic::Bus, &|out| wire::encode(Topic::Bus, &bus, out));
        let fault = wire::Fault { stamp_us: 1, what: "x".into() };
        check(Topic::Fault, &|out| wire::encode(Topic::Fault, &fault, out));
    }

    #[test]
    fn a_schema_names_every_message_that_it_uses() {
        let (name, bytes) = of(Topic::Tick);
        let set = FileDescriptorSet::decode(bytes.as_slice()).unwrap();
        let messages: Vec<_> = set.file[0].message_type.iter().map(|message| message.name.as_str()).collect();
        assert_eq!((name.as_str(), messages), ("hindsight.v1.Tick", vec!["Tick", "ObjectTrack"]));
        let object = set.file[0].message_type[0].field.iter().find(|field| field.name == "object").unwrap();
        assert_eq!(object.type_name.as_deref(), Some(".hindsight.v1.ObjectTrack"));
    }

    #[test]
    fn a_flipped_bit_or_another_topic_fails_the_check() {
        let fault = wire::Fault { stamp_us: 300, what: "unplugged".into() };
        let mut bytes = Vec::new();
        wire::encode(Topic::Fault, &fault, &mut bytes);
        assert_eq!(wire::decode(Topic::Fault, &bytes), Some(fault));
        assert_eq!(wire::decode::<wire::Fault>(Topic::End, &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(wire::decode::<wire::Fault>(Topic::Fault, &bad), None, "bit {bit}");
        }
    }

    #[test]
    fn the_bytes_of_a_message_are_these() {
        let mut bytes = Vec::new();
        wire::encode(Topic::Fault, &wire::Fault { stamp_us: 300, what: "ab".into() }, &mut bytes);
        let body = [0x08, 0xAC, 0x02, 0x12, 0x02, b'a', b'b'];
        let sum = crc32fast::hash(&[b"/fault".as_slice(), &body].concat()).to_le_bytes();
        assert_eq!(bytes, [body.as_slice(), &[0xA5, 0x06], &sum].concat());
    }
}
