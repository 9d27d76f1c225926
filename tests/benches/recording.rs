//! What recording costs and what reading gives: `cargo bench --bench recording`. With `-- kill 100`, processes that
//! record a simulated arm in real time are killed at random moments, and what they lost is counted. Figures depend on
//! the machine and are not checked.

use firmware_bridge::PerJoint;
use hindsight::arm::{BridgeArm, BridgeOptions};
use hindsight::control::{ControlLoop, Histogram, Planner, PlannerConfig, SetPoint};
use hindsight::env::simulated::control_config;
use hindsight::episode::{EndReason, EpisodeEnd, EpisodeStart, ObjectTrack, Pace, Recorder, Tick, read};
use hindsight::link::loopback::SimHandle;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sim::{ArmModel, Device, SimParams, World};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Ticks of twenty minutes at 500 Hz, half of them recorded.
const TICKS: u64 = 600_000;
/// Ticks of the file that is read back.
const READ: u64 = 200_000;
/// Real time between two ticks, a twentieth of what the stamps say.
const PACE: Duration = Duration::from_micros(100);
/// Recording is switched on or off after so many ticks, so that other processes disturb both alike.
const BLOCK: u64 = 500;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["record", path] => record(Path::new(path)),
        ["kill", count] => kill(count.parse()?),
        _ => reading().and_then(|()| cost()),
    }
}

fn start(control_period_us: u32) -> EpisodeStart {
    EpisodeStart {
        task: "push".into(),
        arm: "so101".into(),
        control_period_us,
        ticks_per_step: 10,
        ..Default::default()
    }
}

fn cost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("episode-000000.mcap");
    let mut recorder = Recorder::create(&path, start(2_000), Pace::Threaded)?;
    let model = ArmModel::so101()?;
    let limits = std::array::from_fn(|joint| model.joints[joint].limits);
    let mut planner = Planner::new(&model, limits, &PlannerConfig::default())?;
    planner.reset(&hindsight::control::REST_RAD);
    // On, off.
    let mut durations = [Histogram::default(), Histogram::default()];
    let mut recorded = 0;
    let begun = Instant::now();
    for tick in 0..TICKS {
        let due = begun + PACE * u32::try_from(tick)?;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let at = Instant::now();
        let angle = tick as f64 * 1e-3;
        let position_m = [0.22 + 0.05 * angle.cos(), 0.05 * angle.sin(), 0.08];
        let plan = *planner.plan(SetPoint { position_m, jaw_rad: 0.0 }, Some(0), 1.0, 2e-3);
        let off = usize::from((tick / BLOCK) % 2 == 1);
        if off == 0 {
            recorder.record(row(recorded, &plan.applied_rad))?;
            recorded += 1;
        }
        // In ns: a tick takes less than the histogram's first buckets of 1 µs.
        durations[off].record(u64::try_from(at.elapsed().as_nanos())?);
    }
    let recording = recorder.finish(end(recorded))?;
    for (name, histogram) in ["on", "off"].iter().zip(&durations) {
        let at = |q| histogram.quantile_us(q).unwrap_or(f64::NAN) / 1e3;
        println!("recording {name:>3}: plan a tick in {:.2} µs, 99.9 % within {:.2} µs", at(0.5), at(0.999));
    }
    let size = std::fs::metadata(&path)?.len() as f64;
    let a_tick = size / recording.ticks as f64;
    println!("{a_tick:.0} bytes a tick, {:.3} MB/s at 500 Hz, {} ticks", a_tick * 500.0 / 1e6, recording.ticks);
    Ok(())
}

fn reading() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("episode-000000.mcap");
    let mut recorder = Recorder::create(&path, start(2_000), Pace::Inline)?;
    for index in 0..READ {
        recorder.record(row(index, &[index as f32 * 1e-6; 6]))?;
    }
    recorder.finish(end(READ))?;
    for _ in 0..3 {
        let begun = Instant::now();
        let found = read(&path)?.episode.ticks.len();
        println!("read {found} ticks at {:.0} a second", found as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// A tick of a push episode at 500 Hz; what is in it does not matter, how much does.
fn row(index: u64, angles_rad: &[f32; 6]) -> Tick {
    let joints: PerJoint = angles_rad.iter().copied().collect();
    let mut row = Tick {
        index,
        stamp_us: index * 2_000,
        step: (index / 10) as u32,
        begins_step: index.is_multiple_of(10),
        observation: (0..25).map(|i| i as f32 * 0.01).collect(),
        object: Some(ObjectTrack::default()),
        requested_rad: joints.clone(),
        applied_rad: joints.clone(),
        sent_rad: joints.clone(),
        reading_age_us: 900,
        ..Tick::default()
    };
    row.joints.position_rad.clone_from(&joints);
    row.joints.velocity_rad_s.clone_from(&joints);
    row.joints.load = joints;
    row
}

fn end(ticks: u64) -> EpisodeEnd {
    EpisodeEnd {
        reason: EndReason::Completed,
        stamp_us: ticks * 2_000,
        success: false,
        steps: (ticks / 10) as u32,
        final_distance_m: 0.0,
        lost_ticks: 0,
    }
}

/// Records a simulated arm in real time for ever, and writes a byte to stdout for every tick that was taken.
fn record(path: &Path) -> Result<()> {
    let (model, params) = (ArmModel::so101()?, SimParams::so101()?);
    let device = SimHandle::new(Device::new(World::new(&model, &params, 0)?, 1));
    device.lock().world_mut().reset(&hindsight::control::REST_RAD, None, 0)?;
    let arm = BridgeArm::connect(device.link(), device.clock(), BridgeOptions::default())?;
    let config = control_config(&model, &params, hindsight::task::TaskKind::Push, Some(sim::world::STEP_US as u32));
    let clock = device.real_time_clock();
    let mut control = ControlLoop::new(arm, clock, &model, config, Arc::default())?;
    control.start()?;
    let goal = *control.planner().last();
    let mut recorder = Recorder::create(path, start(8_000), Pace::Threaded)?;
    let mut stdout = std::io::stdout();
    for index in 0.. {
        let tick = control.tick(goal.set_point_applied, None)?;
        let mut row = Tick { index, stamp_us: tick.stamp_us, ..Tick::default() };
        row.joints.clone_from(&tick.reading.joints);
        row.sent_rad.clone_from(&tick.sent.position_rad);
        recorder.record(row)?;
        stdout.write_all(&[0])?;
        stdout.flush()?;
    }
    Ok(())
}

fn kill(count: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut rng = Pcg64Mcg::seed_from_u64(0);
    let mut lost_ms = Vec::new();
    for number in 0..count {
        let path = folder.path().join(format!("episode-{number:06}.mcap"));
        let mut child =
            Command::new(std::env::current_exe()?).arg("record").arg(&path).stdout(Stdio::piped()).spawn()?;
        let mut stdout = child.stdout.take().ok_or("no stdout")?;
        let before_kill = rng.random_range(1..100);
        let mut taken = vec![0; before_kill];
        stdout.read_exact(&mut taken)?;
        std::thread::sleep(Duration::from_micros(rng.random_range(0..8_000)));
        child.kill()?;
        child.wait()?;
        stdout.read_to_end(&mut taken)?;
        let found = read(&path)?.episode.ticks.len();
        lost_ms.push(8 * taken.len().saturating_sub(found));
    }
    lost_ms.sort_unstable();
    println!("{count} kills: median {} ms lost, at most {:?} ms", lost_ms[lost_ms.len() / 2], lost_ms.last());
    Ok(())
}
