//! The commands under test, built by the cargo that builds the tests and in the same profile.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::workspace;

/// The built command `name`: `zput`, `zserve`, …
///
/// # Panics
/// When the workspace does not build.
#[must_use]
pub fn command_path(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(build).join(name)
}

/// Builds every command once and says where they are. A test binary lives in
/// `<target>/<profile>/deps`; the commands belong two levels up.
fn build() -> PathBuf {
    let own = env::current_exe().unwrap_or_else(|e| panic!("the test binary has no path: {e}"));
    let directory = own
        .ancestors()
        .nth(2)
        .unwrap_or_else(|| panic!("{} is not in a target directory", own.display()))
        .to_owned();
    let release = directory.ends_with("release");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--bins",
        "-p",
        "zput-client",
        "-p",
        "zput-server",
    ]);
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
    assert!(status.success(), "the commands do not build: {status}");
    directory
}
