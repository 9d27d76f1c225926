//! What recording costs and what reading gives: `cargo bench --bench recording`. Figures depend on the machine and are
//! not checked.
//!
//! With `-- relabel`, four thousand episodes of push are made and relabelled by every strategy into a million
//! transitions.
//!
//! With `-- kill 100 FOLDER`, processes that record a simulated arm in real time into FOLDER are killed at random
//! moments, and what they lost is counted; `tests/peers/mcap_readers.py FOLDER --killed` then reads what they left.
//!
//! With `-- damage 1`, a file of more than a megabyte is cut at every byte of its last megabyte (`damage 7`: at every
//! seventh), at 10,000 random bytes, and its bits are flipped at random: whatever is whole before the damage must come
//! back, and nothing else. Takes minutes on every core.

use firmware_bridge::PerJoint;
use hindsight::arm::{BridgeArm, BridgeOptions};
use hindsight::control::{ControlLoop, Histogram, Planner, PlannerConfig, SetPoint};
use hindsight::env::simulated::control_config;
use hindsight::episode::relabel::relabel;
use hindsight::episode::{
    EndReason, Episode, EpisodeEnd, EpisodeStart, Folder, ObjectTrack, Pace, Recorder, Tick, read, reader,
};
use hindsight::learn::hindsight::{Relabel, Strategy};
use hindsight::link::loopback::SimHandle;
use hindsight::task::EPISODE_STEPS;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use sim::{ArmModel, Device, SimParams, World};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Ticks of an hour at 500 Hz; recording is on for half of them.
const TICKS: u64 = 1_800_000;
/// Ticks of the file that is read back.
const READ: u64 = 200_000;
/// Real time between two ticks, an eighth of what the stamps say: a queue of 512 ticks bears a disk that hangs for
/// 128 ms.
const PACE: Duration = Duration::from_micros(250);
/// Recording is switched on or off after so many ticks, so that other processes disturb both alike.
const BLOCK: u64 = 500;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["record", path] => record(Path::new(path)),
        ["kill", count, folder] => kill(count.parse()?, Path::new(folder)),
        ["damage", stride] => damage(stride.parse()?),
        ["reading"] => reading(),
        ["cost"] => cost(),
        ["relabel"] => relabelling(),
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
    // On, off; in ns, for a tick takes few of the histogram's buckets of 1 µs.
    let mut works = [Histogram::default(), Histogram::default()];
    let mut ends = [Histogram::default(), Histogram::default()];
    let mut recorded = 0;
    let begun = Instant::now();
    for tick in 0..TICKS {
        let due = begun + PACE * u32::try_from(tick)?;
        // As the control loop does: asleep, the processor is the writer's.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let at = Instant::now();
        let angle = tick as f64 * 1e-3;
        let position_m = [0.22 + 0.05 * angle.cos(), 0.05 * angle.sin(), 0.08];
        let plan = *planner.plan(SetPoint { position_m, jaw_rad: 0.0 }, Some(0), 1.0, 2e-3);
        let off = usize::from((tick / BLOCK) % 2 == 1);
        if off == 0 {
            recorder.record(row(recorded, &plan.applied_rad))?;
            recorded += 1;
        }
        works[off].record(u64::try_from(at.elapsed().as_nanos())?);
        ends[off].record(u64::try_from(due.elapsed().as_nanos())?);
    }
    let recording = recorder.finish(end(recorded))?;
    let told = |histogram: &Histogram| {
        let at = |q| histogram.quantile_us(q).unwrap_or(f64::NAN) / 1e3;
        format!("{:.1} µs (99 % within {:.1}, 99.9 % within {:.1})", at(0.5), at(0.99), at(0.999))
    };
    for (name, (work, end)) in ["on", "off"].iter().zip(works.iter().zip(&ends)) {
        println!("recording {name:>3}: a tick takes {}, and is done {} after it was due", told(work), told(end));
    }
    let size = std::fs::metadata(&path)?.len() as f64;
    let a_tick = size / recording.ticks as f64;
    let pace_us = PACE.as_micros();
    println!(
        "{a_tick:.0} bytes a tick, {:.3} MB/s at 500 Hz; {} ticks, one in {pace_us} µs",
        a_tick * 500.0 / 1e6,
        recording.ticks
    );
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
    let bytes = std::fs::metadata(&path)?.len() as f64;
    let threads = rayon::current_num_threads();
    for files in [1, 1, 1, threads, threads, threads] {
        let begun = Instant::now();
        (0..files).into_par_iter().for_each(|_| drop(std::hint::black_box(read(&path))));
        let each_s = begun.elapsed().as_secs_f64() / files as f64;
        let (rate, speed) = (READ as f64 / each_s, bytes / each_s / 1e6);
        println!("{files} files of {READ} ticks, one a thread, at {rate:.0} ticks a second, {speed:.0} MB/s");
    }
    assert_eq!(read(&path)?.episode.ticks.len() as u64, READ);
    Ok(())
}

/// Episodes of [`EPISODE_STEPS`] that a folder to be relabelled has; with k = 4 they give a million transitions.
const EPISODES: u64 = 4_000;

fn relabelling() -> Result<()> {
    let place = tempfile::tempdir()?;
    let folder = Folder::create(&place.path().join("source"))?;
    let ticks = 10 * EPISODE_STEPS as u64;
    for number in 0..EPISODES {
        let mut rng = Pcg64Mcg::seed_from_u64(number);
        let mut recorder = Recorder::create(&folder.file(number), start(8_000), Pace::Inline)?;
        for index in 0..=ticks {
            let mut tick = row(index, &rng.random());
            tick.achieved_goal = rng.random();
            recorder.record(tick)?;
        }
        recorder.finish(end(ticks))?;
    }
    // So that the disk is not still busy with the source.
    rustix::fs::sync();
    for strategy in [Strategy::Final, Strategy::Future, Strategy::Episode, Strategy::Random] {
        let (target, how) = (place.path().join(format!("{strategy:?}")), Relabel { strategy, k: 4 });
        let begun = Instant::now();
        let found = relabel(folder.path(), &target, how, 0, EpisodeStart::compute_reward, |_| {})?;
        let (took_s, count) = (begun.elapsed().as_secs_f64(), found.transitions + found.relabelled);
        println!("{strategy:?}: {count} transitions of {} steps in {took_s:.2} s", found.transitions);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("at most {}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("unknown"));
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

fn kill(count: u32, folder: &Path) -> Result<()> {
    let folder = Folder::create(folder)?;
    let mut rng = Pcg64Mcg::seed_from_u64(0);
    let mut lost_ms = Vec::new();
    for _ in 0..count {
        let path = folder.next_file()?;
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
    let most = lost_ms.last().copied().unwrap_or_default();
    println!("{count} kills: median {} ms lost, at most {most} ms", lost_ms[lost_ms.len() / 2]);
    Ok(())
}

/// Bytes at the file's end that are cut at.
const TAIL: usize = 1 << 20;
/// Cuts and damaged copies that are drawn.
const DRAWN: u64 = 10_000;

fn damage(stride: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("episode-000000.mcap");
    let mut recorder = Recorder::create(&path, start(2_000), Pace::Inline)?;
    let mut rng = Pcg64Mcg::seed_from_u64(0);
    let mut index = 0;
    while std::fs::metadata(&path)?.len() <= TAIL as u64 {
        recorder.record(row(index, &rng.random()))?;
        index += 1;
    }
    recorder.finish(end(index))?;
    let (bytes, whole) = (std::fs::read(&path)?, read(&path)?.episode);
    let ends = tick_ends(&bytes)?;
    let begun = Instant::now();
    let tail = bytes.len() - TAIL;
    let cuts: Vec<usize> = (tail..bytes.len()).step_by(stride).collect();
    cuts.par_iter().for_each(|cut| assert_cut(&bytes, *cut, &ends, &whole));
    println!("{} of the last {TAIL} bytes of {} cut at: every whole tick is back", cuts.len(), bytes.len());
    let drawn: Vec<u64> = (0..DRAWN).collect();
    drawn.par_iter().for_each(|seed| {
        let mut rng = Pcg64Mcg::seed_from_u64(*seed);
        assert_cut(&bytes, rng.random_range(0..bytes.len()), &ends, &whole);
    });
    println!("{DRAWN} random cuts: every whole tick is back");
    let kept: usize = drawn
        .par_iter()
        .map(|seed| {
            let mut rng = Pcg64Mcg::seed_from_u64(*seed);
            let mut bad = bytes.clone();
            let flips: Vec<usize> = (0..rng.random_range(1..4)).map(|_| rng.random_range(0..bad.len())).collect();
            flips.iter().for_each(|at| bad[*at] ^= 1 << rng.random_range(0..8));
            let before = flips.iter().min().copied().unwrap_or_default();
            let found = assert_begins(&bad, &whole);
            let (safe, cut) = (ends.partition_point(|end| *end <= before), bad.len());
            assert!(found >= safe, "flips {flips:?} of {cut} bytes: {found} ticks, {safe} lie before");
            found
        })
        .sum();
    let share = kept as f64 / (DRAWN as f64 * whole.ticks.len() as f64);
    println!("{DRAWN} copies with 1 to 3 flipped bits: nothing made up, {:.0} % of all ticks back", 100.0 * share);
    println!("in {:.0} s on {} threads", begun.elapsed().as_secs_f64(), rayon::current_num_threads());
    Ok(())
}

/// Offset behind each tick's last byte, from the makers' own reader of records.
fn tick_ends(bytes: &[u8]) -> Result<Vec<usize>> {
    let mut ends = Vec::new();
    for message in mcap::MessageStream::new(bytes)? {
        let message = message?;
        if message.channel.topic == "/tick" {
            // The check in each message makes its bytes unlike all others; they come in the file's order.
            let from = ends.last().copied().unwrap_or_default();
            let at = bytes[from..].windows(message.data.len()).position(|window| window == &message.data[..]);
            ends.push(from + at.ok_or("a tick's bytes are not in the file")? + message.data.len());
        }
    }
    Ok(ends)
}

/// Ticks that are read from damaged bytes; each must be the one that was written.
fn assert_begins(bytes: &[u8], whole: &Episode) -> usize {
    let Ok(found) = reader::parse(Path::new("damaged"), bytes) else { return 0 };
    assert!(found.episode.start == whole.start && found.episode.faults.is_empty());
    assert!(found.episode.end.is_none() || found.episode.end == whole.end);
    assert!(whole.ticks.starts_with(&found.episode.ticks), "a tick is not what was written");
    found.episode.ticks.len()
}

fn assert_cut(bytes: &[u8], cut: usize, ends: &[usize], whole: &Episode) {
    let expected = ends.partition_point(|end| *end <= cut);
    assert_eq!(assert_begins(&bytes[..cut], whole), expected, "cut at {cut}");
}
