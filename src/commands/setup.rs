//! `hindsight setup`: gives the servos of a new arm their ids and the line's speed, one at a time.

use anyhow::{Result, bail};
use clap::Args;
use hindsight::arm::bus::Bus;
use hindsight::arm::servo_arm::setup::{self, Address};
use hindsight::arm::servo_arm::{IDS, JOINTS};
use hindsight::clock::SystemClock;
use hindsight::link;
use hindsight::link::serial::BAUD;
use serde_json::json;

use super::person::Person;
use super::rig::ArmName;
use super::{Common, Finish, UsageError, output};

/// Give the servos of a new arm their ids and the line's speed, one at a time
#[derive(Debug, Args)]
pub(super) struct Setup {
    /// Which arm
    #[arg(long, value_enum, default_value = "so101")]
    arm: ArmName,
    /// Serial port of the servo bus
    #[arg(long)]
    port: String,
    /// Set up only the servo of this joint, which hangs on the bus alone; asks nobody [default: all joints in turn]
    #[arg(long)]
    joint: Option<String>,
    /// Speed that the servos shall have, bit/s; this program drives arms at the default
    #[arg(long, value_name = "RATE", default_value_t = BAUD)]
    baud: u32,
}

impl Setup {
    /// From the gripper to the base, as the cable is then plugged together.
    ///
    /// # Errors
    /// The port does not open, or there is not just one servo on it; those before keep their ids.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let servos = IDS.into_iter().zip(JOINTS);
        let chosen: Vec<(u8, &str)> = match &self.joint {
            Some(joint) => servos.filter(|(_, name)| name == joint).collect(),
            None => servos.rev().collect(),
        };
        if chosen.is_empty() {
            let text =
                format!("--joint {}: expected one of {}", self.joint.as_deref().unwrap_or(""), JOINTS.join(", "));
            return Err(UsageError(text).into());
        }
        let (kit, bit_rate) = (self.arm.kit(), self.baud);
        let known = kit.registers.bit_rate.1;
        if !known.contains(&bit_rate) {
            let text = format!("--baud {bit_rate}: expected one that {} servos know: {known:?}", kit.maker);
            return Err(UsageError(text).into());
        }
        let mut bus = Bus::new(link::open(&self.port, SystemClock)?, SystemClock, kit.protocol);
        let person = self.joint.is_none().then(Person::listen);
        let mut given = Vec::new();
        for (id, joint) in chosen {
            if let Some(person) = &person {
                eprintln!("Plug in the servo of {joint} alone. Then press Enter.");
                person.wait()?;
            }
            match setup::give(kit, &mut bus, Address { id, bit_rate }) {
                Ok(before) => {
                    let text =
                        format!("{joint:14} id {id} at {bit_rate} bit/s (was {} at {})", before.id, before.bit_rate);
                    output::say(common, &text);
                    let before = json!({ "id": before.id, "bit_rate": before.bit_rate });
                    given.push(json!({ "joint": joint, "id": id, "bit_rate": bit_rate, "before": before }));
                }
                Err(error) => bail!("{joint}: {error}"),
            }
        }
        if bit_rate != BAUD {
            eprintln!("for other programs: this one drives arms at {BAUD} bit/s");
        }
        output::finish(common, &json!({ "servos": given }));
        Ok(Finish::Done)
    }
}
