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

pub mod device;
pub mod invite;
pub mod keyfile;
pub mod passphrase;
pub mod public;
pub mod remote;
pub mod server;
pub mod vault;

mod derive;

pub use device::{DeviceSeed, DeviceTlsKey, WriterKey};
pub use invite::{Invite, InviteError, InviteSecret};
pub use keyfile::{KeyFile, KeyFileError, LockedKeyFile, ModePolicy, Names, ParsedKeyFile, Role};
pub use passphrase::PassphraseError;
pub use public::{
    DevicePublicKey, PublicKeyError, ServerPublicKey, SignatureError, WriterPublicKey,
};
pub use remote::{Remote, RemoteError};
pub use server::ServerKeySeed;
pub use vault::{NameKey, VaultMacKey, VaultSecret};
