//! The command line, a file a command. Here alone concrete types are put together and things are printed.

mod calibrate;
mod choice;
mod collect;
mod demo;
mod doctor;
mod drive;
mod episodes;
mod eval;
mod experiment;
mod finetune;
mod hand;
mod import;
mod interrupt;
mod monitor;
mod output;
mod person;
mod plot;
mod ports;
mod record;
mod relabel;
mod report;
mod rig;
mod rollout;
mod run;
mod setup;
mod shipped;
mod sim;
mod train;
mod world;

use clap::{Args, Parser, Subcommand};

/// Drives a robot arm, records its episodes, and learns from its misses.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Print one JSON object as the last line of stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Seed of every random number
    #[arg(long, global = true, default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tie the ticks of an arm's servos to its joints' angles
    Calibrate(calibrate::Calibrate),
    /// Let a policy drive an arm and record every episode
    Collect(collect::Collect),
    /// Show the whole loop on a simulated arm that differs from its twin
    Demo(demo::Demo),
    /// Find out what is wrong with an arm, and what to do about it
    Doctor(doctor::Doctor),
    /// Look into recorded episodes
    Episodes(episodes::Episodes),
    /// Measure how often a policy succeeds
    Eval(eval::Eval),
    /// Compare ways to learn, over several seeds
    Experiment(experiment::Experiment),
    /// Make a policy better on one very arm, from the arm's own episodes
    Finetune(finetune::Finetune),
    /// Take in an actor that was trained elsewhere, to run it and to make it better
    Import(import::Import),
    /// Watch an arm's servos: position, load, current, temperature, alarms
    Monitor(monitor::Monitor),
    /// List the ports here, and which arm each looks like
    Ports(ports::Ports),
    /// Derive episodes in which misses are hits on other goals
    Relabel(relabel::Relabel),
    /// Let a policy drive an arm
    Run(run::Run),
    /// Give the servos of a new arm their ids and the line's speed, one at a time
    Setup(setup::Setup),
    /// Simulate an arm behind a pty, in real time, until Ctrl-C
    Sim(sim::Sim),
    /// Train a policy from scratch in the paired simulator
    Train(train::Train),
}

/// How a command that did not fail has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// All went well.
    Done,
    /// Ended with data lost, or with a fault latched.
    WithLoss,
}

/// A wrong use that the parser cannot see, such as contradictory flags.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub String);

/// The arm, its line or its recording failed while running; what was recorded is safe.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LossError(pub String);

/// Exit code for a failed command: 2 for wrong use, 3 for a session cut short with its data kept, 1 otherwise.
#[must_use]
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        2
    } else if error.is::<LossError>() {
        3
    } else {
        1
    }
}

/// Runs the command that was asked for.
///
/// # Errors
/// Whatever the command could not do.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Finish> {
    let common = &arguments.common;
    match &arguments.command {
        Command::Calibrate(command) => command.run(common),
        Command::Collect(command) => command.run(common),
        Command::Demo(command) => command.run(common),
        Command::Doctor(command) => command.run(common),
        Command::Episodes(command) => command.run(common),
        Command::Eval(command) => command.run(common),
        Command::Experiment(command) => command.run(common),
        Command::Finetune(command) => command.run(common),
        Command::Import(command) => command.run(common),
        Command::Monitor(command) => command.run(common),
        Command::Ports(command) => command.run(common),
        Command::Relabel(command) => command.run(common),
        Command::Run(command) => command.run(common),
        Command::Setup(command) => command.run(common),
        Command::Sim(command) => command.run(common),
        Command::Train(command) => command.run(common),
    }
}
