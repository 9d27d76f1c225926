//! Promise: every arm that is driven does the same things, emulated or real. One suite, two rigs: without further words
//! it runs on the emulated arms, in virtual time; with `HINDSIGHT_PORT` and `HINDSIGHT_ARM` (and `HINDSIGHT_CALIBRATION`)
//! on that one arm, **which then moves**: see docs/rig.md. What an arm cannot do, `skips.toml` says.

mod place;
mod skips;
mod suite;

use place::Rig;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// A test a name, and the list of the names.
macro_rules! suite {
    ($($test:ident)*) => {
        const TESTS: &[&str] = &[$(stringify!($test)),*];
        $(
            #[test]
            fn $test() {
                on_every_rig(stringify!($test), suite::$test);
            }
        )*
    };
}

suite! {
    it_connects_and_reads_every_joint_within_its_limits
    its_motors_are_cool_and_its_supply_is_sound
    power_comes_on_without_a_jump
    it_goes_where_it_is_told_and_no_quicker_than_its_joints_may
    the_loop_keeps_its_rate
    every_way_out_leaves_it_without_power
    a_host_that_falls_silent_finds_it_stopped_where_it_was
    another_arms_calibration_is_refused
}

/// A real arm can do one thing at a time.
static ARM: Mutex<()> = Mutex::new(());

fn on_every_rig(test: &str, check: fn(&Rig)) {
    let _alone = ARM.lock().unwrap_or_else(PoisonError::into_inner);
    for rig in place::rigs() {
        // Past the test harness, which keeps to itself what a test that passes prints.
        let mut told = std::io::stderr();
        match skips::reason(test, &rig) {
            Some(reason) => writeln!(told, "{test}: skipped on {rig}: {reason}").unwrap(),
            None => {
                writeln!(told, "{test}: on {rig}").unwrap();
                check(&rig);
            }
        }
    }
}
