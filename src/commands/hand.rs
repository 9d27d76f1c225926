//! Somebody who takes a simulated arm's joints by hand, as lines of standard input say.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, channel};

use sim::{ArmModel, World};

/// A line of standard input: which joint, and where to take it, rad; nowhere to let go of it.
type Line = (usize, Option<f64>);

/// What was asked for and not yet done.
pub(super) struct Hands(Receiver<Line>);

impl Hands {
    /// Reads standard input from now on. A line that is not understood is told and does nothing.
    pub(super) fn listen(model: &ArmModel) -> Self {
        let joints: Vec<String> = model.joints.iter().map(|joint| joint.name.clone()).collect();
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match parse(&line, &joints) {
                    Ok(line) if sender.send(line).is_err() => return,
                    Ok(_) => {}
                    Err(error) => eprintln!("{error}"),
                }
            }
        });
        Self(receiver)
    }

    /// Does what has come in since the last time.
    pub(super) fn act(&self, world: &mut World) {
        for (joint, goal_rad) in self.0.try_iter() {
            if let Err(error) = world.take_by_hand(joint, goal_rad) {
                eprintln!("{error}");
            }
        }
    }
}

fn parse(line: &str, joints: &[String]) -> Result<Line, String> {
    let expected = || format!("{line:?}: expected a joint ({}) and an angle in rad, or free", joints.join(", "));
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[name, place] = words.as_slice() else { return Err(expected()) };
    let joint = joints.iter().position(|joint| joint == name).ok_or_else(expected)?;
    match place {
        "free" => Ok((joint, None)),
        _ => place.parse().map(|goal_rad| (joint, Some(goal_rad))).map_err(|_| expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_joint_and_where_to_take_it_or_is_refused() {
        let joints = ["shoulder_pan".to_owned(), "gripper".to_owned()];
        assert_eq!(parse("gripper 0.5", &joints), Ok((1, Some(0.5))));
        assert_eq!(parse(" shoulder_pan  free ", &joints), Ok((0, None)));
        for line in ["", "gripper", "elbow 0.5", "gripper half", "gripper 0.5 rad"] {
            let error = parse(line, &joints).unwrap_err();
            assert!(error.contains("shoulder_pan, gripper"), "{error}");
        }
    }
}
