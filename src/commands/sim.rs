//! `hindsight sim`: a simulated arm behind a pty, for any client, with its table and its tracker.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use firmware_bridge::servo;
use hindsight::arm::servo_arm::{IDS, JOINTS};
use hindsight::env::arm::REACHABLE;
use hindsight::env::simulated::{TRACKER_LATENCY_US, TRACKER_NOISE_M, TRACKER_PERIOD_US};
use hindsight::task::{Region, TaskKind, distance_m};
use hindsight::tracker::datagram::DEFAULT_ADDRESS;
use hindsight::tracker::udp::unix_now_s;
use hindsight::tracker::{Publisher, TrackerError};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::json;
use sim::bus::Faults;
use sim::{Device, FarEnd, Line, ObjectPose, ServoBus, World};

use super::hand::Hands;
use super::interrupt::Interrupt;
use super::rig::{ArmName, Setup};
use super::{Common, Finish, UsageError, output};

/// How long the object must lie out of reach before it is put back, µs: a person is no faster.
const OUT_OF_REACH_US: u64 = 1_500_000;
/// The same where the goals are out of reach, µs: longer than the 4 s of an episode.
const OUT_OF_REACH_AT_GOAL_US: u64 = 5_000_000;
/// Nearest that the fingertip may be to where the object is or will be, m.
const CLEAR_OF_TIP_M: f64 = 0.07;

/// What a simulated line speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// As a microcontroller with the firmware of this project.
    Bridge,
    /// As an SO-101's own servos, six Feetech STS3215 on a bus.
    Feetech,
    /// As a Koch's own servos, two Dynamixel XL430 and four XL330 on a bus.
    Dynamixel,
}

/// Simulate an arm behind a pty, in real time, until Ctrl-C
#[derive(Debug, Args)]
pub(super) struct Sim {
    /// Which arm
    #[arg(long, value_enum, default_value = "so101")]
    arm: ArmName,
    /// What the line speaks
    #[arg(long, value_enum, default_value = "bridge")]
    protocol: Protocol,
    /// Where to put the link to the pty: the port for clients
    #[arg(long)]
    link: PathBuf,
    /// Spoil the servos' answers, such as lost=0.01,corrupt=0.001,late=0.01,late_us=12000 (probabilities of an answer);
    /// old_firmware=4 gives the servo with the id 4 an older firmware than the others'
    #[arg(long, value_name = "FAULTS", value_parser = faults)]
    faults: Option<Faults>,
    /// Keep the servos' EEPROM in this file from one start to the next
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
    /// Leave only the servo of this joint on the bus, as it was delivered, to try out `hindsight setup`
    #[arg(long, value_name = "JOINT")]
    delivered: Option<String>,
    /// What lies on the table: a puck for push, the same on a slippery table for slide, a cube for pick-and-place,
    /// nothing for reach [default: push, for a Koch reach]
    #[arg(long, value_enum)]
    task: Option<TaskKind>,
    /// Take joints by hand as lines of standard input say, such as `elbow_flex 0.5` (rad) or `elbow_flex free`; a hand
    /// is slow, not stronger than a person's, and stays until it lets go. Also play tricks on bus servos: `elbow_flex
    /// silent 0.5` (s), `elbow_flex brown-out`, `elbow_flex overload`, `unplug 1` (s)
    #[arg(long)]
    hand: bool,
    /// Simulate an arm that differs from its twin, drawn from this seed
    #[arg(long, value_name = "SEED")]
    differ: Option<u64>,
    /// Address to send the object's pose to [default: 127.0.0.1:47800]
    #[arg(long, value_name = "ADDRESS")]
    tracker: Option<SocketAddr>,
}

impl Sim {
    /// Serves the line until a signal comes, and removes the link.
    ///
    /// # Errors
    /// The pty, the link or the tracker's socket cannot be had.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        // A Koch has no other.
        let task = self.task.unwrap_or(if self.arm == ArmName::Koch { TaskKind::Reach } else { TaskKind::Push });
        if task == TaskKind::Reach && self.tracker.is_some() {
            return Err(UsageError("--tracker: expected a task with an object, found reach".into()).into());
        }
        let needs_servos = [
            ("--faults", self.faults.is_some()),
            ("--memory", self.memory.is_some()),
            ("--delivered", self.delivered.is_some()),
        ];
        if let Some((flag, _)) = needs_servos.into_iter().find(|(_, given)| *given && self.protocol == Protocol::Bridge)
        {
            return Err(UsageError(format!("{flag}: expected --protocol feetech or dynamixel, found bridge")).into());
        }
        let other = match self.protocol {
            Protocol::Bridge => None,
            Protocol::Feetech => Some(servo::Protocol::Feetech),
            Protocol::Dynamixel => Some(servo::Protocol::Dynamixel),
        }
        .filter(|spoken| *spoken != self.arm.kit().protocol);
        if other.is_some() {
            let kit = self.arm.kit();
            let text = format!("--protocol: expected bridge or what {} servos ({}) speak", kit.maker, kit.name);
            return Err(UsageError(text).into());
        }
        let named = |name: &String| {
            JOINTS
                .iter()
                .position(|joint| joint == name)
                .ok_or_else(|| UsageError(format!("--delivered {name}: expected one of {}", JOINTS.join(", "))))
        };
        let delivered = self.delivered.as_ref().map(named).transpose()?;
        let setup = Setup::new(self.arm, task, self.differ)?;
        let mut rng = Pcg64Mcg::seed_from_u64(common.seed);
        let mut world = World::new(&setup.model, &setup.drawn, rng.random())?;
        let object = setup.task.objects.map(|region| region.sample(&mut rng));
        world.reset(&setup.model.reach.rest_rad, object.map(|[x, y, _]| [x, y, 0.0]), rng.random())?;
        let name = task.object_name();
        let told = setup
            .task
            .objects
            .map_or(String::new(), |_| format!(", the {name} told to {}", self.tracker.unwrap_or(DEFAULT_ADDRESS)));
        let camera = match setup.task.objects {
            Some(_) => Some(Camera::new(self.tracker.unwrap_or(DEFAULT_ADDRESS), name, rng.random())?),
            None => None,
        };
        let [x, y, _] = setup.task.goals.upper;
        let within = REACHABLE.contains(&[x, y, setup.task.goals.lower[2]]);
        let patience_us = if within { OUT_OF_REACH_US } else { OUT_OF_REACH_AT_GOAL_US };
        let hand =
            setup.task.objects.map(|region| StageHand { region, rng, patience_us, away_since_us: None, put_back: 0 });
        let interrupt = Interrupt::listen("stopping")?;
        let hands = self.hand.then(|| Hands::listen(&setup.model));
        let mut table = Table { camera, hand, hands, untold: false };
        let mut line = Line::open(&self.link)?;
        eprintln!("simulating {} at {}{told}; Ctrl-C ends it", self.arm.name(), self.link.display());
        let (report, simulated_us) = match self.protocol {
            Protocol::Bridge => {
                let mut device = Device::new(world, boot_id());
                let report = line.serve(&mut device, &interrupt.stop, |device| {
                    table.look(device.world_mut());
                    table.trouble(None);
                })?;
                (report, device.time_us())
            }
            Protocol::Feetech | Protocol::Dynamixel => {
                let spoken = self.arm.kit().protocol;
                let mut bus = ServoBus::new(world, spoken, self.faults.unwrap_or_default(), common.seed)?;
                self.recall(&mut bus)?;
                if let Some(joint) = delivered {
                    bus.deliver(joint);
                }
                let report = line.serve(&mut bus, &interrupt.stop, |bus| {
                    table.look(bus.world_mut());
                    table.trouble(Some(bus));
                })?;
                self.remember(&bus)?;
                (report, bus.time_us())
            }
        };
        drop(line);
        let put_back = table.hand.map_or(0, |hand| hand.put_back);
        let (lag_ms, lost_ms) = (report.lag_max_us as f64 / 1e3, report.lost_us as f64 / 1e3);
        output::say(
            common,
            &format!(
                "simulated {:.1} s; behind by {lag_ms:.1} ms at most, {lost_ms:.1} ms lost; {name} put back {put_back} times",
                simulated_us as f64 / 1e6,
            ),
        );
        let object = json!({
            "simulated_s": simulated_us as f64 / 1e6,
            "steps": report.steps,
            "lag_max_us": report.lag_max_us,
            "lost_us": report.lost_us,
            "put_back": put_back,
            "seed": common.seed,
        });
        output::finish(common, &object);
        Ok(Finish::Done)
    }
}

impl Sim {
    /// Gives the servos what they kept from the last start.
    fn recall(&self, bus: &mut ServoBus) -> Result<()> {
        let Some(file) = self.memory.as_ref().filter(|file| file.exists()) else { return Ok(()) };
        let read = || -> Result<Vec<Vec<u8>>> { Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?) };
        let kept = read().with_context(|| format!("the servos' memory {}", file.display()))?;
        if bus.restore(&kept) { Ok(()) } else { bail!("{} is of other servos; name another file", file.display()) }
    }

    fn remember(&self, bus: &ServoBus) -> Result<()> {
        let Some(file) = &self.memory else { return Ok(()) };
        let text = serde_json::to_string(&bus.eeprom())?;
        std::fs::write(file, text).with_context(|| format!("cannot write the servos' memory {}", file.display()))
    }
}

fn faults(text: &str) -> Result<Faults, String> {
    let faults: Faults = toml::from_str(&text.replace(',', "\n")).map_err(|error| error.message().to_owned())?;
    let chances = [faults.lost, faults.corrupt, faults.truncated, faults.late];
    if !chances.iter().all(|chance| (0.0..=1.0).contains(chance)) {
        return Err("expected probabilities from 0 to 1".into());
    }
    match faults.old_firmware == 0 || IDS.contains(&faults.old_firmware) {
        true => Ok(faults),
        false => Err(format!("old_firmware={}: expected the id of a servo, {IDS:?}", faults.old_firmware)),
    }
}

/// Differs from start to start, as a microcontroller's does from reset to reset.
fn boot_id() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u32)
}

/// Who looks at the table and tidies it up.
struct Table {
    camera: Option<Camera>,
    hand: Option<StageHand>,
    /// On the arm.
    hands: Option<Hands>,
    untold: bool,
}

impl Table {
    fn trouble(&self, bus: Option<&mut ServoBus>) {
        if let Some(hands) = &self.hands {
            hands.trouble(bus);
        }
    }

    fn look(&mut self, world: &mut World) {
        let now_us = world.time_us();
        if let Some(hands) = &self.hands {
            hands.act(world);
        }
        if let Some(hand) = &mut self.hand {
            hand.watch(now_us, world);
        }
        if let Some(camera) = &mut self.camera
            && let Err(error) = camera.look(now_us, world)
            && !std::mem::replace(&mut self.untold, true)
        {
            eprintln!("{error}");
        }
    }
}

/// Sees the object as the simulated tracker of training does, and tells it over UDP.
struct Camera {
    publisher: Publisher,
    rng: Pcg64Mcg,
    due_us: u64,
    in_flight: VecDeque<(u64, f64, ObjectPose)>,
}

impl Camera {
    fn new(address: SocketAddr, object: &str, seed: u64) -> Result<Self, TrackerError> {
        let publisher = Publisher::new(address, object)?;
        Ok(Self { publisher, rng: Pcg64Mcg::seed_from_u64(seed), due_us: 0, in_flight: VecDeque::with_capacity(4) })
    }

    fn look(&mut self, now_us: u64, world: &World) -> Result<(), TrackerError> {
        if now_us >= self.due_us {
            self.due_us = now_us + TRACKER_PERIOD_US;
            if let Some(mut seen) = world.object() {
                for axis in &mut seen.position[..2] {
                    *axis += self.rng.random_range(-TRACKER_NOISE_M..=TRACKER_NOISE_M);
                }
                self.in_flight.push_back((now_us + TRACKER_LATENCY_US, unix_now_s(), seen));
            }
        }
        while self.in_flight.front().is_some_and(|(due_us, ..)| now_us >= *due_us) {
            if let Some((_, unix_s, seen)) = self.in_flight.pop_front() {
                self.publisher.publish(unix_s, seen.position, seen.orientation)?;
            }
        }
        Ok(())
    }
}

/// Puts the object back when it has been out of reach for a while, as a person would.
struct StageHand {
    region: Region,
    rng: Pcg64Mcg,
    /// How long the object must be away, µs.
    patience_us: u64,
    away_since_us: Option<u64>,
    put_back: u64,
}

impl StageHand {
    fn watch(&mut self, now_us: u64, world: &mut World) {
        let Some(object) = world.object().filter(|object| !REACHABLE.contains(&object.position)) else {
            self.away_since_us = None;
            return;
        };
        let since_us = *self.away_since_us.get_or_insert(now_us);
        let tip = world.tip();
        if now_us - since_us < self.patience_us || distance_m(&tip, &object.position) < CLEAR_OF_TIP_M {
            return;
        }
        let position = self.region.sample(&mut self.rng);
        // Over the arm's fingers it would fall on them; the next step draws another place.
        if (position[0] - tip[0]).hypot(position[1] - tip[1]) < CLEAR_OF_TIP_M {
            return;
        }
        let pose = ObjectPose {
            position,
            orientation: [0.0, 0.0, 0.0, 1.0],
            linear_velocity: [0.0; 3],
            angular_velocity: [0.0; 3],
        };
        if world.set_object(&pose).is_ok() {
            self.put_back += 1;
            self.away_since_us = None;
        }
    }
}
