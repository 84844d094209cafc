//! What is in a directory.

use std::{fs, path::Path};

/// The names in a directory, sorted.
///
/// # Panics
/// When it cannot be read, or has a name that is not UTF-8.
#[must_use]
#[track_caller]
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory);
    let entries = entries.unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
