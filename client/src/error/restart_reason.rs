//! Why an interrupted transfer starts over.

use std::fmt;

/// Why an interrupted transfer is not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            Self::Changed => "not what was interrupted",
            Self::NotKept => "nothing was kept of what was interrupted",
            Self::Superseded => "something newer is there than what was interrupted",
            Self::Refused => "the server does not take what was interrupted",
            Self::NoLongerCurrent => {
                "what was interrupted had been stored, and was removed or replaced since"
            }
        })
    }
}
