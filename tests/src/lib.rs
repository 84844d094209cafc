//! What the tests that cross crates share: the built commands, machines with a home of their own,
//! and servers that are stopped when the test is over.

mod configured;
mod cores;
mod cutter;
pub mod hostile;
pub mod imports;
pub mod journal;
pub mod measure;
mod pair;
mod pattern;
mod seed;
mod server;
mod trace;
mod uploads;
mod vitals;

pub use configured::Configured;
pub use cores::leaves_cores;
pub use cutter::{Cutter, Fate, Talk, Way};
pub use pair::Pair;
pub use pattern::{Pattern, Same};
pub use seed::seed;
pub use server::ServerProcess;
pub use trace::{Call, calls, can_trace};
pub use uploads::{SentSlice, Uploads, assert_no_salt_has_two_ciphertexts, frames};
pub use vitals::Vitals;
pub use zput_skip::{self as skip, or_skip};
pub use zput_testkit::{
    Head, Machine, PATIENCE, Ran, RawClient, WebClient, WebResponse, command_path, command_words,
    example_path, names, narrow, until, workspace,
};

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Where `program` is installed, if it is.
#[must_use]
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The Rust sources below a directory, with their texts.
///
/// # Panics
/// When one cannot be read, or there are none.
#[must_use]
pub fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let read = || -> std::io::Result<Vec<(PathBuf, String)>> {
        let mut found = Vec::new();
        let mut left = vec![directory.to_owned()];
        while let Some(next) = left.pop() {
            for entry in fs::read_dir(next)? {
                let path = entry?.path();
                if path.is_dir() {
                    left.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path)?;
                    found.push((path, text));
                }
            }
        }
        Ok(found)
    };
    let found = read().unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    assert!(!found.is_empty(), "no sources in {}", directory.display());
    found
}
