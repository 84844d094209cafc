//! The secret that all devices of a vault share, and the keys of names, MACs and charters.

use hmac::Mac;
use thiserror::Error;
use zput_proto::name::ObjectKey;
use zput_proto::secret::Secret;
use zput_proto::vault::PrefixTag;

use super::derive;
use super::mac::hmac;
use super::message_key::message_key;

/// The member secret of a vault, which every device of the vault has. It does not open blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSecret(Secret<32>);

impl MemberSecret {
    /// Takes over what a root derived.
    pub(super) const fn of(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Takes over a secret that was read from a key file or a charter.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key of object keys and prefix tags (FORMAT 10, `name_key`).
    #[must_use]
    pub fn name_key(&self) -> NameKey {
        NameKey(derive::key(self.as_bytes(), "zput/v2/name"))
    }

    /// The key of the vault MAC (FORMAT 10, `mac_key`).
    #[must_use]
    pub fn mac_key(&self) -> MacKey {
        MacKey(derive::key(self.as_bytes(), "zput/v2/mac"))
    }

    /// The key of the members' part of a charter (FORMAT 10, `charter_key`).
    #[must_use]
    pub fn charter_key(&self) -> CharterKey {
        CharterKey(derive::key(self.as_bytes(), "zput/v2/charter"))
    }
}

message_key! {
    /// The key of the members' part of a charter (FORMAT 13, `members`).
    CharterKey
}

/// The key that turns names into object keys, and prefixes of names into their tags.
#[derive(Clone, Debug)]
pub struct NameKey(pub(super) Secret<32>);

impl NameKey {
    /// FORMAT 10: "lower-case hex of HMAC(name_key, "zput/v2/object" 00 ‖ name), 64 bytes".
    #[must_use]
    #[expect(clippy::expect_used, reason = "64 bytes are within the bounds of an object key")]
    pub fn object_key(&self, name: &[u8]) -> ObjectKey {
        let digest = hmac(self.0.as_bytes(), &[b"zput/v2/object\0", name]).finalize().into_bytes();
        ObjectKey::new(hex::encode(digest)).expect("64 bytes")
    }

    /// The tag of a prefix, which ends with `/` (FORMAT 10, `prefix_tag`).
    #[must_use]
    pub fn prefix_tag(&self, prefix: &[u8]) -> PrefixTag {
        let tag = hmac(self.0.as_bytes(), &[b"zput/v2/prefix\0", prefix]).finalize().into_bytes();
        PrefixTag::from_bytes(tag.into())
    }

    /// The tags of all prefixes of `name`, the shortest first: `a/b/c` has `a/` and `a/b/`.
    pub fn prefix_tags(&self, name: &[u8]) -> impl Iterator<Item = PrefixTag> {
        let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| self.prefix_tag(name.get(..=at).unwrap_or_default()))
    }
}

/// The key by which the devices of a vault vouch for its blobs.
#[derive(Clone, Debug)]
pub struct MacKey(pub(super) Secret<32>);

/// The vault's MAC does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the vault's MAC does not match")]
#[non_exhaustive]
pub struct VaultMacMismatch;

impl MacKey {
    /// FORMAT 7: "HMAC(mac_key, "zput/v2/vault-mac" 00 ‖ transcript)".
    #[must_use]
    pub fn mac(&self, transcript: &[u8; 64]) -> [u8; 32] {
        hmac(self.0.as_bytes(), &[VAULT_MAC, transcript]).finalize().into_bytes().into()
    }

    /// Compares `mac` with that of `transcript`, in constant time.
    ///
    /// # Errors
    /// [`VaultMacMismatch`] when they differ.
    pub fn verify(&self, transcript: &[u8; 64], mac: &[u8; 32]) -> Result<(), VaultMacMismatch> {
        let expected = hmac(self.0.as_bytes(), &[VAULT_MAC, transcript]);
        expected.verify_slice(mac).map_err(|_| VaultMacMismatch)
    }
}

const VAULT_MAC: &[u8] = b"zput/v2/vault-mac\0";
