//! The root of a vault: the secret that is its identity, and from which all else follows.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use rand::CryptoRng;
use thiserror::Error;
use zput_proto::keys::{Algorithm, Signature, SigningPublicKey};
use zput_proto::secret::Secret;
use zput_proto::vault::{Epoch, StateDigest, VaultId};

use super::derive;
use super::epoch::EpochSecret;
use super::member::MemberSecret;
use super::message_key::message_key;
use super::wrap::WrapRoot;

/// A root of a vault: 32 random bytes, which owners have, and nobody else.
///
/// Root 0 makes the vault; each later one succeeds the one before it (FORMAT 13). Which root of
/// its vault a secret is, the secret does not say: the charter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootSecret(Secret<32>);

/// The root is not the first one of the vault, and only the first one derives the member secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the root is not the one that made this vault")]
#[non_exhaustive]
pub struct NotFirstRoot;

impl RootSecret {
    /// Draws a new root from `rng`.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::generate(rng))
    }

    /// Takes over a root that was read from a key file or from recovery words.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key that signs certificates, charters and the next root (FORMAT 10, `root_sign`).
    #[must_use]
    pub fn signer(&self) -> RootSigner {
        let seed = derive::key(self.as_bytes(), "zput/v2/root/sign");
        RootSigner(SigningKey::from_bytes(seed.as_bytes()))
    }

    /// The member secret of `vault`, which this root must have made (FORMAT 10, `M`). Owners with a
    /// later root find it in the charter.
    ///
    /// # Errors
    /// [`NotFirstRoot`] when `vault` is not the id that this root gives.
    pub fn member_secret(&self, vault: &VaultId) -> Result<MemberSecret, NotFirstRoot> {
        if self.signer().vault_id() != *vault {
            return Err(NotFirstRoot);
        }
        Ok(self.own_member_secret())
    }

    /// The member secret of the vault that this root makes as root 0.
    pub(crate) fn own_member_secret(&self) -> MemberSecret {
        MemberSecret::of(derive::key(self.as_bytes(), "zput/v2/member"))
    }

    /// The secret of `epoch`, if it begins while this root is in force (FORMAT 10, `E_k`).
    ///
    /// `state` is the digest of what the vault's state is in that epoch: two owners that begin one
    /// epoch with different changes make two secrets, so the devices of one state open nothing that
    /// was sealed under the other.
    #[must_use]
    pub fn epoch(&self, epoch: Epoch, state: &StateDigest) -> EpochSecret {
        let subject = [&epoch.number().to_be_bytes()[..], state.as_bytes()].concat();
        let secret = derive::key_of(self.as_bytes(), "zput/v2/epoch", &subject);
        EpochSecret::of(secret)
    }

    /// The key of the owner's part of a charter (FORMAT 10, `owner_key`).
    #[must_use]
    pub fn owner_key(&self) -> OwnerKey {
        OwnerKey(derive::key(self.as_bytes(), "zput/v2/owner"))
    }

    /// The key of the backup of an owner's key file (FORMAT 10, `kit_key`).
    #[must_use]
    pub fn kit_key(&self) -> KitKey {
        KitKey(derive::key(self.as_bytes(), "zput/v2/kit"))
    }

    /// The secret from which the wrap keys of key files follow that are made under this root
    /// (FORMAT 10, `wrap_root`).
    #[must_use]
    pub fn wrap_root(&self) -> WrapRoot {
        WrapRoot::of(derive::key(self.as_bytes(), "zput/v2/wrap"))
    }
}

message_key! {
    /// The key of the owner's part of a charter (FORMAT 13, `owner`).
    OwnerKey
}
message_key! {
    /// The key of the backup of an owner's key file (FORMAT 16).
    KitKey
}

/// The signing key of a root, an Ed25519 key. It is zeroized on drop.
#[derive(Clone)]
pub struct RootSigner(pub(super) SigningKey);

impl RootSigner {
    /// The public key, under which signatures are verified.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a scalar of RFC 8032 gives no point of small order")]
    pub fn public_key(&self) -> SigningPublicKey {
        let key = self.0.verifying_key();
        SigningPublicKey::parse(Algorithm::Ed25519, key.as_bytes()).expect("a key of RFC 8032")
    }

    /// The id of the vault that this key's root makes as root 0 (FORMAT 10, `V`).
    #[must_use]
    pub fn vault_id(&self) -> VaultId {
        VaultId::of(&self.public_key())
    }

    /// The signature of `message`, which begins with the label of its purpose (FORMAT 1).
    #[must_use]
    #[expect(clippy::expect_used, reason = "signatures of Ed25519 have 64 bytes")]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.0.sign(message).to_bytes();
        Signature::parse(Algorithm::Ed25519, &signature).expect("64 bytes")
    }
}

impl fmt::Debug for RootSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootSigner({}, [secret])", hex::encode(self.0.verifying_key()))
    }
}
