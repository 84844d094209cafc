//! Errors of a store.

use std::io;

use thiserror::Error;
use zput_proto::{
    envelope::{EnvelopeError, FooterError, HeaderError, SlicesError},
    message::{ErrorCode, Version},
};

/// Why an operation on a store failed. No message contains a secret. The only paths in
/// messages are those of files within the store, whose names contain nothing that a client chose.
#[derive(Debug, Error)]
pub enum StoreError {
    // Opening.
    /// The path leads to a file.
    #[error("this is not a directory")]
    NotADirectory,
    /// The directory holds files and is not a store.
    #[error(
        "this directory is neither empty nor a store (it has no zput-store.toml): name an empty one"
    )]
    NotAStore,
    /// There is a `server.key` and no `zput-store.toml`: a part of a store.
    #[error(
        "this directory has a store's server.key and no zput-store.toml: it is a part of a store, \
         or an unfinished copy; copy all files of the store"
    )]
    IncompleteCopy,
    /// There is no store, and the caller did not allow creating one.
    #[error(
        "no store is there (no zput-store.toml): name the directory that zserve serves, or start \
         zserve on it first"
    )]
    NoStore,
    /// The store was created by a newer version of zput.
    #[error(
        "this store has format {found}, this zput knows format {}: use a newer zput",
        super::layout::FORMAT
    )]
    NewerFormat {
        /// The format number in `zput-store.toml`.
        found: u64,
    },
    /// The store was made by a version of zput from before the first release.
    #[error(
        "this store has format {found}, from before the first release of zput; this zput knows \
         format {} and converts no store: get what is in it with the zput that made it, and put \
         that into a new directory",
        super::layout::FORMAT
    )]
    OlderFormat {
        /// The format number in `zput-store.toml`.
        found: u64,
    },
    /// `zput-store.toml` has a word in `incompatible` that this version does not know.
    #[error(
        "this store has the feature {0:?}, which this zput does not know: use the zput that made \
         or changed it"
    )]
    UnknownFeature(String),
    /// `zput-store.toml` lacks a word that each store of this version has.
    #[error(
        "this store does not have the feature {0:?}, so another version of zput made it: use that \
         one"
    )]
    MissingFeature(&'static str),
    /// The directory cannot be written to.
    #[error("this directory cannot be written to: {0}")]
    NotWritable(#[source] io::Error),
    /// A directory or a file of the layout is missing, or is of another kind (a symbolic link,
    /// say).
    #[error("the store's {0} is missing or is not what a store makes: restore it from a backup")]
    Missing(String),
    /// `zput-store.toml` or `server.key` cannot be parsed.
    #[error("the store's {0} is damaged: restore it from a backup")]
    Damaged(&'static str),

    // Objects.
    /// There is no such object, or no such version of it.
    #[error("no such object or version")]
    NotFound,
    /// The condition does not hold. Contains the current version, if there is one.
    #[error("the condition does not hold: the current version is another one, or there is none")]
    Exists(Option<Version>),
    /// The limit of uploads in progress (OPERATIONS: 1024) is reached.
    #[error("the limit of uploads in progress is reached")]
    TooManyUploads,
    /// The limit of claims that are read at once is reached.
    #[error("the limit of claims in progress is reached")]
    TooManyClaims,
    /// Another connection or process holds the upload's lease or its file's lock.
    #[error("the upload is in use by another connection or process, or is being committed")]
    InUse,
    /// Another thread or process has had a lock for as long as a change waits for it.
    #[error("another writer has had the lock for 5 seconds: try again")]
    Locked,
    /// Versions of an object, or objects of a shard, were moved at each of five looks.
    #[error("writers change what is looked for too often: try again")]
    Changing,
    /// An fsync of this store has failed, and the store has not been verified since.
    #[error(
        "an fsync of this store failed: the store takes no writes until \"zserve check \
         --clear-suspect\" has read it from the disk"
    )]
    Suspect,
    /// The file system or the permissions allow no writes.
    #[error("this store is read-only: {0}")]
    ReadOnly(io::Error),
    /// The store's directory was unmounted, moved or removed, or another directory took its place.
    #[error(
        "the store's directory was moved, unmounted or replaced: nothing is written until it is \
         back in its place, or the server is restarted"
    )]
    Displaced,
    /// Another process is verifying the store already.
    #[error("this store is being verified already: wait for that to end")]
    Verifying,
    /// An object file whose record does not hold: bit rot, or a file that was changed by hand.
    #[error("a stored object is damaged: {0}")]
    Corrupt(#[from] Corruption),
    /// Other threads or processes have had the file `clock` for 5 s.
    #[error("the store's clock file is in use: try again")]
    ClockInUse,
    /// The file `clock` is missing or damaged, and is being made anew.
    #[error("the store's clock file is missing or damaged, and is made anew: try again")]
    ClockLost,
    /// There is no version number above this one.
    #[error("no version is left above {0}")]
    VersionsExhausted(Version),
    /// A section lies outside the object, or the object has no such section.
    #[error("a section lies outside the object")]
    Range,

    // Uploads.
    /// A slice does not match its digest.
    #[error("a slice does not match its digest")]
    Digest,
    /// A current or earlier version has as high a generation. Clients that have seen that version
    /// would take the new one for a rollback.
    #[error("the generation is not higher than that of the current or an earlier version, {there}")]
    Older {
        /// The highest generation among those versions.
        there: u64,
    },
    /// The generation is further ahead of this server's clock than clocks may differ.
    #[error(
        "the generation is more than a day ahead of this server's clock, which says {clock_ns}"
    )]
    Ahead {
        /// The server's clock, in nanoseconds since 1970.
        clock_ns: u64,
    },
    /// The upload has ended: an earlier call failed or committed it.
    #[error("the upload is gone")]
    UploadGone,
    /// A newer connection of the same device has the upload now.
    #[error("a newer connection of this device has taken the upload over")]
    TakenOver,
    /// The upload violates the format.
    #[error("the object breaks the format: {0}")]
    Malformed(#[from] FormatViolation),

    // Accounts.
    /// An invite that this store did not make, or that was redeemed already.
    #[error("unknown or used invite")]
    InviteUnknown,
    /// An invite whose validity has ended.
    #[error("this invite has expired")]
    InviteExpired,
    /// A label longer than 64 bytes, or with control characters.
    #[error("a label has at most 64 bytes and no control characters")]
    Label,
    /// A cursor that no page of a listing returned.
    #[error("invalid cursor of a listing")]
    Cursor,
    /// An account or an invite file that cannot be parsed, perhaps after an edit.
    #[error("{file} is damaged: {what}")]
    Account {
        /// The file's path from the store's directory.
        file: String,
        /// What is wrong with it.
        what: String,
    },

    // The system.
    /// A file or directory of the store exists and cannot be read: permissions, or a failing disk.
    #[error("cannot {doing} ({file}): {source}")]
    Unreadable {
        /// What the store was doing, completing "cannot …".
        doing: &'static str,
        /// The file's path from the store's directory.
        file: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// A system call failed.
    #[error(
        "cannot {doing}{}: {source}",
        file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default()
    )]
    Io {
        /// What the store was doing, completing "cannot …".
        doing: &'static str,
        /// The file's path from the store's directory, where it has a name.
        file: Option<String>,
        /// The error of the system call.
        source: io::Error,
    },
}

/// What is wrong with an object file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Corruption {
    /// A symbolic link, a directory, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// The file is shorter than a record.
    #[error("shorter than a record")]
    Short,
    /// The last bytes are not the record's magic.
    #[error("no record at its end")]
    Magic,
    /// The trailer does not match its digest.
    #[error("its record does not match its digest")]
    TrailerDigest,
    /// A field of the trailer has a value that this version never writes.
    #[error("its record has an impossible field")]
    Field,
    /// The lengths in the record do not add up to the file's length.
    #[error("its length is not the one in its record")]
    Length,
    /// The record belongs to another object than the file's name says, or to another version.
    #[error("its record belongs to another object or version")]
    Misplaced,
    /// The table of slices does not match its digest.
    #[error("its table of slices does not match its digest")]
    SliceTable,
    /// A slice, counted from 0, does not match its digest.
    #[error("slice {0} does not match its digest")]
    Slice(u32),
    /// The payload is not framed as its record says, or its header names another object.
    #[error("its header, its footer or its kind are not those of its record")]
    Envelope,
    /// Two files with different records claim to be the same version.
    #[error("two files claim to be the same version")]
    DuplicateVersion,
}

/// The rule that an upload violates.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatViolation {
    /// A slice of this many bytes: zero, or more than a slice may have.
    #[error("a slice cannot have {0} bytes")]
    SliceLength(u32),
    /// More slices than an object may have, or than the bytes received so far allow.
    #[error("too many slices")]
    SliceCount,
    /// A slice was begun before the previous one ended, bytes came outside of a slice, or their
    /// number is not the announced one.
    #[error("bytes and slices do not fit each other")]
    SliceFraming,
    /// The framing of a sealed object does not hold.
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    /// The upload does not begin with exactly one header.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// The upload does not end with the footer of a blob with that header.
    #[error("{0}")]
    Footer(#[from] FooterError),
    /// The slices are not the parts that header and footer describe.
    #[error("{0}")]
    Slices(#[from] SlicesError),
    /// The header names another object.
    #[error("the header's key is not the object's")]
    OtherKey,
    /// A plain object begins with the magic of a sealed one.
    #[error("a plain object begins with the magic of a sealed one")]
    PlainLooksSealed,
}

impl StoreError {
    /// The error code that a peer is sent (PROTOCOL 7).
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::Exists(_) => ErrorCode::Exists,
            Self::Range => ErrorCode::Range,
            Self::Digest => ErrorCode::Digest,
            Self::UploadGone | Self::TakenOver => ErrorCode::State,
            Self::Malformed(_) | Self::Label | Self::Cursor => ErrorCode::Malformed,
            Self::TooManyUploads
            | Self::TooManyClaims
            | Self::InUse
            | Self::Locked
            | Self::Changing
            | Self::ClockInUse
            | Self::ClockLost
            | Self::Verifying => ErrorCode::Busy,
            Self::Suspect => ErrorCode::Suspect,
            Self::Older { .. } => ErrorCode::Older,
            Self::Ahead { .. } => ErrorCode::Ahead,
            Self::InviteUnknown | Self::InviteExpired => ErrorCode::Denied,
            Self::ReadOnly(_) | Self::Displaced => ErrorCode::ReadOnly,
            Self::Io { source, .. } => code_of(source),
            Self::Unreadable { source, .. } => match code_of(source) {
                ErrorCode::Busy => ErrorCode::Busy,
                _ => ErrorCode::Unreadable,
            },
            Self::Corrupt(_) | Self::Account { .. } => ErrorCode::Unreadable,
            Self::NotADirectory
            | Self::NotAStore
            | Self::IncompleteCopy
            | Self::NoStore
            | Self::NewerFormat { .. }
            | Self::OlderFormat { .. }
            | Self::UnknownFeature(_)
            | Self::MissingFeature(_)
            | Self::NotWritable(_)
            | Self::Missing(_)
            | Self::Damaged(_)
            | Self::VersionsExhausted(_) => ErrorCode::Internal,
        }
    }

    /// Whether the error is about one file of the store that exists and cannot be used. A listing,
    /// scrub or check leaves such a file out, reports it and continues.
    pub(super) fn is_unreadable_file(&self) -> bool {
        self.code() == ErrorCode::Unreadable
    }
}

impl StoreError {
    /// The reason that a peer is sent with the code, where the code alone does not say what to do.
    /// It contains no names.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::TooManyUploads => Some("the limit of uploads in progress is reached"),
            Self::TooManyClaims => Some("the limit of claims in progress is reached"),
            Self::InUse => {
                Some("the upload is in use by another connection or process, or is being committed")
            }
            Self::Locked => Some("another writer has had the lock for 5 seconds"),
            Self::Changing => Some("writers change what is looked for too often"),
            Self::ClockInUse => Some("the store's clock file is in use by others"),
            Self::ClockLost => Some("the store's clock file is being made anew"),
            Self::TakenOver => Some("a newer connection of this device has taken the upload over"),
            Self::Displaced => Some("the store's directory was moved, unmounted or replaced"),
            Self::Io { .. } | Self::Unreadable { .. } if self.code() == ErrorCode::Busy => {
                Some("it has no descriptors or no memory left")
            }
            _ => None,
        }
    }
}

impl StoreError {
    /// The number that goes with the code (PROTOCOL 7); 0 for codes without one.
    #[must_use]
    pub fn number(&self) -> u64 {
        match self {
            Self::Older { there } => *there,
            Self::Ahead { clock_ns } => *clock_ns,
            _ => 0,
        }
    }
}

fn code_of(error: &io::Error) -> ErrorCode {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorCode::Full,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => ErrorCode::Busy,
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => ErrorCode::ReadOnly,
        _ => ErrorCode::Internal,
    }
}

/// Adds to an I/O error what the store was doing when it failed.
pub(super) trait Context<T> {
    /// The call had no file with a name of its own.
    fn context(self, what: &'static str) -> Result<T, StoreError>;

    /// The call created or changed this file, a path from the store's directory.
    fn context_file(self, what: &'static str, file: impl ToString) -> Result<T, StoreError>;

    /// The call read this file, a path from the store's directory: the error becomes
    /// [`StoreError::Unreadable`].
    fn context_read(self, what: &'static str, file: impl ToString) -> Result<T, StoreError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { doing, file: None, source })
    }

    fn context_file(self, doing: &'static str, file: impl ToString) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { doing, file: Some(file.to_string()), source })
    }

    fn context_read(self, doing: &'static str, file: impl ToString) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Unreadable { doing, file: file.to_string(), source })
    }
}

/// Names the file that was read in errors that do not have its path.
pub(super) trait WithFile {
    fn with_file(self, file: &str) -> Self;
}

impl<T> WithFile for Result<T, StoreError> {
    fn with_file(self, file: &str) -> Self {
        self.map_err(|error| match error {
            StoreError::Io { doing, file: None, source } => {
                StoreError::Unreadable { doing, file: file.to_owned(), source }
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of asm-generic/errno.h.
    #[test]
    fn store_error_maps_errno_to_protocol_code() {
        for (errno, code) in [
            (28, ErrorCode::Full),
            (122, ErrorCode::Full),
            (27, ErrorCode::Full),
            (24, ErrorCode::Busy),
            (23, ErrorCode::Busy),
            (5, ErrorCode::Internal),
            (30, ErrorCode::ReadOnly),
            (13, ErrorCode::ReadOnly),
            (1, ErrorCode::ReadOnly),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let error = StoreError::Io { doing: "write", file: None, source };
            assert_eq!(error.code(), code, "errno {errno}");
        }
        // EACCES, EIO, EUCLEAN, ESTALE; the last two (EMFILE, ENOMEM) are the server's own
        // shortage.
        for (errno, code) in [
            (13, ErrorCode::Unreadable),
            (5, ErrorCode::Unreadable),
            (117, ErrorCode::Unreadable),
            (116, ErrorCode::Unreadable),
            (24, ErrorCode::Busy),
            (12, ErrorCode::Busy),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let file = "objects/ab/x".to_owned();
            let error = StoreError::Unreadable { doing: "open an object", file, source };
            assert_eq!(error.code(), code, "errno {errno}");
        }
    }
}
