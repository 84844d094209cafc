//! Attributes of files that a blob records: mode and time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zput_proto::name::BlobName;
use zput_seal::blob::metadata::{MODE_MASK, Metadata};

/// Attributes that an output file takes from its blob's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits; only `0o777` of them are used, without those that the umask clears.
    pub mode: u32,
    /// Modification time: seconds since 1970.
    pub mtime_s: i64,
    /// Nanoseconds within that second.
    pub mtime_ns: u32,
}

impl Attributes {
    /// Attributes of a stream, which has none of its own: the current time, and mode 0600.
    pub(crate) fn of_stream() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            mode: 0o600,
            mtime_s: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            mtime_ns: now.subsec_nanos(),
        }
    }

    /// The metadata of a blob of this name. The mode loses the bits that metadata has no place for.
    pub(crate) fn to_metadata(self, name: BlobName) -> Metadata {
        let mut metadata = Metadata::new(name);
        metadata.mtime_s = self.mtime_s;
        metadata.mtime_ns = self.mtime_ns;
        metadata.mode = self.mode & MODE_MASK;
        metadata
    }

    /// The modification time; `None` if the system cannot represent it.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        let seconds = Duration::from_secs(self.mtime_s.unsigned_abs());
        let whole = if self.mtime_s >= 0 {
            SystemTime::UNIX_EPOCH.checked_add(seconds)?
        } else {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)?
        };
        whole.checked_add(Duration::from_nanos(u64::from(self.mtime_ns)))
    }
}

/// The attributes that an output file takes from a blob's metadata.
impl From<&Metadata> for Attributes {
    fn from(metadata: &Metadata) -> Self {
        Self { mode: metadata.mode, mtime_s: metadata.mtime_s, mtime_ns: metadata.mtime_ns }
    }
}
