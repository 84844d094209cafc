//! The keys that machines hold, and the texts that carry them (FORMAT 10 and 11, PROTOCOL "Invites").
//!
//! ```text
//! keyfile ──▶ passphrase          what a client holds
//!    │
//!    ├──▶ vault   device          secrets, and what is derived from them
//!    ▼
//! invite ──▶ remote  public       what a server may import as well, with its own
//!            server                key in `server`
//! ```

mod device;
mod keyfile;
mod passphrase;
mod vault;

mod derive;

pub use device::{DeviceSeed, WriterKey};
pub use keyfile::{KeyFile, KeyFileError, LockedKeyFile, ModePolicy, Names, ParsedKeyFile, Role};
pub use passphrase::PassphraseError;
pub use vault::{NameKey, VaultMacKey, VaultMacMismatch, VaultSecret};
