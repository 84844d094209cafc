//! What a mount gives: a stretch of an open file, or an entry of a listing.

use std::{
    fmt,
    fs::File,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zput_common::proto::message::Version;

use crate::sys::tree::State;

/// A file of a mount, ready to be sent: bytes `offset..offset + length` of `file`.
#[derive(Clone, Debug)]
pub struct Found {
    /// The file itself, or the archive that it lies in.
    pub file: Arc<File>,
    /// Where it begins, in bytes. It ends within the file, as long as nobody truncates that.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// When it was last modified.
    pub modified: Modified,
    /// Which bytes these are.
    pub identity: Identity,
}

/// A file of a mount, in a page of its listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path, 1 to 1,024 bytes: what finds it, and a cursor of the listing.
    pub path: String,
    /// Bytes.
    pub length: u64,
    /// When it was last modified.
    pub modified: Modified,
    /// Which bytes these are: the same as [`Found::identity`] as long as the file does not change.
    pub identity: Identity,
}

/// A moment, as file systems and archives keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Modified {
    /// Seconds since 1970; negative ones before.
    pub seconds: i64,
    /// Nanoseconds after that, below 10^9.
    pub nanoseconds: u32,
}

/// Which bytes these are: 128 bits made of the device, inode, size, mtime and ctime of the file, and for a
/// member of an archive of its place. Equal for the same file at the same state, and for nothing else.
///
/// It relies on whoever changes a file to put another in its place (a rename), as everything does that serves it:
/// two changes in place that leave the size alone, within one tick of the kernel's clock (4 ms is usual), look like one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 16]);

/// BLAKE3's key derivation: inode numbers are nobody's business, and cannot be looked up in a table of other servers.
const CONTEXT: &str = "zput 2026 which bytes of a mount, version 1";

impl Identity {
    /// Of a whole file.
    pub(super) fn of_file(state: &State) -> Self {
        Self::of(state, None)
    }

    /// Of what lies in an archive at `offset`.
    pub(super) fn of_member(archive: &State, offset: u64, length: u64) -> Self {
        Self::of(archive, Some((offset, length)))
    }

    fn of(state: &State, place: Option<(u64, u64)>) -> Self {
        let (offset, length) = place.unwrap_or((u64::MAX, u64::MAX));
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

    /// A strong entity tag without its quotes (RFC 9110, 8.8.3): 32 digits.
    #[must_use]
    pub fn etag(&self) -> String {
        hex::encode(self.0)
    }

    /// The version that peers are told. Unlike a store's it says which one, and not which is newer. Never 0.
    #[must_use]
    pub fn version(&self) -> Version {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        Version(u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", hex::encode(self.0))
    }
}

impl Modified {
    /// The same by the system's clock, where that reaches so far.
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

impl From<(i64, u32)> for Modified {
    fn from((seconds, nanoseconds): (i64, u32)) -> Self {
        Self { seconds, nanoseconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::EntryKind;

    /// Whatever differs, the identity does.
    #[test]
    fn every_field_counts() {
        let state = State {
            inode: (1, 2),
            kind: EntryKind::File,
            length: 3,
            modified: (4, 5),
            changed: (6, 7),
        };
        let all = [
            Identity::of_file(&state),
            Identity::of_file(&State { inode: (0, 2), ..state }),
            Identity::of_file(&State { inode: (1, 0), ..state }),
            Identity::of_file(&State { length: 0, ..state }),
            Identity::of_file(&State { modified: (0, 5), ..state }),
            Identity::of_file(&State { modified: (4, 0), ..state }),
            Identity::of_file(&State { changed: (0, 7), ..state }),
            Identity::of_file(&State { changed: (6, 0), ..state }),
            Identity::of_member(&state, 0, 0),
            Identity::of_member(&state, 512, 0),
            Identity::of_member(&state, 0, 512),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(i == j, a == b, "{i} {j}");
                assert_eq!(i == j, a.etag() == b.etag(), "{i} {j}");
                assert_eq!(i == j, a.version() == b.version(), "{i} {j}");
            }
        }
    }

    #[test]
    fn moments_are_those_of_the_clock() {
        let time = |seconds, nanoseconds| Modified { seconds, nanoseconds }.time().unwrap();
        assert_eq!(time(1, 5), UNIX_EPOCH + Duration::new(1, 5));
        assert_eq!(time(-1, 5), UNIX_EPOCH - Duration::new(0, 999_999_995));
    }

    /// A tag that moves with a new zserve empties every cache in front of it.
    #[test]
    fn it_stays_what_it_was() {
        let bytes = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\0\0\0\0\0\0\0\x0f";
        let identity = Identity(bytes);
        assert_eq!(identity.etag(), "0123456789abcdef000000000000000f");
        assert_eq!(identity.version(), Version(0x0123_4567_89ab_cdef));
        assert_eq!(Identity([0; 16]).version(), Version(1));
    }
}
