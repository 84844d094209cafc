//! The keys that a server knows, and the texts that carry them (FORMAT 10, PROTOCOL "Invites").
//!
//! ```text
//! invite            an address, a server's key and a secret, in one text
//! remote   tls      addresses; private keys of TLS
//! public            public keys
//! ```

mod invite;
mod public;
mod remote;
mod tls;

pub use invite::{Invite, InviteError, InviteSecret};
pub use public::{
    DevicePublicKey, PublicKeyError, ServerPublicKey, SignatureError, WriterPublicKey,
};
pub use remote::{Remote, RemoteError};
pub use tls::{DeviceTlsKey, ServerKeySeed};
