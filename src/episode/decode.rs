//! Decodes ticks, which are nearly all of a file, straight into [`Tick`].
//!
//! `prost` makes seventeen vectors a tick on the way, which is where the time of reading went. What it alone accepts
//! (numbers that are not packed, a field given twice) is left to it, so that both always agree.

use super::wire::{self, Topic};
use super::{ObjectTrack, Tick};
use prost::Message as _;

// Protobuf's wire types.
const VARINT: u64 = 0;
const SIXTY_FOUR_BIT: u64 = 1;
const DELIMITED: u64 = 2;
const THIRTY_TWO_BIT: u64 = 5;

/// Appends a tick from the bytes of its message, if its check is right and its fields are what they should be. It is
/// filled in where it stays, for a tick is larger than its message.
pub(super) fn push_tick<'a>(bytes: &[u8], ticks: &'a mut Vec<Tick>) -> Option<&'a Tick> {
    let body = wire::checked(Topic::Tick, bytes)?;
    ticks.push(Tick::default());
    if plain_tick(body, ticks.last_mut()?).is_none() {
        ticks.pop();
        ticks.push(by_prost(body)?);
    }
    ticks.last()
}

fn by_prost(body: &[u8]) -> Option<Tick> {
    wire::Tick::decode(body).ok()?.into_tick()
}

/// Fills in a tick that is encoded as this program does it; fields of later versions are skipped.
fn plain_tick(body: &[u8], tick: &mut Tick) -> Option<()> {
    let mut rest = Fields { rest: body, seen: 0 };
    while let Some(key) = rest.key()? {
        match key {
            (1, VARINT) => tick.index = rest.varint()?,
            (2, VARINT) => tick.stamp_us = rest.varint()?,
            (3, VARINT) => tick.step = rest.varint()? as u32,
            (4, VARINT) => tick.begins_step = rest.varint()? != 0,
            (5, DELIMITED) => rest.some(&mut tick.observation)?,
            (6, DELIMITED) => tick.achieved_goal = rest.floats()?,
            (7, DELIMITED) => tick.desired_goal = rest.floats()?,
            (8, DELIMITED) => tick.requested_action = rest.floats()?,
            (9, DELIMITED) => tick.applied_action = rest.floats()?,
            (10, DELIMITED) => rest.some(&mut tick.requested_rad)?,
            (11, DELIMITED) => rest.some(&mut tick.applied_rad)?,
            (12, DELIMITED) => rest.some(&mut tick.sent_rad)?,
            (13, DELIMITED) => rest.some(&mut tick.joints.position_rad)?,
            (14, DELIMITED) => rest.some(&mut tick.joints.velocity_rad_s)?,
            (15, DELIMITED) => rest.some(&mut tick.joints.load)?,
            (16, VARINT) => tick.reading_age_us = rest.varint()? as u32,
            (17, DELIMITED) => plain_object(rest.delimited()?, tick.object.insert(ObjectTrack::default()))?,
            (18, VARINT) => tick.interventions = rest.varint()? as u32,
            (1..=18, _) => return None,
            (_, wire_type) => rest.skip(wire_type)?,
        }
    }
    rest.has_all(6..=9).then_some(())
}

fn plain_object(body: &[u8], object: &mut ObjectTrack) -> Option<()> {
    let mut rest = Fields { rest: body, seen: 0 };
    while let Some(key) = rest.key()? {
        match key {
            (1, DELIMITED) => object.raw_position = rest.doubles()?,
            (2, DELIMITED) => object.raw_orientation = rest.doubles()?,
            (3, DELIMITED) => object.position = rest.doubles()?,
            (4, DELIMITED) => object.orientation = rest.doubles()?,
            (5, DELIMITED) => object.velocity_m_s = rest.doubles()?,
            (6, DELIMITED) => object.angular_velocity_rad_s = rest.doubles()?,
            (7, VARINT) => object.age_us = rest.varint()? as u32,
            (1..=7, _) => return None,
            (_, wire_type) => rest.skip(wire_type)?,
        }
    }
    rest.has_all(1..=6).then_some(())
}

/// The fields of a message that are still to be read.
struct Fields<'a> {
    rest: &'a [u8],
    /// A bit for each field number below 32 that was there.
    seen: u32,
}

impl<'a> Fields<'a> {
    /// Number and wire type of the next field; `Some(None)` at the end, `None` where it is not for this decoder.
    fn key(&mut self) -> Option<Option<(u64, u64)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let (number, wire_type) = (key >> 3, key & 7);
        if number < 32 {
            let bit = 1 << number;
            // A field given twice is a matter of merging, and 0 is no field.
            if number == 0 || self.seen & bit != 0 {
                return None;
            }
            self.seen |= bit;
        }
        (key <= u64::from(u32::MAX)).then_some(Some((number, wire_type)))
    }

    fn has_all(&self, numbers: std::ops::RangeInclusive<u32>) -> bool {
        let mut numbers = numbers;
        numbers.all(|number| self.seen & (1 << number) != 0)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        // Nine bytes hold 63 bits; the tenth has rules of its own.
        for (index, byte) in self.rest.iter().take(9).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..)?;
                return Some(value);
            }
        }
        None
    }

    fn delimited(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?.try_into().ok()?;
        let (head, tail) = self.rest.split_at_checked(length)?;
        self.rest = tail;
        Some(head)
    }

    fn floats<const N: usize>(&mut self) -> Option<[f32; N]> {
        let (numbers, []) = self.delimited()?.as_chunks() else { return None };
        let numbers: &[[u8; 4]; N] = numbers.try_into().ok()?;
        Some(numbers.map(f32::from_le_bytes))
    }

    fn doubles<const N: usize>(&mut self) -> Option<[f64; N]> {
        let (numbers, []) = self.delimited()?.as_chunks() else { return None };
        let numbers: &[[u8; 8]; N] = numbers.try_into().ok()?;
        Some(numbers.map(f64::from_le_bytes))
    }

    fn some<const N: usize>(&mut self, into: &mut heapless::Vec<f32, N>) -> Option<()> {
        let (numbers, []) = self.delimited()?.as_chunks() else { return None };
        into.resize_default(numbers.len()).ok()?;
        for (number, bytes) in into.iter_mut().zip(numbers) {
            *number = f32::from_le_bytes(*bytes);
        }
        Some(())
    }

    fn skip(&mut self, wire_type: u64) -> Option<()> {
        match wire_type {
            VARINT => self.varint().map(drop),
            DELIMITED => self.delimited().map(drop),
            SIXTY_FOUR_BIT => self.fixed(8),
            THIRTY_TWO_BIT => self.fixed(4),
            _ => None,
        }
    }

    fn fixed(&mut self, size: usize) -> Option<()> {
        self.rest = self.rest.get(size..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::tests::sample;
    use proptest::prelude::*;
    use prost::encoding::{encode_key, encode_varint};

    /// NaN differs from itself, so bits are compared through the encoding.
    fn encoded(tick: &Tick) -> Vec<u8> {
        wire::Tick::from(tick).encode_to_vec()
    }

    fn plain(body: &[u8]) -> Option<Tick> {
        let mut tick = Tick::default();
        plain_tick(body, &mut tick).map(|()| tick)
    }

    fn assert_same(body: &[u8]) {
        // What the fast way refuses, the slow way decides.
        if let Some(tick) = plain(body) {
            assert_eq!(by_prost(body).as_ref().map(encoded), Some(encoded(&tick)), "{body:02x?}");
        }
    }

    fn body() -> Vec<u8> {
        encoded(&sample(2, 10).ticks[11])
    }

    #[test]
    fn ticks_as_this_program_writes_them_need_no_detour() {
        for mut tick in sample(3, 10).ticks {
            assert_eq!(plain(&encoded(&tick)), Some(tick.clone()));
            tick.object = None;
            tick.sent_rad.clear();
            assert_eq!(plain(&encoded(&tick)), Some(tick));
        }
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let tick = sample(2, 10).ticks.remove(11);
        let mut body = encoded(&tick);
        for (number, wire_type) in [(19, VARINT), (31, SIXTY_FOUR_BIT), (33, DELIMITED), (5_000, THIRTY_TWO_BIT)] {
            encode_varint(number << 3 | wire_type, &mut body);
            match wire_type {
                VARINT => encode_varint(u64::from(u32::MAX), &mut body),
                DELIMITED => body.extend([3, 1, 2, 3]),
                SIXTY_FOUR_BIT => body.extend([7; 8]),
                _ => body.extend([7; 4]),
            }
        }
        assert_eq!(plain(&body), Some(tick));
        assert_same(&body);
    }

    #[test]
    fn what_only_prost_reads_is_read_by_it() {
        let tick = sample(2, 10).ticks.remove(11);
        let mut without = wire::Tick::from(&tick);
        without.achieved_goal.clear();
        let mut body = without.encode_to_vec();
        for x in tick.achieved_goal {
            encode_key(6, prost::encoding::WireType::ThirtyTwoBit, &mut body);
            body.extend(x.to_le_bytes());
        }
        assert_eq!(plain(&body), None);
        assert_eq!(by_prost(&body), Some(tick));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn damaged_ticks_are_read_as_prost_reads_them(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in any::<Option<prop::sample::Index>>()) {
            let mut body = body();
            for (at, byte) in edits {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            assert_same(&body);
        }

        #[test]
        fn fields_in_any_order_and_number_are_read_as_prost_reads_them(fields in prop::collection::vec((0..20u64, 0..6u64, prop::collection::vec(any::<u8>(), 0..34)), 0..6), is_whole: bool) {
            let mut body = if is_whole { body() } else { Vec::new() };
            for (number, wire_type, bytes) in fields {
                encode_varint(number << 3 | wire_type, &mut body);
                if wire_type == DELIMITED {
                    encode_varint(bytes.len() as u64, &mut body);
                }
                body.extend(bytes);
            }
            assert_same(&body);
        }

        #[test]
        fn any_numbers_are_read_as_prost_reads_them(index: u64, step: u32, observation in prop::collection::vec(any::<f32>(), 0..=32), position in any::<[f64; 3]>()) {
            let mut tick = sample(1, 1).ticks.remove(0);
            (tick.index, tick.step) = (index, step);
            tick.observation = crate::episode::Observation::from_slice(&observation).unwrap();
            tick.object.as_mut().unwrap().position = position;
            let body = encoded(&tick);
            assert_same(&body);
            prop_assert_eq!(encoded(&plain(&body).or_else(|| by_prost(&body)).unwrap()), body);
        }
    }
}
