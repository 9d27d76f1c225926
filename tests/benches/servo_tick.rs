//! What a control tick on a servo bus takes: `cargo bench --bench servo_tick -- PORT`, with an SO-101 on the port or
//! `hindsight sim --arm so101 --protocol feetech`. The arm is under power and held where it is. Prints one JSON object:
//! of the driver (read and write of [`Arm`]: the state of six servos, six goals), and of the bus alone with positions
//! instead of states. `tests/peers/servo_tick.py` compares it with other software. Figures are not checked.

use firmware_bridge::JointCommand;
use firmware_bridge::servo::sts3215 as table;
use hindsight::arm::bus::{Answer, Bus};
use hindsight::arm::servo_arm::{IDS, detect};
use hindsight::arm::so101::SO101;
use hindsight::arm::{Arm, Calibration, ServoArm, ServoArmOptions};
use hindsight::clock::SystemClock;
use hindsight::control::Histogram;
use hindsight::link::{Port, open};
use sim::ArmModel;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Ticks that are timed.
const TICKS: u32 = 1_000;
/// As `hindsight run` has it, µs.
const WATCHDOG_US: u32 = 100_000;

fn main() -> Result<()> {
    let Some(port) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) else {
        eprintln!("expected a port: cargo bench --bench servo_tick -- PORT");
        return Ok(());
    };
    let (Some(kit), bus) = detect(open(&port, SystemClock)?, SystemClock)? else {
        return Err(format!("no servo answers on {port}").into());
    };
    if kit.protocol != SO101.protocol {
        return Err(format!("expected an SO-101 on {port}, found a {}", kit.name).into());
    }
    println!("{{\"ticks\": {TICKS}, \"states\": {}, \"positions\": {}}}", states(bus)?, positions(&port)?);
    Ok(())
}

/// The driver's tick.
fn states(bus: Bus<Port<SystemClock>, SystemClock>) -> Result<String> {
    let limits = ArmModel::so101()?.limits();
    let calibration = Calibration::nominal(SO101.protocol, &limits)?;
    let options = ServoArmOptions::new(calibration, limits);
    let mut arm = ServoArm::connect(&SO101, bus, options)?.with_watchdog(WATCHDOG_US);
    arm.activate()?;
    let held = JointCommand { position_rad: arm.read()?.joints.position_rad };
    let told = timed(|| {
        arm.read()?;
        arm.write(&held)?;
        Ok(())
    })?;
    let health = arm.health();
    arm.deactivate()?;
    eprintln!("{} of {} answers lost", health.lost, health.asked);
    Ok(told)
}

/// Positions alone, as other software reads them; the arm is limp.
fn positions(port: &str) -> Result<String> {
    let mut bus = Bus::new(open(port, SystemClock)?, SystemClock, SO101.protocol);
    let (register, goals) = (table::PRESENT_POSITION, IDS.map(|id| (id, 2048)));
    timed(|| {
        let mut answers: [Option<Answer>; IDS.len()] = Default::default();
        let deadline_us = bus.now_us() + 20_000;
        bus.sync_read(register.address, register.size.into(), &IDS, &mut answers, deadline_us)?;
        Ok(bus.sync_write(&table::GOAL_POSITION, &goals)?)
    })
}

fn timed(mut tick: impl FnMut() -> Result<()>) -> Result<String> {
    let mut times = Histogram::default();
    let cpu_ns = cpu_ns()?;
    for _ in 0..TICKS {
        let begun = Instant::now();
        tick()?;
        times.record(begun.elapsed().as_micros() as u64);
    }
    let cpu_us = (self::cpu_ns()? - cpu_ns) as f64 / 1e3 / f64::from(TICKS);
    // The tenth says what the software takes, the median and the rest also what else the machine does.
    let [tenth, median, late] = [0.1, 0.5, 0.99].map(|q| times.quantile_us(q).unwrap_or(0.0));
    Ok(format!("{{\"p10_us\": {tenth:.0}, \"p50_us\": {median:.0}, \"p99_us\": {late:.0}, \"cpu_us\": {cpu_us:.1}}}"))
}

/// Processor time of all threads so far, ns, as Linux counts it.
fn cpu_ns() -> Result<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(sum)
}
