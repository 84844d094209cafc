//! Files of a mount: opened as a range of a file's bytes, or as an entry of a listing.

use std::{
    fmt,
    fs::File,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zput_proto::message::Version;

use crate::sys::tree::FileState;

/// A file of a mount, open for sending: bytes `offset..offset + length` of `file`.
#[derive(Clone, Debug)]
pub struct FoundFile {
    /// The file itself, or the archive that it lies in.
    pub file: Arc<File>,
    /// Where it begins, in bytes. It ends within the file, unless that is truncated.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// When it was last modified.
    pub modified: FileTime,
    /// Identifies these bytes: changes with the file and with the position in an archive.
    pub fingerprint: Fingerprint,
}

/// A file of a mount, as an entry of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Its path, 1 to 1,024 bytes. [`find`](super::DirMount::find) takes it, and it is a cursor of
    /// the listing.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// When it was last modified.
    pub modified: FileTime,
    /// Identifies these bytes: equal to [`FoundFile::fingerprint`] as long as the file does not
    /// change.
    pub fingerprint: Fingerprint,
}

/// A time, as file systems and archives record it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds after that, below 10^9.
    pub nanoseconds: u32,
}

/// Identifies bytes: 128 bits derived from the device, inode, size, mtime and ctime of the file
/// and, for a member of an archive, its position. Equal for the same file in the same state, and
/// for nothing else.
///
/// It relies on files being changed by putting another in their place (a rename), as everything
/// does that serves them: two changes in place that leave the size alone, within one tick of the
/// kernel's clock (usually 4 ms), look like one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

/// The context of BLAKE3's key derivation. Inode numbers are hashed so that they are not disclosed,
/// with a context of zput's own so that they cannot be looked up in a table of other servers'
/// hashes.
const CONTEXT: &str = "zput 2026 which bytes of a mount, version 1";

impl Fingerprint {
    /// The fingerprint of a whole file.
    pub(super) fn of_file(state: &FileState) -> Self {
        Self::hash(state, None)
    }

    /// The fingerprint of the bytes of an archive from `offset` on.
    pub(super) fn of_member(archive: &FileState, offset: u64, length: u64) -> Self {
        Self::hash(archive, Some((offset, length)))
    }

    fn hash(state: &FileState, range: Option<(u64, u64)>) -> Self {
        let (offset, length) = range.unwrap_or((u64::MAX, u64::MAX));
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        for number in [state.inode.0, state.inode.1, state.length, offset, length] {
            hasher.update(&number.to_be_bytes());
        }
        for (seconds, nanoseconds) in [state.modified, state.changed] {
            hasher.update(&seconds.to_be_bytes());
            hasher.update(&nanoseconds.to_be_bytes());
        }
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(bytes)
    }

    /// A strong entity tag without its quotes (RFC 9110, 8.8.3): 32 hex digits.
    #[must_use]
    pub fn etag(&self) -> String {
        hex::encode(self.0)
    }

    /// The version that peers are sent, never 0. It identifies the bytes; unlike a store's
    /// versions, it does not tell which of two is newer.
    #[must_use]
    pub fn version(&self) -> Version {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        Version(u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", hex::encode(self.0))
    }
}

impl FileTime {
    /// As a `SystemTime`; `None` outside of its range.
    #[must_use]
    pub fn time(self) -> Option<SystemTime> {
        let nanoseconds = Duration::from_nanos(self.nanoseconds.into());
        let seconds = Duration::from_secs(self.seconds.unsigned_abs());
        let whole = if self.seconds < 0 {
            UNIX_EPOCH.checked_sub(seconds)?
        } else {
            UNIX_EPOCH.checked_add(seconds)?
        };
        whole.checked_add(nanoseconds)
    }
}

impl From<(i64, u32)> for FileTime {
    fn from((seconds, nanoseconds): (i64, u32)) -> Self {
        Self { seconds, nanoseconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::EntryKind;

    /// Every field changes the fingerprint.
    #[test]
    fn fingerprint_depends_on_every_stat_field() {
        let state = FileState {
            inode: (1, 2),
            kind: EntryKind::File,
            length: 3,
            modified: (4, 5),
            changed: (6, 7),
        };
        let all = [
            Fingerprint::of_file(&state),
            Fingerprint::of_file(&FileState { inode: (0, 2), ..state }),
            Fingerprint::of_file(&FileState { inode: (1, 0), ..state }),
            Fingerprint::of_file(&FileState { length: 0, ..state }),
            Fingerprint::of_file(&FileState { modified: (0, 5), ..state }),
            Fingerprint::of_file(&FileState { modified: (4, 0), ..state }),
            Fingerprint::of_file(&FileState { changed: (0, 7), ..state }),
            Fingerprint::of_file(&FileState { changed: (6, 0), ..state }),
            Fingerprint::of_member(&state, 0, 0),
            Fingerprint::of_member(&state, 512, 0),
            Fingerprint::of_member(&state, 0, 512),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(i == j, a == b, "{i} {j}");
                assert_eq!(i == j, a.etag() == b.etag(), "{i} {j}");
                assert_eq!(i == j, a.version() == b.version(), "{i} {j}");
            }
        }
    }

    /// FileTime converts times before and after 1970 to the same SystemTime.
    #[test]
    fn file_time_before_1970_converts_exactly() {
        let time = |seconds, nanoseconds| FileTime { seconds, nanoseconds }.time().unwrap();
        assert_eq!(time(1, 5), UNIX_EPOCH + Duration::new(1, 5));
        assert_eq!(time(-1, 5), UNIX_EPOCH - Duration::new(0, 999_999_995));
    }

    /// A tag that changes with a new zserve would empty every cache in front of it.
    #[test]
    fn fingerprint_text_and_version_are_stable() {
        let bytes = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\0\0\0\0\0\0\0\x0f";
        let fingerprint = Fingerprint(bytes);
        assert_eq!(fingerprint.etag(), "0123456789abcdef000000000000000f");
        assert_eq!(fingerprint.version(), Version(0x0123_4567_89ab_cdef));
        assert_eq!(Fingerprint([0; 16]).version(), Version(1));
    }
}
