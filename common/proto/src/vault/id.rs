//! What vaults, devices, states and certificates are called: keys and digests of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keys::SigningPublicKey;

macro_rules! public_bytes {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Takes over bytes that were stored or received.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

public_bytes! {
    /// A vault's id: a digest of the public key of its first root (FORMAT 10). Written as 64
    /// lower-case hex digits; in a message, 32 bytes without a length.
    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    VaultId, 32
}
public_bytes! {
    /// Which names a device may write: a keyed hash of a prefix of names, which only those who have
    /// the member secret can compute (FORMAT 10).
    PrefixTag, 32
}
public_bytes! {
    /// The SHA-256 of a state's bytes, from which the secret of its epoch follows (FORMAT 10).
    StateDigest, 32
}
public_bytes! {
    /// The tag of a state: the first 16 bytes of its SHA-256 (FORMAT 13). A charter's name for each
    /// epoch.
    CharterTag, 16
}
public_bytes! {
    /// The first 16 bytes of the SHA-256 of a whole certificate, by which charters keep it
    /// (FORMAT 13).
    CertificateDigest, 16
}

impl VaultId {
    /// The id of the vault whose root 0 has this public key.
    ///
    /// FORMAT 10: `SHA-256("zput/v2/vault" 00 || algorithm[1] || public key of root_sign_0)`.
    #[must_use]
    pub fn of(root: &SigningPublicKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"zput/v2/vault\0");
        hash.update(root.to_numbered_bytes());
        Self(hash.finalize().into())
    }
}

impl PrefixTag {
    /// The tag of a device that may write every name: zeros.
    pub const EVERY_NAME: Self = Self([0; 32]);
}

impl StateDigest {
    /// The digest of the state with these bytes.
    pub(super) fn of(state: &[u8]) -> Self {
        Self(Sha256::digest(state).into())
    }

    /// FORMAT 13: "The tag of a state is the first 16 bytes of SHA-256 of the state's bytes."
    pub(super) fn tag(&self) -> CharterTag {
        CharterTag(first_half(self.0))
    }
}

impl CertificateDigest {
    /// The digest of the certificate with these bytes.
    pub(super) fn of(certificate: &[u8]) -> Self {
        Self(first_half(Sha256::digest(certificate).into()))
    }
}

fn first_half(digest: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|at| digest[at])
}
