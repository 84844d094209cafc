//! A test that cannot run on this machine says why, and is counted.
//!
//! ```
//! use std::path::Path;
//! use zput_skip::{self as skip, or_skip};
//!
//! fn strace() -> Result<&'static Path, String> {
//!     let strace = Path::new("/usr/bin/strace");
//!     if strace.exists() { Ok(strace) } else { Err("strace is not installed".into()) }
//! }
//!
//! # fn is_root() -> bool { true }
//! fn the_test() {
//!     if !is_root() {
//!         return skip::because("only root can become another user");
//!     }
//!     let strace = or_skip!(strace());
//! #   let _ = strace;
//! }
//! ```
//!
//! Each skip is a line on stderr, which the test harness does not capture, and a line in the file
//! `skipped-tests` of the target directory. `.ci/run` empties that file before the tests and prints
//! it with its count behind them.

use std::{
    env,
    fmt::Display,
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
    thread,
};

/// The file of the target directory that has a line for each skip: test, place and reason, with
/// tabs between them.
pub const FILE: &str = "skipped-tests";

/// Says and counts that the test that calls it, or a part of it, cannot run here.
///
/// # Panics
/// When it cannot be counted: the test would be green for nothing.
#[track_caller]
pub fn because(reason: impl Display) {
    let place = std::panic::Location::caller();
    let thread = thread::current();
    // With one test at a time the harness runs it on the main thread, which has no test's name.
    let test = thread.name().unwrap_or("a thread of a test");
    let reason = reason.to_string().replace(['\t', '\n'], " ");
    let _told = writeln!(io::stderr(), "skipped: {test}: {reason}");
    if let Err(error) = count(&format!("{test}\t{}\t{reason}\n", place.file())) {
        panic!("{test} is skipped ({reason}) and cannot be counted: {error}");
    }
}

/// The value of a `Result`, or the end of the test that asks: the error is why it cannot run. With
/// `continue` as a second argument it is the end of one round of a loop.
#[macro_export]
macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(reason) => return $crate::because(reason),
        }
    };
    ($result:expr, continue) => {
        match $result {
            Ok(value) => value,
            Err(reason) => {
                $crate::because(reason);
                continue;
            }
        }
    };
}

/// Appends a line with one write, so lines of several test programs do not mix.
fn count(line: &str) -> io::Result<()> {
    let file = target_directory()?.join(FILE);
    OpenOptions::new().create(true).append(true).open(file)?.write_all(line.as_bytes())
}

/// Where Cargo builds: test programs are `TARGET/PROFILE/deps/NAME`.
fn target_directory() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let deps = program.ancestors().find(|path| path.ends_with("deps"));
    let target = deps.and_then(|deps| deps.parent()?.parent());
    Ok(target.ok_or(io::ErrorKind::NotFound)?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process::Command};

    use super::*;

    /// Why it is skipped, with what would break the line.
    const REASON: &str = "a test of the skips themselves\tis\nnone";

    /// A helper that another test runs: or_skip! leaves a test before it fails.
    #[test]
    #[ignore = "not a test: the one that another test starts"]
    fn skips() {
        let value: u8 = or_skip!(Err(REASON));
        panic!("it went on with {value}");
    }

    /// A skip prints test and reason on stderr and adds a line to the file of skipped tests.
    #[test]
    fn skip_prints_its_reason_and_is_counted() {
        // In a target directory of its own.
        let program = env::current_exe().unwrap();
        let target = program.parent().unwrap().join(format!("skip-{}", std::process::id()));
        let deps = target.join("debug/deps");
        fs::create_dir_all(&deps).unwrap();
        let copy = deps.join("skips");
        fs::copy(&program, &copy).unwrap();
        let output = Command::new(&copy).args(["--ignored", "--exact", "tests::skips"]).output();
        let counted = fs::read_to_string(target.join(FILE));
        fs::remove_dir_all(&target).unwrap();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let (test, reason) = ("tests::skips", "a test of the skips themselves is none");
        assert_eq!(said, format!("skipped: {test}: {reason}\n"));
        assert_eq!(counted.unwrap(), format!("{test}\ttests/skip/src/lib.rs\t{reason}\n"));
    }
}
