//! Wrap keys: by its wrap key a key file opens its envelope in a charter.

use zput_proto::keys::DevicePublicKey;
use zput_proto::secret::Secret;

use super::derive;
use super::message_key::message_key;

/// The secret from which the wrap keys follow of all key files made under one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapRoot(Secret<32>);

impl WrapRoot {
    /// Takes over what a root derived.
    pub(super) const fn of(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Takes over the secret of an older root, which the owner's part of a charter holds.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

message_key! {
    /// The key of one key file's envelopes (FORMAT 13, `envelopes`).
    WrapKey
}

impl WrapKey {
    /// The wrap key of `device`'s key file, whose certificate was signed by the root of `wrap_root`
    /// (FORMAT 10, `wrap_key`). Any 32 bytes may be a device: one of a later algorithm is a hash.
    #[must_use]
    pub fn of(wrap_root: &WrapRoot, device: &DevicePublicKey) -> Self {
        let label = "zput/v2/wrap/device";
        Self(derive::key_of(wrap_root.as_bytes(), label, device.as_bytes()))
    }

    /// Takes over a key that was read from a key file.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}
