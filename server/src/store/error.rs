//! What can go wrong in a store.

use std::io;

use thiserror::Error;
use zput_common::{
    blob::envelope::{EnvelopeError, FooterError, HeaderError, SlicesError},
    proto::message::{ErrorCode, Version},
};

/// Why a store did not do what it was asked. No text of it has a secret, or a path but of a file within the store, whose
/// names hold nothing that a client chose.
#[derive(Debug, Error)]
pub enum StoreError {
    // Opening.
    /// The path leads to a file.
    #[error("this is not a directory")]
    NotADirectory,
    /// A directory of something else.
    #[error(
        "this directory is neither empty nor a store (it has no zput-store.toml): name an empty one"
    )]
    Foreign,
    /// It was a store once.
    #[error(
        "this directory has a store's server.key and no zput-store.toml: it is a part of a store, or a copy that nobody \
         finished; copy all files of the store"
    )]
    Unmarked,
    /// A store was to be there, and is not.
    #[error(
        "no store is there (no zput-store.toml): name the directory that zserve serves, or start zserve on it first"
    )]
    NoStore,
    /// A store that a later zput made.
    #[error(
        "this store has format {found}, this zput knows format {}: use a newer zput",
        super::FORMAT
    )]
    NewerFormat {
        /// The format it says it has.
        found: u64,
    },
    /// Nothing can be written there.
    #[error("this directory cannot be written to: {0}")]
    NotWritable(#[source] io::Error),
    /// A directory or a file of the layout is not there, or is something else (a link, say).
    #[error("the store's {0} is missing or is not what a store makes: restore it from a backup")]
    Missing(String),
    /// `zput-store.toml` or `server.key` do not hold what they should.
    #[error("the store's {0} is damaged: restore it from a backup")]
    Damaged(&'static str),

    // Objects.
    /// No such object, or no such version of it.
    #[error("no such object or version")]
    NotFound,
    /// The condition does not hold: this is the current version, if there is one.
    #[error("the condition does not hold: the current version is another one, or there is none")]
    Exists(Option<Version>),
    /// As many as there may be (OPERATIONS: 1024) are under way.
    #[error("as many uploads are under way as there may be")]
    Crowded,
    /// As many as there may be compare what is claimed.
    #[error("as many interrupted uploads are compared as there may be")]
    CrowdedClaims,
    /// Somebody else works on this upload.
    #[error("another connection or process has this upload, or it is being committed")]
    InUse,
    /// A sync of this store has failed, and nobody has verified it since.
    #[error(
        "a sync of this store failed earlier, and it takes no writes until \"zserve check --clear-suspect\" has \
         read it from the disk"
    )]
    Suspect,
    /// Nothing can be written, because the file system or the permissions say so.
    #[error("this store is read-only: {0}")]
    ReadOnly(io::Error),
    /// The store's directory was unmounted, moved or removed, or another one has its place.
    #[error(
        "the store's directory is not where it was when it was opened: nothing is written until it is, or the server \
         starts again"
    )]
    Displaced,
    /// Somebody else looks into the suspicion already.
    #[error("somebody verifies this store already: wait for that to end")]
    Verifying,
    /// A file whose record does not hold: bit rot, or a strange hand.
    #[error("a stored object is damaged: {0}")]
    Corrupt(#[from] Rot),
    /// No version number is left above this one.
    #[error("no version is left above {0}")]
    VersionsExhausted(Version),
    /// A section lies outside the object, or the object has no such section.
    #[error("a section lies outside the object")]
    Range,

    // Uploads.
    /// A slice does not match its digest.
    #[error("a slice does not match its digest")]
    Digest,
    /// What is or was there has as high a generation: whoever has seen it would take this one for a rollback.
    #[error("what is there is of generation {there}, and this is not a later one")]
    Older {
        /// The highest generation in the way.
        there: u64,
    },
    /// The generation lies further ahead of this server's clock than clocks differ.
    #[error(
        "the generation is more than a day ahead of this server's clock, which says {clock_ns}"
    )]
    Ahead {
        /// What the clock says, in ns since 1970.
        clock_ns: u64,
    },
    /// The upload is gone: an earlier call ended it.
    #[error("the upload is gone")]
    UploadGone,
    /// A newer connection of the same device has the upload now.
    #[error("a newer connection of this device has taken the upload over")]
    TakenOver,
    /// The upload broke a rule.
    #[error("the object breaks the format: {0}")]
    Malformed(#[from] Flaw),

    // Accounts.
    /// An invite that nobody made, or that was spent.
    #[error("this invite is unknown or spent")]
    InviteUnknown,
    /// An invite whose time is over.
    #[error("this invite has expired")]
    InviteExpired,
    /// A label that is too long or has control characters.
    #[error("a label has at most 64 bytes and no control characters")]
    Label,
    /// A cursor that no page of a listing ended with.
    #[error("this is no cursor of a listing")]
    Cursor,
    /// An account or an invite that cannot be understood: a person edited it, perhaps.
    #[error("{file} is damaged: {what}")]
    Account {
        /// Which, from the store's directory.
        file: String,
        /// What is wrong with it.
        what: String,
    },

    // The system.
    /// Something of the store is there and cannot be read: permissions, a failing disk.
    #[error("cannot {doing} ({file}): {source}")]
    Unreadable {
        /// What was being done.
        doing: &'static str,
        /// With which file, from the store's directory.
        file: String,
        /// How it failed.
        source: io::Error,
    },
    /// A system call failed.
    #[error("cannot {doing}{}: {source}", file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file, from the store's directory, where it has a name.
        file: Option<String>,
        /// How it failed.
        source: io::Error,
    },
}

/// What is wrong with an object file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rot {
    /// It is a link, a directory, a pipe.
    #[error("not a regular file")]
    NotAFile,
    /// Too short for a record.
    #[error("shorter than a record")]
    Short,
    /// The last bytes are not the record's magic.
    #[error("no record at its end")]
    Magic,
    /// The trailer does not match its digest.
    #[error("its record does not match its digest")]
    TrailerDigest,
    /// A field of the trailer has a value that this version does not write.
    #[error("its record has an impossible field")]
    Field,
    /// The lengths of the record do not add up to the file's.
    #[error("its length is not the one in its record")]
    Length,
    /// It has another object's name, or another version's.
    #[error("its record belongs to another object or version")]
    Misplaced,
    /// The slices do not match their digest.
    #[error("its table of slices does not match its digest")]
    SliceTable,
    /// A slice does not match its digest.
    #[error("slice {0} does not match its digest")]
    Slice(u32),
    /// Its payload is not framed as its record says, or is another object's.
    #[error("its header, its footer or its kind are not those of its record")]
    Envelope,
    /// Two different files claim to be one version.
    #[error("two files claim to be the same version")]
    Twins,
}

/// Which rule an upload broke.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// Empty, or longer than a slice may be.
    #[error("a slice cannot have {0} bytes")]
    SliceLength(u32),
    /// More slices than an object may have.
    #[error("too many slices")]
    SliceCount,
    /// A slice was begun before the one before it ended, bytes came outside one, or too many or too few of them.
    #[error("bytes and slices do not fit each other")]
    SliceFraming,
    /// The framing of a sealed object does not hold.
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    /// What an upload begins with is not one header.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// What it ends with is not the footer of a blob with that header.
    #[error("{0}")]
    Footer(#[from] FooterError),
    /// Its slices are not those of which header and footer speak.
    #[error("{0}")]
    Slices(#[from] SlicesError),
    /// The header names another object.
    #[error("the header's key is not the object's")]
    OtherKey,
    /// A plain object that begins like a sealed one.
    #[error("a plain object begins with the magic of a sealed one")]
    PlainLooksSealed,
}

impl StoreError {
    /// What a peer is told (PROTOCOL 7).
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::Exists(_) => ErrorCode::Exists,
            Self::Range => ErrorCode::Range,
            Self::Digest => ErrorCode::Digest,
            Self::UploadGone | Self::TakenOver => ErrorCode::State,
            Self::Malformed(_) | Self::Label | Self::Cursor => ErrorCode::Malformed,
            Self::Crowded | Self::CrowdedClaims | Self::InUse | Self::Verifying => ErrorCode::Busy,
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
            | Self::Foreign
            | Self::Unmarked
            | Self::NoStore
            | Self::NewerFormat { .. }
            | Self::NotWritable(_)
            | Self::Missing(_)
            | Self::Damaged(_)
            | Self::VersionsExhausted(_) => ErrorCode::Internal,
        }
    }

    /// Whether it is about one file of the store, which is there and cannot be used: whoever looks at many leaves it out, says
    /// so, and goes on.
    pub(super) fn is_of_one_file(&self) -> bool {
        self.code() == ErrorCode::Unreadable
    }
}

impl StoreError {
    /// What a peer is told beside the code where the code alone does not say what to do: words without a name in them.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Crowded => Some("as many uploads are under way as there may be"),
            Self::CrowdedClaims => Some("as many interrupted uploads are compared as there may be"),
            Self::InUse => {
                Some("another connection or process has this upload, or it is being committed")
            }
            Self::TakenOver => Some("a newer connection of this device has taken the upload over"),
            Self::Displaced => Some("the store's directory is not where it was"),
            Self::Io { .. } | Self::Unreadable { .. } if self.code() == ErrorCode::Busy => {
                Some("it has no descriptors or no memory left")
            }
            _ => None,
        }
    }
}

impl StoreError {
    /// What the code is about (PROTOCOL 7).
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

/// Says what was being done when a call failed.
pub(super) trait Doing<T> {
    /// With something that has no name of its own.
    fn doing(self, what: &'static str) -> Result<T, StoreError>;

    /// With this file, from the store's directory, which is made or changed.
    fn doing_to(self, what: &'static str, file: impl ToString) -> Result<T, StoreError>;

    /// With this file, from the store's directory, which is there to be read.
    fn reading(self, what: &'static str, file: impl ToString) -> Result<T, StoreError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { doing, file: None, source })
    }

    fn doing_to(self, doing: &'static str, file: impl ToString) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { doing, file: Some(file.to_string()), source })
    }

    fn reading(self, doing: &'static str, file: impl ToString) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Unreadable { doing, file: file.to_string(), source })
    }
}

/// Says which file was being read when something failed that does not know its name.
pub(super) trait OfFile {
    fn of_file(self, file: &str) -> Self;
}

impl<T> OfFile for Result<T, StoreError> {
    fn of_file(self, file: &str) -> Self {
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
    fn errors_of_the_system_have_the_codes_of_the_protocol() {
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
        // EACCES, EIO, EUCLEAN, ESTALE; the last two are the server's own shortage.
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
