//! `hindsight calibrate`: ties the ticks of an arm's servos to its joints' angles, with a person's hands.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use hindsight::arm::Calibration;
use hindsight::arm::calibration::{JOINTS, Measured};
use hindsight::arm::servo_arm::calibrate;
use hindsight::clock::{Clock, SystemClock};
use serde_json::json;

use super::person::Person;
use super::rig::servos_on;
use super::{Common, Finish, UsageError, output};

/// Time between two readings, µs.
const PERIOD_US: u64 = 20_000;

/// Tie the ticks of an arm's servos to its joints' angles
#[derive(Debug, Args)]
pub(super) struct Calibrate {
    /// Serial port of the arm's servo bus
    #[arg(long)]
    port: String,
    /// The calibration's file, as LeRobot writes it
    #[arg(long, required_unless_present = "restore", conflicts_with = "restore")]
    out: Option<PathBuf>,
    /// Overwrite the file of an earlier calibration
    #[arg(long)]
    force: bool,
    /// Write this file's calibration to the servos instead, such as after one was replaced
    #[arg(long, value_name = "FILE")]
    restore: Option<PathBuf>,
}

impl Calibrate {
    /// Asks for the middle of every joint and then for its range; both are kept by the servos and in the file.
    ///
    /// # Errors
    /// No servos on the port, a joint that cannot be calibrated so, or nobody to say that the arm is ready.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        if let Some(out) = self.out.as_ref().filter(|out| out.exists() && !self.force) {
            return Err(UsageError(format!("{} exists; choose another --out, or say --force", out.display())).into());
        }
        let (kit, mut bus) = servos_on(&self.port)?;
        let calibration = match &self.restore {
            Some(file) => {
                let calibration = Calibration::load(kit.protocol, file)?;
                calibrate::restore(kit, &mut bus, &calibration)?;
                calibration
            }
            None => {
                let person = Person::listen();
                eprintln!("Hold the arm: its power goes off. Then press Enter.");
                person.wait()?;
                calibrate::release(kit, &mut bus)?;
                eprintln!("Put every joint in the middle between its stops. Then press Enter.");
                person.wait()?;
                let mut measured = calibrate::home(kit, &mut bus)?;
                eprintln!("Move every joint but {} from stop to stop. Then press Enter.", kit.full_turns.join(" and "));
                let mut clock = SystemClock;
                let mut rows = 0;
                while !person.said()? {
                    let due_us = clock.now_us() + PERIOD_US;
                    clock.sleep_until_us(due_us);
                    let at = calibrate::follow(kit, &mut bus, &mut measured)?;
                    rows = show(&measured, &at, rows)?;
                }
                calibrate::finish(kit, &mut bus, &measured)?
            }
        };
        if let Some(out) = &self.out {
            calibration.save(out)?;
            output::say(common, &format!("written     {}", out.display()));
        }
        let joints: serde_json::Value = serde_json::from_str(&calibration.to_json()?)?;
        output::finish(common, &json!({ "calibration": joints }));
        Ok(Finish::Done)
    }
}

/// Shows the joints' readings over the last table, on a terminal; says how many lines that is.
fn show(measured: &[Measured; JOINTS.len()], at: &[i32; JOINTS.len()], rows: usize) -> Result<usize> {
    let mut err = std::io::stderr().lock();
    if !err.is_terminal() {
        return Ok(0);
    }
    if rows > 0 {
        write!(err, "\x1b[{rows}A")?;
    }
    for ((joint, measured), at) in JOINTS.iter().zip(measured).zip(at) {
        let (min, max) = measured.range();
        writeln!(err, "{joint:14} {min:>6} <= {at:>6} <= {max:>6}")?;
    }
    Ok(JOINTS.len())
}
