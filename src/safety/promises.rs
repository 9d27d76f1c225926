//! What both layers keep, for any request.

use super::*;
use crate::kinematics::{JOINTS, Kinematics, tests::so101};
use crate::tracker::STALE_US;
use firmware_bridge::JointLimits;
use proptest::prelude::*;

const DT: f64 = 0.008;
const ACCELERATION: f64 = 100.0;
const CLEARANCE: f64 = 0.006;

fn limits() -> [JointLimits; JOINTS] {
    std::array::from_fn(|i| so101().joints[i].limits)
}

fn kinematics() -> Kinematics {
    Kinematics::new(&so101()).unwrap()
}

fn joint_filter() -> JointFilter {
    JointFilter::new(kinematics(), &limits(), ACCELERATION, CLEARANCE)
}

fn joints_at(position_m: [f64; 3]) -> [f64; JOINTS] {
    let q = kinematics().inverse_on_profile(position_m).unwrap();
    std::array::from_fn(|i| q.get(i).copied().map_or(0.0, f64::from))
}

/// Requests that jump anywhere, creep, or are not numbers.
fn any_requests() -> impl Strategy<Value = Vec<[f32; JOINTS]>> {
    let number = prop_oneof![8 => -2.5f32..2.5, 1 => any::<f32>(), 1 => Just(f32::NAN)];
    let jump = prop::array::uniform6(number).boxed();
    let stay = prop::array::uniform6(-2.0f32..2.0).prop_flat_map(|q| (Just(q), 1..40usize));
    prop::collection::vec(
        prop_oneof![
            3 => jump.prop_map(|q| vec![q]),
            2 => stay.prop_map(|(q, n)| vec![q; n]),
            // Straight down through the table from wherever it is.
            1 => (0.12..0.38f64, -0.12..0.12f64).prop_map(|(x, y)| {
                let q = kinematics().inverse([x, y, -0.02], 0.9, 0.0).unwrap_or([0.0; 5]);
                vec![std::array::from_fn(|i| q.get(i).copied().unwrap_or(0.0)); 30]
            }),
        ],
        1..30,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_requested_the_joints_keep_every_bound_and_the_fingertip_its_height(requests in any_requests()) {
        let filter = joint_filter();
        let limits = limits();
        let mut state = JointMotion::at(joints_at([0.22, 0.0, 0.05]));
        for request in requests {
            let before = state;
            state = filter.filter(&state, &request, DT).state;
            for (joint, limit) in limits.iter().enumerate() {
                let (now, then) = (state.position_rad[joint], before.position_rad[joint]);
                prop_assert!(now.is_finite());
                prop_assert!(now >= f64::from(limit.lower_rad) && now <= f64::from(limit.upper_rad));
                let speed = (now - then) / DT;
                prop_assert!(speed.abs() <= f64::from(limit.velocity_rad_s) + 1e-6, "joint {joint}: {speed}");
                let change = speed - before.velocity_rad_s[joint];
                prop_assert!(change.abs() <= ACCELERATION * DT + 1e-6, "joint {joint}: {change}");
            }
            let height = kinematics().tip_height_m(&state.position_rad);
            prop_assert!(height > CLEARANCE - 1e-6, "{height}");
        }
    }

    #[test]
    fn whatever_is_requested_the_set_point_stays_in_the_workspace_and_within_its_bounds(
        requests in prop::collection::vec((prop::array::uniform3(prop_oneof![
            8 => -0.5..0.5f64, 1 => any::<f64>(), 1 => Just(f64::NAN)]), 0.0..1.0f64, any::<bool>(), 1..30usize), 1..30),
    ) {
        let filter = PointFilter::default();
        let mut state = PointMotion::at([0.22, 0.0, 0.08]);
        for (request, pace, seen, ticks) in requests {
            for _ in 0..ticks {
                let before = state;
                let age = Some(if seen { 0 } else { STALE_US + 1 });
                state = filter.filter(&state, request, age, pace, DT).state;
                prop_assert!(filter.workspace.distance_outside_m(state.position_m) < 1e-8, "{state:?}");
                let speed = |s: &PointMotion| s.velocity_m_s.iter().map(|v| v * v).sum::<f64>().sqrt();
                prop_assert!(speed(&state) <= filter.bounds.speed + 1e-9);
                let change: f64 = (0..3)
                    .map(|i| ((state.position_m[i] - before.position_m[i]) / DT - before.velocity_m_s[i]).powi(2))
                    .sum();
                prop_assert!(change.sqrt() <= filter.bounds.acceleration * DT + 1e-6);
            }
        }
    }

    #[test]
    fn any_position_of_the_workspace_can_be_reached_by_the_arm(p in prop::array::uniform3(-0.5..0.5f64)) {
        let (clipped, _) = Workspace::default().clip(p);
        prop_assert!(kinematics().inverse_on_profile(clipped).is_ok(), "{clipped:?}");
    }

    #[test]
    fn a_goal_at_rest_is_reached_exactly_and_in_finite_time(goal in prop::array::uniform3(-0.5..0.5f64)) {
        let filter = PointFilter::default();
        let (clipped, _) = filter.workspace.clip(goal);
        let mut state = PointMotion::at([0.2, 0.05, 0.03]);
        for _ in 0..250 {
            state = filter.filter(&state, goal, None, 1.0, DT).state;
        }
        prop_assert_eq!(state, PointMotion::at(clipped));
    }

    #[test]
    fn joints_come_to_rest_on_a_goal_at_rest_without_passing_it(
        x in 0.13..0.37f64, y in -0.12..0.12f64, z in 0.02..0.11f64,
    ) {
        let filter = joint_filter();
        let start = joints_at([0.22, 0.0, 0.08]);
        let goal = joints_at([x, y, z]);
        let request = goal.map(|q| q as f32);
        let mut state = JointMotion::at(start);
        for _ in 0..250 {
            state = filter.filter(&state, &request, DT).state;
            for joint in 0..JOINTS {
                let (low, high) = (start[joint].min(goal[joint]), start[joint].max(goal[joint]));
                let q = state.position_rad[joint];
                prop_assert!(q > low - 1e-6 && q < high + 1e-6, "joint {joint}: {q} of {low}..{high}");
            }
        }
        prop_assert_eq!(state, JointMotion::at(request.map(f64::from)));
    }
}

#[test]
fn a_harmless_motion_passes_bit_by_bit() {
    let filter = joint_filter();
    let (from, to) = (joints_at([0.16, -0.1, 0.012]), joints_at([0.32, 0.1, 0.012]));
    let mut state = JointMotion::at(from.map(|q| f64::from(q as f32)));
    for tick in 0..500 {
        // At most 1 rad at 1 Hz: 3 rad/s, 20 rad/s².
        let part = 0.5 - 0.5 * (f64::from(tick) * DT * std::f64::consts::TAU).cos();
        let request: [f32; JOINTS] = std::array::from_fn(|i| (from[i] + (to[i] - from[i]) * part) as f32);
        let filtered = filter.filter(&state, &request, DT);
        state = filtered.state;
        assert_eq!(filtered.interventions, Interventions::none(), "tick {tick}");
        assert_eq!(state.position_rad, request.map(f64::from), "tick {tick}");
    }
}

#[test]
fn a_set_point_dragged_over_the_table_by_a_policy_rarely_needs_the_joint_layer() {
    let (points, joints, kinematics) = (PointFilter::default(), joint_filter(), kinematics());
    let mut point = PointMotion::at([0.22, 0.0, 0.012]);
    let mut state = JointMotion::at(joints_at(point.position_m));
    let mut goal = point.position_m;
    let (mut held_back, mut lag) = (0, 0.0_f64);
    let mut rng = 7_u64;
    for tick in 0..5000 {
        if tick % 10 == 0 {
            for (axis, g) in goal.iter_mut().enumerate().take(2) {
                rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(axis as u64 + 1);
                *g += 0.03 * ((rng >> 33) as f64 / f64::from(1u32 << 30) - 1.0);
            }
            goal = points.workspace.clip(goal).0;
        }
        point = points.filter(&point, goal, None, (1.0 - lag / 0.05).max(0.05), DT).state;
        let q = kinematics.inverse_on_profile(point.position_m).unwrap();
        let request = std::array::from_fn(|i| q.get(i).copied().unwrap_or(0.0));
        let filtered = joints.filter(&state, &request, DT);
        state = filtered.state;
        lag = (0..JOINTS).map(|i| (state.position_rad[i] - state.requested_rad[i]).abs()).fold(0.0, f64::max);
        assert!(lag < 0.15, "{lag} rad behind");
        held_back += usize::from(!filtered.interventions.is_empty());
    }
    assert!(held_back < 150, "{held_back} of 5000 ticks");
}

#[test]
fn not_a_number_holds_the_last_good_position() {
    let filter = joint_filter();
    let start = joints_at([0.22, 0.0, 0.05]).map(|q| f64::from(q as f32));
    let mut request = start.map(|q| q as f32);
    request[2] = f32::NAN;
    let filtered = filter.filter(&JointMotion::at(start), &request, DT);
    assert_eq!(filtered.state, JointMotion::at(start));
    assert_eq!(filtered.interventions, Interventions::NOT_FINITE);

    let points = PointFilter::default();
    let at = PointMotion::at([0.22, 0.0, 0.05]);
    let held = points.filter(&at, [f64::INFINITY, 0.0, 0.0], None, 1.0, DT);
    assert_eq!(held, Filtered { state: at, interventions: Interventions::NOT_FINITE });
    let stale = points.filter(&at, [0.3, 0.0, 0.05], Some(STALE_US + 1), 1.0, DT);
    assert_eq!(stale, Filtered { state: at, interventions: Interventions::STALE_OBJECT });
}

#[test]
fn a_fingertip_that_starts_on_the_table_may_rise_but_not_sink() {
    let filter = joint_filter();
    let q = kinematics().inverse([0.25, 0.0, 0.001], 0.9, 0.0).unwrap();
    let start: [f64; JOINTS] = std::array::from_fn(|i| q.get(i).copied().map_or(0.0, f64::from));
    let mut state = JointMotion::at(start);
    for (lift, rises) in [(0.1, false), (-0.3, true)] {
        let mut request = state.position_rad.map(|q| q as f32);
        request[1] += lift;
        let before = kinematics().tip_height_m(&state.position_rad);
        for _ in 0..50 {
            state = filter.filter(&state, &request, DT).state;
        }
        let after = kinematics().tip_height_m(&state.position_rad);
        assert!(if rises { after > 0.03 } else { after >= before - 1e-6 }, "{before} {after}");
    }
}

#[test]
fn a_joint_that_starts_outside_its_limits_only_comes_back() {
    let filter = joint_filter();
    let mut start = joints_at([0.22, 0.0, 0.08]);
    start[5] = -0.20;
    let mut request = start.map(|q| q as f32);
    request[5] = -1.0;
    let mut state = JointMotion::at(start);
    for _ in 0..100 {
        let filtered = filter.filter(&state, &request, DT);
        assert!(filtered.state.position_rad[5] >= state.position_rad[5]);
        assert!(filtered.interventions.contains(Interventions::JOINT_LIMIT));
        state = filtered.state;
    }
    assert!((state.position_rad[5] - f64::from(limits()[5].lower_rad)).abs() < 1e-6);
}
