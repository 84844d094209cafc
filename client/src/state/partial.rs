//! A get that was interrupted: the file beside its target, and the record of what is in it.
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
//! Nothing of it is synced: whatever a crash has left is compared with the rows before it counts, part by part, and a
//! row that was torn counts for nothing. The transcript says of which version the parts are.

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
use zput_common::{
    blob::transcript::Transcript,
    cursor::Cursor,
    digest::{Digest, Hasher},
    limits::PARTS_MAX,
};

use crate::{
    directories::Directories,
    unfinished::{Locked, Unfinished, check},
};

const MAGIC: &[u8; 16] = b"zput/v1/partial\n";
const HEAD_BYTES: usize = 16 + Transcript::BYTES + 3 * 8 + 4 + Digest::BYTES;
const ROW_BYTES: usize = 2 * Digest::BYTES;
/// Longest path that is noted (Linux's PATH_MAX).
const PATH_MAX_BYTES: usize = 4096;
const RECORD_MAX_BYTES: u64 = (HEAD_BYTES + PATH_MAX_BYTES) as u64 + PARTS_MAX * ROW_BYTES as u64;
/// Bytes of a partial file that are compared at once.
const READ_BYTES: usize = 1024 * 1024;

/// The records of this user's interrupted gets.
#[derive(Clone, Debug)]
pub struct Partials(Unfinished);

/// The record of one target, which is this get's alone for as long as this lives.
#[derive(Debug)]
pub(crate) struct PartialRecord {
    locked: Locked,
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
    identity: Identity,
    rows: Vec<Digest>,
}

/// What tells a file from another one of the same name. The number of a file that was removed is given to a new one,
/// often to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// In ns since 1970; 0 where the file system does not say.
    born: u64,
}

impl Partials {
    /// Those of this user.
    #[must_use]
    pub fn of(directories: &Directories) -> Self {
        Self(Unfinished::new(directories.state.join("gets")))
    }

    /// The record of `target`, if an earlier get has left one and nobody is at it now.
    pub(crate) fn existing(&self, target: &Path) -> Option<PartialRecord> {
        let record = PartialRecord::of(Locked::existing(self.path(target)?).ok()??);
        record.left.is_some().then_some(record)
    }

    /// The record of `target`, made if there is none. None where no record can be kept, or somebody is at it: then the
    /// get starts over if it is interrupted.
    pub(crate) fn make(&self, target: &Path) -> Option<PartialRecord> {
        let locked = self.0.lock(self.path(target)?, |old| {
            let record = PartialRecord::of(old);
            if let Some((_file, path)) = record.partial() {
                let _gone = fs::remove_file(path);
            }
            record.discard();
        });
        locked.ok()?.map(PartialRecord::of)
    }

    fn path(&self, target: &Path) -> Option<PathBuf> {
        let target = std::path::absolute(target).ok()?;
        Some(self.0.path(target.as_os_str().as_bytes()))
    }
}

impl PartialRecord {
    fn of(locked: Locked) -> Self {
        let length = locked.file.metadata().map_or(0, |metadata| metadata.len());
        let left = Left::read(&locked.file, length);
        Self { locked, left, head: Digest::of(b""), rows_at: 0 }
    }

    /// The partial file that it is about, if it is still there.
    pub(crate) fn partial(&self) -> Option<(File, PathBuf)> {
        let left = self.left.as_ref()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&left.partial).ok()?;
        let metadata = file.metadata().ok()?;
        let is_it = metadata.is_file() && Identity::of(&metadata) == left.identity;
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
        self.locked.file.set_len(self.rows_at + held * ROW_BYTES as u64)?;
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
        let head = encode_head(transcript, &partial, Identity::of(&metadata));
        (self.head, self.rows_at) = (Digest::of(&head), head.len() as u64);
        self.locked.file.set_len(0)?;
        self.locked.file.write_all_at(&head, 0)
    }

    /// Notes that part `index` was written.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn note(&self, index: u64, plaintext: &[u8]) -> io::Result<()> {
        let digest = Digest::of(plaintext);
        let mut row = digest.as_bytes().to_vec();
        row.extend_from_slice(check(&self.head, index, digest.as_bytes()).as_bytes());
        self.locked.file.write_all_at(&row, self.rows_at + index * ROW_BYTES as u64)
    }

    /// The get is over.
    pub(crate) fn discard(self) {
        // One that stays is about a file that is no longer there, and goes with the next get to this target.
        let _gone = fs::remove_file(&self.locked.path);
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|born| u64::try_from(born.as_nanos()).ok()).unwrap_or(0);
        Self { device: metadata.dev(), inode: metadata.ino(), born }
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
        let identity =
            Identity { device: cursor.u64()?, inode: cursor.u64()?, born: cursor.u64()? };
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
            (check(&head, index, digest.as_bytes()).as_bytes() == stated).then_some(digest)
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

fn encode_head(transcript: &Transcript, partial: &Path, identity: Identity) -> Vec<u8> {
    let path = partial.as_os_str().as_bytes();
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(transcript.as_bytes());
    for field in [identity.device, identity.inode, identity.born] {
        head.extend_from_slice(&field.to_be_bytes());
    }
    // The system took it for a path.
    head.extend_from_slice(&(path.len() as u32).to_be_bytes());
    head.extend_from_slice(path);
    let digest = Digest::of(&head);
    head.extend_from_slice(digest.as_bytes());
    head
}
