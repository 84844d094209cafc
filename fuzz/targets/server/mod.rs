//! The functions under fuzz that need the server's code.

mod clock;
mod http;
mod tar_index;

/// A function under fuzz.
pub(crate) type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub(crate) const TARGETS: &[(&str, Target)] =
    &[("clock", clock::run), ("http", http::run), ("tar_index", tar_index::run)];

/// Runs the target of this name.
pub(crate) fn run(name: &str, input: &[u8]) {
    for (_, target) in TARGETS.iter().filter(|(known, _)| *known == name) {
        target(input);
    }
}
