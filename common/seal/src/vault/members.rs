//! The members' part of a charter (FORMAT 13): whom blobs are sealed for, and the epoch's secret
//! for each key file that opens. Every device of the vault can read it.

use rand::CryptoRng;
use thiserror::Error;
use zput_proto::cursor::Cursor;
use zput_proto::limits::FURTHER_MAX;
use zput_proto::tagged::{TaggedError, TaggedFields};
use zput_proto::vault::{Epoch, HeldCharter, Recipients};

use super::epochs::{EpochError, EpochSecrets, SECRET_BYTES};
use crate::age::Recipient;
use crate::chunked::{ChunkError, SealMessageError, sealed_len};
use crate::keys::epoch::EpochSecret;
use crate::keys::member::CharterKey;
use crate::keys::wrap::WrapKey;

/// Why the members' part of a charter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MembersError {
    /// It was sealed under another key than the vault's, or is damaged.
    #[error("the members' part of the charter does not open by the vault's member secret")]
    Sealed(#[source] ChunkError),
    /// It could not be sealed.
    #[error("the members' part of the charter could not be sealed")]
    Seal(#[from] SealMessageError),
    /// It was sealed for another charter.
    #[error("the members' part of the charter is that of another charter")]
    OtherCharter,
    /// A field ends behind the end.
    #[error("the members' part of the charter is cut off")]
    Cut,
    /// The epoch's recipient is no public key.
    #[error("the recipient of the epoch is no valid public key")]
    Recipient,
    /// There are too many further recipients.
    #[error("a vault has at most {FURTHER_MAX} further recipients, and this one has {0}")]
    FurtherCount(usize),
    /// A further recipient is of a type that is not known.
    #[error("a further recipient of the vault is of type {0}, which is not known here")]
    FurtherType(u8),
    /// A further recipient is no public key; the number is its place, from 0.
    #[error("the further recipient {0} of the vault is no valid public key")]
    Further(usize),
    /// A further recipient stands twice or at another place than its own.
    #[error("the further recipients of the vault are not in strictly increasing order")]
    FurtherOrder,
    /// The secrets of the earlier epochs have another length than those of this epoch's.
    #[error("the secrets of the earlier epochs cannot be {0} bytes long in this epoch")]
    HistoryLength(usize),
    /// There are more envelopes than a charter can have.
    #[error("a charter has at most 65535 envelopes, and this one has {0}")]
    EnvelopeCount(usize),
    /// The extensions are too long; the number is that of their bytes.
    #[error("extensions have at most 65535 bytes, these have {0}")]
    ExtensionsLength(usize),
    /// The extensions are refused.
    #[error("the extensions of the members' part are refused")]
    Extensions(#[from] TaggedError),
    /// Something follows behind the last field; the number is that of its bytes.
    #[error("{0} bytes follow behind the members' part of the charter")]
    Excess(usize),
}

/// The members' part of a charter that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    pub(super) epoch: Epoch,
    /// The epoch's own, and the further ones behind it.
    pub(super) recipients: Vec<Recipient>,
    pub(super) history: Vec<u8>,
    pub(super) envelopes: Vec<[u8; ENVELOPE_BYTES]>,
    pub(super) extensions: Vec<u8>,
}

impl Members {
    /// Opens the members' part of `charter` by the key of the vault's member secret.
    ///
    /// FORMAT 13: "A program that opens one of the two compares `public_hash`."
    ///
    /// # Errors
    /// Says which rule of FORMAT 13 it breaks.
    pub fn open(charter: &HeldCharter, key: &CharterKey) -> Result<Self, MembersError> {
        let plaintext = key.open(CONTEXT, charter.members()).map_err(MembersError::Sealed)?;
        let mut cursor = Cursor::new(&plaintext);
        if cursor.array().ok_or(MembersError::Cut)? != charter.public_hash() {
            return Err(MembersError::OtherCharter);
        }
        let members = Self::read(&mut cursor, charter.state().epoch())?;
        match cursor.rest().len() {
            0 => Ok(members),
            more => Err(MembersError::Excess(more)),
        }
    }

    /// Reads the fields behind the hash.
    fn read(cursor: &mut Cursor<'_>, epoch: Epoch) -> Result<Self, MembersError> {
        let cut = MembersError::Cut;
        let recipient = cursor.take(HYBRID_BYTES).ok_or(cut)?;
        let recipient = Recipient::parse_hybrid(recipient).map_err(|_| MembersError::Recipient)?;
        let further = usize::from(cursor.u8().ok_or(cut)?);
        if further > FURTHER_MAX {
            return Err(MembersError::FurtherCount(further));
        }
        let further = (0..further).map(|place| read_further(cursor, place));
        let further = further.collect::<Result<Vec<_>, _>>()?;
        check_order(&further)?;
        let recipients = [vec![recipient], further].concat();
        let length = usize::try_from(cursor.u32().ok_or(cut)?).map_err(|_| cut)?;
        if length as u64 != history_length(epoch) {
            return Err(MembersError::HistoryLength(length));
        }
        let history = cursor.take(length).ok_or(cut)?.to_vec();
        let envelopes = usize::from(cursor.u16().ok_or(cut)?);
        let envelopes = cursor.take(envelopes * ENVELOPE_BYTES).ok_or(cut)?;
        let (envelopes, _) = envelopes.as_chunks();
        let length = cursor.u16().ok_or(cut)?;
        let extensions = cursor.take(length.into()).ok_or(cut)?;
        TaggedFields::parse(extensions, &[])?;
        let (envelopes, extensions) = (envelopes.to_vec(), extensions.to_vec());
        Ok(Self { epoch, recipients, history, envelopes, extensions })
    }

    /// Seals it for the charter whose public part has this hash.
    pub(super) fn seal(
        &self,
        public_hash: &[u8; 32],
        key: &CharterKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, MembersError> {
        Ok(key.seal(CONTEXT, &self.write(public_hash)?, rng)?)
    }

    fn write(&self, public_hash: &[u8; 32]) -> Result<Vec<u8>, MembersError> {
        let (own, further) = self.recipients.split_first().ok_or(MembersError::Recipient)?;
        let further_count = u8::try_from(further.len())
            .ok()
            .filter(|_| further.len() <= FURTHER_MAX)
            .ok_or(MembersError::FurtherCount(further.len()))?;
        check_order(further)?;
        let history_length = u32::try_from(self.history.len())
            .map_err(|_| MembersError::HistoryLength(self.history.len()))?;
        let envelope_count = u16::try_from(self.envelopes.len())
            .map_err(|_| MembersError::EnvelopeCount(self.envelopes.len()))?;
        let extensions_length = u16::try_from(self.extensions.len())
            .map_err(|_| MembersError::ExtensionsLength(self.extensions.len()))?;

        let mut bytes = public_hash.to_vec();
        bytes.extend(own.key_bytes());
        bytes.push(further_count);
        further.iter().for_each(|recipient| bytes.extend(encode(recipient)));
        bytes.extend(history_length.to_be_bytes());
        bytes.extend(&self.history);
        bytes.extend(envelope_count.to_be_bytes());
        self.envelopes.iter().for_each(|envelope| bytes.extend(envelope));
        bytes.extend(extensions_length.to_be_bytes());
        bytes.extend(&self.extensions);
        Ok(bytes)
    }

    /// The epoch of the charter.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whom every blob is sealed for: the epoch's own recipient, and the further ones behind it.
    #[must_use]
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// How many key files have an envelope in the charter.
    #[must_use]
    pub const fn envelopes(&self) -> usize {
        self.envelopes.len()
    }

    /// How the recipients stand to those of another charter, for [`HeldCharter::follows`]. There is
    /// one encoding of the same recipients, so they are compared as they stand.
    #[must_use]
    pub fn recipients_since(&self, known: &Self) -> Recipients {
        if self.recipients == known.recipients { Recipients::Same } else { Recipients::Changed }
    }

    /// The epoch's secret, from the envelope of the key file that has this wrap key.
    ///
    /// FORMAT 13: "the first whose commitment is its own gives E_k. It refuses an E_k whose
    /// recipient is not the charter's."
    ///
    /// # Errors
    /// [`EpochError::NoEnvelope`] when the charter has none for this key file; otherwise says what
    /// is wrong with it.
    pub fn epoch_secret(&self, key: &WrapKey) -> Result<EpochSecret, EpochError> {
        let context = envelope_context(self.epoch);
        for envelope in &self.envelopes {
            let secret = match key.open(&context, envelope) {
                Err(ChunkError::CommitmentMismatch) => continue,
                opened => opened.map_err(EpochError::Envelope)?,
            };
            let truncated = EpochError::Envelope(ChunkError::Truncated);
            let secret = secret.first_chunk().ok_or(truncated)?;
            let secret = EpochSecret::from_bytes(*secret);
            self.check(&secret)?;
            return Ok(secret);
        }
        Err(EpochError::NoEnvelope(self.epoch))
    }

    /// The secrets of all epochs up to the charter's, by the secret of that: from
    /// [`epoch_secret`](Self::epoch_secret), or from the root.
    ///
    /// # Errors
    /// When the recipient of the secret is not the charter's, or the earlier ones do not open by
    /// it.
    pub fn epochs(&self, secret: EpochSecret) -> Result<EpochSecrets, EpochError> {
        self.check(&secret)?;
        EpochSecrets::open(secret, &self.history)
    }

    fn check(&self, secret: &EpochSecret) -> Result<(), EpochError> {
        if self.recipients.first() == Some(&secret.identity().to_recipient()) {
            Ok(())
        } else {
            Err(EpochError::OtherRecipient(self.epoch))
        }
    }
}

/// FORMAT 13: "message(wrap_key, "envelope" ‖ u32(k), E_k)".
pub(super) fn seal_envelope(
    key: &WrapKey,
    epoch: Epoch,
    secret: &EpochSecret,
    rng: &mut dyn CryptoRng,
) -> Result<[u8; ENVELOPE_BYTES], SealMessageError> {
    let envelope = key.seal(&envelope_context(epoch), secret.as_bytes(), rng)?;
    envelope.try_into().map_err(|_| SealMessageError::TooLong)
}

fn envelope_context(epoch: Epoch) -> Vec<u8> {
    [&b"envelope"[..], &epoch.number().to_be_bytes()].concat()
}

/// Bytes of the sealed secrets of all epochs before this one.
fn history_length(epoch: Epoch) -> u64 {
    match u64::from(epoch.number()) {
        0 => 0,
        earlier => sealed_len(earlier * SECRET_BYTES as u64),
    }
}

/// FORMAT 13: "strictly increasing by these bytes".
fn check_order(further: &[Recipient]) -> Result<(), MembersError> {
    if further.is_sorted_by(|one, next| encode(one) < encode(next)) {
        Ok(())
    } else {
        Err(MembersError::FurtherOrder)
    }
}

/// A further recipient as it stands in the charter: its type, and its key.
pub(super) fn encode(recipient: &Recipient) -> Vec<u8> {
    let kind = match recipient {
        Recipient::X25519(_) => X25519,
        Recipient::MlKem768X25519(_) => HYBRID,
    };
    [&[kind], &recipient.key_bytes()[..]].concat()
}

fn read_further(cursor: &mut Cursor<'_>, place: usize) -> Result<Recipient, MembersError> {
    let cut = MembersError::Cut;
    let parsed = match cursor.u8().ok_or(cut)? {
        X25519 => Recipient::parse_x25519(cursor.array().ok_or(cut)?),
        HYBRID => Recipient::parse_hybrid(cursor.take(HYBRID_BYTES).ok_or(cut)?),
        other => return Err(MembersError::FurtherType(other)),
    };
    parsed.map_err(|_| MembersError::Further(place))
}

const CONTEXT: &[u8] = b"members";
/// The types of further recipients.
const X25519: u8 = 1;
const HYBRID: u8 = 2;
/// Bytes of a hybrid public key.
const HYBRID_BYTES: usize = 1216;
/// Bytes of a sealed epoch secret.
const ENVELOPE_BYTES: usize = 104;
