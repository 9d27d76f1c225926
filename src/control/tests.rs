use super::*;
use crate::arm::Capabilities;
use crate::safety::Interventions;
use firmware_bridge::{JointState, PerJoint};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Time that only moves when somebody sleeps, or when a test says that something took long.
#[derive(Debug, Clone, Default)]
struct TestClock(Rc<Cell<u64>>);

impl Clock for TestClock {
    fn now_us(&self) -> u64 {
        self.0.get()
    }

    fn sleep_until_us(&mut self, deadline_us: u64) {
        self.0.set(self.0.get().max(deadline_us));
    }
}

#[derive(Debug, Default)]
struct Log {
    powered: bool,
    deactivations: u32,
    sent: Vec<[f32; JOINTS]>,
    /// Time that the next writes take, µs.
    delays_us: Vec<u64>,
    /// Furthest that the driver lets a joint go in a tick, rad; as far as it is told where there is no limit.
    step_rad: Option<f32>,
}

/// Joints that are where they were told to be.
#[derive(Debug)]
struct IdealArm {
    clock: TestClock,
    capabilities: Capabilities,
    at: [f32; JOINTS],
    log: Rc<RefCell<Log>>,
}

impl Arm for IdealArm {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn activate(&mut self) -> Result<(), ArmError> {
        self.log.borrow_mut().powered = true;
        Ok(())
    }

    fn read(&mut self) -> Result<Reading, ArmError> {
        let position_rad = PerJoint::from_slice(&self.at).unwrap();
        let joints = JointState { velocity_rad_s: position_rad.clone(), load: position_rad.clone(), position_rad };
        Ok(Reading { stamp_us: self.clock.now_us(), joints })
    }

    fn write(&mut self, command: &JointCommand) -> Result<JointCommand, ArmError> {
        assert!(self.log.borrow().powered, "a command without power");
        let mut log = self.log.borrow_mut();
        let step_rad = log.step_rad.unwrap_or(f32::INFINITY);
        for (at, goal) in self.at.iter_mut().zip(&command.position_rad) {
            *at = goal.clamp(*at - step_rad, *at + step_rad);
        }
        log.sent.push(self.at);
        if let Some(delay_us) = log.delays_us.pop() {
            self.clock.0.set(self.clock.now_us() + delay_us);
        }
        Ok(JointCommand { position_rad: PerJoint::from_slice(&self.at).unwrap() })
    }

    fn health(&self) -> crate::arm::Health {
        crate::arm::Health::default()
    }

    fn clear_fault(&mut self) -> Result<(), ArmError> {
        self.deactivate()
    }

    fn deactivate(&mut self) -> Result<(), ArmError> {
        let mut log = self.log.borrow_mut();
        log.powered = false;
        log.deactivations += 1;
        Ok(())
    }
}

struct Rig {
    control: ControlLoop<IdealArm, TestClock>,
    clock: TestClock,
    log: Rc<RefCell<Log>>,
    stop: Arc<AtomicBool>,
}

fn rig_at(at: [f32; JOINTS], config: ControlConfig) -> Rig {
    let model = ArmModel::so101().unwrap();
    let (clock, log, stop) = (TestClock::default(), Rc::default(), Arc::default());
    let capabilities = Capabilities { limits: model.limits(), watchdog_us: None };
    let arm = IdealArm { clock: clock.clone(), capabilities, at, log: Rc::clone(&log) };
    let control = ControlLoop::new(arm, clock.clone(), &model, config, Arc::clone(&stop)).unwrap();
    Rig { control, clock, log, stop }
}

fn rig() -> Rig {
    rig_at(REST_RAD, ControlConfig::default())
}

const START: SetPoint = SetPoint { position_m: [0.22, 0.0, 0.08], jaw_rad: 0.0 };

fn tip(control: &ControlLoop<IdealArm, TestClock>, at: &[f32; JOINTS]) -> [f64; 3] {
    control.planner().kinematics().forward(at).position_m
}

fn near(a: [f64; 3], b: [f64; 3], tolerance: f64) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < tolerance)
}

#[test]
fn a_park_whose_driver_is_behind_ends_at_rest_and_not_above_it() {
    let mut rig = rig();
    rig.control.start().unwrap();
    rig.control.move_to(START).unwrap();
    // Such as after a servo was silent: a quarter of a rad in a second.
    rig.log.borrow_mut().step_rad = Some(0.002);
    rig.control.stop().unwrap();
    let last = *rig.log.borrow().sent.last().unwrap();
    assert!(last.iter().zip(REST_RAD).all(|(sent, rest)| (sent - rest).abs() < 0.05), "{last:?}");
}

#[test]
fn a_park_goes_on_when_stop_is_asked_for_and_ends_when_release_is() {
    for release in [false, true] {
        let mut rig = rig();
        rig.control.start().unwrap();
        rig.control.move_to(START).unwrap();
        rig.stop.store(true, Ordering::Relaxed);
        rig.control.release_when(Arc::new(AtomicBool::new(release)));
        let sent = rig.log.borrow().sent.len();
        assert_eq!(rig.control.stop().is_err(), release);
        assert_eq!(rig.log.borrow().sent.len() == sent, release);
        assert!(!rig.log.borrow().powered);
    }
}

#[test]
fn powering_the_arm_does_not_move_it() {
    let mut rig = rig();
    rig.control.start().unwrap();
    assert!(rig.log.borrow().powered && rig.log.borrow().sent.is_empty());
    let here = SetPoint { position_m: tip(&rig.control, &REST_RAD), jaw_rad: 0.0 };
    assert_eq!(rig.control.planner().last().command_rad, REST_RAD);
    assert!(near(rig.control.planner().last().set_point_applied.position_m, here.position_m, 1e-9));
}

#[test]
fn the_arm_leaves_its_rest_pose_follows_set_points_and_parks_again() {
    let mut rig = rig();
    rig.control.start().unwrap();
    let at = rig.control.move_to(START).unwrap().measured_rad();
    assert!(near(tip(&rig.control, &at), START.position_m, 1e-4), "{:?}", tip(&rig.control, &at));

    let goal = SetPoint { position_m: [0.28, 0.06, 0.015], jaw_rad: 0.0 };
    for _ in 0..100 {
        let tick = rig.control.tick(goal, Some(1_000)).unwrap();
        assert!((Interventions::VELOCITY | Interventions::ACCELERATION).contains(tick.plan.interventions));
    }
    let at = rig.control.last().measured_rad();
    assert!(near(tip(&rig.control, &at), goal.position_m, 1e-4));

    rig.control.stop().unwrap();
    let log = rig.log.borrow();
    assert!(!log.powered);
    assert_eq!(*log.sent.last().unwrap(), REST_RAD);
    for sent in &log.sent {
        let height = tip(&rig.control, sent)[2];
        assert!(height > 0.006 - 1e-6, "{height} at {sent:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn from_any_pose_with_the_hand_in_front_the_arm_finds_its_start_and_its_rest_without_touching_the_table(
        pan in -1.5..1.5f32, lift in -1.7..0.8f32, elbow in -1.2..1.6f32, wrist in -0.5..1.5f32, roll in -1.0..1.0f32,
    ) {
        let at = [pan, lift, elbow, wrist, roll, 0.3];
        let mut rig = rig_at(at, ControlConfig::default());
        let start_height = tip(&rig.control, &at)[2];
        let pitch = rig.control.planner().kinematics().forward(&at).pitch_rad;
        prop_assume!(start_height > 0.0 && (-0.3..1.75).contains(&pitch));
        rig.control.start().unwrap();
        rig.control.move_to(START).unwrap();
        rig.control.stop().unwrap();
        for sent in &rig.log.borrow().sent {
            let height = tip(&rig.control, sent)[2];
            prop_assert!(height > start_height.min(0.006) - 1e-6, "{height} from {start_height}");
        }
        prop_assert_eq!(*rig.log.borrow().sent.last().unwrap(), REST_RAD);
    }
}

#[test]
fn servos_that_give_way_come_to_rest_where_they_should() {
    let mut config = ControlConfig::default();
    config.planner.stiffness_nm_rad = [7.8; JOINTS];
    let mut rig = rig_at(REST_RAD, config);
    rig.control.start().unwrap();
    let plan = rig.control.move_to(START).unwrap().plan;
    let torque = rig.control.planner().kinematics().gravity_torque(&plan.applied_rad);
    assert!(torque[1].abs() > 0.2, "{torque:?}");
    for (joint, &torque) in torque.iter().enumerate().take(5) {
        // A servo of this stiffness rests where its torque carries the weight: goal − torque / stiffness.
        let rests = f64::from(plan.command_rad[joint]) - torque / 7.8;
        assert!((rests - f64::from(plan.applied_rad[joint])).abs() < 1e-5, "joint {joint}");
    }
    assert_eq!(plan.command_rad[5], plan.applied_rad[5]);
}

#[test]
fn ticks_keep_absolute_deadlines_and_a_late_one_is_not_made_up_for() {
    let mut rig = rig();
    rig.control.start().unwrap();
    rig.control.move_to(START).unwrap();
    let begin = rig.control.last().stamp_us;
    for _ in 0..10 {
        rig.clock.0.set(rig.clock.now_us() + 3_000);
        rig.control.tick(START, None).unwrap();
    }
    assert_eq!(rig.control.last().stamp_us, begin + 80_000);
    assert_eq!(rig.control.stats().overruns, 0);

    rig.log.borrow_mut().delays_us = vec![30_000];
    let stamps: Vec<u64> = (0..4).map(|_| rig.control.tick(START, None).unwrap().stamp_us).collect();
    assert_eq!(stamps[1] - stamps[0], 30_000);
    assert_eq!((stamps[2] - stamps[1], stamps[3] - stamps[2]), (8_000, 8_000));
    let stats = rig.control.stats();
    assert_eq!(stats.overruns, 1);
    assert!((stats.period_p50_us - 8_000.0).abs() < 20.0 && stats.period_p999_us > 7_900.0);
    assert!(stats.rate_hz > 120.0 && stats.rate_hz < 125.0);
}

#[test]
fn a_stop_request_ends_the_next_tick_and_still_parks() {
    let mut rig = rig();
    rig.control.start().unwrap();
    rig.control.move_to(START).unwrap();
    rig.stop.store(true, Ordering::Relaxed);
    assert!(matches!(rig.control.tick(START, None), Err(ControlError::Stopped)));
    assert!(matches!(rig.control.move_to(START), Err(ControlError::Stopped)));
    rig.control.stop().unwrap();
    assert_eq!(*rig.log.borrow().sent.last().unwrap(), REST_RAD);
    assert!(matches!(rig.control.advance(Goal::Joints(REST_RAD)), Err(ControlError::NotStarted)));
}

#[test]
fn dropping_the_loop_cuts_the_power() {
    let mut rig = rig();
    rig.control.start().unwrap();
    let log = Rc::clone(&rig.log);
    drop(rig);
    assert!(!log.borrow().powered && log.borrow().deactivations > 0);
}

#[test]
fn an_object_that_is_not_seen_holds_the_arm() {
    let mut rig = rig();
    rig.control.start().unwrap();
    rig.control.move_to(START).unwrap();
    let goal = SetPoint { position_m: [0.3, 0.1, 0.02], jaw_rad: 0.0 };
    for _ in 0..30 {
        let tick = rig.control.tick(goal, Some(300_000)).unwrap();
        assert_eq!(tick.plan.interventions, Interventions::STALE_OBJECT);
    }
    let at = rig.control.last().measured_rad();
    assert!(near(tip(&rig.control, &at), START.position_m, 1e-4));
}

#[test]
fn a_goal_outside_the_workspace_or_not_a_number_cannot_lead_astray() {
    let mut rig = rig();
    rig.control.start().unwrap();
    rig.control.move_to(START).unwrap();
    for position_m in [[2.0, -2.0, -2.0], [f64::NAN; 3], [f64::INFINITY; 3]] {
        for _ in 0..100 {
            let tick = rig.control.tick(SetPoint { position_m, jaw_rad: f32::NAN }, None).unwrap();
            assert!(tick.plan.command_rad.iter().all(|x| x.is_finite()));
            assert!(!tick.plan.interventions.is_empty());
            let at = tick.plan.set_point_applied.position_m;
            assert!(rig.control.planner().workspace().distance_outside_m(at) < 1e-6);
        }
    }
}

#[test]
fn a_period_must_be_a_whole_multiple_of_the_physics_step() {
    assert!(motion::check_period(8_000, Some(4_000)).is_ok());
    for (period_us, step) in [(10_000, Some(4_000)), (0, None), (2_000, Some(4_000)), (8_000, Some(0))] {
        assert!(matches!(motion::check_period(period_us, step), Err(ControlError::Period { .. })));
    }
}

#[test]
fn a_joint_far_outside_its_limits_is_never_powered() {
    let mut at = REST_RAD;
    at[2] = 2.5;
    let mut rig = rig_at(at, ControlConfig::default());
    assert!(matches!(rig.control.start(), Err(ControlError::Arm(ArmError::OutsideLimits { joint: 2, .. }))));
    assert!(!rig.log.borrow().powered);
}
