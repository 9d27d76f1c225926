use super::register::{Access, Sign};
use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// Protocol, id, error byte, data, and the bytes on the wire; of Dynamixel's those behind the id.
type GoldenStatus<'a> = (Protocol, u8, u8, &'a [u8], &'a [u8]);

const PROTOCOLS: [Protocol; 2] = [Protocol::Feetech, Protocol::Dynamixel];

fn asked(protocol: Protocol, id: u8, instruction: Instruction) -> Vec<u8> {
    let mut out = [0; MAX_PACKET];
    let len = instruction.encode(protocol, id, &mut out).unwrap();
    out[..len].to_vec()
}

fn answered(protocol: Protocol, id: u8, error: u8, data: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_PACKET];
    let len = Status { error, data }.encode(protocol, id, &mut out).unwrap();
    out[..len].to_vec()
}

/// What the decoder finds, in pieces of `piece` bytes: id and parameters as written again, or the error.
fn found(decoder: &mut Decoder, bytes: &[u8], piece: usize, see: &mut impl FnMut(Result<Packet, PacketError>)) {
    for mut bytes in bytes.chunks(piece) {
        while !bytes.is_empty() {
            let rest = decoder.push(bytes);
            assert!(rest.len() < bytes.len(), "the decoder takes no more bytes");
            bytes = rest;
            while let Some(packet) = decoder.next_packet() {
                see(packet);
            }
        }
    }
}

fn silence(decoder: &mut Decoder, see: &mut impl FnMut(Result<Packet, PacketError>)) {
    while decoder.skip() {
        while let Some(packet) = decoder.next_packet() {
            see(packet);
        }
    }
}

/// The only packet in `bytes`, handed to `see`.
fn only(protocol: Protocol, bytes: &[u8], see: impl Fn(Packet)) {
    let mut count = 0;
    found(&mut Decoder::new(protocol), bytes, bytes.len(), &mut |packet| {
        see(packet.unwrap());
        count += 1;
    });
    assert_eq!(count, 1, "{bytes:02x?}");
}

fn is_golden(protocol: Protocol, id: u8, instruction: Instruction, bytes: &[u8]) {
    assert_eq!(asked(protocol, id, instruction), bytes, "{instruction:?}");
    only(protocol, bytes, |packet| assert_eq!((packet.id, packet.instruction()), (id, Ok(instruction))));
}

/// Bytes that feetech-servo-sdk 1.0.0 sends for the same, but for reset and reboot, which it lacks.
#[test]
fn every_instruction_of_feetech_has_its_golden_bytes() {
    let goal = |value| sts3215::GOAL_POSITION.encode(value).unwrap();
    let golden = |id, instruction, bytes: &[u8]| is_golden(Protocol::Feetech, id, instruction, bytes);
    golden(1, Instruction::Ping, &[0xff, 0xff, 1, 2, 1, 0xfb]);
    golden(3, Instruction::Read { address: 56, len: 15 }, &[0xff, 0xff, 3, 4, 2, 0x38, 0x0f, 0xaf]);
    let write = Instruction::Write { address: 42, data: &goal(-100) };
    golden(2, write, &[0xff, 0xff, 2, 5, 3, 0x2a, 0x64, 0x80, 0xe7]);
    let offset = sts3215::HOMING_OFFSET.encode(-2047).unwrap();
    let write = Instruction::Write { address: 31, data: &offset };
    golden(6, write, &[0xff, 0xff, 6, 5, 3, 0x1f, 0xff, 0x0f, 0xc4]);
    let write = Instruction::RegWrite { address: 42, data: &goal(2048) };
    golden(4, write, &[0xff, 0xff, 4, 5, 4, 0x2a, 0, 8, 0xc0]);
    golden(BROADCAST, Instruction::Action, &[0xff, 0xff, 0xfe, 2, 5, 0xfa]);
    golden(1, Instruction::FactoryReset { keep: None }, &[0xff, 0xff, 1, 2, 6, 0xf6]);
    golden(1, Instruction::Reboot, &[0xff, 0xff, 1, 2, 8, 0xf4]);
    let read = Instruction::SyncRead { address: 56, len: 15, ids: &[1, 2, 3, 4, 5, 6] };
    golden(BROADCAST, read, &[0xff, 0xff, 0xfe, 0x0a, 0x82, 0x38, 0x0f, 1, 2, 3, 4, 5, 6, 0x19]);
    let entries = [&[1][..], &goal(-1), &[2], &goal(4095)].concat();
    let write = Instruction::SyncWrite { address: 42, len: 2, entries: &entries };
    golden(BROADCAST, write, &[0xff, 0xff, 0xfe, 0x0a, 0x83, 0x2a, 2, 1, 1, 0x80, 2, 0xff, 0x0f, 0xb6]);
    assert_eq!(write.entries().collect::<Vec<_>>(), [(1, &[1, 0x80][..]), (2, &[0xff, 0x0f])]);
}

/// Bytes that dynamixel-sdk 4.1.0 sends for the same; ping, read, write, reset and reboot are in the e-manual, too.
#[test]
fn every_instruction_of_dynamixel_has_its_golden_bytes() {
    let goal = |value: i32| value.to_le_bytes();
    let golden = |id, instruction, bytes: &[u8]| {
        is_golden(Protocol::Dynamixel, id, instruction, &[&[0xff, 0xff, 0xfd, 0, id], bytes].concat());
    };
    golden(1, Instruction::Ping, &[3, 0, 1, 0x19, 0x4e]);
    golden(1, Instruction::Read { address: 132, len: 4 }, &[7, 0, 2, 0x84, 0, 4, 0, 0x1d, 0x15]);
    let write = Instruction::Write { address: 116, data: &goal(512) };
    golden(1, write, &[9, 0, 3, 0x74, 0, 0, 2, 0, 0, 0xca, 0x89]);
    let offset = x_series::HOMING_OFFSET.encode(-1024).unwrap();
    let write = Instruction::Write { address: 20, data: &offset };
    golden(3, write, &[9, 0, 3, 0x14, 0, 0, 0xfc, 0xff, 0xff, 0x91, 0xc5]);
    let write = Instruction::RegWrite { address: 116, data: &goal(-1) };
    golden(1, write, &[9, 0, 4, 0x74, 0, 0xff, 0xff, 0xff, 0xff, 0xbb, 0x0e]);
    golden(BROADCAST, Instruction::Action, &[3, 0, 5, 0x2a, 0xc2]);
    let reset = |keep| Instruction::FactoryReset { keep: Some(keep) };
    golden(1, reset(Keep::Nothing), &[4, 0, 6, 0xff, 0xa6, 0x64]);
    golden(1, reset(Keep::Id), &[4, 0, 6, 1, 0xa1, 0xe6]);
    golden(1, reset(Keep::IdAndBaudRate), &[4, 0, 6, 2, 0xab, 0xe6]);
    golden(1, Instruction::Reboot, &[3, 0, 8, 0x2f, 0x4e]);
    let read = Instruction::SyncRead { address: 126, len: 10, ids: &[1, 2, 3, 4, 5, 6] };
    golden(BROADCAST, read, &[13, 0, 0x82, 0x7e, 0, 10, 0, 1, 2, 3, 4, 5, 6, 0x18, 0xb7]);
    let entries = [&[1][..], &goal(150), &[2], &goal(-170)].concat();
    let write = Instruction::SyncWrite { address: 116, len: 4, entries: &entries };
    let bytes = [17, 0, 0x83, 0x74, 0, 4, 0, 1, 0x96, 0, 0, 0, 2, 0x56, 0xff, 0xff, 0xff, 0xab, 0x3b];
    golden(BROADCAST, write, &bytes);
    let read = Instruction::BulkRead { requests: &[1, 144, 0, 2, 0, 2, 146, 0, 1, 0] };
    golden(BROADCAST, read, &[13, 0, 0x92, 1, 0x90, 0, 2, 0, 2, 0x92, 0, 1, 0, 0x1a, 5]);
}

/// The CRCs are those of dynamixel-sdk 4.1.0; the sums are done by hand.
#[test]
fn statuses_have_their_golden_bytes() {
    let minus = (-4097_i32).to_le_bytes();
    let golden: [GoldenStatus; 7] = [
        (Protocol::Feetech, 1, 0, &[], &[0xff, 0xff, 1, 2, 0, 0xfc]),
        (Protocol::Feetech, 3, 0x20, &[0x18, 0x85], &[0xff, 0xff, 3, 4, 0x20, 0x18, 0x85, 0x3b]),
        (Protocol::Dynamixel, 1, 0, &[0x24, 4, 0x26], &[7, 0, 0x55, 0, 0x24, 4, 0x26, 0xcd, 0x5f]),
        (Protocol::Dynamixel, 5, 0x80, &minus, &[8, 0, 0x55, 0x80, 0xff, 0xef, 0xff, 0xff, 0x55, 0x9c]),
        (Protocol::Dynamixel, 1, 4, &[], &[4, 0, 0x55, 4, 0xba, 0x8c]),
        (Protocol::Dynamixel, 7, 0, &[255, 255, 253, 9], &[9, 0, 0x55, 0, 255, 255, 253, 253, 9, 0x93, 0x5c]),
        (Protocol::Dynamixel, 7, 0, &[255, 255, 255, 253], &[9, 0, 0x55, 0, 255, 255, 255, 253, 253, 0x83, 0x5e]),
    ];
    for (protocol, id, error, data, bytes) in golden {
        let bytes = match protocol {
            Protocol::Feetech => bytes.to_vec(),
            Protocol::Dynamixel => [&[0xff, 0xff, 0xfd, 0, id], bytes].concat(),
        };
        assert_eq!(answered(protocol, id, error, data), bytes);
        only(protocol, &bytes, |packet| assert_eq!((packet.id, packet.status()), (id, Ok(Status { error, data }))));
    }
    let position = sts3215::PRESENT_POSITION.decode(&[0x18, 0x85]).unwrap();
    assert_eq!(position, -1304);
}

#[test]
fn a_packet_without_stuffing_is_understood() {
    // What dynamixel-sdk 4.1.0 sends.
    let bytes = [255, 255, 253, 0, 2, 11, 0, 3, 0xe0, 0, 255, 255, 253, 255, 255, 253, 0xf4, 0xb5];
    let write = Instruction::Write { address: 224, data: &[255, 255, 253, 255, 255, 253] };
    only(Protocol::Dynamixel, &bytes, |packet| assert_eq!(packet.instruction(), Ok(write)));
    // What it should send.
    let bytes = [255, 255, 253, 0, 2, 13, 0, 3, 0xe0, 0, 255, 255, 253, 253, 255, 255, 253, 253, 0xee, 0xb1];
    is_golden(Protocol::Dynamixel, 2, write, &bytes);
}

#[test]
fn what_a_protocol_cannot_say_is_not_sent() {
    let fails = |protocol, instruction: Instruction| instruction.encode(protocol, 1, &mut [0; MAX_PACKET]).unwrap_err();
    let keep = Instruction::FactoryReset { keep: Some(Keep::Id) };
    assert_eq!(fails(Protocol::Feetech, keep), PacketError::Parameters { code: 6, count: 1 });
    let keep = Instruction::FactoryReset { keep: None };
    assert_eq!(fails(Protocol::Dynamixel, keep), PacketError::Parameters { code: 6, count: 0 });
    let bulk = Instruction::BulkRead { requests: &[] };
    assert_eq!(fails(Protocol::Feetech, bulk), PacketError::Instruction(0x92));
    let far = Instruction::Read { address: 256, len: 1 };
    assert_eq!(fails(Protocol::Feetech, far), PacketError::NoRoom);
    let long = Instruction::Write { address: 0, data: &[0; 253] };
    assert_eq!(fails(Protocol::Feetech, long), PacketError::NoRoom);
    let torn = Instruction::SyncWrite { address: 42, len: 2, entries: &[1, 2] };
    assert_eq!(fails(Protocol::Feetech, torn), PacketError::Parameters { code: 0x83, count: 2 });
    assert_eq!(Instruction::Ping.encode(Protocol::Dynamixel, 1, &mut [0; 9]), Err(PacketError::NoRoom));
}

#[test]
fn a_packet_that_is_cut_short_does_not_cost_the_next() {
    // So long that the next one does not fill it up.
    let whole = answered(Protocol::Dynamixel, 2, 0, &[7; 100]);
    for cut in 1..whole.len() {
        let mut ids = vec![];
        let bytes = [&whole[..cut], &answered(Protocol::Dynamixel, 3, 0, &[5, 6])].concat();
        found(&mut Decoder::new(Protocol::Dynamixel), &bytes, 1, &mut |packet| ids.extend(packet.map(|p| p.id)));
        assert_eq!(ids, [3], "cut after {cut} bytes, without waiting for silence");
    }
}

#[test]
fn a_false_header_does_not_cost_the_packet_behind_it() {
    let false_headers: [(Protocol, &[u8]); 3] = [
        (Protocol::Feetech, &[0xff, 0xff, 1, 60]),
        (Protocol::Feetech, &[0xff, 0xff, 1, 60, 0xff]),
        (Protocol::Dynamixel, &[0xff, 0xff, 0xfd, 0, 2, 60, 0, 0x55, 0xff]),
    ];
    for (protocol, noise) in false_headers {
        let (mut decoder, mut ids) = (Decoder::new(protocol), vec![]);
        let bytes = [noise, &answered(protocol, 3, 0, &[5, 6])].concat();
        found(&mut decoder, &bytes, 1, &mut |packet| ids.extend(packet.map(|p| p.id)));
        silence(&mut decoder, &mut |packet| ids.extend(packet.map(|p| p.id)));
        assert_eq!(ids, [3], "after {noise:02x?} and a silence");
    }
}

#[test]
fn registers_lie_side_by_side_and_start_within_their_ranges() {
    let models = [x_series::XL430_W250, x_series::XL330_M288, x_series::XL330_M077];
    for (number, registers) in
        models.iter().map(|model| (model.number, model.registers)).chain([(sts3215::MODEL_NUMBER, sts3215::REGISTERS)])
    {
        for pair in registers.windows(2) {
            assert!(pair[0].end() <= pair[1].address, "{} and {} overlap", pair[0].name, pair[1].name);
        }
        for register in registers {
            assert!([1, 2, 4].contains(&register.size), "{}", register.name);
            let writable = register.access == Access::ReadWrite;
            assert!(
                !writable || register.range.is_some() || register.sign == Sign::Twos || register.name == "shutdown"
            );
            if let Some(default) = register.default {
                assert_eq!(register.decode(&register.encode(default).unwrap()), Ok(default), "{}", register.name);
            }
        }
        assert!(registers.iter().any(|r| r.name == "model number" && r.default == Some(i32::from(number))));
    }
}

#[test]
fn a_value_that_would_wrap_is_refused() {
    let refused = |register: Register, value| {
        assert!(matches!(register.encode(value), Err(RegisterError::Range { .. })), "{} := {value}", register.name);
    };
    refused(sts3215::HOMING_OFFSET, 2048);
    refused(sts3215::HOMING_OFFSET, -2048);
    refused(sts3215::GOAL_POSITION, -32_768);
    refused(sts3215::MAX_ANGLE, 4096);
    refused(x_series::HOMING_OFFSET, 1_044_480);
    refused(x_series::BUS_WATCHDOG, 128);
    let tripped = x_series::BUS_WATCHDOG.decode(&[0xff]).unwrap();
    assert_eq!(tripped, -1);
    assert_eq!(sts3215::PRESENT_LOAD.decode(&[0xf4, 0x05]).unwrap(), -500);
    assert_eq!(sts3215::PRESENT_LOAD.decode(&[0, 4]).unwrap(), 0, "minus nothing is nothing");
    assert_eq!(
        sts3215::PRESENT_LOAD.decode(&[0]).unwrap_err(),
        RegisterError::Size { name: "present load", expected: 2, found: 1 }
    );
}

#[test]
fn counts_are_quantities_in_si_units() {
    let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-3 * b.abs(), "{a} instead of {b}");
    close(sts3215::PRESENT_POSITION.quantity(-1024), -core::f32::consts::FRAC_PI_2);
    close(sts3215::GOAL_ACCELERATION.quantity(1).to_degrees(), 8.789);
    close(sts3215::PRESENT_CURRENT.quantity(-100), -0.65);
    close(x_series::PRESENT_VELOCITY.quantity(-1000), -23.98);
    close(x_series::PWM_LIMIT.quantity(885), 1.0);
    assert_eq!(sts3215::GOAL_POSITION.counts(-core::f32::consts::FRAC_PI_2), -1024);
    assert_eq!(sts3215::GOAL_POSITION.counts(f32::NAN), 0);
    assert_eq!(x_series::GOAL_POSITION.counts(-1e30), i32::MIN);
}

/// Bytes in which beginnings of packets are frequent.
fn noise(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => any::<u8>(), 4 => Just(0xff), 2 => Just(0xfd), 2 => Just(0), 1 => 1_u8..8];
    prop::collection::vec(byte, 0..len)
}

fn instructions<'a>(protocol: Protocol, address: u8, len: u8, data: &'a [u8]) -> Vec<Instruction<'a>> {
    let (address, len) = (u16::from(address), u16::from(len));
    let whole = |size: usize| &data[..data.len() / size * size];
    let mut instructions = vec![
        Instruction::Ping,
        Instruction::Read { address, len },
        Instruction::Write { address, data },
        Instruction::RegWrite { address, data },
        Instruction::Action,
        Instruction::Reboot,
        Instruction::SyncRead { address, len, ids: data },
        Instruction::SyncWrite { address, len, entries: whole(usize::from(len) + 1) },
        Instruction::FactoryReset { keep: (protocol == Protocol::Dynamixel).then_some(Keep::Id) },
    ];
    if protocol == Protocol::Dynamixel {
        instructions.push(Instruction::BulkRead { requests: whole(5) });
    }
    instructions
}

proptest! {
    #[test]
    fn what_is_asked_and_answered_is_understood_in_any_pieces(
        id in 0..=BROADCAST, address: u8, len: u8, data in noise(200), error: u8, piece in 1_usize..40,
    ) {
        for protocol in PROTOCOLS {
            for instruction in instructions(protocol, address, len, &data) {
                let mut seen = 0;
                let bytes = asked(protocol, id, instruction);
                found(&mut Decoder::new(protocol), &bytes, piece, &mut |packet| {
                    let packet = packet.unwrap();
                    assert_eq!((packet.id, packet.instruction()), (id, Ok(instruction)));
                    seen += 1;
                });
                prop_assert_eq!(seen, 1);
            }
            let mut seen = 0;
            found(&mut Decoder::new(protocol), &answered(protocol, id, error, &data), piece, &mut |packet| {
                let packet = packet.unwrap();
                assert_eq!((packet.id, packet.status()), (id, Ok(Status { error, data: &data })));
                seen += 1;
            });
            prop_assert_eq!(seen, 1);
        }
    }

    #[test]
    fn any_bytes_are_survived_and_after_a_silence_the_next_packet_is_understood(
        bytes in noise(1500), piece in 1_usize..600, data in noise(40),
    ) {
        for protocol in PROTOCOLS {
            let mut decoder = Decoder::new(protocol);
            let mut look = |packet: Result<Packet, PacketError>| {
                if let Ok(packet) = packet {
                    let _ = (packet.instruction(), packet.status());
                }
            };
            found(&mut decoder, &bytes, piece, &mut look);
            silence(&mut decoder, &mut look);
            let mut ids = vec![];
            let mut note = |packet: Result<Packet, PacketError>| ids.push(packet.map(|packet| packet.id));
            found(&mut decoder, &answered(protocol, 9, 0, &data), piece, &mut note);
            prop_assert_eq!(ids, [Ok(9)]);
        }
    }

    #[test]
    fn a_flipped_bit_never_passes(data in noise(40), at: prop::sample::Index, bit in 0..8) {
        for protocol in PROTOCOLS {
            let whole = answered(protocol, 9, 0, &data);
            let mut bytes = whole.clone();
            *at.get_mut(&mut bytes) ^= 1_u8 << bit;
            let mut decoder = Decoder::new(protocol);
            let mut same = |packet: Result<Packet, PacketError>| {
                if let Ok(packet) = packet {
                    assert_ne!((packet.id, packet.status()), (9, Ok(Status { error: 0, data: &data })));
                }
            };
            found(&mut decoder, &bytes, 7, &mut same);
            silence(&mut decoder, &mut same);
        }
    }

    #[test]
    fn every_value_that_a_register_takes_is_read_again(value: i32) {
        let all = sts3215::REGISTERS.iter().chain(x_series::XL330_M288.registers);
        for register in all {
            let (min, max) = register.bounds();
            for value in [value, value >> 16, value >> 24, min, max] {
                match register.encode(value) {
                    Ok(bytes) => prop_assert_eq!(register.decode(&bytes), Ok(value)),
                    Err(_) => prop_assert!(value < min || value > max),
                }
            }
        }
    }
}
