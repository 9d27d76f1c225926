//! Between the log's types and the wire's messages. Decoding fails on a wrong length; it never fills in.

use super::wire::{Bus, End, Entry, Fault, Object, Start, Tick};
use super::{BusHealth, EndReason, EpisodeEnd, EpisodeStart, FaultEvent, ObjectTrack};
use crate::arm::Health;

impl From<&EpisodeStart> for Start {
    fn from(start: &EpisodeStart) -> Self {
        Self {
            task: start.task.clone(),
            arm: start.arm.clone(),
            seed: start.seed,
            policy: start.policy.clone(),
            policy_sha256: start.policy_sha256.clone(),
            software: start.software.clone(),
            control_period_us: start.control_period_us,
            ticks_per_step: start.ticks_per_step,
            goal: start.goal.to_vec(),
            success_radius_m: start.success_radius_m,
            stamp_us: start.stamp_us,
            wall_us: start.wall_us.unwrap_or(0),
            metadata: start
                .metadata
                .iter()
                .map(|(key, value)| Entry { key: key.clone(), value: value.clone() })
                .collect(),
        }
    }
}

impl Start {
    pub(super) fn into_start(self) -> Option<EpisodeStart> {
        Some(EpisodeStart {
            task: self.task,
            arm: self.arm,
            seed: self.seed,
            policy: self.policy,
            policy_sha256: self.policy_sha256,
            software: self.software,
            control_period_us: self.control_period_us,
            ticks_per_step: self.ticks_per_step,
            goal: self.goal.try_into().ok()?,
            success_radius_m: self.success_radius_m,
            stamp_us: self.stamp_us,
            wall_us: (self.wall_us != 0).then_some(self.wall_us),
            metadata: self.metadata.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        })
    }
}

impl From<&super::Tick> for Tick {
    fn from(tick: &super::Tick) -> Self {
        Self {
            index: tick.index,
            stamp_us: tick.stamp_us,
            step: tick.step,
            begins_step: tick.begins_step,
            observation: tick.observation.to_vec(),
            achieved_goal: tick.achieved_goal.to_vec(),
            desired_goal: tick.desired_goal.to_vec(),
            requested_action: tick.requested_action.to_vec(),
            applied_action: tick.applied_action.to_vec(),
            requested_rad: tick.requested_rad.to_vec(),
            applied_rad: tick.applied_rad.to_vec(),
            sent_rad: tick.sent_rad.to_vec(),
            position_rad: tick.joints.position_rad.to_vec(),
            velocity_rad_s: tick.joints.velocity_rad_s.to_vec(),
            load: tick.joints.load.to_vec(),
            reading_age_us: tick.reading_age_us,
            object: tick.object.map(|object| Object {
                raw_position: object.raw_position.to_vec(),
                raw_orientation: object.raw_orientation.to_vec(),
                position: object.position.to_vec(),
                orientation: object.orientation.to_vec(),
                velocity_m_s: object.velocity_m_s.to_vec(),
                angular_velocity_rad_s: object.angular_velocity_rad_s.to_vec(),
                age_us: object.age_us,
            }),
            interventions: tick.interventions,
        }
    }
}

impl Tick {
    pub(super) fn into_tick(self) -> Option<super::Tick> {
        let joints = |numbers: &[f32]| firmware_bridge::PerJoint::from_slice(numbers).ok();
        let object = match self.object {
            None => None,
            Some(object) => Some(ObjectTrack {
                raw_position: object.raw_position.try_into().ok()?,
                raw_orientation: object.raw_orientation.try_into().ok()?,
                position: object.position.try_into().ok()?,
                orientation: object.orientation.try_into().ok()?,
                velocity_m_s: object.velocity_m_s.try_into().ok()?,
                angular_velocity_rad_s: object.angular_velocity_rad_s.try_into().ok()?,
                age_us: object.age_us,
            }),
        };
        Some(super::Tick {
            index: self.index,
            stamp_us: self.stamp_us,
            step: self.step,
            begins_step: self.begins_step,
            observation: super::Observation::from_slice(&self.observation).ok()?,
            achieved_goal: self.achieved_goal.try_into().ok()?,
            desired_goal: self.desired_goal.try_into().ok()?,
            requested_action: self.requested_action.try_into().ok()?,
            applied_action: self.applied_action.try_into().ok()?,
            requested_rad: joints(&self.requested_rad)?,
            applied_rad: joints(&self.applied_rad)?,
            sent_rad: joints(&self.sent_rad)?,
            joints: firmware_bridge::JointState {
                position_rad: joints(&self.position_rad)?,
                velocity_rad_s: joints(&self.velocity_rad_s)?,
                load: joints(&self.load)?,
            },
            reading_age_us: self.reading_age_us,
            object,
            interventions: self.interventions,
        })
    }
}

impl From<&EpisodeEnd> for End {
    fn from(end: &EpisodeEnd) -> Self {
        Self {
            reason: end.reason as u32,
            stamp_us: end.stamp_us,
            success: end.success,
            steps: end.steps,
            final_distance_m: end.final_distance_m,
            lost_ticks: end.lost_ticks,
        }
    }
}

impl End {
    pub(super) fn into_end(self) -> Option<EpisodeEnd> {
        use EndReason::{Completed, Fault, LogOverrun, PortLost, Stopped};
        let known = [Completed, Stopped, Fault, PortLost, LogOverrun];
        Some(EpisodeEnd {
            reason: known.into_iter().find(|reason| *reason as u32 == self.reason)?,
            stamp_us: self.stamp_us,
            success: self.success,
            steps: self.steps,
            final_distance_m: self.final_distance_m,
            lost_ticks: self.lost_ticks,
        })
    }
}

impl From<&BusHealth> for Bus {
    fn from(bus: &BusHealth) -> Self {
        let Health { asked, lost, damaged, stale, restarts, temperature_max_c } = bus.health;
        Self { stamp_us: bus.stamp_us, asked, lost, damaged, stale, restarts, temperature_max_c }
    }
}

impl Bus {
    pub(super) fn into_health(self) -> BusHealth {
        let Self { stamp_us, asked, lost, damaged, stale, restarts, temperature_max_c } = self;
        BusHealth { stamp_us, health: Health { asked, lost, damaged, stale, restarts, temperature_max_c } }
    }
}

impl From<&FaultEvent> for Fault {
    fn from(fault: &FaultEvent) -> Self {
        Self { stamp_us: fault.stamp_us, what: fault.what.clone() }
    }
}

impl Fault {
    pub(super) fn into_fault(self) -> FaultEvent {
        FaultEvent { stamp_us: self.stamp_us, what: self.what }
    }
}
