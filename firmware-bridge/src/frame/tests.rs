use super::*;
use crate::joint::{JointLimits, JointState, MAX_JOINTS, PerJoint};
use crate::message::{DeviceMessage, Fault, HostMessage, Mode, Refusal};
use proptest::prelude::*;
use std::vec::Vec;

fn framed<T: Serialize>(message: &T) -> Vec<u8> {
    let mut frame = [0; MAX_FRAME];
    let len = encode(message, &mut frame).unwrap();
    frame[..len].to_vec()
}

fn decoded<T: DeserializeOwned>(decoder: &mut Decoder, bytes: &[u8]) -> Vec<Result<T, FrameError>> {
    bytes.iter().filter_map(|&byte| decoder.push(byte)).collect()
}

/// The payload inside a frame, undone by the book: length bytes first, zeros where the pieces end.
fn payload(frame: &[u8]) -> Vec<u8> {
    let [0, cobs @ .., 0] = frame else { panic!("no delimiters: {frame:02x?}") };
    let (mut body, mut at) = (Vec::new(), 0);
    while at < cobs.len() {
        let len = usize::from(cobs[at]);
        body.extend_from_slice(&cobs[at + 1..at + len]);
        body.push(0);
        at += len;
    }
    body.truncate(body.len() - 1 - CRC_LEN);
    body
}

fn per_joint(values: &[f32]) -> PerJoint {
    PerJoint::from_slice(values).unwrap()
}

#[test]
fn the_crc_has_the_published_check_value() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn whole_frames_have_their_golden_bytes() {
    // The CRCs are zlib's: b525d7fb and 36de2269.
    assert_eq!(framed(&HostMessage::Poll { seq: 0 }), [0, 2, 4, 5, 0xfb, 0xd7, 0xb5, 0x25, 0]);
    assert_eq!(framed(&HostMessage::Hello { version: 1 }), [0, 1, 6, 1, 0x69, 0x22, 0xde, 0x36, 0]);
}

#[test]
fn every_message_of_the_host_has_its_golden_bytes() {
    let command = HostMessage::Command { seq: 128, position_rad: per_joint(&[1.0, -0.5]), horizon_us: 8_000 };
    let golden: [(HostMessage, &[u8]); 6] = [
        (HostMessage::Hello { version: 1 }, &[0, 1]),
        (HostMessage::Activate { seq: 1 }, &[1, 1]),
        (HostMessage::Deactivate { seq: u32::MAX }, &[2, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        (command, &[3, 0x80, 1, 2, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf, 0xc0, 0x3e]),
        (HostMessage::Poll { seq: 127 }, &[4, 0x7f]),
        (HostMessage::ClearFault { seq: 300 }, &[5, 0xac, 2]),
    ];
    for (message, bytes) in golden {
        assert_eq!(payload(&framed(&message)), bytes, "{message:?}");
    }
}

#[test]
fn every_message_of_the_firmware_has_its_golden_bytes() {
    let limit = JointLimits { lower_rad: -1.0, upper_rad: 2.0, velocity_rad_s: 4.0 };
    let hello = DeviceMessage::Hello {
        version: 1,
        boot_id: 0x1234,
        watchdog_us: 100_000,
        limits: heapless::Vec::from_slice(&[limit]).unwrap(),
    };
    let bytes = [0, 1, 0xb4, 0x24, 0xa0, 0x8d, 6, 1, 0, 0, 0x80, 0xbf, 0, 0, 0, 0x40, 0, 0, 0x80, 0x40];
    assert_eq!(payload(&framed(&hello)), bytes);

    let state = |mode, refused, sent_rad: &[f32]| DeviceMessage::State {
        seq: 5,
        boot_id: 6,
        stamp_us: 1 << 35,
        mode,
        refused,
        joints: JointState {
            position_rad: per_joint(&[1.0]),
            velocity_rad_s: per_joint(&[-2.0]),
            load: per_joint(&[0.5]),
        },
        sent_rad: per_joint(sent_rad),
    };
    let head = [1, 5, 6, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
    let joints = [1, 0, 0, 0x80, 0x3f, 1, 0, 0, 0, 0xc0, 1, 0, 0, 0, 0x3f];
    let cases: [(Mode, Option<Refusal>, &[u8]); 10] = [
        (Mode::Idle, None, &[0, 0]),
        (Mode::Active, None, &[1, 0]),
        (Mode::Fault(Fault::Watchdog), None, &[2, 0, 0]),
        (Mode::Fault(Fault::Motors), Some(Refusal::WrongMode), &[2, 1, 1, 0]),
        (Mode::Idle, Some(Refusal::JointCount), &[0, 1, 1]),
        (Mode::Idle, Some(Refusal::NotFinite), &[0, 1, 2]),
        (Mode::Idle, Some(Refusal::PositionLimit), &[0, 1, 3]),
        (Mode::Idle, Some(Refusal::VelocityLimit), &[0, 1, 4]),
        (Mode::Idle, Some(Refusal::NoHello), &[0, 1, 5]),
        (Mode::Idle, Some(Refusal::Motors), &[0, 1, 6]),
    ];
    for (mode, refused, bytes) in cases {
        assert_eq!(payload(&framed(&state(mode, refused, &[]))), [&head, bytes, &joints, &[0]].concat());
    }
    assert!(payload(&framed(&state(Mode::Active, None, &[1.0]))).ends_with(&[1, 0, 0, 0x80, 0x3f]));
}

#[test]
fn the_longest_message_fits() {
    let full = per_joint(&[f32::MAX; MAX_JOINTS]);
    let longest = DeviceMessage::State {
        seq: u32::MAX,
        boot_id: u32::MAX,
        stamp_us: u64::MAX,
        mode: Mode::Fault(Fault::Motors),
        refused: Some(Refusal::Motors),
        joints: JointState { position_rad: full.clone(), velocity_rad_s: full.clone(), load: full.clone() },
        sent_rad: full,
    };
    assert_eq!(payload(&framed(&longest)).len(), 157);
    assert_eq!(encode(&longest, &mut [0; 100]), Err(FrameError::NoRoom));
    // No message, but a payload of the greatest length (its count takes 2 bytes), with and without zeros.
    for byte in [0_u8, 1] {
        let bytes = [byte; MAX_PAYLOAD - 2];
        let frame = framed(&&bytes[..]);
        assert_eq!(frame.len(), MAX_FRAME);
        assert_eq!(payload(&frame).len(), MAX_PAYLOAD);
    }
}

#[test]
fn a_hello_of_another_version_is_told_apart_whatever_follows() {
    let versions: [(&[u8], FrameError); 3] = [
        (&[0, 2], FrameError::Version(2)),
        (&[0, 0xac, 2, 9, 9, 9], FrameError::Version(300)),
        (&[0], FrameError::Unknown),
    ];
    for (bytes, error) in versions {
        assert_eq!(parse::<HostMessage>(bytes), Err(error));
        assert_eq!(parse::<DeviceMessage>(bytes), Err(error));
    }
}

#[test]
fn a_sound_frame_with_bytes_too_many_is_no_message() {
    assert_eq!(parse::<HostMessage>(&[4, 1, 0]), Err(FrameError::Unknown));
    assert_eq!(parse::<HostMessage>(&[6, 1]), Err(FrameError::Unknown));
    // Nine joints.
    assert_eq!(parse::<HostMessage>(&[&[3, 0, 9][..], &[0; 36], &[0]].concat()), Err(FrameError::Unknown));
}

#[test]
fn a_cut_an_overlong_and_a_damaged_frame_are_told_apart() {
    let frame = framed(&HostMessage::Poll { seq: 1 });
    let mut decoder = Decoder::new();
    let cut = [&frame[..frame.len() - 2], &[0]].concat();
    assert_eq!(decoded::<HostMessage>(&mut decoder, &cut), [Err(FrameError::CutShort)]);
    let long = [&[1; 4 * MAX_FRAME][..], &[0]].concat();
    assert_eq!(decoded::<HostMessage>(&mut decoder, &long), [Err(FrameError::TooLong)]);
    let mut damaged = frame.clone();
    damaged[2] ^= 0x40;
    assert!(matches!(decoded::<HostMessage>(&mut decoder, &damaged)[..], [Err(FrameError::Checksum { .. })]));
    assert_eq!(decoded::<HostMessage>(&mut decoder, &frame), [Ok(HostMessage::Poll { seq: 1 })]);
}

fn any_joints() -> impl Strategy<Value = PerJoint> {
    prop::collection::vec(-1e6_f32..1e6, 0..=MAX_JOINTS).prop_map(|values| per_joint(&values))
}

fn any_host_message() -> impl Strategy<Value = HostMessage> {
    prop_oneof![
        Just(HostMessage::Hello { version: PROTOCOL_VERSION }),
        any::<u32>().prop_map(|seq| HostMessage::Activate { seq }),
        any::<u32>().prop_map(|seq| HostMessage::Deactivate { seq }),
        (any::<u32>(), any_joints(), any::<u32>()).prop_map(|(seq, position_rad, horizon_us)| HostMessage::Command {
            seq,
            position_rad,
            horizon_us
        }),
        any::<u32>().prop_map(|seq| HostMessage::Poll { seq }),
        any::<u32>().prop_map(|seq| HostMessage::ClearFault { seq }),
    ]
}

fn any_state() -> impl Strategy<Value = DeviceMessage> {
    let mode = prop_oneof![Just(Mode::Idle), Just(Mode::Active), Just(Mode::Fault(Fault::Motors))];
    let joints = (any_joints(), any_joints(), any_joints(), any_joints());
    (any::<u32>(), any::<u32>(), any::<u64>(), mode, any::<bool>(), joints).prop_map(
        |(seq, boot_id, stamp_us, mode, refused, (position_rad, velocity_rad_s, load, sent_rad))| {
            DeviceMessage::State {
                seq,
                boot_id,
                stamp_us,
                mode,
                refused: refused.then_some(Refusal::NotFinite),
                joints: JointState { position_rad, velocity_rad_s, load },
                sent_rad,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(host in any_host_message(), state in any_state()) {
        let mut decoder = Decoder::new();
        prop_assert_eq!(decoded(&mut decoder, &framed(&host)), [Ok(host)]);
        prop_assert_eq!(decoded(&mut decoder, &framed(&state)), [Ok(state)]);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        decoded::<HostMessage>(&mut Decoder::new(), &bytes);
        decoded::<DeviceMessage>(&mut Decoder::new(), &bytes);
        let _ = parse::<HostMessage>(&bytes);
        let _ = parse::<DeviceMessage>(&bytes);
    }

    #[test]
    fn the_first_intact_frame_after_noise_is_understood(
        noise in prop::collection::vec(any::<u8>(), 0..500),
        message in any_state(),
    ) {
        let mut decoder = Decoder::new();
        let heard = decoded(&mut decoder, &[noise, framed(&message)].concat());
        prop_assert_eq!(heard.last(), Some(&Ok(message)));
    }

    #[test]
    fn one_wrong_byte_never_makes_another_message(message in any_state(), at in any::<usize>(), flip in 1_u8..) {
        let mut frame = framed(&message);
        let at = at % frame.len();
        frame[at] ^= flip;
        let heard = decoded::<DeviceMessage>(&mut Decoder::new(), &frame);
        // A wrong first delimiter makes a wrong COBS length out of it; nothing sound remains either way.
        prop_assert!(heard.iter().all(|result| result.is_err()), "{:?}", heard);
    }
}
