//! The files of a batch, and which of them workers put.

use std::{collections::HashSet, fs, path::PathBuf};

use zput_proto::name::BlobName;

/// Default number of concurrent puts of small files; each has a connection and a sealing thread.
pub const JOBS: usize = 8;
/// The highest number of concurrent puts that is accepted.
pub const JOBS_MAX: usize = 64;
/// Files of at most this many bytes are put by workers.
pub(super) const SMALL_BYTES: u64 = 256 * 1024;

/// A file, and the name to put it under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The blob's name.
    pub name: BlobName,
    /// The file's path.
    pub path: PathBuf,
}

/// Length of a regular file in bytes; `None` for anything else.
pub(super) fn length(file: &NamedFile) -> Option<u64> {
    fs::metadata(&file.path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// Indices of the files for the workers: small, and the first of their name. Empty if there are
/// fewer than two.
pub(super) fn select_small(files: &[NamedFile], lengths: &[Option<u64>]) -> Vec<usize> {
    let mut names = HashSet::new();
    let mut small = Vec::new();
    for (index, (file, length)) in files.iter().zip(lengths).enumerate() {
        let is_first = names.insert(&file.name);
        if is_first && length.is_some_and(|length| length <= SMALL_BYTES) {
            small.push(index);
        }
    }
    if small.len() < 2 { Vec::new() } else { small }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers get files of at most 262,144 bytes, and only the first file of a name.
    #[test]
    fn select_small_takes_first_small_file_of_each_name() {
        let file =
            |name: &str| NamedFile { name: BlobName::parse(name).unwrap(), path: "/".into() };
        let files = ["a", "b", "c", "b", "d", "e"].map(file);
        let lengths = [Some(0), Some(262_144), Some(262_145), Some(1), None, Some(7)];
        assert_eq!(select_small(&files, &lengths), [0, 1, 5]);
        // A single file is put without workers.
        assert_eq!(select_small(&files[..1], &lengths[..1]), [0; 0]);
        assert_eq!(select_small(&files[1..4], &lengths[1..4]), [0; 0]);
    }
}
