//! `hindsight doctor`: everything that can be found out about an arm without moving it, and a remedy for each thing
//! that is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use firmware_bridge::message::Mode;
use firmware_bridge::servo::Protocol;
use hindsight::arm::bus::{Answer, Bus};
use hindsight::arm::servo_arm::{self, IDS, JOINTS, Kit, setup};
use hindsight::arm::{Arm, BridgeArm, BridgeOptions, Calibration};
use hindsight::clock::{Clock, SystemClock};
use hindsight::control::{Histogram, PERIOD_US};
use hindsight::link::serial::{self, BAUD};
use hindsight::link::{self, Link};
use hindsight::task::TaskKind;
use serde::Serialize;
use serde_json::json;

use super::choice::Choice;
use super::rig::{ArmName, Setup};
use super::{Common, Finish, output};

/// Readings that are timed.
const READINGS: u32 = 300;
/// Periods of the control loop that are timed.
const PERIODS: u32 = 250;
/// Wire time of a byte at 1 Mbit/s, µs.
const BYTE_US: f64 = 10.0;
/// Servos that are hotter are worth a word, °C; they protect themselves at 70.
const HOT_C: f32 = 60.0;
/// Older calibrations are worth a look, days.
const OLD_DAYS: u64 = 90;
const TRIES: u32 = 3;

/// Find out what is wrong with an arm, and what to do about it
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Serial port of the arm
    #[arg(long)]
    port: String,
    /// Also check the servos against this calibration, as `hindsight calibrate` or LeRobot wrote it
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Also check that this policy, an ONNX file or a shipped one, fits the task
    #[arg(long, requires = "task")]
    policy: Option<String>,
    /// Task of the policy
    #[arg(long, value_enum)]
    task: Option<TaskKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Good,
    Doubtful,
    Bad,
}

/// Something that was found.
#[derive(Debug, Serialize)]
struct Finding {
    grade: Grade,
    what: String,
    found: String,
    /// Empty where all is well.
    remedy: String,
}

/// What was found, and what was measured, µs.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>, BTreeMap<&'static str, [f64; 2]>);

impl Findings {
    fn add(&mut self, grade: Grade, what: &str, found: impl Into<String>, remedy: &str) {
        let remedy = if grade == Grade::Good { String::new() } else { remedy.to_owned() };
        self.0.push(Finding { grade, what: what.to_owned(), found: found.into(), remedy });
    }

    fn worst(&self) -> Grade {
        let has = |grade| self.0.iter().any(|finding| finding.grade == grade);
        if has(Grade::Bad) {
            Grade::Bad
        } else if has(Grade::Doubtful) {
            Grade::Doubtful
        } else {
            Grade::Good
        }
    }
}

impl Doctor {
    /// Looks at everything before it says anything; nothing moves and nothing is written to the servos.
    ///
    /// # Errors
    /// Something was found that keeps the arm from working.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let mut findings = Findings::default();
        self.look_at_port(&mut findings);
        latency_timer(&self.port, &mut findings);
        machine(&mut findings);
        self.look_at_policy(common, &mut findings);
        for Finding { grade, what, found, remedy } in &findings.0 {
            let mark = match grade {
                Grade::Good => "ok  ",
                Grade::Doubtful => "look",
                Grade::Bad => "BAD ",
            };
            output::say(common, &format!("{mark}  {what:22} {found}"));
            if !remedy.is_empty() {
                output::say(common, &format!("      {:22} -> {remedy}", ""));
            }
        }
        let figures: BTreeMap<_, _> =
            findings.1.iter().map(|(name, [p50, p99])| (name, json!({ "p50": p50, "p99": p99 }))).collect();
        output::finish(common, &json!({ "findings": findings.0, "worst": findings.worst(), "figures_us": figures }));
        match findings.worst() {
            Grade::Bad => {
                let count = findings.0.iter().filter(|finding| finding.grade == Grade::Bad).count();
                Err(anyhow::anyhow!("{count} of {} findings keep the arm from working", findings.0.len()))
            }
            _ => Ok(Finish::Done),
        }
    }

    fn look_at_port(&self, findings: &mut Findings) {
        let port = match link::open(&self.port, SystemClock) {
            Ok(port) => port,
            Err(error) => return findings.add(Grade::Bad, "port", error.to_string(), "see above; then look again"),
        };
        findings.add(Grade::Good, "port", format!("{} opens", self.port), "");
        match servo_arm::detect(port, SystemClock) {
            Err(error) => findings.add(Grade::Bad, "line", error.to_string(), "check the cable"),
            Ok((Some(kit), mut bus)) => {
                servos(kit, &mut bus, findings);
                self.look_at_calibration(kit, &mut bus, findings);
            }
            Ok((None, mut bus)) => match setup::find_at_other_speed(&mut bus) {
                Ok(Some((kit, bit_rate))) => {
                    let found =
                        format!("{} servos ({}) answer at {bit_rate} bit/s, not at {BAUD}", kit.maker, kit.name);
                    let remedy = "set them up one by one: hindsight setup, with this --arm";
                    findings.add(Grade::Bad, "servos", found, remedy);
                }
                Err(error) => findings.add(Grade::Bad, "line", error.to_string(), "check the cable"),
                Ok(None) => bridge(bus.into_link(), findings),
            },
        }
    }

    /// Whether the servos hold what the calibration says, and how old it is.
    fn look_at_calibration<L: Link>(&self, kit: &Kit, bus: &mut Bus<L, SystemClock>, findings: &mut Findings) {
        let what = "calibration";
        let (offsets, age) = match &self.calibration {
            Some(file) => match Calibration::load(kit.protocol, file) {
                Ok(calibration) => {
                    let modified = std::fs::metadata(file).and_then(|about| about.modified());
                    let days = modified.ok().and_then(|at| at.elapsed().ok()).map(|age| age.as_secs() / 86_400);
                    (Some((*calibration.joints()).map(|joint| joint.homing_offset)), days)
                }
                Err(error) => return findings.add(Grade::Bad, what, error.to_string(), "name another file"),
            },
            None => (None, None),
        };
        let held: Vec<Option<i32>> =
            IDS.iter().map(|id| bus.read(*id, &kit.registers.homing_offset, TRIES).ok()).collect();
        let Some(offsets) = offsets else {
            let found = match held.iter().all(|offset| offset.is_none_or(|offset| offset == 0)) {
                true => "none named; every joint is taken to read 2048 at its zero",
                false => "none named, and the servos hold one",
            };
            let remedy = "give its --calibration FILE, or make one: hindsight calibrate";
            return findings.add(Grade::Doubtful, what, found, remedy);
        };
        let moved: Vec<&str> = (held.iter().zip(offsets).zip(JOINTS))
            .filter(|((held, offset), _)| held.is_some_and(|held| held != *offset))
            .map(|(_, joint)| joint)
            .collect();
        if !moved.is_empty() {
            let found = format!("other offsets in {}", moved.join(", "));
            return findings.add(Grade::Bad, what, found, "hindsight calibrate --restore FILE, or calibrate anew");
        }
        let days = age.unwrap_or(0);
        let grade = if days > OLD_DAYS { Grade::Doubtful } else { Grade::Good };
        let remedy =
            "horns slip and gears wear: compare a joint's stops with its range, and calibrate anew if they differ";
        findings.add(grade, what, format!("the servos hold it; {days} days old"), remedy);
    }

    fn look_at_policy(&self, common: &Common, findings: &mut Findings) {
        let (Some(policy), Some(kind)) = (&self.policy, self.task) else { return };
        let load = || -> Result<()> {
            let task = Setup::new(ArmName::So101, kind, None)?.task;
            Choice::find(Some(policy), kind)?.load(&task, common.seed).map(|_| ())
        };
        match load() {
            Ok(()) => findings.add(Grade::Good, "policy", format!("{policy} fits the task {}", kind.name()), ""),
            Err(error) => findings.add(Grade::Bad, "policy", format!("{error:#}"), "name another policy or task"),
        }
    }
}

/// An FTDI adapter holds short answers back for 16 ms unless it is told not to, as opening the port tries.
fn latency_timer(port: &str, findings: &mut Findings) {
    let Some(file) = serial::latency_timer(port) else { return };
    let Ok(text) = std::fs::read_to_string(&file) else { return };
    let grade = if text.trim() == "1" { Grade::Good } else { Grade::Bad };
    let remedy = format!("may not be written by you: echo 1 | sudo tee {}", file.display());
    findings.add(grade, "adapter's latency", format!("{} ms", text.trim()), &remedy);
}

fn servos<L: Link>(kit: &Kit, bus: &mut Bus<L, SystemClock>, findings: &mut Findings) {
    let vitals = match servo_arm::vitals(kit, bus) {
        Ok(vitals) => vitals,
        Err(error) => return findings.add(Grade::Bad, "servos", error.to_string(), "check the cable"),
    };
    let answer = vitals.iter().flatten().count();
    let silent: Vec<String> = (vitals.iter().zip(IDS.into_iter().zip(JOINTS)))
        .filter(|(servo, _)| servo.is_none())
        .map(|(_, (id, joint))| format!("{id} ({joint})"))
        .collect();
    match silent.is_empty() {
        true => findings.add(Grade::Good, "servos", format!("{answer} {} servos answer: {}", kit.maker, kit.name), ""),
        false => findings.add(
            Grade::Bad,
            "servos",
            format!("no answer from {}", silent.join(", ")),
            "check the cable between the last servo that answers and the first that does not, and their ids",
        ),
    }
    for servo in vitals.iter().flatten() {
        let what = format!("{} {}", servo.id, servo.joint);
        let alarms = servo.alarms.join(", ");
        if !alarms.is_empty() {
            let remedy = "switch the torque off, find what the joint pressed against or what heats it, and let it cool";
            findings.add(Grade::Bad, &what, format!("alarm: {alarms}"), remedy);
        }
        if servo.temperature_c > HOT_C {
            let found = format!("{:.0} °C", servo.temperature_c);
            findings.add(Grade::Doubtful, &what, found, "let it cool; it holds or squeezes too much");
        }
        if servo.voltage_v < kit.least_v {
            let found = format!("{:.1} V", servo.voltage_v);
            findings.add(Grade::Bad, &what, found, "check the supply: it must give 5 A or more under load");
        }
    }
    let powered: Vec<&str> = vitals.iter().flatten().filter(|servo| servo.torque).map(|servo| servo.joint).collect();
    if !powered.is_empty() {
        let found = format!("on in {}", powered.join(", "));
        let remedy = "a program was killed, or another one runs; `hindsight run` takes over without a jump";
        findings.add(Grade::Doubtful, "torque", found, remedy);
    }
    return_delay(kit, bus, findings);
    firmware(kit, bus, findings);
    round_trip(kit, bus, findings);
}

/// Servos that wait before they answer make readings slow, and are not told otherwise before the first run.
fn return_delay<L: Link>(kit: &Kit, bus: &mut Bus<L, SystemClock>, findings: &mut Findings) {
    let Some((register, wanted)) = kit.settings.iter().find(|(register, _)| register.name == "return delay") else {
        return;
    };
    let delays = IDS.into_iter().filter_map(|id| bus.read(id, register, TRIES).ok());
    let longest = delays.max().unwrap_or(*wanted);
    if longest > *wanted {
        let found = format!("servos wait {:.2} ms before they answer", 1e3 * register.quantity(longest));
        findings.add(Grade::Doubtful, "return delay", found, "`hindsight run` sets it; as delivered all is slower");
    }
}

/// Servos of one model should have one firmware: another may do otherwise, and LeRobot refuses such an SO-101.
fn firmware<L: Link>(kit: &Kit, bus: &mut Bus<L, SystemClock>, findings: &mut Findings) {
    // Which servos have which firmware, by model.
    let mut versions: BTreeMap<&str, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (id, servo) in IDS.into_iter().zip(&kit.servos) {
        let mut read = |register| bus.read(id, register, TRIES);
        let Ok(model) = read(&kit.registers.model) else { continue };
        let parts: Result<Vec<String>, _> =
            kit.registers.firmware.iter().map(|part| read(part).map(|part| part.to_string())).collect();
        // Silence was told before.
        let Ok(parts) = parts else { continue };
        versions.entry(servo.name).or_default().entry(parts.join(".")).or_default().push(id);
        if model != servo.model {
            let found = format!("servo {id} is of model {model}, expected {} ({})", servo.model, servo.name);
            findings.add(Grade::Bad, "model", found, "check --port, and whether the servos' ids are in order");
        }
    }
    let told = versions.iter().map(|(name, versions)| {
        let each = |(version, ids): (&String, &Vec<u8>)| match versions.len() {
            1 => version.clone(),
            _ => format!("{version} (ids {})", ids.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")),
        };
        format!("{name} {}", versions.iter().map(each).collect::<Vec<_>>().join(" and "))
    });
    let found = told.collect::<Vec<_>>().join(", ");
    let grade = if versions.values().any(|versions| versions.len() > 1) { Grade::Doubtful } else { Grade::Good };
    let remedy = match kit.protocol {
        Protocol::Feetech => "works here in most cases, but LeRobot refuses such an arm: update all with Feetech's FD",
        Protocol::Dynamixel => "works in most cases; update all with ROBOTIS' Dynamixel Wizard if one misbehaves",
    };
    findings.add(grade, "firmware", found, remedy);
}

/// Bytes that a tick's question with its answers, and its goals, are on the wire.
fn tick_bytes(kit: &Kit) -> [usize; 2] {
    let (count, state, goal) = (IDS.len(), usize::from(kit.state.len), usize::from(kit.registers.goal.size));
    match kit.protocol {
        Protocol::Feetech => [8 + count + count * (6 + state), 8 + count * (1 + goal)],
        Protocol::Dynamixel => [14 + count + count * (11 + state), 14 + count * (1 + goal)],
    }
}

fn round_trip<L: Link>(kit: &Kit, bus: &mut Bus<L, SystemClock>, findings: &mut Findings) {
    let (mut times, before) = (Histogram::default(), bus.counts());
    for _ in 0..READINGS {
        let begun_us = bus.now_us();
        let mut answers: [Option<Answer>; IDS.len()] = Default::default();
        if bus.sync_read(kit.state.address, kit.state.len, &IDS, &mut answers, begun_us + 40_000).is_err() {
            return findings.add(Grade::Bad, "bus", "the line broke while it was timed", "check the cable");
        }
        times.record(bus.now_us() - begun_us);
    }
    let wire_us = tick_bytes(kit).map(|bytes| bytes as f64 * BYTE_US);
    let [median, late] = [0.5, 0.99].map(|q| times.quantile_us(q).unwrap_or(0.0));
    findings.1.insert("bus_reading", [median, late]);
    let lost = bus.counts().lost - before.lost;
    let asked = bus.counts().asked - before.asked;
    let found = format!(
        "a reading takes {:.2} ms, 99 % within {:.2} ms (the wire alone {:.2} ms); {lost} of {asked} answers lost",
        median / 1e3,
        late / 1e3,
        wire_us[0] / 1e3
    );
    let over = |reading_us: f64| reading_us + wire_us[1] > f64::from(PERIOD_US);
    let slow = over(late);
    let grade = if lost * 20 > asked || over(median) {
        Grade::Bad
    } else if lost > 0 || slow {
        Grade::Doubtful
    } else {
        Grade::Good
    };
    let remedy = "use a short cable and no hub, set the adapter's latency, and see that no other program has the port";
    findings.add(grade, "bus", found, remedy);
}

fn bridge<L: Link>(link: L, findings: &mut Findings) {
    let arm = match BridgeArm::connect(link, SystemClock, BridgeOptions::default()) {
        Ok(arm) => arm,
        Err(error) => return findings.add(Grade::Bad, "arm", error.to_string(), "see above; then look again"),
    };
    let joints = arm.capabilities().limits.len();
    let watchdog_ms = arm.capabilities().watchdog_us.unwrap_or(0) / 1000;
    let found = format!("this project's firmware, {joints} joints, watchdog after {watchdog_ms} ms");
    findings.add(Grade::Good, "arm", found, "");
    match arm.mode() {
        Mode::Fault(_) => {
            let remedy = "support the arm, find the cause, and run again with --clear-fault";
            findings.add(Grade::Bad, "fault", "the firmware has latched a fault", remedy);
        }
        mode => findings.add(Grade::Good, "mode", format!("{mode:?}"), ""),
    }
}

/// Whether this machine can keep the control loop's period.
fn machine(findings: &mut Findings) {
    let (mut clock, mut lateness) = (SystemClock, Histogram::default());
    let mut due_us = clock.now_us();
    for _ in 0..PERIODS {
        due_us += u64::from(PERIOD_US);
        clock.sleep_until_us(due_us);
        lateness.record(clock.now_us() - due_us);
    }
    let [median, late] = [0.5, 0.99].map(|q| lateness.quantile_us(q).unwrap_or(0.0));
    findings.1.insert("loop_wakes_late", [median, late]);
    let found = format!("wakes {median:.0} µs late, 99 % within {late:.0} µs");
    let grade = if late > f64::from(PERIOD_US) / 2.0 { Grade::Doubtful } else { Grade::Good };
    findings.add(grade, "machine", found, "close what else runs; a busy machine makes the arm jerk");
}
