use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const LIMITS: [JointLimits; 2] = [
    JointLimits { lower_rad: -1.0, upper_rad: 1.0, velocity_rad_s: 2.0 },
    JointLimits { lower_rad: 0.0, upper_rad: 3.0, velocity_rad_s: 4.0 },
];
const PERIOD_US: u32 = 8_000;

/// Motors that are where they are told to be, and that can be made to fail.
struct Bench {
    position_rad: [f32; 2],
    powered: bool,
    driven: Vec<[f32; 2]>,
    measure_fails: u32,
    drive_fails: u32,
    disable_fails: u32,
}

impl Default for Bench {
    fn default() -> Self {
        let position_rad = [0.25, 1.5];
        Self { position_rad, powered: true, driven: vec![], measure_fails: 0, drive_fails: 0, disable_fails: 0 }
    }
}

fn fails(count: &mut u32) -> Result<(), ()> {
    if *count == 0 {
        return Ok(());
    }
    *count -= 1;
    Err(())
}

impl Motors for Bench {
    type Error = ();

    fn limits(&self) -> &[JointLimits] {
        &LIMITS
    }

    fn measure(&mut self, state: &mut JointState) -> Result<(), ()> {
        fails(&mut self.measure_fails)?;
        state.position_rad = self.position_rad.into_iter().collect();
        state.velocity_rad_s = [0.0; 2].into_iter().collect();
        state.load = [0.0; 2].into_iter().collect();
        Ok(())
    }

    fn drive(&mut self, goal_rad: &[f32]) -> Result<(), ()> {
        fails(&mut self.drive_fails)?;
        self.position_rad = [goal_rad[0], goal_rad[1]];
        self.driven.push(self.position_rad);
        self.powered = true;
        Ok(())
    }

    fn disable(&mut self) -> Result<(), ()> {
        fails(&mut self.disable_fails)?;
        self.powered = false;
        Ok(())
    }
}

/// Firmware, its motors, and a host's end of the line at one virtual time.
struct Rig {
    now_us: u64,
    firmware: Firmware,
    motors: Bench,
}

#[derive(Debug, PartialEq)]
struct Answer {
    mode: Mode,
    refused: Option<Refusal>,
    sent_rad: Vec<f32>,
}

impl Rig {
    fn new() -> Self {
        Self { now_us: 1_000_000, firmware: Firmware::new(7, 1_000_000, Config::default()), motors: Bench::default() }
    }

    fn active() -> Self {
        let mut rig = Self::new();
        rig.say(&HostMessage::Hello { version: PROTOCOL_VERSION });
        assert_eq!(rig.ask(&HostMessage::Activate { seq: 1 }).mode, Mode::Active);
        rig
    }

    fn poll(&mut self, rx: &[u8]) -> Vec<DeviceMessage> {
        let (mut decoder, mut answers) = (Decoder::new(), vec![]);
        self.firmware.poll(self.now_us, &mut self.motors, rx, &mut |bytes| {
            answers.extend(bytes.iter().filter_map(|&byte| decoder.push(byte)).map(Result::unwrap));
        });
        answers
    }

    fn wait(&mut self, us: u64) {
        for _ in 0..us / 1_000 {
            self.now_us += 1_000;
            assert_eq!(self.poll(&[]), []);
        }
    }

    fn say(&mut self, message: &HostMessage) -> DeviceMessage {
        let mut frame = [0; MAX_FRAME];
        let len = encode(message, &mut frame).unwrap();
        let mut answers = self.poll(&frame[..len]);
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    fn ask(&mut self, message: &HostMessage) -> Answer {
        match self.say(message) {
            DeviceMessage::State { mode, refused, sent_rad, .. } => {
                Answer { mode, refused, sent_rad: sent_rad.to_vec() }
            }
            DeviceMessage::Hello { .. } => panic!("a hello in answer to {message:?}"),
        }
    }

    fn command(&mut self, position_rad: &[f32]) -> Answer {
        let position_rad = PerJoint::from_slice(position_rad).unwrap();
        self.ask(&HostMessage::Command { seq: 2, position_rad, horizon_us: PERIOD_US })
    }
}

const POLL: HostMessage = HostMessage::Poll { seq: 3 };
const ACTIVATE: HostMessage = HostMessage::Activate { seq: 4 };
const DEACTIVATE: HostMessage = HostMessage::Deactivate { seq: 5 };
const CLEAR: HostMessage = HostMessage::ClearFault { seq: 6 };

#[test]
fn power_comes_on_at_the_present_position_and_goes_off() {
    let mut rig = Rig::new();
    rig.poll(&[]);
    assert!(!rig.motors.powered, "a reset cuts the power");
    let mut rig = Rig::active();
    assert_eq!(rig.motors.driven, [[0.25, 1.5]]);
    assert_eq!(rig.ask(&POLL).sent_rad, [0.25, 1.5]);
    let answer = rig.ask(&DEACTIVATE);
    assert_eq!(answer, Answer { mode: Mode::Idle, refused: None, sent_rad: vec![] });
    assert!(!rig.motors.powered);
    rig.wait(50_000);
    assert!(!rig.motors.powered, "nothing drives the motors while idle");
}

#[test]
fn a_goal_is_reached_evenly_at_the_horizon_and_held() {
    let mut rig = Rig::active();
    assert_eq!(rig.command(&[0.258, 1.484]).refused, None);
    rig.motors.driven.clear();
    rig.wait(u64::from(PERIOD_US) + 2_000);
    for (tick, goal) in rig.motors.driven.iter().enumerate() {
        let part = ((tick + 1) as f32 / 8.0).min(1.0);
        assert!((goal[0] - (0.25 + 0.008 * part)).abs() < 1e-6, "{tick}: {goal:?}");
        assert!((goal[1] - (1.5 - 0.016 * part)).abs() < 1e-6, "{tick}: {goal:?}");
    }
    assert_eq!(rig.motors.driven.last(), Some(&[0.258, 1.484]));
}

#[test]
fn a_goal_that_is_somewhat_too_far_is_reached_late_at_the_speed_limit() {
    let mut rig = Rig::active();
    assert_eq!(rig.command(&[0.31, 1.5]).refused, None);
    rig.wait(15_000);
    assert!((rig.motors.position_rad[0] - 0.28).abs() < 1e-5);
    rig.wait(15_000);
    assert_eq!(rig.motors.position_rad[0], 0.31);
}

#[test]
fn a_bad_command_is_refused_with_its_reason_and_changes_nothing() {
    let mut rig = Rig::active();
    let cases: [(&[f32], Refusal); 7] = [
        (&[0.25], Refusal::JointCount),
        (&[0.25, 1.5, 0.0], Refusal::JointCount),
        (&[f32::NAN, 1.5], Refusal::NotFinite),
        (&[0.25, f32::INFINITY], Refusal::NotFinite),
        (&[1.01, 1.5], Refusal::PositionLimit),
        (&[0.25, -0.01], Refusal::PositionLimit),
        (&[0.6, 1.5], Refusal::VelocityLimit),
    ];
    for (goal, refusal) in cases {
        let answer = rig.command(goal);
        assert_eq!((answer.mode, answer.refused), (Mode::Active, Some(refusal)), "{goal:?}");
    }
    rig.wait(20_000);
    assert_eq!(rig.motors.position_rad, [0.25, 1.5]);
    rig.ask(&DEACTIVATE);
    assert_eq!(rig.command(&[0.25, 1.5]).refused, Some(Refusal::WrongMode));
}

#[test]
fn silence_stops_the_arm_under_power_until_the_fault_is_cleared() {
    let mut rig = Rig::active();
    rig.wait(100_000);
    assert_eq!(rig.firmware.mode(), Mode::Active);
    rig.wait(1_000);
    assert_eq!(rig.firmware.mode(), Mode::Fault(Fault::Watchdog));
    rig.wait(10_000_000);
    assert!(rig.motors.powered, "a stopped arm is held");
    let fault = Mode::Fault(Fault::Watchdog);
    for answer in [rig.command(&[0.25, 1.5]), rig.ask(&ACTIVATE)] {
        assert_eq!((answer.mode, answer.refused), (fault, Some(Refusal::WrongMode)));
    }
    assert_eq!(rig.ask(&DEACTIVATE), Answer { mode: fault, refused: None, sent_rad: vec![] });
    assert!(!rig.motors.powered);
    assert_eq!(rig.ask(&CLEAR), Answer { mode: Mode::Idle, refused: None, sent_rad: vec![] });
    assert_eq!(rig.ask(&ACTIVATE).mode, Mode::Active);
}

#[test]
fn neither_polls_nor_refused_commands_feed_the_watchdog() {
    let mut rig = Rig::active();
    for _ in 0..13 {
        rig.wait(8_000);
        rig.ask(&POLL);
        rig.command(&[f32::NAN, 0.0]);
    }
    assert_eq!(rig.firmware.mode(), Mode::Fault(Fault::Watchdog));
    let mut rig = Rig::active();
    for _ in 0..100 {
        rig.wait(8_000);
        rig.command(&[0.25, 1.5]);
    }
    assert_eq!(rig.firmware.mode(), Mode::Active);
}

#[test]
fn a_moving_arm_is_slowed_down_by_the_watchdog() {
    let mut rig = Rig::active();
    let position_rad = PerJoint::from_slice(&[0.9, 1.5]).unwrap();
    // 0.65 rad in 0.65 s: still moving at 1 rad/s when the watchdog acts.
    rig.ask(&HostMessage::Command { seq: 2, position_rad, horizon_us: 650_000 });
    rig.wait(101_000);
    assert_eq!(rig.firmware.mode(), Mode::Fault(Fault::Watchdog));
    let at_fault = rig.motors.position_rad[0];
    rig.wait(u64::from(STOP_US));
    let rest = rig.motors.position_rad[0];
    assert!((rest - at_fault - 0.05).abs() < 1e-4, "half the way of that time: {}", rest - at_fault);
    let steps: Vec<f32> = rig.motors.driven.windows(2).map(|pair| pair[1][0] - pair[0][0]).collect();
    assert!(steps[101..].windows(2).all(|pair| pair[1] <= pair[0] + 1e-6), "slower with every step");
    rig.wait(50_000);
    assert_eq!(rig.motors.position_rad[0], rest);
}

#[test]
fn a_reset_shows_in_the_boot_id_and_needs_a_new_hello() {
    let mut rig = Rig::active();
    rig.firmware = Firmware::new(8, rig.now_us, Config::default());
    match rig.say(&POLL) {
        DeviceMessage::State { boot_id, refused, .. } => {
            assert_eq!((boot_id, refused), (8, Some(Refusal::NoHello)));
        }
        other => panic!("{other:?}"),
    }
    assert!(!rig.motors.powered);
}

#[test]
fn another_version_is_answered_with_ours_and_obeyed_in_nothing_but_deactivate() {
    let mut rig = Rig::active();
    for version in [PROTOCOL_VERSION + 1, 0, u16::MAX] {
        match rig.say(&HostMessage::Hello { version }) {
            DeviceMessage::Hello { version, boot_id, watchdog_us, limits } => {
                assert_eq!((version, boot_id, watchdog_us, &limits[..]), (PROTOCOL_VERSION, 7, 100_000, &LIMITS[..]));
            }
            other => panic!("{other:?}"),
        }
        for message in [ACTIVATE, POLL, CLEAR] {
            assert_eq!(rig.ask(&message).refused, Some(Refusal::NoHello));
        }
        assert_eq!(rig.command(&[0.25, 1.5]).refused, Some(Refusal::NoHello));
    }
    assert_eq!(rig.ask(&DEACTIVATE).refused, None);
    assert!(!rig.motors.powered);
}

#[test]
fn a_joint_far_outside_its_limits_gets_no_power() {
    let mut rig = Rig::new();
    rig.say(&HostMessage::Hello { version: PROTOCOL_VERSION });
    rig.motors.position_rad = [1.06, 1.5];
    assert_eq!(rig.ask(&ACTIVATE).refused, Some(Refusal::PositionLimit));
    assert!(!rig.motors.powered);
    rig.motors.position_rad = [1.04, 1.5];
    assert_eq!(rig.ask(&ACTIVATE), Answer { mode: Mode::Active, refused: None, sent_rad: vec![1.0, 1.5] });
}

#[test]
fn a_lost_answer_of_the_motors_is_survived_and_three_in_a_row_cut_the_power_until_it_is_off() {
    let mut rig = Rig::active();
    rig.motors.drive_fails = 2;
    rig.wait(10_000);
    assert_eq!(rig.firmware.mode(), Mode::Active);
    (rig.motors.drive_fails, rig.motors.disable_fails) = (3, 5);
    rig.wait(3_000);
    assert_eq!(rig.firmware.mode(), Mode::Fault(Fault::Motors));
    assert!(rig.motors.powered, "the motors did not take it yet");
    assert_eq!(rig.ask(&CLEAR).refused, Some(Refusal::Motors));
    rig.wait(5_000);
    assert!(!rig.motors.powered);
    assert_eq!(rig.ask(&CLEAR).mode, Mode::Idle);
}

#[test]
fn a_failed_activation_leaves_the_power_off() {
    let mut rig = Rig::new();
    rig.say(&HostMessage::Hello { version: PROTOCOL_VERSION });
    rig.motors.drive_fails = 1;
    assert_eq!(rig.ask(&ACTIVATE).refused, Some(Refusal::Motors));
    assert!(!rig.motors.powered);
    rig.motors.measure_fails = 1;
    assert_eq!(rig.ask(&ACTIVATE).refused, Some(Refusal::Motors));
    assert_eq!(rig.ask(&ACTIVATE).mode, Mode::Active);
}

fn any_goal() -> impl Strategy<Value = Vec<f32>> {
    let number = prop_oneof![8 => -1.2_f32..3.2, 1 => Just(f32::NAN), 1 => any::<f32>()];
    prop_oneof![
        1 => prop::collection::vec(number, 0..4),
        // Near enough to be taken now and then.
        6 => (0.1_f32..0.4, 1.3_f32..1.7).prop_map(|(a, b)| vec![a, b]),
    ]
}

proptest! {
    #[test]
    fn goals_sent_to_the_motors_keep_the_limits_whatever_the_host_says(
        stream in prop::collection::vec((any_goal(), 0_u32..60_000, 0_u64..9), 1..120),
    ) {
        let mut rig = Rig::active();
        let (mut before, mut before_us) = (rig.motors.position_rad, rig.now_us);
        for (goal, horizon_us, pause_ms) in stream {
            for _ in 0..pause_ms {
                rig.wait(1_000);
                let now = rig.motors.position_rad;
                let seconds = (rig.now_us - before_us) as f32 * 1e-6;
                for (joint, limit) in LIMITS.iter().enumerate() {
                    prop_assert!(now[joint] >= limit.lower_rad && now[joint] <= limit.upper_rad);
                    let moved = (now[joint] - before[joint]).abs();
                    prop_assert!(moved <= limit.velocity_rad_s * seconds + 1e-6, "joint {joint}: {moved} rad in {seconds} s");
                }
                (before, before_us) = (now, rig.now_us);
            }
            let position_rad = goal.into_iter().collect();
            rig.ask(&HostMessage::Command { seq: 0, position_rad, horizon_us });
            prop_assert_eq!(rig.motors.position_rad, before, "a command alone moves nothing");
        }
    }

    #[test]
    fn any_bytes_at_any_time_leave_a_working_firmware(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0_u64..200_000), 0..20),
    ) {
        let mut rig = Rig::active();
        for (bytes, pause_us) in pieces {
            rig.poll(&bytes);
            rig.now_us += pause_us;
        }
        rig.ask(&DEACTIVATE);
        prop_assert!(!rig.motors.powered);
    }
}
