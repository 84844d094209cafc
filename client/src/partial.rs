//! A get that was interrupted: the file beside its target, and the record of what is in it.
//!
//! ```text
//! TARGET's directory/.zput-XXXXXX.tmp                    0600; whole parts, as they were verified
//! $XDG_STATE_HOME/zput/gets/SHA-256(TARGET), hex         0600; flock(2) for the life of the get
//!
//! record = head || rows
//! head   = "zput/v1/partial\n" || transcript[64] || device[8] || inode[8] || path_length[4] || path
//!          || BLAKE3 of the head up to here[32]
//! row    = BLAKE3 of the part's plaintext[32] || check[32]
//! check  = BLAKE3(BLAKE3 of the head || number of the row[8] || row up to here)
//! ```
//!
//! Nothing of it is synced: whatever a crash has left is compared with the rows before it counts, part by part, and a
//! row that was torn counts for nothing. The transcript says of which version the parts are.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use zput_common::{
    blob::transcript::Transcript,
    cursor::Cursor,
    digest::{Digest, Hasher},
    limits::PARTS_MAX,
};

use crate::{atomic::make_directory, directories::Directories};

const MAGIC: &[u8; 16] = b"zput/v1/partial\n";
const HEAD_BYTES: usize = 16 + Transcript::BYTES + 8 + 8 + 4 + Digest::BYTES;
const ROW_BYTES: usize = 2 * Digest::BYTES;
/// Longest path that is noted (Linux's PATH_MAX).
const PATH_MAX_BYTES: usize = 4096;
const RECORD_MAX_BYTES: u64 = (HEAD_BYTES + PATH_MAX_BYTES) as u64 + PARTS_MAX * ROW_BYTES as u64;
/// How long a partial file is left to somebody who may come back.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Bytes of a partial file that are compared at once.
const READ_BYTES: usize = 1024 * 1024;

/// The records of this user's interrupted gets.
#[derive(Clone, Debug)]
pub struct Partials {
    directory: PathBuf,
}

/// The record of one target, which is this get's alone for as long as this lives.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    path: PathBuf,
    /// What an earlier get has left, until this one begins anew.
    left: Option<Left>,
    head: Digest,
    rows_at: u64,
}

/// What an earlier get has left.
#[derive(Debug)]
struct Left {
    transcript: Transcript,
    partial: PathBuf,
    identity: (u64, u64),
    rows: Vec<Digest>,
}

impl Partials {
    /// Those of this user.
    #[must_use]
    pub fn of(directories: &Directories) -> Self {
        Self { directory: directories.state.join("gets") }
    }

    /// The record of `target`, if an earlier get has left one and nobody is at it now.
    pub(crate) fn existing(&self, target: &Path) -> Option<Record> {
        let record = Record::lock(self.path(target)?, false)?;
        record.left.is_some().then_some(record)
    }

    /// The record of `target`, made if there is none. None where no record can be kept, or somebody is at it: then the
    /// get starts over if it is interrupted.
    pub(crate) fn make(&self, target: &Path) -> Option<Record> {
        make_directory(&self.directory).ok()?;
        self.sweep();
        Record::lock(self.path(target)?, true)
    }

    fn path(&self, target: &Path) -> Option<PathBuf> {
        let target = std::path::absolute(target).ok()?;
        Some(self.directory.join(hex::encode(Sha256::digest(target.as_os_str().as_bytes()))))
    }

    /// Removes what nobody came back to.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let is_old = entry.metadata().is_ok_and(|metadata| {
                let age = metadata.modified().map(|time| SystemTime::now().duration_since(time));
                metadata.is_file() && matches!(age, Ok(Ok(age)) if age > KEPT)
            });
            if is_old && let Some(record) = Record::lock(entry.path(), false) {
                if let Some((_file, path)) = record.partial() {
                    let _gone = fs::remove_file(path);
                }
                record.discard();
            }
        }
    }
}

impl Record {
    fn lock(path: PathBuf, create: bool) -> Option<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(0o600);
        let file = options.open(&path).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK | _) => return None,
        }
        // Whoever had it locked may have removed it meanwhile.
        let (ours, there) = (file.metadata().ok()?, fs::symlink_metadata(&path).ok()?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return None;
        }
        let left = Left::read(&file, ours.len());
        Some(Self { file, path, left, head: Digest::of(b""), rows_at: 0 })
    }

    /// The partial file that it is about, if it is still there.
    pub(crate) fn partial(&self) -> Option<(File, PathBuf)> {
        let left = self.left.as_ref()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&left.partial).ok()?;
        let metadata = file.metadata().ok()?;
        let is_it = metadata.is_file() && (metadata.dev(), metadata.ino()) == left.identity;
        is_it.then(|| (file, left.partial.clone()))
    }

    /// How many parts of `part_bytes` of the blob with this transcript `file` holds, each compared with what was written.
    /// What is behind them is cut off, and writing goes on there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn go_on(
        &mut self,
        file: &mut File,
        transcript: &Transcript,
        part_bytes: u64,
    ) -> io::Result<u64> {
        let Some(left) = self.left.take().filter(|left| left.transcript == *transcript) else {
            return Ok(0);
        };
        let mut held = 0;
        let mut block = vec![0; READ_BYTES];
        file.seek(SeekFrom::Start(0))?;
        for expected in &left.rows {
            if digest(file, part_bytes, &mut block)? != Some(*expected) {
                break;
            }
            held += 1;
        }
        file.set_len(held * part_bytes)?;
        file.seek(SeekFrom::End(0))?;
        let head = encode_head(transcript, &left.partial, left.identity);
        (self.head, self.rows_at) = (Digest::of(&head), head.len() as u64);
        self.file.set_len(self.rows_at + held * ROW_BYTES as u64)?;
        Ok(held)
    }

    /// Begins anew, for the blob with this transcript.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn begin(
        &mut self,
        transcript: &Transcript,
        partial: &Path,
        file: &File,
    ) -> io::Result<()> {
        self.left = None;
        let (partial, metadata) = (std::path::absolute(partial)?, file.metadata()?);
        let head = encode_head(transcript, &partial, (metadata.dev(), metadata.ino()));
        (self.head, self.rows_at) = (Digest::of(&head), head.len() as u64);
        self.file.set_len(0)?;
        self.file.write_all_at(&head, 0)
    }

    /// Notes that part `index` was written.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn note(&self, index: u64, plaintext: &[u8]) -> io::Result<()> {
        let digest = Digest::of(plaintext);
        let mut row = digest.as_bytes().to_vec();
        row.extend_from_slice(check(&self.head, index, &digest).as_bytes());
        self.file.write_all_at(&row, self.rows_at + index * ROW_BYTES as u64)
    }

    /// The get is over.
    pub(crate) fn discard(self) {
        // One that stays is about a file that is no longer there, and goes with the next get to this target.
        let _gone = fs::remove_file(&self.path);
    }
}

impl Left {
    /// None where there is nothing whole.
    fn read(file: &File, length: u64) -> Option<Self> {
        if length > RECORD_MAX_BYTES {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let mut cursor = Cursor::new(&bytes);
        if cursor.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let transcript = Transcript::from_bytes(cursor.array()?);
        let identity = (cursor.u64()?, cursor.u64()?);
        let path_length = cursor.u32()? as usize;
        let path = cursor.take(path_length)?.to_vec();
        let covered = cursor.position();
        let stated: [u8; Digest::BYTES] = cursor.array()?;
        if *Digest::of(bytes.get(..covered)?).as_bytes() != stated {
            return None;
        }
        let head = Digest::of(bytes.get(..cursor.position())?);
        let rows = cursor.rest().chunks_exact(ROW_BYTES).zip(0..).map_while(|(row, index)| {
            let (digest, stated) = row.split_first_chunk::<{ Digest::BYTES }>()?;
            let digest = Digest::from_bytes(*digest);
            (check(&head, index, &digest).as_bytes() == stated).then_some(digest)
        });
        let rows = rows.collect();
        Some(Self {
            transcript,
            partial: PathBuf::from(std::ffi::OsString::from_vec(path)),
            identity,
            rows,
        })
    }
}

/// The digest of the next `length` bytes; none where there are fewer.
fn digest(file: &mut File, length: u64, block: &mut [u8]) -> io::Result<Option<Digest>> {
    let mut hasher = Hasher::new();
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        match file.read(&mut block[..most]) {
            Ok(0) => return Ok(None),
            Ok(read) => {
                hasher.update(&block[..read]);
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(hasher.finish()))
}

fn encode_head(transcript: &Transcript, partial: &Path, identity: (u64, u64)) -> Vec<u8> {
    let path = partial.as_os_str().as_bytes();
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(transcript.as_bytes());
    head.extend_from_slice(&identity.0.to_be_bytes());
    head.extend_from_slice(&identity.1.to_be_bytes());
    // The system took it for a path.
    head.extend_from_slice(&(path.len() as u32).to_be_bytes());
    head.extend_from_slice(path);
    let digest = Digest::of(&head);
    head.extend_from_slice(digest.as_bytes());
    head
}

fn check(head: &Digest, index: u64, digest: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(&index.to_be_bytes());
    hasher.update(digest.as_bytes());
    hasher.finish()
}
