//! A grid of what goes wrong on a bus, as reviewed tables in the documentation.

use super::*;
use hindsight::control::PERIOD_US;
use hindsight::episode::{self, EndReason, EpisodeEnd, EpisodeStart, FaultEvent, Pace, Recorder};

/// What a bus does to a run, and when.
struct Trouble {
    name: &'static str,
    faults: Faults,
    strike: fn(&mut ServoBus),
}

/// How a run under a fault went.
struct Run {
    ticks: u32,
    /// Ticks in the log.
    logged: usize,
    retries: u64,
    stale: u64,
    brown_outs: u64,
    /// Quickest that a joint turned, rad/s, and that a goal moved.
    speed_rad_s: f64,
    goal_rad_s: f64,
    ended: String,
}

/// Drives the fingertip in circles for [`TICKS`] ticks, or until the driver gives up, and records it.
fn run(bench: &Bench, trouble: &Trouble) -> Run {
    let handle = bench.powered_off(Faults::default());
    let arm = bench.connected(&handle).unwrap();
    let reach = &bench.model.reach;
    let config = ControlConfig {
        physics_step_us: Some(sim::world::STEP_US as u32),
        rest_rad: reach.rest_rad,
        ..ControlConfig::default()
    };
    let mut control = ControlLoop::new(arm, handle.clock(), &bench.model, config, Default::default()).unwrap();
    control.start().unwrap();
    let [x, _, z] = reach.start_tip_m;
    control.move_to(SetPoint { position_m: [x, 0.0, z], jaw_rad: 0.0 }).unwrap();
    handle.lock().set_faults(trouble.faults);
    let place = tempfile::tempdir().unwrap();
    let start = EpisodeStart { ticks_per_step: 1, control_period_us: PERIOD_US, ..EpisodeStart::default() };
    let mut recorder = Recorder::create(&place.path().join("run.mcap"), start, Pace::Inline).unwrap();
    let mut row = episode::Tick { begins_step: true, ..episode::Tick::default() };
    let mut result = Run {
        ticks: 0,
        logged: 0,
        retries: 0,
        stale: 0,
        brown_outs: 0,
        speed_rad_s: 0.0,
        goal_rad_s: 0.0,
        ended: "as planned".into(),
    };
    let mut last: Option<(u64, Vec<f32>)> = None;
    for tick in 0..TICKS {
        if tick == 300 {
            (trouble.strike)(&mut handle.lock());
        }
        let angle = f64::from(tick) * 0.02;
        let position_m = [x + 0.04 * angle.cos() - 0.04, 0.04 * angle.sin(), z];
        if let Err(error) = control.tick(SetPoint { position_m, jaw_rad: 0.0 }, None).map(|_| ()) {
            result.ended = error.to_string();
            let what = result.ended.clone();
            recorder.fault(FaultEvent { stamp_us: handle.lock().time_us(), what }).unwrap();
            break;
        }
        result.ticks += 1;
        row.take(control.last());
        recorder.record(row.clone()).unwrap();
        (row.index, row.step) = (row.index + 1, row.step + 1);
        let (now_us, sent) = (handle.lock().time_us(), control.last().sent.position_rad.to_vec());
        // A servo that is powered again is held where it has sunk to: another goal, but no motion.
        let health = control.arm().servo_health();
        let brown_outs = health.brown_outs + health.halts;
        let powered_again = std::mem::replace(&mut result.brown_outs, brown_outs) != brown_outs;
        if let Some((then_us, before)) = last.replace((now_us, sent.clone())).filter(|_| !powered_again) {
            let dt_s = (now_us - then_us) as f64 * 1e-6;
            let steps = sent.iter().zip(&before).map(|(a, b)| f64::from((a - b).abs()) / dt_s);
            result.goal_rad_s = steps.fold(result.goal_rad_s, f64::max);
        }
        let device = handle.lock();
        let speeds = device.world().joint_velocities().iter().map(|speed| speed.abs());
        result.speed_rad_s = speeds.fold(result.speed_rad_s, f64::max);
    }
    let end = EpisodeEnd {
        reason: if result.ticks == TICKS { EndReason::Completed } else { EndReason::Fault },
        stamp_us: handle.lock().time_us(),
        success: false,
        steps: result.ticks,
        final_distance_m: 0.0,
        lost_ticks: 0,
    };
    let kept = episode::read(&recorder.finish(end).unwrap().path).unwrap();
    assert!(kept.is_complete() && kept.damage.is_none(), "{}: the log is damaged", trouble.name);
    result.logged = kept.episode.ticks.len();
    let health = control.arm().servo_health();
    (result.retries, result.stale) = (health.bus.retries, health.stale);
    // The cable is put back, the bus is sound again; then the power must be off.
    if control.abort().is_err() {
        handle.lock().set_faults(Faults::default());
        wait(&handle, 3_000_000);
        control.abort().unwrap();
    }
    handle.lock().set_faults(Faults::default());
    wait(&handle, 500_000);
    assert!(
        (1..=6).all(|id| bench.register(&handle, id, &bench.kit.registers.torque) == 0),
        "{}: still powered",
        trouble.name
    );
    result
}

#[test]
fn a_bad_bus_costs_ticks_at_most_and_never_a_jump_or_power_that_stays_on() {
    grid(&Bench::so101(), include_str!("../../docs/so101.md"));
}

/// Runs every trouble, and holds the table in `page` to what came of it.
pub(crate) fn grid(bench: &Bench, page: &str) {
    let rate = |faults: Faults, name| Trouble { name, faults, strike: |_| {} };
    let once = |name, strike| Trouble { name, faults: Faults::default(), strike };
    let none = Faults::default();
    let troubles = [
        rate(none, "none"),
        rate(Faults { lost: 0.001, ..none }, "lost 0.1 %"),
        rate(Faults { lost: 0.005, ..none }, "lost 0.5 %"),
        rate(Faults { lost: 0.01, ..none }, "lost 1 %"),
        rate(Faults { lost: 0.05, ..none }, "lost 5 %"),
        rate(Faults { corrupt: 0.001, ..none }, "corrupt 0.1 %"),
        rate(Faults { corrupt: 0.005, ..none }, "corrupt 0.5 %"),
        rate(Faults { corrupt: 0.01, ..none }, "corrupt 1 %"),
        rate(Faults { corrupt: 0.05, ..none }, "corrupt 5 %"),
        rate(Faults { truncated: 0.01, ..none }, "cut short 1 %"),
        rate(Faults { late: 0.01, late_us: 12_000, ..none }, "12 ms late 1 %"),
        rate(Faults { late: 0.05, late_us: 12_000, ..none }, "12 ms late 5 %"),
        once("elbow silent for 0.5 s", |bus| bus.silence(2, 500_000)),
        once("elbow silent for 3 s", |bus| bus.silence(2, 3_000_000)),
        once("pan browns out", |bus| bus.brown_out(0)),
        once("all brown out", |bus| (0..6).for_each(|joint| bus.brown_out(joint))),
        once("unplugged for 0.3 s", |bus| bus.unplug(300_000)),
        once("unplugged for 1 s", |bus| bus.unplug(1_000_000)),
        once("unplugged for 4 s", |bus| bus.unplug(4_000_000)),
    ];
    let mut stale_rows = Vec::new();
    for trouble in &troubles {
        let run = run(bench, trouble);
        let Run { ticks, logged, retries, stale, brown_outs, speed_rad_s, goal_rad_s, ended } = &run;
        let name = trouble.name;
        let row = format!(
            "| {name} | {ticks} | {logged} | {retries} | {stale} | {brown_outs} | {speed_rad_s:.2} | {goal_rad_s:.2} | {ended} |"
        );
        if !page.lines().any(|line| says_the_same(line, &row)) {
            stale_rows.push(row);
        }
        assert_eq!(*logged, *ticks as usize, "{name}: a tick is not in the log");
        // Half of what the servos can; a bus without faults needs 1 rad/s.
        let most_rad_s = 0.5 * f64::from(bench.model.joints[0].limits.velocity_rad_s);
        assert!(*goal_rad_s <= most_rad_s, "{name}: a goal jumped at {goal_rad_s} rad/s");
        // Without any power it falls.
        let fastest_rad_s = if name == "all brown out" { 2.0 * most_rad_s } else { 2.0 };
        assert!(*speed_rad_s <= fastest_rad_s, "{name}: a joint turned at {speed_rad_s} rad/s");
        match name {
            "elbow silent for 3 s" | "unplugged for 4 s" => {
                assert!((300..TICKS).contains(ticks), "{name}: {ticks}");
                assert!(ended.contains("answered for"), "{name}: {ended}");
            }
            _ => assert_eq!(*ticks, TICKS, "{name}: {ended}"),
        }
        let is_stopped = bench.kit.watchdog.is_some() && matches!(name, "unplugged for 0.3 s" | "unplugged for 1 s");
        let is_off = name.ends_with("out") && !name.contains("for");
        assert_eq!(is_off || is_stopped, *brown_outs > 0, "{name}: {brown_outs}");
        assert!(name == "none" || *stale + *retries > 0 || name.contains("0.1 %"), "{name}: nothing happened");
    }
    assert!(
        stale_rows.is_empty(),
        "the page's table says otherwise; after a review, put in\n{}",
        stale_rows.join("\n")
    );
}

/// Whether two rows are equal, but for speeds that another machine's sine may round otherwise.
fn says_the_same(line: &str, row: &str) -> bool {
    let (line, row): (Vec<&str>, Vec<&str>) = (line.split(" | ").collect(), row.split(" | ").collect());
    let near = |(a, b): (&&str, &&str)| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) if a.contains('.') => (x - y).abs() < 0.03,
        _ => a == b,
    };
    line.len() == row.len() && line.iter().zip(&row).all(near)
}
