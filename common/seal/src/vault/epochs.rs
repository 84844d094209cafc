//! The secrets of a vault's epochs, as the members' part of a charter gives them (FORMAT 13).

use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;
use zput_proto::vault::Epoch;

use crate::age::Identity;
use crate::chunked::{ChunkError, SealMessageError};
use crate::keys::epoch::{EpochSecret, HistoryKey};

/// Why a charter does not give the secrets of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The key file is left out of this epoch: it goes on with the epochs that it had.
    #[error("the vault's keys were changed: this key file opens nothing from epoch {0} on")]
    NoEnvelope(Epoch),
    /// The key file's own envelope is damaged.
    #[error("what the charter has for this key file is damaged")]
    Envelope(#[source] ChunkError),
    /// The secret is not the one whose recipient blobs are sealed for.
    #[error("the secret of epoch {0} does not fit the recipient in the charter")]
    OtherRecipient(Epoch),
    /// The secrets of the earlier epochs were sealed under another key, or are damaged.
    #[error("the secrets of the vault's earlier epochs are damaged")]
    History(#[source] ChunkError),
}

/// The secrets of all epochs up to that of a charter, whose recipient is the charter's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochSecrets {
    earlier: Vec<EpochSecret>,
    in_force: EpochSecret,
}

impl EpochSecrets {
    /// Opens what a charter says of the epochs before that of `in_force`; of epoch 0 it says
    /// nothing.
    pub(super) fn open(in_force: EpochSecret, history: &[u8]) -> Result<Self, EpochError> {
        if history.is_empty() {
            return Ok(Self { earlier: Vec::new(), in_force });
        }
        let secrets = in_force.history_key().open(CONTEXT, history).map_err(EpochError::History)?;
        let (secrets, _) = secrets.as_chunks();
        let earlier = secrets.iter().map(|secret| EpochSecret::from_bytes(*secret)).collect();
        Ok(Self { earlier, in_force })
    }

    /// The secret of this epoch; `None` when it is later than the charter's.
    #[must_use]
    pub fn of(&self, epoch: Epoch) -> Option<&EpochSecret> {
        self.iter().nth(usize::try_from(epoch.number()).ok()?)
    }

    /// The secrets of all epochs, from 0.
    pub fn iter(&self) -> impl Iterator<Item = &EpochSecret> {
        self.earlier.iter().chain([&self.in_force])
    }

    /// The identities of all epochs, from 0.
    pub(super) fn identities(&self) -> Vec<Identity> {
        self.iter().map(EpochSecret::identity).collect()
    }

    /// The secrets of the epochs before the one in force, and that one's.
    pub(super) fn into_parts(self) -> (Vec<EpochSecret>, EpochSecret) {
        (self.earlier, self.in_force)
    }
}

/// FORMAT 13: "message(history_key_k, "history", E_0 ‖ … ‖ E_{k-1})", and nothing in epoch 0.
pub(super) fn seal_history(
    earlier: &[EpochSecret],
    key: &HistoryKey,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, SealMessageError> {
    if earlier.is_empty() {
        return Ok(Vec::new());
    }
    // Of the final length at once: what a growing vector leaves behind is not zeroized.
    let mut secrets = Zeroizing::new(Vec::with_capacity(earlier.len() * SECRET_BYTES));
    earlier.iter().for_each(|secret| secrets.extend(secret.as_bytes()));
    key.seal(CONTEXT, &secrets, rng)
}

/// Bytes of a secret in a history.
pub(super) const SECRET_BYTES: usize = 32;

const CONTEXT: &[u8] = b"history";
