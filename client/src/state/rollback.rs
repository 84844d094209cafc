//! The rollback record: the newest version of each key that this machine has seen and verified.
//!
//! ```text
//! $XDG_STATE_HOME/zput/seen/VAULT ID/lock      flock(2): one writer at a time
//! $XDG_STATE_HOME/zput/seen/VAULT ID/record    0600; head || rows, each of 128 bytes
//!
//! head = "zput/v1/seen\n" || zeros
//! row  = SHA-256(key)[32] || generation[8] || transcript[64] || check[24]
//! check = the first 24 bytes of BLAKE3(head || row up to here)
//! ```
//!
//! A server that serves an older version than this is found out (FORMAT 9, step 6). Of several rows of a key
//! the last one counts. A row is appended and synced; rows that no longer count go when they are the most of
//! the file, which is then written anew beside it and renamed. So there is one file for a vault, whatever
//! number of names it has.
//!
//! A row lies within a sector, so a power cut leaves all of it or none. What was never written is cut off or
//! zeros, and counts for nothing: whoever wrote it was not told that it is on the disk. Any other row that
//! does not fit its check is an error and never taken for none.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zput_common::{
    blob::{open::Seen, transcript::Transcript},
    cursor::Cursor,
    digest::Hasher,
    name::ObjectKey,
};
use zput_server::store::Clock;

use crate::{
    atomic::{self, Existing, Staged},
    directories::Directories,
};

const ROW_BYTES: usize = 128;
const CHECK_BYTES: usize = 24;
const HEAD: [u8; ROW_BYTES] = head();
/// Longest record that is read: 8 million rows.
const RECORD_MAX_BYTES: u64 = 1 << 30;
/// A file of fewer rows is not written anew.
const ROWS_KEPT: usize = 1024;

/// What lies further ahead of this machine's clock than clocks differ is not noted: 24 hours. Whoever noted it would refuse
/// all that comes after, and an honest server takes no such blob (PROTOCOL 5, "Generations").
const AHEAD_MAX_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The record of one vault. Its clones share what they have read.
#[derive(Clone, Debug)]
pub struct Record {
    directory: PathBuf,
    clock: Clock,
    read: Arc<Mutex<Rows>>,
}

/// What was read of a file.
#[derive(Debug, Default)]
struct Rows {
    /// Device and inode; another file has other rows.
    file: Option<(u64, u64)>,
    /// By SHA-256 of the key.
    newest: HashMap<[u8; 32], Seen>,
    /// Up to where it was read, in bytes: whole rows.
    end: u64,
}

/// Why the record could not be read or moved on.
#[derive(Debug, Error)]
pub enum SeenError {
    /// The file system refused.
    #[error(
        "cannot use the rollback record {}: {error} (XDG_STATE_HOME names another place for it)",
        path.display()
    )]
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
    pub fn of_vault(directories: &Directories, vault_id: &str, clock: Clock) -> Self {
        Self::in_directory(directories.state.join("seen").join(vault_id), clock)
    }

    fn in_directory(directory: PathBuf, clock: Clock) -> Self {
        Self { directory, clock, read: Arc::default() }
    }

    /// The same record, read by another clock.
    pub(crate) fn with_clock(&self, clock: Clock) -> Self {
        Self { clock, ..self.clone() }
    }

    /// This machine's time in ns since 1970.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Whether a generation is too far ahead of this machine's clock to be noted.
    #[must_use]
    pub fn is_ahead(&self, generation: u64) -> bool {
        generation > self.now_ns().saturating_add(AHEAD_MAX_NS)
    }

    /// The newest version seen of `key`.
    ///
    /// # Errors
    /// When there is a record that cannot be read.
    pub fn newest(&self, key: &ObjectKey) -> Result<Option<Seen>, SeenError> {
        match self.look_up(key) {
            // Another process may be about to write over a row that a crash has left: then it is whole under the lock.
            Err(SeenError::Unreadable(path)) => match self.lock() {
                Ok(_lock) => self.look_up(key),
                Err(_) => Err(SeenError::Unreadable(path)),
            },
            found => found,
        }
    }

    fn look_up(&self, key: &ObjectKey) -> Result<Option<Seen>, SeenError> {
        let path = self.path();
        let mut rows = self.rows();
        match File::open(&path) {
            Ok(file) => rows.follow(&file, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => *rows = Rows::default(),
            Err(error) => return Err(SeenError::File { path, error }),
        }
        Ok(rows.newest.get(&id(key)).copied())
    }

    /// Notes that `seen` was verified. The record only moves up: a process that was overtaken by
    /// another leaves it alone. So does one that has seen what [is ahead](Self::is_ahead).
    ///
    /// # Errors
    /// [`SeenError::Conflict`], and those of the file system.
    pub fn advance(&self, key: &ObjectKey, seen: &Seen) -> Result<(), SeenError> {
        if self.is_ahead(seen.generation) {
            return Ok(());
        }
        self.write(key, seen, |newest| match newest {
            Some(newest) if newest.generation == seen.generation => {
                if newest.transcript == seen.transcript {
                    Ok(false)
                } else {
                    Err(SeenError::Conflict)
                }
            }
            newest => Ok(newest.is_none_or(|newest| newest.generation < seen.generation)),
        })
    }

    /// Makes `seen` the newest, whatever was seen before: somebody decided so.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn accept(&self, key: &ObjectKey, seen: &Seen) -> Result<(), SeenError> {
        self.write(key, seen, |_| Ok(true))
    }

    /// Appends a row if `may` says so of the newest one. In both cases what is there is on the disk afterwards.
    fn write(
        &self,
        key: &ObjectKey,
        seen: &Seen,
        may: impl FnOnce(Option<&Seen>) -> Result<bool, SeenError>,
    ) -> Result<(), SeenError> {
        let path = self.path();
        let failed = |error| SeenError::File { path: path.clone(), error };
        let lock = self.lock().map_err(failed)?;
        let file = self.open(&path).map_err(failed)?;
        {
            let mut rows = self.rows();
            rows.follow(&file, &path)?;
            let id = id(key);
            if may(rows.newest.get(&id))? {
                let row = encode(&id, seen);
                file.write_all_at(&row, rows.end).map_err(failed)?;
                rows.newest.insert(id, *seen);
                rows.end += ROW_BYTES as u64;
                if rows.is_mostly_old() {
                    return self.write_anew(&mut rows, &path).map_err(failed);
                }
            }
        }
        drop(lock);
        // One sync is for all rows that are there by then.
        file.sync_data().map_err(failed)
    }

    /// Under the lock: the file, made and named durably if there is none.
    fn open(&self, path: &Path) -> io::Result<File> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                atomic::write(path, &HEAD, Existing::Replace)?;
                OpenOptions::new().read(true).write(true).open(path)
            }
            opened => opened,
        }
    }

    /// Under the lock: a file with the rows that count takes the place of the one that is there.
    fn write_anew(&self, rows: &mut Rows, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(ROW_BYTES * (rows.newest.len() + 1));
        bytes.extend_from_slice(&HEAD);
        for (id, seen) in &rows.newest {
            bytes.extend_from_slice(&encode(id, seen));
        }
        *rows = Rows::default();
        Staged::write(path, &bytes)?.publish(Existing::Replace)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.directory.join("record")
    }

    fn lock(&self) -> io::Result<File> {
        atomic::make_directory(&self.directory)?;
        let file = atomic::open_or_make(&self.directory.join("lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

impl Rows {
    /// Reads what was appended since, or all of another file.
    fn follow(&mut self, file: &File, path: &Path) -> Result<(), SeenError> {
        let failed = |error| SeenError::File { path: path.to_owned(), error };
        let metadata = file.metadata().map_err(failed)?;
        let (which, length) = ((metadata.dev(), metadata.ino()), metadata.len());
        if self.file != Some(which) || length < self.end {
            *self = Self { file: Some(which), ..Self::default() };
        }
        if length > RECORD_MAX_BYTES {
            return Err(SeenError::Unreadable(path.to_owned()));
        }
        // What is behind the last whole row is one that was never written.
        let rows = (length - self.end) / ROW_BYTES as u64;
        let mut bytes = vec![0; usize::try_from(rows).unwrap_or(0) * ROW_BYTES];
        file.read_exact_at(&mut bytes, self.end).map_err(failed)?;
        let (mut rows, _) = bytes.as_chunks::<ROW_BYTES>();
        if self.end == 0 {
            let Some((first, others)) = rows.split_first() else {
                return Err(SeenError::Unreadable(path.to_owned()));
            };
            if *first != HEAD {
                return Err(SeenError::Unreadable(path.to_owned()));
            }
            rows = others;
            self.end = ROW_BYTES as u64;
        }
        let mut end = self.end;
        for row in rows {
            end += ROW_BYTES as u64;
            if *row == [0; ROW_BYTES] {
                continue;
            }
            let Some((id, seen)) = decode(row) else {
                *self = Self::default();
                return Err(SeenError::Unreadable(path.to_owned()));
            };
            self.newest.insert(id, seen);
            self.end = end;
        }
        Ok(())
    }

    fn is_mostly_old(&self) -> bool {
        let rows = usize::try_from(self.end).unwrap_or(usize::MAX) / ROW_BYTES;
        rows > ROWS_KEPT && rows > 2 * self.newest.len()
    }
}

const fn head() -> [u8; ROW_BYTES] {
    let (text, mut head) = (b"zput/v1/seen\n", [0; ROW_BYTES]);
    let mut at = 0;
    while at < text.len() {
        head[at] = text[at];
        at += 1;
    }
    head
}

fn id(key: &ObjectKey) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn check(covered: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = Hasher::new();
    hasher.update(&HEAD);
    hasher.update(covered);
    *hasher.finish().as_bytes().first_chunk().unwrap_or(&[0; CHECK_BYTES])
}

fn encode(id: &[u8; 32], seen: &Seen) -> Vec<u8> {
    let mut row = Vec::with_capacity(ROW_BYTES);
    row.extend_from_slice(id);
    row.extend_from_slice(&seen.generation.to_be_bytes());
    row.extend_from_slice(seen.transcript.as_bytes());
    let check = check(&row);
    row.extend_from_slice(&check);
    row
}

fn decode(row: &[u8; ROW_BYTES]) -> Option<([u8; 32], Seen)> {
    let (covered, stated) = row.split_last_chunk::<CHECK_BYTES>()?;
    if check(covered) != *stated {
        return None;
    }
    let mut cursor = Cursor::new(covered);
    let (id, generation) = (cursor.array()?, cursor.u64()?);
    Some((id, Seen { generation, transcript: Transcript::from_bytes(cursor.array()?) }))
}

#[cfg(test)]
#[path = "rollback/tests.rs"]
mod tests;
