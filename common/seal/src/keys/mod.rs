//! The secret keys that a client holds, and the key files that carry them (FORMAT 10 and 11).
//!
//! ```text
//! keyfile                         the text of a key file, and its rules
//! passphrase   vault   device     its secrets, and the keys that are derived from them
//! root                            format 2: the root of a vault, from which follow …
//! member   epoch   wrap           … the secrets of its members, of its epochs, of its key files
//! device_v2                       format 2: the seed of a device
//! message_key                     keys that seal messages, a type for each use
//! derive   mac                    the one key derivation; HMAC-SHA-256
//! ```
//!
//! No key file has the secrets of format 2 yet.

pub mod device_v2;
pub mod epoch;
pub mod member;
pub mod root;
pub mod wrap;

mod device;
mod keyfile;
mod passphrase;
mod vault;

mod derive;
mod mac;
mod message_key;

#[cfg(test)]
mod tests;

pub use device::{DeviceSeed, WriterKey};
pub use keyfile::{KeyFile, KeyFileError, LockedKeyFile, ModePolicy, Names, ParsedKeyFile, Role};
pub use passphrase::PassphraseError;
pub use vault::{NameKey, VaultMacKey, VaultMacMismatch, VaultSecret};
