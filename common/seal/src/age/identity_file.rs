//! Identity files, as `age-keygen` writes them.

use thiserror::Error;
use zput_proto::limits::{IDENTITIES_MAX, KEY_FILE_MAX_BYTES};

use super::identity::{Identity, IdentityError};

/// Why a text is not a file of identities. It never repeats a line, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityFileError {
    /// The file is longer than [`KEY_FILE_MAX_BYTES`].
    #[error("an identity file has at most {KEY_FILE_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The file is an age file, so the identities in it are encrypted.
    #[error("the identity file is encrypted: decrypt it first (age -d)")]
    Encrypted,
    /// A line is neither a comment nor an identity.
    #[error("line {line} of the identity file")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with the line.
        source: IdentityError,
    },
    /// The file has nothing but comments.
    #[error("there is no identity in the identity file")]
    None,
    /// The file has more identities than [`IDENTITIES_MAX`].
    #[error("there are more than {IDENTITIES_MAX} identities in the identity file")]
    TooMany,
}

/// Parses the identities of a file, one a line. Empty lines and those that begin with `#` are
/// skipped; so are identities of unknown types if there is one of a known type.
///
/// # Errors
/// Says which line is not an identity, or that there is none.
pub fn parse_identity_file(text: &str) -> Result<Vec<Identity>, IdentityFileError> {
    if text.len() > KEY_FILE_MAX_BYTES {
        return Err(IdentityFileError::TooLong(text.len()));
    }
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE")
    {
        return Err(IdentityFileError::Encrypted);
    }
    let (mut identities, mut unknown) = (Vec::new(), None);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if identities.len() == IDENTITIES_MAX {
            return Err(IdentityFileError::TooMany);
        }
        match line.parse() {
            Ok(identity) => identities.push(identity),
            Err(error) => {
                let error_of_line = IdentityFileError::Line { line: index + 1, source: error };
                // A plugin's identity or an SSH key, which other programs use.
                if error != IdentityError::UnknownType {
                    return Err(error_of_line);
                }
                unknown.get_or_insert(error_of_line);
            }
        }
    }
    match (identities.is_empty(), unknown) {
        (false, _) => Ok(identities),
        (true, Some(error)) => Err(error),
        (true, None) => Err(IdentityFileError::None),
    }
}
