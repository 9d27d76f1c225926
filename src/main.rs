//! The `hindsight` program. Commands are in `commands`, a file each; exit codes are set here alone.

mod commands;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Clap itself ends with code 2 on a wrong command line.
    let arguments = commands::Arguments::parse();
    match commands::run(&arguments) {
        Ok(finish) => ExitCode::from(match finish {
            commands::Finish::Done => 0,
            commands::Finish::WithLoss => 3,
        }),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
