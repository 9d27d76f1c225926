//! The tracker's datagrams: UDP, one JSON object each, in UTF-8, at most [`MAX_BYTES`] bytes.
//!
//! ```json
//! {"name":"puck","stamp":1700000000.25,"position":[0.2,-0.05,0.01],"orientation":[0,0,0,1]}
//! ```
//!
//! | Member | Meaning |
//! |---|---|
//! | `name` | which object; others than the one asked for are ignored, so that one tracker may serve many |
//! | `stamp` | Unix time of the measurement, s; at most [`MAX_AHEAD_S`] ahead of this machine's |
//! | `position` | of the object's centre in the base frame, m; each within ± [`MAX_POSITION_M`] |
//! | `orientation` | quaternion [x, y, z, w] in the base frame; its length may be 10 % off 1 and is corrected |
//!
//! Other members are ignored.
//!
//! > **Why the sender's clock?** A camera knows when it looked. The time of arrival adds the network's and the
//! > detector's delay, and at 0.3 m/s every 10 ms are 3 mm. Sender and host must keep their clocks together; on one
//! > machine they do.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};

/// Where trackers send to unless told otherwise: 127.0.0.1:47800.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 47_800);

/// Longest datagram, bytes.
pub const MAX_BYTES: usize = 1024;

/// How far ahead of this machine's clock a stamp may be, s.
pub const MAX_AHEAD_S: f64 = 0.05;

/// Largest coordinate, m; farther than any arm here reaches.
pub const MAX_POSITION_M: f64 = 2.0;

/// A datagram's JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Datagram<'a> {
    /// Which object.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Unix time of the measurement, s.
    pub stamp: f64,
    /// Position in the base frame, m.
    pub position: [f64; 3],
    /// Orientation [x, y, z, w].
    pub orientation: [f64; 4],
}

/// Why a datagram is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is not the JSON object described above.
    #[error("not a tracker's JSON object")]
    Malformed,
    /// It is about another object.
    #[error("about another object")]
    OtherObject,
    /// A number cannot be.
    #[error("position or orientation out of range")]
    OutOfRange,
    /// It claims to come from the future.
    #[error("stamp more than {MAX_AHEAD_S} s ahead of this machine's clock; synchronise the clocks")]
    FromFuture,
}

impl<'a> Datagram<'a> {
    /// Reads a datagram about `name` that arrived when this machine's Unix time was `unix_s`. The result's
    /// orientation has length 1 and its stamp is not ahead of `unix_s`.
    ///
    /// # Errors
    /// See [`Flaw`].
    pub fn parse(bytes: &'a [u8], name: &str, unix_s: f64) -> Result<Self, Flaw> {
        let mut datagram: Self = serde_json::from_slice(bytes).map_err(|_| Flaw::Malformed)?;
        if datagram.name != name {
            return Err(Flaw::OtherObject);
        }
        let length = datagram.orientation.iter().map(|part| part * part).sum::<f64>().sqrt();
        // Written so that a NaN fails.
        let is_near = datagram.position.iter().all(|part| part.abs() <= MAX_POSITION_M);
        if !is_near || !(0.9..=1.1).contains(&length) {
            return Err(Flaw::OutOfRange);
        }
        datagram.orientation.iter_mut().for_each(|part| *part /= length);
        if datagram.stamp.is_nan() || datagram.stamp > unix_s + MAX_AHEAD_S {
            return Err(Flaw::FromFuture);
        }
        datagram.stamp = datagram.stamp.min(unix_s);
        Ok(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &str =
        r#"{"name":"puck","stamp":1700000000.25,"position":[0.2,-0.05,0.01],"orientation":[0.0,0.0,0.0,1.0]}"#;

    fn golden() -> Datagram<'static> {
        Datagram {
            name: "puck".into(),
            stamp: 1_700_000_000.25,
            position: [0.2, -0.05, 0.01],
            orientation: [0.0, 0.0, 0.0, 1.0],
        }
    }

    #[test]
    fn the_bytes_of_a_datagram_are_these() {
        assert_eq!(serde_json::to_string(&golden()).unwrap(), GOLDEN);
        assert_eq!(Datagram::parse(GOLDEN.as_bytes(), "puck", 1_700_000_001.0), Ok(golden()));
    }

    #[test]
    fn integers_other_members_and_escapes_are_taken() {
        let text = r#" {"extra":{"id":3}, "orientation":[0,0,0,1], "position":[0.2,-0.05,0.01], "stamp":1700000000.25, "name":"pu\u0063k"} "#;
        assert_eq!(Datagram::parse(text.as_bytes(), "puck", 1_700_000_001.0), Ok(golden()));
    }

    #[test]
    fn a_wrong_datagram_is_refused_with_its_flaw() {
        let now = 1_700_000_001.0;
        let parse = |text: &str| Datagram::parse(text.as_bytes(), "puck", now).unwrap_err();
        for malformed in [
            "",
            "{}",
            "puck",
            "[1,2,3]",
            "null",
            "\u{0}\u{1}",
            &GOLDEN[..80],
            &GOLDEN.replace("0.2,", ""),
            &GOLDEN.replace("0.2", "1e999"),
            &GOLDEN.replace("0.2", "NaN"),
            &GOLDEN.replace("0.2", "\"0.2\""),
        ] {
            assert_eq!(parse(malformed), Flaw::Malformed, "{malformed}");
        }
        assert_eq!(parse(&GOLDEN.replace("puck", "cube")), Flaw::OtherObject);
        assert_eq!(parse(&GOLDEN.replace("0.2,", "2.5,")), Flaw::OutOfRange);
        assert_eq!(parse(&GOLDEN.replace("0.0,1.0", "0.0,0.0")), Flaw::OutOfRange, "no rotation has length 0");
        assert_eq!(parse(&GOLDEN.replace("1700000000", "1700000002")), Flaw::FromFuture);
    }

    #[test]
    fn a_clock_slightly_ahead_is_set_to_now() {
        let now = 1_700_000_000.22;
        assert_eq!(Datagram::parse(GOLDEN.as_bytes(), "puck", now).unwrap().stamp, now);
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), unix_s in any::<f64>()) {
            let _ = Datagram::parse(&bytes, "puck", unix_s);
        }

        #[test]
        fn what_is_taken_is_sane(stamp in any::<f64>(), position in any::<[f64; 3]>(), orientation in any::<[f64; 4]>(), scale in 0.0..3.0f64) {
            let scaled = orientation.map(|part| part.clamp(-1.0, 1.0) * scale);
            let datagram = Datagram { name: "puck".into(), stamp, position: position.map(|part| part % 4.0), orientation: scaled };
            let Ok(text) = serde_json::to_vec(&datagram) else { return Ok(()) };
            if let Ok(taken) = Datagram::parse(&text, "puck", 1.7e9) {
                let length = taken.orientation.iter().map(|part| part * part).sum::<f64>().sqrt();
                prop_assert!((length - 1.0).abs() < 1e-9);
                prop_assert!(taken.stamp <= 1.7e9);
                prop_assert!(taken.position.iter().all(|part| part.abs() <= MAX_POSITION_M));
            }
        }
    }
}
