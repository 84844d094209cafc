//! The journal of a put: what it takes to go on with it after an interruption.
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
//! A row is on the disk before its part is handed to the sender, so what a server holds is known here, whatever
//! ends this process or this machine; the row of the footer is, before the commit is sent. Rows count up to the
//! first that is not whole: a crash may have torn it. Where a row cannot be written, the disk being full or no
//! longer writable, none is written after it: the put goes on, and an interruption costs it what is behind the
//! last row.
//!
//! The file key opens the blob. It is overwritten before the file is removed, which happens when the put is
//! committed or given up; a journal that nobody came back to goes with a later put of the vault that
//! keeps one.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;
use zeroize::Zeroizing;
use zput_common::{
    age::FileKey,
    blob::{seal::SealedPart, transcript::Transcript},
    cursor::Cursor,
    digest::Digest,
    limits::{HEADER_MAX_BYTES, PARTS_MAX},
    name::ObjectKey,
};

use crate::{
    atomic::{directory_of, sync_directory},
    directories::Directories,
    source::Identity,
    unfinished::{Locked, Unfinished, check},
};

const MAGIC: &[u8; 16] = b"zput/v1/journal\n";
/// Bytes of a head around its header.
const HEAD_BYTES: usize = 16 + 4 + 4 * 8 + 4 + 4 + 1 + 32 + FileKey::BYTES + 4 + Digest::BYTES;
const ROW_BYTES: usize = 1 + 8 + 64 + Digest::BYTES;
const PART: u8 = 1;
const END: u8 = 2;
/// Longest journal: as many rows as a blob has parts, and the footer's.
const JOURNAL_MAX_BYTES: u64 =
    (HEAD_BYTES + HEADER_MAX_BYTES) as u64 + (PARTS_MAX + 1) * ROW_BYTES as u64;

/// Why a journal cannot be kept.
#[derive(Debug, Error)]
#[error(
    "cannot keep the journal {}: {error} (XDG_STATE_HOME names another place for it; --no-resume puts \
     without one)",
    path.display()
)]
pub struct JournalError {
    /// Which file.
    path: PathBuf,
    /// Why not.
    error: io::Error,
}

impl JournalError {
    /// Whether the disk or a quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The journals of one vault.
#[derive(Clone, Debug)]
pub(crate) struct Journals(Unfinished);

/// What a put is of: another one goes on with it if all of this is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// What is put.
    pub(crate) source: Identity,
    /// Whether the SHA-256 of the plaintext is noted in the blob.
    pub(crate) sha256: bool,
    /// Of the recipients: a blob is not ended for others than it would be begun for.
    pub(crate) recipients: Digest,
}

/// What was sealed when the put was interrupted.
pub(crate) struct Entry {
    pub(crate) subject: Subject,
    pub(crate) file_key: FileKey,
    pub(crate) header: Vec<u8>,
    pub(crate) parts: Vec<JournaledPart>,
    /// The transcript of the footer, where it came to that: the commit may have been sent.
    pub(crate) end: Option<Transcript>,
}

/// A part that was sealed and, perhaps, sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournaledPart {
    /// Bytes of the sealed part.
    pub(crate) length: u64,
    pub(crate) digests: SealedPart,
}

impl Journals {
    /// The journals of the vault with this id.
    pub(crate) fn of_vault(directories: &Directories, vault_id: &str) -> Self {
        Self(Unfinished::new(directories.state.join("puts").join(vault_id)))
    }

    /// Locks the journal of `key`, an empty one if there is none; none at all where another put of this key is under
    /// way.
    pub(crate) fn lock(&self, key: &ObjectKey) -> Result<Option<Arc<Journal>>, JournalError> {
        let path = self.0.path(key.as_bytes());
        let discard = |old| drop(Journal::of(old).discard());
        let locked = self.0.lock(path.clone(), discard);
        Ok(locked.map_err(|error| JournalError { path, error })?.map(Journal::of))
    }

    /// The same; none where there is no journal, either.
    pub(crate) fn lock_existing(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<Arc<Journal>>, JournalError> {
        let path = self.0.path(key.as_bytes());
        let locked = Locked::existing(path.clone());
        Ok(locked.map_err(|error| JournalError { path, error })?.map(Journal::of))
    }
}

/// A journal that is this put's alone, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Journal {
    locked: Locked,
    /// Why nothing more is written.
    broken: Mutex<Option<io::Error>>,
}

impl Journal {
    fn of(locked: Locked) -> Arc<Self> {
        Arc::new(Self { locked, broken: Mutex::default() })
    }

    /// Why rows are missing, if any are. It is told once.
    pub(crate) fn broken(&self) -> Option<JournalError> {
        let error = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(self.failed(error))
    }

    /// Writes, unless an earlier write has failed; whether it can is no matter of the put.
    fn write(&self, write: impl FnOnce() -> io::Result<()>) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.is_none() {
            *broken = write().err();
        }
    }

    /// What an interrupted put left; none where there is nothing whole.
    pub(crate) fn entry(&self) -> Result<Option<Entry>, JournalError> {
        let length = self.locked.file.metadata().map_err(|error| self.failed(error))?.len();
        if length > JOURNAL_MAX_BYTES {
            return Ok(None);
        }
        // At most 28 MB; allocated at once, so that no copy of the key is left behind by growing.
        let mut bytes = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or(0)]);
        self.locked.file.read_exact_at(&mut bytes, 0).map_err(|error| self.failed(error))?;
        Ok(Entry::parse(&bytes))
    }

    /// Begins anew, in place of what is there: head and name are on the disk when this returns.
    pub(crate) fn begin(
        self: &Arc<Self>,
        subject: &Subject,
        file_key: &FileKey,
        header: &[u8],
    ) -> Rows {
        let head = encode_head(subject, file_key, header);
        self.write(|| {
            self.wipe()?;
            self.locked.file.set_len(0)?;
            self.locked.file.write_all_at(&head, 0)?;
            self.locked.file.sync_all()?;
            sync_directory(directory_of(&self.locked.path))
        });
        self.rows(&head)
    }

    /// Goes on behind what `entry` was read from.
    pub(crate) fn resume(self: &Arc<Self>, entry: &Entry) -> Rows {
        self.rows(&encode_head(&entry.subject, &entry.file_key, &entry.header))
    }

    fn rows(self: &Arc<Self>, head: &[u8]) -> Rows {
        Rows { journal: Arc::clone(self), head: Digest::of(head), begin: head.len() as u64 }
    }

    /// The put is over: overwrites the file key and removes the file, durably.
    pub(crate) fn discard(&self) -> Result<(), JournalError> {
        let remove = || {
            self.wipe()?;
            fs::remove_file(&self.locked.path)?;
            sync_directory(directory_of(&self.locked.path))
        };
        remove().map_err(|error| self.failed(error))
    }

    /// Overwrites the file key where it lies.
    fn wipe(&self) -> io::Result<()> {
        if self.locked.file.metadata()?.len() < HEAD_BYTES as u64 {
            return Ok(());
        }
        self.locked.file.write_all_at(&[0; HEAD_BYTES], 0)?;
        self.locked.file.sync_data()
    }

    fn failed(&self, error: io::Error) -> JournalError {
        JournalError { path: self.locked.path.clone(), error }
    }
}

/// Where the parts of the blob under way are noted.
#[derive(Debug)]
pub(crate) struct Rows {
    journal: Arc<Journal>,
    head: Digest,
    /// Where they begin in the file.
    begin: u64,
}

impl Rows {
    /// Notes part `index`; it is on the disk when this returns.
    pub(crate) fn note_part(&self, index: u64, part: &JournaledPart) {
        let SealedPart { plaintext, ciphertext } = part.digests;
        self.note(index, PART, part.length, [*plaintext.as_bytes(), *ciphertext.as_bytes()]);
    }

    /// Notes the footer, behind `parts` parts of `total_length` bytes; it is on the disk when this returns.
    pub(crate) fn note_end(&self, parts: u64, total_length: u64, transcript: &Transcript) {
        let (mut halves, bytes) = ([[0; 32]; 2], transcript.as_bytes());
        for (half, bytes) in halves.iter_mut().zip(bytes.chunks_exact(32)) {
            half.copy_from_slice(bytes);
        }
        self.note(parts, END, total_length, halves);
    }

    /// Forgets what is behind the first `parts` rows: those are sealed again.
    pub(crate) fn cut(&self, parts: u64) {
        let length = self.begin + parts * ROW_BYTES as u64;
        self.journal.write(|| self.journal.locked.file.set_len(length));
    }

    fn note(&self, index: u64, tag: u8, length: u64, digests: [[u8; 32]; 2]) {
        let mut row = Vec::with_capacity(ROW_BYTES);
        row.push(tag);
        row.extend_from_slice(&length.to_be_bytes());
        row.extend_from_slice(digests.as_flattened());
        let check = check(&self.head, index, &row);
        row.extend_from_slice(check.as_bytes());
        self.journal.write(|| {
            let file = &self.journal.locked.file;
            file.write_all_at(&row, self.begin + index * ROW_BYTES as u64)?;
            file.sync_data()
        });
    }
}

impl Entry {
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
        let source = Identity {
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
        let subject = Subject { source, sha256, recipients };
        let mut entry = Self { subject, file_key, header, parts: Vec::new(), end: None };
        entry.read_rows(&Digest::of(head), rows);
        Some(entry)
    }

    /// Up to the first that is not whole, or not this journal's.
    fn read_rows(&mut self, head: &Digest, rows: &[u8]) {
        for (index, row) in (0..).zip(rows.chunks_exact(ROW_BYTES)) {
            let Some((covered, stated)) = row.split_last_chunk::<{ Digest::BYTES }>() else {
                return;
            };
            if check(head, index, covered).as_bytes() != stated {
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
                    self.end = Some(Transcript::from_bytes(values));
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

fn encode_head(subject: &Subject, file_key: &FileKey, header: &[u8]) -> Zeroizing<Vec<u8>> {
    let Subject { source, sha256, recipients } = subject;
    let length = HEAD_BYTES + header.len();
    let mut head = Zeroizing::new(Vec::with_capacity(length));
    head.extend_from_slice(MAGIC);
    // A header has at most 64 KiB.
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
#[path = "journal/tests.rs"]
mod tests;
