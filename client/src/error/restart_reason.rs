//! Why an interrupted transfer starts over.

use std::fmt;

/// Why an interrupted transfer is not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartReason {
    /// The file, its contents, or the way to seal it have changed.
    Changed,
    /// The server holds nothing of the upload.
    NotKept,
    /// A newer blob was put under the name, or the version that was being got is not the one asked
    /// for any more.
    Superseded,
    /// The upload had been committed, and its version was removed or replaced since.
    NoLongerCurrent,
    /// The server refuses the upload.
    Refused,
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "the source has changed since the interruption",
            Self::NotKept => "the server kept nothing of the interrupted transfer",
            Self::Superseded => "there is a newer version than the interrupted one",
            Self::Refused => "the server refused the interrupted transfer",
            Self::NoLongerCurrent => {
                "the interrupted transfer was stored, and its version was removed or replaced since"
            }
        })
    }
}
