//! The frames of `docs/env-protocol.md`, without any input or output.

use crate::env::{GoalObservation, Layout};

/// Version of the protocol.
pub(super) const VERSION: u32 = 1;
/// Longest body of a frame, bytes.
pub(super) const MAX_BODY: usize = 1 << 20;

const HELLO: u8 = 1;
const RESET: u8 = 2;
const STEP: u8 = 3;
const CLOSE: u8 = 4;
const WELCOME: u8 = 129;
const STATE: u8 = 130;
const STEPPED: u8 = 131;
const ERROR: u8 = 255;

/// What the host asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'a> {
    Hello { envs: u32 },
    Reset { env: u32, seed: u64 },
    Step { env: u32, action: &'a [f32] },
    Close,
}

impl Question<'_> {
    /// Replaces `out` by the whole frame.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[0; 4]);
        match *self {
            Self::Hello { envs } => {
                out.push(HELLO);
                out.extend_from_slice(&VERSION.to_le_bytes());
                out.extend_from_slice(&envs.to_le_bytes());
            }
            Self::Reset { env, seed } => {
                out.push(RESET);
                out.extend_from_slice(&env.to_le_bytes());
                out.extend_from_slice(&seed.to_le_bytes());
            }
            Self::Step { env, action } => {
                out.push(STEP);
                out.extend_from_slice(&env.to_le_bytes());
                out.extend(action.iter().flat_map(|a| a.to_le_bytes()));
            }
            Self::Close => out.push(CLOSE),
        }
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_le_bytes());
    }
}

/// What a child says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Hello {
    pub(super) layout: Layout,
    pub(super) success_radius: f32,
    pub(super) name: String,
}

/// What came of a step, besides the observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) terminated: bool,
    pub(super) truncated: bool,
    pub(super) success: bool,
}

/// What the child answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Hello(Hello),
    State(GoalObservation),
    Stepped { flags: Flags, seen: GoalObservation },
    Error(String),
}

impl Answer {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "a hello",
            Self::State(_) => "a state",
            Self::Stepped { .. } => "a step",
            Self::Error(_) => "an error",
        }
    }

    /// Reads a frame's body, whose observations have `layout`. The error says what was expected and found.
    pub(super) fn decode(body: &[u8], layout: Layout) -> Result<Self, String> {
        let (&kind, fields) = body.split_first().ok_or("it sent an empty frame")?;
        match kind {
            WELCOME => hello(fields).map(Self::Hello),
            STATE => observation(fields, layout).map(Self::State),
            STEPPED => {
                let (&flags, fields) = fields.split_first().ok_or("it answered step without flags")?;
                let flags = Flags { terminated: flags & 1 != 0, truncated: flags & 2 != 0, success: flags & 4 != 0 };
                Ok(Self::Stepped { flags, seen: observation(fields, layout)? })
            }
            ERROR => Ok(Self::Error(String::from_utf8_lossy(fields).into_owned())),
            _ => Err(format!("it sent a frame of unknown kind {kind}")),
        }
    }
}

fn hello(fields: &[u8]) -> Result<Hello, String> {
    let (numbers, name) = fields
        .split_at_checked(20)
        .ok_or_else(|| format!("its hello has {} bytes, expected 20 or more", fields.len()))?;
    let mut words = numbers.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let mut word = || words.next().unwrap_or(0);
    let version = word();
    if version != VERSION {
        return Err(format!("it speaks version {version} of the protocol, expected {VERSION}"));
    }
    let [observation, goal, action] = [word(), word(), word()].map(|size| size as usize);
    let success_radius = f32::from_bits(word());
    for (what, size) in [("observation", observation), ("goal", goal), ("action", action)] {
        if !(1..=65_536).contains(&size) {
            return Err(format!("its {what} has {size} numbers, expected 1 to 65536"));
        }
    }
    if !(success_radius.is_finite() && success_radius > 0.0) {
        return Err(format!("its success radius is {success_radius}, expected a number above 0"));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    Ok(Hello { layout: Layout { observation, goal, action }, success_radius, name })
}

fn observation(fields: &[u8], layout: Layout) -> Result<GoalObservation, String> {
    let expected = layout.observation + 2 * layout.goal;
    if fields.len() != 4 * expected {
        return Err(format!("its observation has {} bytes, expected {} numbers of 4", fields.len(), expected));
    }
    let floats: Vec<f32> = fields.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if let Some(index) = floats.iter().position(|number| !number.is_finite()) {
        return Err(format!("number {index} of its observation is {}", floats[index]));
    }
    let (observation, goals) = floats.split_at(layout.observation);
    let (achieved, desired) = goals.split_at(layout.goal);
    Ok(GoalObservation {
        observation: observation.to_vec(),
        achieved_goal: achieved.to_vec(),
        desired_goal: desired.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { observation: 1, goal: 1, action: 2 };

    #[test]
    fn questions_have_their_documented_bytes() {
        let mut frame = Vec::new();
        Question::Hello { envs: 4 }.encode(&mut frame);
        assert_eq!(frame, [9, 0, 0, 0, 1, 1, 0, 0, 0, 4, 0, 0, 0]);
        Question::Reset { env: 2, seed: 0x0102 }.encode(&mut frame);
        assert_eq!(frame, [13, 0, 0, 0, 2, 2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        Question::Step { env: 1, action: &[1.0, -0.5] }.encode(&mut frame);
        assert_eq!(frame, [13, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf]);
        Question::Close.encode(&mut frame);
        assert_eq!(frame, [1, 0, 0, 0, 4]);
    }

    #[test]
    fn answers_are_read_from_their_documented_bytes() {
        let mut welcome = vec![129];
        welcome.extend([1u32, 25, 3, 4].iter().flat_map(|word| word.to_le_bytes()));
        welcome.extend(0.05f32.to_le_bytes());
        welcome.extend(b"push");
        let layout = Layout { observation: 25, goal: 3, action: 4 };
        let expected = Hello { layout, success_radius: 0.05, name: "push".into() };
        assert_eq!(Answer::decode(&welcome, Layout::default()), Ok(Answer::Hello(expected)));

        let mut stepped = vec![131, 6];
        stepped.extend([1.0f32, 2.0, 3.0].iter().flat_map(|number| number.to_le_bytes()));
        let Ok(Answer::Stepped { flags, seen }) = Answer::decode(&stepped, LAYOUT) else { panic!("not a step") };
        assert_eq!(flags, Flags { terminated: false, truncated: true, success: true });
        assert_eq!((seen.observation, seen.achieved_goal, seen.desired_goal), (vec![1.0], vec![2.0], vec![3.0]));
    }

    #[test]
    fn what_no_child_should_say_is_refused() {
        let mut nan = vec![130];
        nan.extend([1.0f32, f32::NAN, 3.0].iter().flat_map(|number| number.to_le_bytes()));
        for body in [&[][..], &[7], &[129, 1], &[130, 0, 0], &[131], &nan] {
            assert!(Answer::decode(body, LAYOUT).is_err(), "{body:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            let _ = Answer::decode(&body, LAYOUT);
        }
    }
}
