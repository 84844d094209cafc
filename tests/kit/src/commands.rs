//! The programs under test: those that cargo built for this test, or else built by the same cargo
//! in the same profile.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The built program `name`: `zblob`, `zserve`, …
///
/// # Panics
/// When the workspace does not build.
#[must_use]
pub fn command_path(name: &str) -> PathBuf {
    // Cargo names the programs of the package whose integration test this is.
    if let Some(path) = env::var_os(format!("CARGO_BIN_EXE_{name}")) {
        return path.into();
    }
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let build = || built(&["--bins", "-p", "zput-cli", "-p", "zput-server"]);
    DIRECTORY.get_or_init(build).join(name)
}

/// The built program of `command`, and behind it the verb if there is one: `zput`, `zblob ls`.
///
/// # Panics
/// When the workspace does not build.
pub fn command_words(command: &str) -> impl Iterator<Item = OsString> {
    let (name, verb) = command.split_once(' ').unwrap_or((command, ""));
    let verb = verb.split_whitespace().map(OsString::from);
    std::iter::once(command_path(name).into_os_string()).chain(verb)
}

/// The built example `name`.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn example_path(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let build = || built(&["--examples", "-p", "zput-examples"]).join("examples");
    DIRECTORY.get_or_init(build).join(name)
}

/// Builds `what` and says where it is. A test binary lives in `<target>/<profile>/deps`; what is
/// built belongs two levels up.
fn built(what: &[&str]) -> PathBuf {
    let own = env::current_exe().unwrap_or_else(|e| panic!("the test binary has no path: {e}"));
    let directory = own
        .ancestors()
        .nth(2)
        .unwrap_or_else(|| panic!("{} is not in a target directory", own.display()))
        .to_owned();
    let release = directory.ends_with("release");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked"]).args(what);
    if release {
        cargo.arg("--release");
    }
    if let Some(target) = directory.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    let status = cargo
        .current_dir(workspace())
        .stdin(Stdio::null())
        .status()
        .unwrap_or_else(|e| panic!("cargo does not start: {e}"));
    assert!(status.success(), "{what:?} do not build: {status}");
    directory
}
