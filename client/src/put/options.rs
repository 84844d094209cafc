//! Options and result of a put.

use zput_proto::{
    message::{Condition, Version},
    name::ObjectKey,
};
use zput_seal::aead::Suite;

/// Options of a put.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// The cipher suite that seals the blob.
    pub suite: Suite,
    /// What the server requires of the current version before it commits.
    pub condition: Condition,
    /// Whether the blob records the SHA-256 of the plaintext.
    pub sha256: bool,
    /// Store the bytes unsealed. Only plaintext connections allow it.
    pub unsealed: bool,
    /// What to do about an interrupted put of this name.
    pub resume: Resume,
    /// Whether a pipe among several paths may give no byte. A source passed to `Session::put`
    /// carries this setting itself.
    pub allow_empty: bool,
}

/// What to do about an interrupted put of the same file under the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resume {
    /// Resume it if there is one.
    #[default]
    Auto,
    /// Resume it, or fail with [`Error::NothingToResume`](crate::Error::NothingToResume).
    Insist,
    /// Abandon it and start over.
    Never,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            suite: Suite::default(),
            condition: Condition::Any,
            sha256: false,
            unsealed: false,
            resume: Resume::default(),
            allow_empty: false,
        }
    }
}

/// The result of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutReceipt {
    /// The object key that the name maps to.
    pub key: ObjectKey,
    /// The version that the commit created.
    pub version: Version,
    /// The blob's generation; `None` for an unsealed object.
    pub generation: Option<u64>,
    /// Length of the plaintext in bytes.
    pub length: u64,
}
