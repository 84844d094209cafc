//! Runs a program from its command line to its exit code.

use std::process;

use zput_os::memory;

use super::{
    command_line::{self, Invocation},
    failure::{Failure, local},
    program::Program,
};
use crate::{core_dump, ephemeral_state, error::CommandError, exit_code::ExitCode, signals};

/// Runs a program: parses its arguments, handles signals, runs the verb, reports a failure, returns
/// the exit code.
pub fn run(program: Program) -> process::ExitCode {
    core_dump::disable();
    memory::init();
    let Invocation { verb, console, without_state } = match command_line::parse(program) {
        Ok(invocation) => invocation,
        Err(code) => return code,
    };
    let result = signals::watch_signals(console.name())
        .map_err(|error| local("cannot watch for signals", error))
        .and_then(|()| create_ephemeral_state(without_state))
        .map_err(Failure::from)
        .and_then(|()| verb.run(&console));
    signals::wait_if_out_of_memory();
    ephemeral_state::remove();
    match result {
        Ok(()) => ExitCode::Ok.into(),
        Err(failure) => {
            signals::clean_up();
            // A reader that is gone needs no error message.
            if !failure.is_reader_gone() {
                console.report_failure(&failure);
            }
            failure.exit_code().into()
        }
    }
}

/// Creates the directory for ephemeral state, if `--no-state` was given.
fn create_ephemeral_state(without_state: bool) -> Result<(), CommandError> {
    if !without_state {
        return Ok(());
    }
    ephemeral_state::create().map_err(|error| local("no place for --no-state", error))
}
