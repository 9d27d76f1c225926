//! Scripted policies: show that a task can be done, and how well by rules alone.

mod pick;
mod push;
mod slide;

pub use pick::PickExpert;
pub use push::PushExpert;
pub use slide::SlideExpert;

use super::{PolicyError, check_length};
use crate::env::GoalObservation;
use crate::safety::Workspace;

/// Displacement of the fingertip for an action of 1, m a step.
const ACTION_UNIT_M: f32 = 0.03;
/// The gripper's number in an action of a task that does not use it.
const CLOSED: f32 = 0.0;

/// What the rules read of an observation in the Fetch layout, base frame, m.
#[derive(Debug, Clone, Copy)]
struct View {
    tip: [f32; 3],
    object: [f32; 3],
    goal: [f32; 3],
}

impl View {
    fn new(seen: &GoalObservation, size: usize) -> Result<Self, PolicyError> {
        check_length("observation", &seen.observation, size)?;
        check_length("desired_goal", &seen.desired_goal, 3)?;
        let (o, g) = (&seen.observation, &seen.desired_goal);
        Ok(Self { tip: [o[0], o[1], o[2]], object: [o[3], o[4], o[5]], goal: [g[0], g[1], g[2]] })
    }
}

/// Where the fingertip has been sent. The rules decide on where it is, but add up where they have sent it: an arm of
/// hobby servos lags by two steps, and steering by the measured fingertip alone would swing.
#[derive(Debug, Clone, Default)]
struct Sent {
    workspace: Workspace,
    /// Goal of this episode, and where the fingertip has been sent in it.
    last: Option<([f32; 3], [f32; 3])>,
}

impl Sent {
    /// Where the fingertip has been sent in this episode. Another goal is another episode.
    fn of(&self, view: &View) -> [f32; 3] {
        self.last.filter(|(of, _)| *of == view.goal).map_or(view.tip, |(_, sent)| sent)
    }

    /// Writes the action that sends the fingertip on to `target`, as far as a step goes.
    fn send(&mut self, view: &View, target: [f32; 3], gripper: f32, action: &mut [f32]) -> Result<(), PolicyError> {
        check_length("action", action, 4)?;
        let mut wanted = self.of(view);
        for ((number, to), at) in action.iter_mut().zip(target).zip(&mut wanted) {
            *number = ((to - *at) / ACTION_UNIT_M).clamp(-1.0, 1.0);
            *at += *number * ACTION_UNIT_M;
        }
        action[3] = gripper;
        let (kept, _) = self.workspace.clip(wanted.map(f64::from));
        self.last = Some((view.goal, kept.map(|x| x as f32)));
        Ok(())
    }
}
