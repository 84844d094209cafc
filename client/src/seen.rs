//! The rollback record: the newest version of each key that this machine has seen and verified.
//!
//! ```text
//! $XDG_STATE_HOME/zput/seen/VAULT ID/lock               flock(2): one writer at a time
//! $XDG_STATE_HOME/zput/seen/VAULT ID/SHA-256(key), hex   "zput-seen 1 GENERATION TRANSCRIPT\n"
//! ```
//!
//! A server that serves an older version than this is found out (FORMAT 9, step 6). A record that
//! cannot be read is an error and never taken for none.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zput_common::{
    blob::{open::Seen, transcript::Transcript},
    name::ObjectKey,
};

use crate::{
    atomic::{self, Existing, Staged},
    directories::Directories,
};

/// Longest record: 12 of text, 20 digits, 128 hex digits, two separators.
const RECORD_MAX_BYTES: usize = 256;

/// The record of one vault.
#[derive(Clone, Debug)]
pub struct Record {
    directory: PathBuf,
}

/// Why the record could not be read or moved on.
#[derive(Debug, Error)]
pub enum SeenError {
    /// The file system refused.
    #[error("cannot use the rollback record {}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Not a record, or one of a newer zput.
    #[error(
        "the rollback record {} cannot be understood (remove it to trust what the server has now)",
        .0.display()
    )]
    Unreadable(PathBuf),
    /// Two different versions say that they are the same generation.
    #[error("another version of the same generation was seen before")]
    Conflict,
}

impl Record {
    /// The record of the vault with this id.
    #[must_use]
    pub fn of_vault(directories: &Directories, vault_id: &str) -> Self {
        Self { directory: directories.state.join("seen").join(vault_id) }
    }

    /// The newest version seen of `key`.
    ///
    /// # Errors
    /// When there is a record that cannot be read.
    pub fn newest(&self, key: &ObjectKey) -> Result<Option<Seen>, SeenError> {
        read(&self.path(key))
    }

    /// Notes that `seen` was verified. The record only moves up: a process that was overtaken by
    /// another leaves it alone.
    ///
    /// # Errors
    /// [`SeenError::Conflict`], and those of the file system.
    pub fn advance(&self, key: &ObjectKey, seen: &Seen) -> Result<(), SeenError> {
        let path = self.path(key);
        let failed = |error| SeenError::File { path: path.clone(), error };
        // What takes time is done beside what others do.
        let staged = Staged::write(&path, &text(seen)).map_err(failed)?;
        let lock = self.lock()?;
        match read(&path)? {
            Some(newest) if newest.generation > seen.generation => {}
            Some(newest) if newest.generation == seen.generation => {
                if newest.transcript != seen.transcript {
                    return Err(SeenError::Conflict);
                }
            }
            _ => staged.place(Existing::Replace).map_err(failed)?,
        }
        drop(lock);
        // Also where another noted something newer: this counts on it being on the disk.
        atomic::sync_directory(&self.directory).map_err(failed)
    }

    /// Makes `seen` the newest, whatever was seen before: somebody decided so.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn accept(&self, key: &ObjectKey, seen: &Seen) -> Result<(), SeenError> {
        let _lock = self.lock()?;
        write(&self.path(key), seen)
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.directory.join(hex::encode(Sha256::digest(key.as_bytes())))
    }

    fn lock(&self) -> Result<File, SeenError> {
        let path = self.directory.join("lock");
        let open = || {
            atomic::make_directory(&self.directory)?;
            let file = atomic::open_or_make(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        open().map_err(|error| SeenError::File { path: path.clone(), error })
    }
}

fn read(path: &Path) -> Result<Option<Seen>, SeenError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SeenError::File { path: path.to_owned(), error }),
    };
    match parse(&text) {
        Some(seen) => Ok(Some(seen)),
        None => Err(SeenError::Unreadable(path.to_owned())),
    }
}

fn parse(text: &[u8]) -> Option<Seen> {
    if text.len() > RECORD_MAX_BYTES {
        return None;
    }
    let fields = str::from_utf8(text).ok()?.strip_prefix("zput-seen 1 ")?.strip_suffix('\n')?;
    let (generation, transcript) = fields.split_once(' ')?;
    let transcript: [u8; 64] = hex::decode(transcript).ok()?.try_into().ok()?;
    Some(Seen {
        generation: generation.parse().ok()?,
        transcript: Transcript::from_bytes(transcript),
    })
}

fn write(path: &Path, seen: &Seen) -> Result<(), SeenError> {
    atomic::write(path, &text(seen), Existing::Replace)
        .map_err(|error| SeenError::File { path: path.to_owned(), error })
}

fn text(seen: &Seen) -> Vec<u8> {
    let transcript = hex::encode(seen.transcript.as_bytes());
    format!("zput-seen 1 {} {transcript}\n", seen.generation).into_bytes()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn record(dir: &Path) -> Record {
        Record { directory: dir.join("state/seen/vault") }
    }

    fn seen(generation: u64, byte: u8) -> Seen {
        Seen { generation, transcript: Transcript::from_bytes([byte; 64]) }
    }

    fn key() -> ObjectKey {
        ObjectKey::new("k").unwrap()
    }

    fn generation(record: &Record) -> Option<u64> {
        record.newest(&key()).unwrap().map(|seen| seen.generation)
    }

    #[test]
    fn the_record_only_moves_up() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        assert_eq!(generation(&record), None);
        record.advance(&key(), &seen(5, 1)).unwrap();
        record.advance(&key(), &seen(4, 2)).unwrap();
        assert_eq!(generation(&record), Some(5));
        record.advance(&key(), &seen(u64::MAX, 2)).unwrap();
        assert_eq!(generation(&record), Some(u64::MAX));
        assert_eq!(*record.newest(&key()).unwrap().unwrap().transcript.as_bytes(), [2; 64]);
    }

    #[test]
    fn one_generation_has_one_transcript() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        record.advance(&key(), &seen(5, 1)).unwrap();
        record.advance(&key(), &seen(5, 1)).unwrap();
        assert!(matches!(record.advance(&key(), &seen(5, 2)), Err(SeenError::Conflict)));
    }

    #[test]
    fn a_decision_moves_it_down() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        record.advance(&key(), &seen(5, 1)).unwrap();
        record.accept(&key(), &seen(3, 1)).unwrap();
        assert_eq!(generation(&record), Some(3));
    }

    #[test]
    fn the_file_is_as_documented() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        record.advance(&key(), &seen(5, 0xab)).unwrap();
        // SHA-256("k").
        let path = record
            .directory
            .join("8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a");
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text, format!("zput-seen 1 5 {}\n", "ab".repeat(64)));
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_and_not_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        record.advance(&key(), &seen(5, 1)).unwrap();
        let sound = fs::read_to_string(record.path(&key())).unwrap();
        let newer = sound.replace("seen 1", "seen 2");
        for damaged in ["", "zput-seen 1 5 00\n", sound.trim_end(), &newer, &sound[..90]] {
            fs::write(record.path(&key()), damaged).unwrap();
            assert!(matches!(record.newest(&key()), Err(SeenError::Unreadable(_))), "{damaged:?}");
            assert!(record.advance(&key(), &seen(9, 1)).is_err());
        }
    }

    #[test]
    fn threads_that_note_the_same_keys_only_move_them_up() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        let key = |n: u64| ObjectKey::new(format!("k{n}")).unwrap();
        thread::scope(|scope| {
            for worker in 0..4u64 {
                let record = &record;
                scope.spawn(move || {
                    for turn in 0..80 {
                        // Each in an order of its own.
                        let (key, generation) =
                            (key((turn + worker) % 8), 1 + worker + turn / 8 * 4);
                        record.advance(&key, &seen(generation, 1)).unwrap();
                        let newest = record.newest(&key).unwrap().unwrap();
                        assert!(newest.generation >= generation);
                    }
                });
            }
        });
        for n in 0..8 {
            assert_eq!(record.newest(&key(n)).unwrap(), Some(seen(40, 1)));
        }
        // Those and the lock, and nothing half.
        assert_eq!(fs::read_dir(&record.directory).unwrap().count(), 9);
    }

    #[test]
    fn no_update_is_lost_between_processes() {
        let dir = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            for worker in 0..4u64 {
                let record = record(dir.path());
                scope.spawn(move || {
                    for i in 0..25 {
                        let mine = 1 + worker + 4 * i;
                        record.advance(&key(), &seen(mine, 1)).unwrap();
                        assert!(generation(&record) >= Some(mine));
                    }
                });
            }
        });
        assert_eq!(generation(&record(dir.path())), Some(100));
    }
}
