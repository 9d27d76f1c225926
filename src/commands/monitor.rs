//! `hindsight monitor`: an arm's servos as they are, several times a second. Moves nothing and changes nothing.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use clap::Args;
use hindsight::arm::bus::Bus;
use hindsight::arm::servo_arm::{IDS, JOINTS, Vitals, vitals};
use hindsight::clock::{Clock, SystemClock};
use hindsight::link;
use serde_json::json;

use super::interrupt::Interrupt;
use super::rig::servos_on;
use super::{Common, Finish, LossError, UsageError};

/// Watch an arm's servos: position, load, current, temperature, alarms
#[derive(Debug, Args)]
pub(super) struct Monitor {
    /// Serial port of the arm's servo bus
    #[arg(long)]
    port: String,
    /// Readings a second
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// End after so many readings [default: Ctrl-C]
    #[arg(long)]
    count: Option<u64>,
}

impl Monitor {
    /// Shows readings until Ctrl-C or the last. With `--json`, an object a line and reading.
    ///
    /// # Errors
    /// The port does not open or is gone, or no servo answers on it.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        if !(self.rate > 0.0 && self.rate <= 100.0) {
            return Err(UsageError(format!("--rate {}: expected 0 to 100 readings a second", self.rate)).into());
        }
        let (kit, mut bus) = servos_on(&self.port)?;
        let interrupt = Interrupt::listen("stopping")?;
        let mut clock = SystemClock;
        let period_us = (1e6 / self.rate) as u64;
        let mut due_us = clock.now_us();
        let mut read = 0;
        while !interrupt.is_stopped() && self.count.is_none_or(|count| read < count) {
            clock.sleep_until_us(due_us);
            due_us = (due_us + period_us).max(clock.now_us());
            let vitals = vitals(kit, &mut bus).map_err(|error| LossError(error.to_string()))?;
            self.show(common, &vitals, &bus, read == 0)?;
            read += 1;
        }
        Ok(Finish::Done)
    }

    fn show<L: link::Link>(
        &self,
        common: &Common,
        vitals: &[Option<Vitals>; 6],
        bus: &Bus<L, SystemClock>,
        is_first: bool,
    ) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if common.json {
            writeln!(out, "{}", json!({ "servos": vitals, "lost": bus.counts().lost }))?;
            return Ok(());
        }
        if !is_first && out.is_terminal() {
            // Back over the last table.
            write!(out, "\x1b[{}A", vitals.len() + 1)?;
        }
        writeln!(
            out,
            "{:2} {:14} {:>6} {:>5} {:>5} {:>7} {:>6} {:>6} {:>6} {:>5}  alarms",
            "id", "joint", "torque", "goal", "at", "rad/s", "load", "A", "V", "°C"
        )?;
        for (servo, (id, joint)) in vitals.iter().zip(IDS.into_iter().zip(JOINTS)) {
            let line = match servo {
                Some(servo) => format!(
                    "{:2} {:14} {:>6} {:>5} {:>5} {:>7.2} {:>4.0} % {:>6} {:>6.1} {:>5.0}  {}",
                    servo.id,
                    servo.joint,
                    if servo.torque { "on" } else { "off" },
                    servo.goal,
                    servo.position,
                    servo.speed_rad_s,
                    100.0 * servo.load,
                    servo.current_a.map_or("-".into(), |current| format!("{current:.2}")),
                    servo.voltage_v,
                    servo.temperature_c,
                    servo.alarms.join(", ")
                ),
                None => format!("{id:2} {joint:14} no answer"),
            };
            writeln!(out, "{line:90}")?;
        }
        Ok(())
    }
}
