//! The log's side of a task on an arm: a row a control tick.

use super::{ArmEnv, TICKS_PER_STEP};
use crate::arm::Arm;
use crate::clock::Clock;
use crate::control;
use crate::env::EnvError;
use crate::env::scene::Scene;
use crate::episode::recorder::Recording;
use crate::episode::{self, BusHealth, EndReason, EpisodeEnd, EpisodeStart, ObjectTrack, Recorder};
use crate::task::goal_distance_m;
use crate::tracker::Tracker;

/// Ticks between two notes of how arm and line are: 1 s.
const HEALTH_TICKS: u64 = 125;

impl episode::Tick {
    /// Takes over what a tick of the control loop measured and did.
    pub fn take(&mut self, tick: &control::Tick) {
        self.stamp_us = tick.stamp_us;
        self.requested_rad = tick.plan.requested_rad.iter().copied().collect();
        self.applied_rad = tick.plan.applied_rad.iter().copied().collect();
        self.sent_rad.clone_from(&tick.sent.position_rad);
        self.joints.clone_from(&tick.reading.joints);
        self.reading_age_us = u32::try_from(tick.reading_age_us).unwrap_or(u32::MAX);
        self.interventions = u32::from(tick.plan.interventions.bits());
    }
}

impl<A: Arm, C: Clock, T: Tracker, S: Scene> ArmEnv<A, C, T, S> {
    /// What the log of the episode that [`GoalEnv::reset`](crate::env::GoalEnv::reset) has just begun starts with. The
    /// caller adds what it knows of arm, policy and program.
    pub fn episode_start(&self, seed: u64) -> EpisodeStart {
        EpisodeStart {
            task: self.task.kind.name().into(),
            seed,
            control_period_us: (self.control.period_s() * 1e6).round() as u32,
            ticks_per_step: TICKS_PER_STEP,
            goal: self.goal.map(|x| x as f32),
            success_radius_m: self.task.success_radius_m,
            stamp_us: self.control.clock().now_us(),
            ..EpisodeStart::default()
        }
    }

    /// Records every tick of the episode that [`GoalEnv::reset`](crate::env::GoalEnv::reset) has just begun.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
        self.row = episode::Tick::default();
    }

    /// Ends the recording, if there is one, with the last observation and `reason`. Gives what
    /// [`Recorder::finish`] needs, which waits for the disk and so must not run on a control thread.
    pub fn end_recording(&mut self, reason: EndReason) -> Option<(Recorder, EpisodeEnd)> {
        let mut recorder = self.recorder.take()?;
        // In the middle of a step there is no observation that a step could have led to.
        self.begin_row(self.row.index.is_multiple_of(u64::from(TICKS_PER_STEP)));
        let (achieved, desired) = (self.row.achieved_goal, self.row.desired_goal);
        let stamp_us = self.control.clock().now_us();
        self.row.stamp_us = stamp_us;
        // An overrun or a write error is told by `finish`.
        let _ = recorder.record(self.row.clone());
        recorder.bus(BusHealth { stamp_us, health: self.control.arm().health() });
        let end = EpisodeEnd {
            reason,
            stamp_us,
            success: self.task.is_success(&achieved, &desired),
            steps: self.step as u32,
            final_distance_m: goal_distance_m(&achieved, &desired),
            lost_ticks: 0,
        };
        Some((recorder, end))
    }

    /// Ends the recording, if there is one, and waits for the disk; for virtual time.
    ///
    /// # Errors
    /// The log could not be written to its end.
    pub fn finish_recording(&mut self, reason: EndReason) -> Result<Option<Recording>, EnvError> {
        let Some((recorder, end)) = self.end_recording(reason) else { return Ok(None) };
        recorder.finish(end).map(Some).map_err(EnvError::new)
    }

    /// Fills in what is known at the beginning of a tick.
    pub(super) fn begin_row(&mut self, begins_step: bool) {
        // Taken out and put back, for it allocates only once.
        let mut seen = std::mem::take(&mut self.seen);
        self.observe(&mut seen);
        let row = &mut self.row;
        row.step = self.step as u32;
        row.begins_step = begins_step;
        row.observation = seen.observation.iter().copied().collect();
        row.achieved_goal = std::array::from_fn(|i| seen.achieved_goal[i]);
        row.desired_goal = std::array::from_fn(|i| seen.desired_goal[i]);
        row.object = self.object.as_ref().map(ObjectTrack::from);
        row.sent_rad.clear();
        row.interventions = 0;
        self.seen = seen;
    }

    /// Adds what the tick did, and hands the row to the recorder.
    pub(super) fn end_row(&mut self) -> Result<(), EnvError> {
        let Some(recorder) = &mut self.recorder else { return Ok(()) };
        let row = &mut self.row;
        row.take(self.control.last());
        recorder.record(row.clone()).map_err(EnvError::new)?;
        if row.index.is_multiple_of(HEALTH_TICKS) {
            recorder.bus(BusHealth { stamp_us: row.stamp_us, health: self.control.arm().health() });
        }
        row.index += 1;
        Ok(())
    }
}
