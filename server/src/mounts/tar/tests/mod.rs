//! What docs/MOUNTS.md promises of an archive.

mod build;
mod extensions;
mod hostile;
mod random;
mod served;
mod system;

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::mounts::{FileTime, Unavailable};
use build::Build;

/// All files of an index: path, offset, length.
fn files(index: &Index) -> Vec<(&str, u64, u64)> {
    index.files_after(b"").map(|(path, at)| (path, at.offset, at.length)).collect()
}

fn index(archive: &[u8]) -> Index {
    Index::of_bytes(archive, None).unwrap()
}

/// Why an archive is refused, and where.
fn refused(archive: &[u8]) -> (u64, ArchiveErrorKind) {
    match Index::of_bytes(archive, None) {
        Err(ReadError::Archive(ArchiveError { offset, kind })) => (offset, kind),
        other => panic!("{other:?}"),
    }
}

/// An archive in a temporary file.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new(archive: &[u8]) -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(home.path(), archive).unwrap();
        home
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("archive.tar")
    }

    fn open(&self) -> Result<TarMount, MountError> {
        TarMount::open(&self.path(), None)
    }
}

fn bytes(found: &FoundFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(found.length).unwrap()];
    found.file.read_exact_at(&mut bytes, found.offset).unwrap();
    bytes
}
