//! The secret of an epoch, which opens what was written in it.

use zput_proto::secret::Secret;

use super::derive;
use super::message_key::message_key;
use crate::age::Identity;

/// The secret of one epoch of a vault. Charters carry it in envelopes, and key files never do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochSecret(Secret<32>);

impl EpochSecret {
    /// Takes over what a root derived.
    pub(super) const fn of(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Takes over a secret that came out of an envelope or of a charter's history.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The identity that opens the epoch's blobs (FORMAT 10, `identity`).
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::MlKem768X25519(derive::key(self.as_bytes(), "zput/v2/epoch/identity"))
    }

    /// The key of the secrets of all earlier epochs (FORMAT 10, `history_key`).
    #[must_use]
    pub fn history_key(&self) -> HistoryKey {
        HistoryKey(derive::key(self.as_bytes(), "zput/v2/epoch/history"))
    }
}

message_key! {
    /// The key of a charter's history: the secrets of all earlier epochs (FORMAT 13, `history`).
    HistoryKey
}
