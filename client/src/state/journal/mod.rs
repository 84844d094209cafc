//! The journal of a put: what a later put needs to resume it.
//!
//! ```text
//! $XDG_STATE_HOME/zput/puts/VAULT ID/SHA-256(key), hex      0600; flock(2) for the life of the put
//!
//! file = head || rows
//! head = "zput/v1/journal\n" || length[4] of the head || device[8] || inode[8] || size[8] || mtime_s[8]
//!        || mtime_ns[4] || mode[4] || sha256[1] || BLAKE3 of the recipients[32] || file key[16]
//!        || header_length[4] || header || BLAKE3 of the head up to here[32]
//! row  = 1 || length[8] of the sealed part || BLAKE3 of its plaintext[32] || BLAKE3 of it[32] || check[32]
//!      | 2 || length[8] of the plaintext   || transcript[64]                                  || check[32]
//! check = BLAKE3(BLAKE3 of the head || number of the row[8] || row up to here)
//! ```
//!
//! A row is on the disk before its part is passed to the uploader, and the footer's row before
//! Commit is sent, so the journal covers everything that the server can hold, whatever ends the
//! process or the machine. Rows count up to the first that is incomplete, which a crash may have
//! torn. If a row cannot be written, because the disk is full or read-only, no further rows are
//! written: the put continues, and an interruption costs the parts after the last row.
//!
//! The file key opens the blob. It is overwritten before the file is removed, which happens when
//! the put is committed or abandoned. A later put of the vault removes journals that were not
//! touched for 30 days.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;
use zeroize::Zeroizing;
use zput_proto::{
    cursor::Cursor,
    digest::Digest,
    limits::{HEADER_MAX_BYTES, PARTS_MAX},
    name::ObjectKey,
};
use zput_seal::{
    age::FileKey,
    blob::{seal::SealedPart, transcript::Transcript},
};

use super::{
    file_identity::FileIdentity,
    locked_file::{LockedStateFile, StateFiles, row_check},
};
use crate::files::{create::sync_directory, directories::Directories, path::directory_of};

const MAGIC: &[u8; 16] = b"zput/v1/journal\n";
/// Length of a head in bytes, without its header.
const HEAD_BYTES: usize = 16 + 4 + 4 * 8 + 4 + 4 + 1 + 32 + FileKey::BYTES + 4 + Digest::BYTES;
const ROW_BYTES: usize = 1 + 8 + 64 + Digest::BYTES;
const PART: u8 = 1;
const END: u8 = 2;
/// Longest journal in bytes: one row for each possible part, and the footer's.
const JOURNAL_MAX_BYTES: u64 =
    (HEAD_BYTES + HEADER_MAX_BYTES) as u64 + (PARTS_MAX + 1) * ROW_BYTES as u64;

/// Why a journal cannot be kept.
#[derive(Debug, Error)]
#[error("cannot keep the journal {}", path.display())]
pub struct JournalError {
    /// The journal's path.
    path: PathBuf,
    /// The error of the file system.
    source: io::Error,
}

impl JournalError {
    /// Whether the disk or a quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The journals of one vault.
#[derive(Clone, Debug)]
pub(crate) struct Journals(StateFiles);

/// What identifies an interrupted put: a put resumes it only if all of this is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResumeKey {
    /// The file that is put.
    pub(crate) source: FileIdentity,
    /// Whether the blob records the SHA-256 of the plaintext.
    pub(crate) sha256: bool,
    /// BLAKE3 of the recipients: a blob that was begun for some recipients is not completed for
    /// others.
    pub(crate) recipients: Digest,
}

/// The contents of a journal.
pub(crate) struct JournalEntry {
    pub(crate) resume_key: ResumeKey,
    pub(crate) file_key: FileKey,
    pub(crate) header: Vec<u8>,
    pub(crate) parts: Vec<JournaledPart>,
    /// The footer's transcript, if its row was written: Commit may have been sent.
    pub(crate) transcript: Option<Transcript>,
}

/// A part that was sealed and possibly sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournaledPart {
    /// Length of the sealed part in bytes.
    pub(crate) length: u64,
    pub(crate) digests: SealedPart,
}

impl Journals {
    /// The journals of the vault with this id.
    pub(crate) fn of_vault(directories: &Directories, vault_id: &str) -> Self {
        Self(StateFiles::new(directories.state.join("puts").join(vault_id)))
    }

    /// Locks the journal of `key` and creates it if it is missing. `None` while another put of this
    /// key holds it.
    pub(crate) fn lock(&self, key: &ObjectKey) -> Result<Option<Arc<Journal>>, JournalError> {
        let path = self.0.path(key.as_bytes());
        let discard = |old| drop(Journal::new(old).discard());
        let locked = self.0.lock(path.clone(), discard);
        Ok(locked.map_err(|source| JournalError { path, source })?.map(Journal::new))
    }

    /// Like [`Self::lock`], but also `None` where there is no journal.
    pub(crate) fn lock_existing(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<Arc<Journal>>, JournalError> {
        let path = self.0.path(key.as_bytes());
        let locked = LockedStateFile::existing(path.clone());
        Ok(locked.map_err(|source| JournalError { path, source })?.map(Journal::new))
    }
}

/// A journal, exclusively locked while this value lives.
#[derive(Debug)]
pub(crate) struct Journal {
    locked: LockedStateFile,
    /// The first write error, after which nothing is written.
    write_error: Mutex<Option<io::Error>>,
}

impl Journal {
    fn new(locked: LockedStateFile) -> Arc<Self> {
        Arc::new(Self { locked, write_error: Mutex::default() })
    }

    /// The first write error, if there was one. It is returned once.
    pub(crate) fn take_write_error(&self) -> Option<JournalError> {
        let error = self.write_error.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(self.failed(error))
    }

    /// Writes unless an earlier write has failed. A failure does not fail the put.
    fn write(&self, write: impl FnOnce() -> io::Result<()>) {
        let mut write_error = self.write_error.lock().unwrap_or_else(PoisonError::into_inner);
        if write_error.is_none() {
            *write_error = write().err();
        }
    }

    /// Reads the journal; `None` if its head is missing or damaged.
    pub(crate) fn entry(&self) -> Result<Option<JournalEntry>, JournalError> {
        let length = self.locked.file.metadata().map_err(|error| self.failed(error))?.len();
        if length > JOURNAL_MAX_BYTES {
            return Ok(None);
        }
        // At most 28 MB. Allocated at once, so that growing leaves no copy of the key in memory.
        let mut bytes = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or(0)]);
        self.locked.file.read_exact_at(&mut bytes, 0).map_err(|error| self.failed(error))?;
        Ok(JournalEntry::parse(&bytes))
    }

    /// Replaces the contents by a new head. Head and name are on the disk when this returns, unless
    /// writing failed.
    pub(crate) fn start(
        self: &Arc<Self>,
        resume_key: &ResumeKey,
        file_key: &FileKey,
        header: &[u8],
    ) -> JournalWriter {
        let head = encode_head(resume_key, file_key, header);
        self.write(|| {
            self.wipe()?;
            self.locked.file.set_len(0)?;
            self.locked.file.write_all_at(&head, 0)?;
            self.locked.file.sync_all()?;
            sync_directory(directory_of(&self.locked.path))
        });
        self.writer(&head)
    }

    /// Continues after the rows that `entry` was read from.
    pub(crate) fn resume(self: &Arc<Self>, entry: &JournalEntry) -> JournalWriter {
        self.writer(&encode_head(&entry.resume_key, &entry.file_key, &entry.header))
    }

    fn writer(self: &Arc<Self>, head: &[u8]) -> JournalWriter {
        JournalWriter {
            journal: Arc::clone(self),
            head: Digest::of(head),
            rows_offset: head.len() as u64,
        }
    }

    /// Overwrites the file key and removes the file, durably.
    pub(crate) fn discard(&self) -> Result<(), JournalError> {
        let remove = || {
            self.wipe()?;
            fs::remove_file(&self.locked.path)?;
            sync_directory(directory_of(&self.locked.path))
        };
        remove().map_err(|error| self.failed(error))
    }

    /// Overwrites the head, and with it the file key, in place.
    fn wipe(&self) -> io::Result<()> {
        if self.locked.file.metadata()?.len() < HEAD_BYTES as u64 {
            return Ok(());
        }
        self.locked.file.write_all_at(&[0; HEAD_BYTES], 0)?;
        self.locked.file.sync_data()
    }

    fn failed(&self, source: io::Error) -> JournalError {
        JournalError { path: self.locked.path.clone(), source }
    }
}

/// Appends the rows of a blob to its journal.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    journal: Arc<Journal>,
    head: Digest,
    /// Offset of the first row in the file, in bytes.
    rows_offset: u64,
}

impl JournalWriter {
    /// Appends the row of part `index`; it is on the disk when this returns, unless writing failed.
    pub(crate) fn append_part(&self, index: u64, part: &JournaledPart) {
        let SealedPart { plaintext, ciphertext } = part.digests;
        self.append(index, PART, part.length, [*plaintext.as_bytes(), *ciphertext.as_bytes()]);
    }

    /// Appends the footer's row after `parts` parts of `total_length` bytes; it is on the disk when
    /// this returns, unless writing failed.
    pub(crate) fn append_footer(&self, parts: u64, total_length: u64, transcript: &Transcript) {
        let (mut halves, bytes) = ([[0; 32]; 2], transcript.as_bytes());
        for (half, bytes) in halves.iter_mut().zip(bytes.chunks_exact(32)) {
            half.copy_from_slice(bytes);
        }
        self.append(parts, END, total_length, halves);
    }

    /// Removes the rows after the first `parts`, whose parts are sealed again.
    pub(crate) fn truncate(&self, parts: u64) {
        let length = self.rows_offset + parts * ROW_BYTES as u64;
        self.journal.write(|| self.journal.locked.file.set_len(length));
    }

    fn append(&self, index: u64, tag: u8, length: u64, digests: [[u8; 32]; 2]) {
        let mut row = Vec::with_capacity(ROW_BYTES);
        row.push(tag);
        row.extend_from_slice(&length.to_be_bytes());
        row.extend_from_slice(digests.as_flattened());
        let row_check = row_check(&self.head, index, &row);
        row.extend_from_slice(row_check.as_bytes());
        self.journal.write(|| {
            let file = &self.journal.locked.file;
            file.write_all_at(&row, self.rows_offset + index * ROW_BYTES as u64)?;
            file.sync_data()
        });
    }
}

impl JournalEntry {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let head_length = cursor.u32()? as usize;
        let (head, rows) = bytes.split_at_checked(head_length)?;
        let (covered, stated) = head.split_last_chunk::<{ Digest::BYTES }>()?;
        if Digest::of(covered).as_bytes() != stated {
            return None;
        }
        let source = FileIdentity {
            device: cursor.u64()?,
            inode: cursor.u64()?,
            size: cursor.u64()?,
            mtime_s: i64::from_be_bytes(cursor.array()?),
            mtime_ns: cursor.u32()?,
            mode: cursor.u32()?,
        };
        let sha256 = cursor.u8()? != 0;
        let recipients = Digest::from_bytes(cursor.array()?);
        let file_key = FileKey::from_bytes(cursor.array()?);
        let header_length = cursor.u32()? as usize;
        let header = cursor.take(header_length)?.to_vec();
        let resume_key = ResumeKey { source, sha256, recipients };
        let mut entry = Self { resume_key, file_key, header, parts: Vec::new(), transcript: None };
        entry.read_rows(&Digest::of(head), rows);
        Some(entry)
    }

    /// Reads rows up to the first that is incomplete or belongs to another journal.
    fn read_rows(&mut self, head: &Digest, rows: &[u8]) {
        for (index, row) in (0..).zip(rows.chunks_exact(ROW_BYTES)) {
            let Some((covered, stated)) = row.split_last_chunk::<{ Digest::BYTES }>() else {
                return;
            };
            if row_check(head, index, covered).as_bytes() != stated {
                return;
            }
            let Some((tag, length, values)) = fields(covered) else { return };
            match tag {
                PART => {
                    let (plaintext, ciphertext) = halves(&values);
                    self.parts.push(JournaledPart {
                        length,
                        digests: SealedPart { plaintext, ciphertext },
                    });
                }
                END => {
                    self.transcript = Some(Transcript::from_bytes(values));
                    return;
                }
                _ => return,
            }
        }
    }
}

fn fields(row: &[u8]) -> Option<(u8, u64, [u8; 64])> {
    let mut cursor = Cursor::new(row);
    Some((cursor.u8()?, cursor.u64()?, cursor.array()?))
}

fn halves(values: &[u8; 64]) -> (Digest, Digest) {
    let (mut first, mut second) = ([0; 32], [0; 32]);
    first.copy_from_slice(&values[..32]);
    second.copy_from_slice(&values[32..]);
    (Digest::from_bytes(first), Digest::from_bytes(second))
}

fn encode_head(resume_key: &ResumeKey, file_key: &FileKey, header: &[u8]) -> Zeroizing<Vec<u8>> {
    let ResumeKey { source, sha256, recipients } = resume_key;
    let length = HEAD_BYTES + header.len();
    let mut head = Zeroizing::new(Vec::with_capacity(length));
    head.extend_from_slice(MAGIC);
    // A header is at most 64 KiB.
    head.extend_from_slice(&(length as u32).to_be_bytes());
    for field in [source.device, source.inode, source.size] {
        head.extend_from_slice(&field.to_be_bytes());
    }
    head.extend_from_slice(&source.mtime_s.to_be_bytes());
    head.extend_from_slice(&source.mtime_ns.to_be_bytes());
    head.extend_from_slice(&source.mode.to_be_bytes());
    head.push(u8::from(*sha256));
    head.extend_from_slice(recipients.as_bytes());
    head.extend_from_slice(file_key.as_bytes());
    head.extend_from_slice(&(header.len() as u32).to_be_bytes());
    head.extend_from_slice(header);
    let digest = Digest::of(&head);
    head.extend_from_slice(digest.as_bytes());
    head
}

#[cfg(test)]
mod tests;
