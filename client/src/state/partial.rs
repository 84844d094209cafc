//! An interrupted get: the partial file beside its target, and the state file that lists its parts.
//!
//! ```text
//! TARGET's directory/.zput-XXXXXX.tmp                    0600; whole parts, as they were verified
//! $XDG_STATE_HOME/zput/gets/SHA-256(TARGET), hex         0600; flock(2) for the life of the get
//!
//! record = head || rows
//! head   = "zput/v1/partial\n" || transcript[64] || device[8] || inode[8] || born[8] || path_length[4] || path
//!          || BLAKE3 of the head up to here[32]
//! row    = BLAKE3 of the part's plaintext[32] || check[32]
//! check  = BLAKE3(BLAKE3 of the head || number of the row[8] || row up to here)
//! ```
//!
//! Neither file is synced. Whatever a crash leaves, each part is compared with its row before it
//! counts, and a torn row does not count. The transcript identifies the version of the parts.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use rustix::fs::OFlags;
use zput_proto::{
    cursor::Cursor,
    digest::{Digest, Hasher},
    limits::PARTS_MAX,
};
use zput_seal::blob::transcript::Transcript;

use super::locked_file::{LockedStateFile, StateFiles, row_check};
use crate::files::directories::Directories;

const MAGIC: &[u8; 16] = b"zput/v1/partial\n";
const HEAD_BYTES: usize = 16 + Transcript::BYTES + 3 * 8 + 4 + Digest::BYTES;
const ROW_BYTES: usize = 2 * Digest::BYTES;
/// Longest path that is recorded, in bytes (Linux's PATH_MAX).
const PATH_MAX_BYTES: usize = 4096;
const RECORD_MAX_BYTES: u64 = (HEAD_BYTES + PATH_MAX_BYTES) as u64 + PARTS_MAX * ROW_BYTES as u64;
/// Bytes of a partial file that are hashed at once.
const READ_BYTES: usize = 1024 * 1024;

/// The state files of this user's interrupted gets.
#[derive(Clone, Debug)]
pub struct PartialDownloads(StateFiles);

/// The state file of one target, exclusively locked while this value lives.
#[derive(Debug)]
pub(crate) struct PartialDownload {
    locked: LockedStateFile,
    /// What an earlier get left, until this one starts over or resumes.
    previous: Option<Previous>,
    head: Digest,
    rows_offset: u64,
}

/// The contents of the state file of an earlier get.
#[derive(Debug)]
struct Previous {
    transcript: Transcript,
    partial: PathBuf,
    identity: PartialFileId,
    rows: Vec<Digest>,
}

/// Identifies a file beyond its name. An inode number is reused, often for the next file, so the
/// birth time is compared too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PartialFileId {
    device: u64,
    inode: u64,
    /// Birth time in ns since 1970; 0 where the file system does not record it.
    birth_ns: u64,
}

impl PartialDownloads {
    /// The state files of this user.
    #[must_use]
    pub fn of(directories: &Directories) -> Self {
        Self(StateFiles::new(directories.state.join("gets")))
    }

    /// Locks the state file of `target`. `None` if no earlier get left one, or another process
    /// holds it.
    pub(crate) fn existing(&self, target: &Path) -> Option<PartialDownload> {
        let record = PartialDownload::new(LockedStateFile::existing(self.path(target)?).ok()??);
        record.previous.is_some().then_some(record)
    }

    /// Locks the state file of `target` and creates it if it is missing. `None` if that fails or
    /// another process holds it; the get then starts over if it is interrupted.
    pub(crate) fn create(&self, target: &Path) -> Option<PartialDownload> {
        let locked = self.0.lock(self.path(target)?, |old| {
            let record = PartialDownload::new(old);
            if let Some((_file, path)) = record.partial() {
                let _removed = fs::remove_file(path);
            }
            record.discard();
        });
        locked.ok()?.map(PartialDownload::new)
    }

    fn path(&self, target: &Path) -> Option<PathBuf> {
        let target = std::path::absolute(target).ok()?;
        Some(self.0.path(target.as_os_str().as_bytes()))
    }
}

impl PartialDownload {
    fn new(locked: LockedStateFile) -> Self {
        let length = locked.file.metadata().map_or(0, |metadata| metadata.len());
        let previous = Previous::read(&locked.file, length);
        Self { locked, previous, head: Digest::of(b""), rows_offset: 0 }
    }

    /// Opens the partial file that an earlier get left, if it is still there.
    pub(crate) fn partial(&self) -> Option<(File, PathBuf)> {
        let previous = self.previous.as_ref()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&previous.partial).ok()?;
        let metadata = file.metadata().ok()?;
        let is_same = metadata.is_file() && PartialFileId::of(&metadata) == previous.identity;
        is_same.then(|| (file, previous.partial.clone()))
    }

    /// Number of parts of `part_bytes` in `file` that belong to the blob with this transcript; each
    /// is compared with its row. What follows them is cut off, and writing continues there.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn resume(
        &mut self,
        file: &mut File,
        transcript: &Transcript,
        part_bytes: u64,
    ) -> io::Result<u64> {
        let Some(previous) =
            self.previous.take().filter(|previous| previous.transcript == *transcript)
        else {
            return Ok(0);
        };
        let mut held = 0;
        let mut block = vec![0; READ_BYTES];
        file.seek(SeekFrom::Start(0))?;
        for expected in &previous.rows {
            if digest(file, part_bytes, &mut block)? != Some(*expected) {
                break;
            }
            held += 1;
        }
        file.set_len(held * part_bytes)?;
        file.seek(SeekFrom::End(0))?;
        let head = encode_head(transcript, &previous.partial, previous.identity);
        (self.head, self.rows_offset) = (Digest::of(&head), head.len() as u64);
        self.locked.file.set_len(self.rows_offset + held * ROW_BYTES as u64)?;
        Ok(held)
    }

    /// Starts over for the blob with this transcript, whose plaintext goes to `file` at `partial`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn begin(
        &mut self,
        transcript: &Transcript,
        partial: &Path,
        file: &File,
    ) -> io::Result<()> {
        self.previous = None;
        let (partial, metadata) = (std::path::absolute(partial)?, file.metadata()?);
        let head = encode_head(transcript, &partial, PartialFileId::of(&metadata));
        (self.head, self.rows_offset) = (Digest::of(&head), head.len() as u64);
        self.locked.file.set_len(0)?;
        self.locked.file.write_all_at(&head, 0)
    }

    /// Records that part `index` was written.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn append(&self, index: u64, plaintext: &[u8]) -> io::Result<()> {
        let digest = Digest::of(plaintext);
        let mut row = digest.as_bytes().to_vec();
        row.extend_from_slice(row_check(&self.head, index, digest.as_bytes()).as_bytes());
        self.locked.file.write_all_at(&row, self.rows_offset + index * ROW_BYTES as u64)
    }

    /// Removes the state file: the get is complete or cannot be resumed.
    pub(crate) fn discard(self) {
        // A state file that cannot be removed is about a file that is gone; the next get to this
        // target replaces it.
        let _removed = fs::remove_file(&self.locked.path);
    }
}

impl PartialFileId {
    fn of(metadata: &Metadata) -> Self {
        let birth_ns =
            metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let birth_ns =
            birth_ns.and_then(|birth_ns| u64::try_from(birth_ns.as_nanos()).ok()).unwrap_or(0);
        Self { device: metadata.dev(), inode: metadata.ino(), birth_ns }
    }
}

impl Previous {
    /// `None` if the head is missing or damaged.
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
        let identity =
            PartialFileId { device: cursor.u64()?, inode: cursor.u64()?, birth_ns: cursor.u64()? };
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
            (row_check(&head, index, digest.as_bytes()).as_bytes() == stated).then_some(digest)
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

/// BLAKE3 of the next `length` bytes; `None` if there are fewer.
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

fn encode_head(transcript: &Transcript, partial: &Path, identity: PartialFileId) -> Vec<u8> {
    let path = partial.as_os_str().as_bytes();
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(transcript.as_bytes());
    for field in [identity.device, identity.inode, identity.birth_ns] {
        head.extend_from_slice(&field.to_be_bytes());
    }
    // The kernel accepted this path, so its length fits.
    head.extend_from_slice(&(path.len() as u32).to_be_bytes());
    head.extend_from_slice(path);
    let digest = Digest::of(&head);
    head.extend_from_slice(digest.as_bytes());
    head
}
