//! Whether a core would be seen here.

use std::{fs, os::unix::process::ExitStatusExt as _};

use crate::{Machine, names};

/// Whether a process that a signal ends leaves a core in its working directory, as one of a shell
/// shows.
///
/// # Errors
/// Why not: a test that looks for none would see none in any case.
///
/// # Panics
/// When the shell does not start.
pub fn leaves_cores(home: &Machine) -> Result<(), String> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim();
    // core(5): a pipe to a program, or a place of its own.
    if pattern.starts_with('|') || pattern.contains('/') {
        return Err(format!("/proc/sys/kernel/core_pattern is {pattern}"));
    }
    let directory = tempfile::tempdir_in(home.path()).unwrap_or_else(|e| panic!("{e}"));
    let mut shell = home.program("bash");
    shell.args(["-c", "ulimit -c unlimited 2>/dev/null; kill -ABRT $$"]);
    let status = shell.current_dir(directory.path()).status();
    let status = status.unwrap_or_else(|e| panic!("bash does not start: {e}"));
    if status.core_dumped() && !names(directory.path()).is_empty() {
        return Ok(());
    }
    Err(format!("a shell that SIGABRT ended left none ({status}, ulimit -c)"))
}
