//! The rollback guard: a record of the newest generation of each key that this machine has
//! verified.
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
//! A server that serves an older version than the recorded one is detected (FORMAT 9, step 6). If a
//! key has several rows, the last one counts. A row is appended and synced. Once obsolete rows are
//! the majority, the file is rewritten beside itself and renamed. So a vault has one file, whatever
//! the number of names.
//!
//! A row lies within one disk sector, so a power cut leaves all of it or none. A row that was never
//! written is missing or zeros and is skipped, because its writer was never told that it is on the
//! disk. Any other row whose checksum is wrong is an error and never ignored.

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
use zput_os::Clock;
use zput_proto::{cursor::Cursor, digest::Hasher, name::ObjectKey};
use zput_seal::blob::{open::Seen, transcript::Transcript};

use crate::files::{
    atomic::{self, Staged},
    create::{create_directory, open_or_create},
    directories::Directories,
    install::IfExists,
};

const ROW_BYTES: usize = 128;
const CHECK_BYTES: usize = 24;
const HEAD: [u8; ROW_BYTES] = head();
/// Longest record that is read, in bytes: 8 million rows.
const RECORD_MAX_BYTES: u64 = 1 << 30;
/// A file of fewer rows is not rewritten.
const REWRITE_MIN_ROWS: usize = 1024;

/// A generation this far ahead of this machine's clock is not recorded: 24 hours in ns. If it were,
/// every later blob would be rejected; an honest server accepts no such blob (PROTOCOL 5,
/// "Generations").
const AHEAD_MAX_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The record of one vault. Clones share what was read.
#[derive(Clone, Debug)]
pub struct RollbackGuard {
    directory: PathBuf,
    clock: Clock,
    cache: Arc<Mutex<Rows>>,
}

/// The rows that were read from a file.
#[derive(Debug, Default)]
struct Rows {
    /// Device and inode of the file; another file has other rows.
    file: Option<(u64, u64)>,
    /// Newest generation by SHA-256 of the key.
    newest: HashMap<[u8; 32], Seen>,
    /// Offset up to which whole rows were read, in bytes.
    end: u64,
}

/// Why the record could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// The file system refused.
    #[error("cannot use the rollback record {}", path.display())]
    File {
        /// The path of the record, or of its directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a record, is damaged, or was written by a newer zput.
    #[error(
        "cannot parse the rollback record {} (remove it to trust what the server has now)",
        .0.display()
    )]
    Unreadable(PathBuf),
    /// Two different blobs claim the same generation.
    #[error("another version of the same generation was seen before")]
    Conflict,
}

impl RollbackGuard {
    /// The record of the vault with this id.
    #[must_use]
    pub fn of_vault(directories: &Directories, vault_id: &str, clock: Clock) -> Self {
        Self::in_directory(directories.state.join("seen").join(vault_id), clock)
    }

    fn in_directory(directory: PathBuf, clock: Clock) -> Self {
        Self { directory, clock, cache: Arc::default() }
    }

    /// The same record with another clock.
    pub(crate) fn with_clock(&self, clock: Clock) -> Self {
        Self { clock, ..self.clone() }
    }

    /// This machine's time in ns since 1970.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Whether a generation is too far ahead of this machine's clock to be recorded.
    #[must_use]
    pub fn is_ahead(&self, generation: u64) -> bool {
        generation > self.now_ns().saturating_add(AHEAD_MAX_NS)
    }

    /// The newest generation recorded for `key`; `None` if there is none.
    ///
    /// # Errors
    /// When there is a record that cannot be read.
    pub fn newest(&self, key: &ObjectKey) -> Result<Option<Seen>, RollbackError> {
        match self.look_up(key) {
            // Another process may be overwriting a row that a crash left. Under the lock every row
            // is complete.
            Err(RollbackError::Unreadable(path)) => match self.lock() {
                Ok(_lock) => self.look_up(key),
                Err(_) => Err(RollbackError::Unreadable(path)),
            },
            found => found,
        }
    }

    fn look_up(&self, key: &ObjectKey) -> Result<Option<Seen>, RollbackError> {
        let path = self.path();
        let mut rows = self.cached_rows();
        match File::open(&path) {
            Ok(file) => rows.catch_up(&file, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => *rows = Rows::default(),
            Err(source) => return Err(RollbackError::File { path, source }),
        }
        Ok(rows.newest.get(&id(key)).copied())
    }

    /// Records that `seen` was verified. The recorded generation only increases, and one that [is
    /// ahead](Self::is_ahead) is not recorded.
    ///
    /// # Errors
    /// [`RollbackError::Conflict`], and those of the file system.
    pub fn advance(&self, key: &ObjectKey, seen: &Seen) -> Result<(), RollbackError> {
        if self.is_ahead(seen.generation) {
            return Ok(());
        }
        self.write(key, seen, |newest| match newest {
            Some(newest) if newest.generation == seen.generation => {
                if newest.transcript == seen.transcript {
                    Ok(false)
                } else {
                    Err(RollbackError::Conflict)
                }
            }
            newest => Ok(newest.is_none_or(|newest| newest.generation < seen.generation)),
        })
    }

    /// Records `seen` as the newest whatever was recorded before, because the user decided so.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn accept(&self, key: &ObjectKey, seen: &Seen) -> Result<(), RollbackError> {
        self.write(key, seen, |_| Ok(true))
    }

    /// Appends a row if `decide` agrees, given the newest one. All rows are on the disk when this
    /// returns.
    fn write(
        &self,
        key: &ObjectKey,
        seen: &Seen,
        decide: impl FnOnce(Option<&Seen>) -> Result<bool, RollbackError>,
    ) -> Result<(), RollbackError> {
        let path = self.path();
        let failed = |source| RollbackError::File { path: path.clone(), source };
        let lock = self.lock().map_err(failed)?;
        let file = self.open(&path).map_err(failed)?;
        {
            let mut rows = self.cached_rows();
            rows.catch_up(&file, &path)?;
            let id = id(key);
            if decide(rows.newest.get(&id))? {
                let row = encode(&id, seen);
                file.write_all_at(&row, rows.end).map_err(failed)?;
                rows.newest.insert(id, *seen);
                rows.end += ROW_BYTES as u64;
                if rows.is_mostly_obsolete() {
                    return self.rewrite(&mut rows, &path).map_err(failed);
                }
            }
        }
        drop(lock);
        // One sync covers every row that was appended by then.
        file.sync_data().map_err(failed)
    }

    /// Opens the file under the lock; creates it durably if it is missing.
    fn open(&self, path: &Path) -> io::Result<File> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                atomic::write(path, &HEAD, IfExists::Replace)?;
                OpenOptions::new().read(true).write(true).open(path)
            }
            opened => opened,
        }
    }

    /// Under the lock: replaces the file by one with only the rows that count.
    fn rewrite(&self, rows: &mut Rows, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(ROW_BYTES * (rows.newest.len() + 1));
        bytes.extend_from_slice(&HEAD);
        for (id, seen) in &rows.newest {
            bytes.extend_from_slice(&encode(id, seen));
        }
        *rows = Rows::default();
        Staged::write(path, &bytes)?.publish(IfExists::Replace)
    }

    fn cached_rows(&self) -> MutexGuard<'_, Rows> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.directory.join("record")
    }

    fn lock(&self) -> io::Result<File> {
        create_directory(&self.directory)?;
        let file = open_or_create(&self.directory.join("lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

impl Rows {
    /// Reads the rows that were appended since the last call, or all rows of another file.
    fn catch_up(&mut self, file: &File, path: &Path) -> Result<(), RollbackError> {
        let failed = |source| RollbackError::File { path: path.to_owned(), source };
        let metadata = file.metadata().map_err(failed)?;
        let (which, length) = ((metadata.dev(), metadata.ino()), metadata.len());
        if self.file != Some(which) || length < self.end {
            *self = Self { file: Some(which), ..Self::default() };
        }
        if length > RECORD_MAX_BYTES {
            return Err(RollbackError::Unreadable(path.to_owned()));
        }
        // Bytes after the last whole row belong to one that was never written.
        let rows = (length - self.end) / ROW_BYTES as u64;
        let mut bytes = vec![0; usize::try_from(rows).unwrap_or(0) * ROW_BYTES];
        file.read_exact_at(&mut bytes, self.end).map_err(failed)?;
        let (mut rows, _) = bytes.as_chunks::<ROW_BYTES>();
        if self.end == 0 {
            let Some((first, others)) = rows.split_first() else {
                return Err(RollbackError::Unreadable(path.to_owned()));
            };
            if *first != HEAD {
                return Err(RollbackError::Unreadable(path.to_owned()));
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
                return Err(RollbackError::Unreadable(path.to_owned()));
            };
            self.newest.insert(id, seen);
            self.end = end;
        }
        Ok(())
    }

    fn is_mostly_obsolete(&self) -> bool {
        let rows = usize::try_from(self.end).unwrap_or(usize::MAX) / ROW_BYTES;
        rows > REWRITE_MIN_ROWS && rows > 2 * self.newest.len()
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
mod tests;
