//! Somebody at a simulated arm who takes its joints by hand and plays tricks on its servos, as lines of standard input
//! say.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, channel};

use sim::{ArmModel, ServoBus, World};

/// A joint that is taken to an angle, rad, or let go of.
type Take = (usize, Option<f64>);

/// What is done to servos.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// The servo of a joint says nothing, for so long, µs.
    Silent(usize, u64),
    /// It loses its power for a moment.
    BrownOut(usize),
    /// Its overload protection acts.
    Overload(usize),
    /// The cable to the host is out, for so long, µs.
    Unplug(u64),
}

/// A line that was understood.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    Take(Take),
    Trouble(Trouble),
}

/// What was asked for and not yet done.
pub(super) struct Hands {
    takes: Receiver<Take>,
    troubles: Receiver<Trouble>,
}

impl Hands {
    /// Reads standard input from now on. A line that is not understood is told and does nothing.
    pub(super) fn listen(model: &ArmModel) -> Self {
        let joints: Vec<String> = model.joints.iter().map(|joint| joint.name.clone()).collect();
        let ((take, takes), (trouble, troubles)) = (channel(), channel());
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let sent = match parse(&line, &joints) {
                    Ok(Line::Take(asked)) => take.send(asked).is_ok(),
                    Ok(Line::Trouble(asked)) => trouble.send(asked).is_ok(),
                    Err(error) => {
                        eprintln!("{error}");
                        true
                    }
                };
                if !sent {
                    return;
                }
            }
        });
        Self { takes, troubles }
    }

    /// Takes and lets go of joints as was asked for since the last time.
    pub(super) fn act(&self, world: &mut World) {
        for (joint, goal_rad) in self.takes.try_iter() {
            if let Err(error) = world.take_by_hand(joint, goal_rad) {
                eprintln!("{error}");
            }
        }
    }

    /// Does to servos what was asked for since the last time; an arm behind firmware has none, which is told.
    pub(super) fn trouble(&self, mut bus: Option<&mut ServoBus>) {
        for trouble in self.troubles.try_iter() {
            let Some(bus) = &mut bus else {
                eprintln!("servos can be troubled with --protocol feetech or dynamixel, found bridge");
                continue;
            };
            match trouble {
                Trouble::Silent(joint, time_us) => bus.silence(joint, time_us),
                Trouble::BrownOut(joint) => bus.brown_out(joint),
                Trouble::Overload(joint) => bus.overload(joint),
                Trouble::Unplug(time_us) => bus.unplug(time_us),
            }
        }
    }
}

fn parse(line: &str, joints: &[String]) -> Result<Line, String> {
    let expected = || {
        let joints = joints.join(", ");
        format!(
            "{line:?}: expected a joint ({joints}) and an angle in rad, free, silent SECONDS, brown-out or overload; or \
             unplug SECONDS"
        )
    };
    let joint = |name: &str| joints.iter().position(|joint| joint == name).ok_or_else(expected);
    let time_us = |text: &str| match text.parse::<f64>() {
        Ok(time_s) if (0.0..=3600.0).contains(&time_s) => Ok((time_s * 1e6) as u64),
        _ => Err(expected()),
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    Ok(match *words.as_slice() {
        ["unplug", time] => Line::Trouble(Trouble::Unplug(time_us(time)?)),
        [name, "silent", time] => Line::Trouble(Trouble::Silent(joint(name)?, time_us(time)?)),
        [name, "brown-out"] => Line::Trouble(Trouble::BrownOut(joint(name)?)),
        [name, "overload"] => Line::Trouble(Trouble::Overload(joint(name)?)),
        [name, "free"] => Line::Take((joint(name)?, None)),
        [name, angle] => Line::Take((joint(name)?, Some(angle.parse().map_err(|_| expected())?))),
        _ => return Err(expected()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_joint_and_what_is_done_to_it_or_is_refused() {
        let joints = ["shoulder_pan".to_owned(), "gripper".to_owned()];
        for (line, expected) in [
            ("gripper 0.5", Line::Take((1, Some(0.5)))),
            (" shoulder_pan  free ", Line::Take((0, None))),
            ("gripper silent 0.5", Line::Trouble(Trouble::Silent(1, 500_000))),
            ("gripper brown-out", Line::Trouble(Trouble::BrownOut(1))),
            ("gripper overload", Line::Trouble(Trouble::Overload(1))),
            ("unplug 1", Line::Trouble(Trouble::Unplug(1_000_000))),
        ] {
            assert_eq!(parse(line, &joints), Ok(expected), "{line}");
        }
        for line in ["", "gripper", "elbow 0.5", "gripper half", "gripper 0.5 rad", "unplug", "gripper silent -1"] {
            let error = parse(line, &joints).unwrap_err();
            assert!(error.contains("shoulder_pan, gripper"), "{error}");
        }
    }
}
