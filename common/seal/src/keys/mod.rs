//! The secret keys that a client holds, and the key files that carry them (FORMAT 10 and 11).
//!
//! ```text
//! keyfile                         the text of a key file, and its rules
//! passphrase   vault   device     its secrets, and the keys that are derived from them
//! derive   mac                    the one key derivation; HMAC-SHA-256
//! ```

mod device;
mod keyfile;
mod passphrase;
mod vault;

mod derive;
mod mac;

pub use device::{DeviceSeed, WriterKey};
pub use keyfile::{KeyFile, KeyFileError, LockedKeyFile, ModePolicy, Names, ParsedKeyFile, Role};
pub use passphrase::PassphraseError;
pub use vault::{NameKey, VaultMacKey, VaultMacMismatch, VaultSecret};
