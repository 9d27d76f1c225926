//! What is not asked of which arm, and why: `skips.toml`.

use crate::TESTS;
use crate::place::{ARMS, Rig};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skips {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    test: String,
    arm: String,
    /// Whether a real arm is asked all the same.
    #[serde(default)]
    emulated_only: bool,
    reason: String,
}

/// Why `test` is not run on `rig`; `None` if it is.
pub(crate) fn reason(test: &str, rig: &Rig) -> Option<String> {
    let mut skips = parse(include_str!("skips.toml")).unwrap().into_iter();
    let meant = |skip: &Skip| skip.test == test && skip.arm == rig.arm && !(skip.emulated_only && rig.is_real());
    skips.find(meant).map(|skip| skip.reason)
}

fn parse(text: &str) -> Result<Vec<Skip>, String> {
    let Skips { skip } = toml::from_str(text).map_err(|error| error.to_string())?;
    for Skip { test, arm, reason, .. } in &skip {
        if !TESTS.contains(&test.as_str()) {
            return Err(format!("test = {test:?}: expected one of {TESTS:?}"));
        }
        if !ARMS.contains(&arm.as_str()) {
            return Err(format!("{test}: arm = {arm:?}: expected one of {ARMS:?}"));
        }
        if reason.trim().is_empty() {
            return Err(format!("{test} on {arm}: expected a reason"));
        }
    }
    Ok(skip)
}

#[test]
fn a_skip_of_what_does_not_exist_or_without_a_reason_is_an_error() {
    parse(include_str!("skips.toml")).unwrap();
    let skip = |test: &str, arm: &str, reason: &str| {
        parse(&format!("[[skip]]\ntest = {test:?}\narm = {arm:?}\nreason = {reason:?}\n"))
    };
    assert!(skip(TESTS[0], ARMS[0], "because").is_ok());
    for (test, arm, reason) in [("none", ARMS[0], "because"), (TESTS[0], "none", "because"), (TESTS[0], ARMS[0], " ")] {
        assert!(skip(test, arm, reason).is_err(), "{test} {arm} {reason}");
    }
    assert!(parse("[[skip]]\ntest = \"a\"\n").is_err());
}
