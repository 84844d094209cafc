//! The keys that a server knows, and the texts that carry them (FORMAT 10, PROTOCOL "Invites").
//!
//! ```text
//! invite            an address, a server's key and a secret, in one text
//! remote   tls      addresses; private keys of TLS
//! public            public keys
//! algorithm         signatures by the number of their algorithm, and keys that verify them
//! ```

mod algorithm;
mod invite;
mod public;
mod remote;
mod tls;

pub use algorithm::{Algorithm, AlgorithmError, Signature, SignatureLabel, SigningPublicKey};
pub use invite::{Invite, InviteError, InviteSecret};
pub use public::{
    DevicePublicKey, PublicKeyError, ServerPublicKey, SignatureError, WriterPublicKey,
};
pub use remote::{Remote, RemoteError};
pub use tls::{DeviceTlsKey, ServerKeySeed};
