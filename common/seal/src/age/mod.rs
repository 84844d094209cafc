//! The recipients and identities of age (c2sp.org/age), as FORMAT 4 uses them.
//!
//! zput uses the part of age that wraps a file key, in a blob format of its own. Two types of
//! recipient are known, [`x25519`](Recipient::X25519) and the post-quantum hybrid
//! [`mlkem768x25519`](Recipient::MlKem768X25519), so keys made by `age-keygen` work here and keys
//! made here work there.
//!
//! ```text
//! FileKey ──Recipient::wrap──▶ Stanza ──encode──▶ text
//! text ──parse_all──▶ [Stanza] ──unwrap_file_key──▶ FileKey
//! ```
//!
//! Everything that age's own reader checks is checked here and in [`zput_proto::envelope`]:
//! canonical base64, numbers of arguments, exact lengths of shares and bodies, shared secrets of
//! zeros, and a bound on the stanzas.

mod file_key;
mod identity;
mod identity_file;
mod mlkem768x25519;
mod recipient;
mod unwrap;
mod x25519;

#[cfg(test)]
mod tests;

pub use file_key::{FileKey, WrapError};
pub use identity::{Identity, IdentityError};
pub use identity_file::{IdentityFileError, parse_identity_file};
pub use recipient::{HybridRecipient, Recipient, RecipientError, X25519Recipient};
pub use unwrap::unwrap_file_key;
