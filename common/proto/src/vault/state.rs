//! The state of a vault in one epoch (FORMAT 13): its roots, and what they say of devices.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::id::{CertificateDigest, CharterTag, StateDigest, VaultId};
use super::order::Epoch;
use crate::cursor::Cursor;
use crate::keys::{
    Algorithm, AlgorithmError, DevicePublicKey, Signature, SignatureLabel, SigningPublicKey,
};
use crate::limits::{EPOCHS_MAX, KEPT_MAX, REVOKED_MAX, ROOTS_MAX};
use crate::tagged::{TaggedError, TaggedFields};

/// Which rule of FORMAT 13 a state breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A field ends behind the end of the charter.
    #[error("the state of the vault is cut off")]
    Cut,
    /// A flag is set that is not known.
    #[error("the flags {0:#04x} of the vault are not known here")]
    Flags(u8),
    /// The epoch is beyond the last one.
    #[error("a vault has at most {EPOCHS_MAX} epochs, and this is number {0}")]
    Epoch(u32),
    /// There is no root, or there are too many.
    #[error("a vault has 1 to {ROOTS_MAX} roots, and this one has {0}")]
    RootCount(usize),
    /// A root's key or its algorithm is refused, or the root before did not sign it.
    #[error("the vault's root {index} is refused")]
    Root {
        /// The root's index.
        index: usize,
        /// Why.
        #[source]
        why: AlgorithmError,
    },
    /// The vault's id is not made of root 0.
    #[error("the vault's id {0} is not that of its first root")]
    VaultId(VaultId),
    /// A root or a device counts until an epoch that has not begun.
    #[error("a root or a device counts until epoch {until}, and this is epoch {epoch}")]
    Until {
        /// The epoch until which it counts.
        until: Epoch,
        /// The state's epoch.
        epoch: Epoch,
    },
    /// Too many devices are revoked.
    #[error("a charter revokes at most {REVOKED_MAX} devices, and this one {0}")]
    RevokedCount(usize),
    /// A device stands twice or at another place than its own.
    #[error("the revoked devices are not in strictly increasing order")]
    RevokedOrder,
    /// Too many certificates are kept.
    #[error("a charter keeps at most {KEPT_MAX} certificates, and this one {0}")]
    KeptCount(usize),
    /// A certificate stands twice or at another place than its own.
    #[error("the kept certificates are not in strictly increasing order")]
    KeptOrder,
    /// The extensions are too long; the number is that of their bytes.
    #[error("extensions have at most 65535 bytes, these have {0}")]
    ExtensionsLength(usize),
    /// The extensions are refused.
    #[error("the extensions of the vault's state are refused")]
    Extensions(#[from] TaggedError),
}

/// A root that came after another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// The public key of the new root.
    pub key: SigningPublicKey,
    /// The signature of the root before over [`Succession::to_sign`].
    pub signature: Signature,
    /// Certificates of the root before count in epochs below this one; 0: none but those that are
    /// kept.
    pub until: Epoch,
}

impl Succession {
    /// The bytes by whose signature a root makes `key` the vault's root of this index.
    #[must_use]
    pub fn to_sign(vault: &VaultId, index: u8, key: &SigningPublicKey) -> Vec<u8> {
        SignatureLabel::Root.input(&[vault.as_bytes(), &[index], &key.to_numbered_bytes()])
    }

    /// Whether `before` signed this root.
    fn verify(
        &self,
        vault: &VaultId,
        index: u8,
        before: &SigningPublicKey,
    ) -> Result<(), AlgorithmError> {
        let numbered = self.key.to_numbered_bytes();
        let pieces = [vault.as_bytes(), &[index][..], &numbered];
        before.verify(SignatureLabel::Root, &pieces, &self.signature)
    }
}

/// What a state says. To write one, fill it and [`encode`](Self::encode) it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFields {
    /// Whether names are clear; the same for the vault's life.
    pub has_clear_names: bool,
    /// The tags of all earlier epochs, so the number of this one is how many they are.
    pub past: Vec<CharterTag>,
    /// The public key of root 0, which makes the vault's id.
    pub first_root: SigningPublicKey,
    /// The roots after it.
    pub later_roots: Vec<Succession>,
    /// Devices that are shut out; their blobs count in epochs below the one that is given, 0: none.
    /// The keys are compared and not used, so any 32 bytes may be one.
    pub revoked: BTreeMap<DevicePublicKey, Epoch>,
    /// Certificates of older roots that count in every epoch.
    pub kept: BTreeSet<CertificateDigest>,
    /// A list of tagged fields; format 2 has none of its own, so writers of a new state leave it
    /// empty, and those of another charter of the same epoch keep what is there.
    pub extensions: Vec<u8>,
}

impl StateFields {
    /// The vault's id.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        VaultId::of(&self.first_root)
    }

    /// The state's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        // A vector of tags has fewer than 2^32.
        Epoch::new(u32::try_from(self.past.len()).unwrap_or(u32::MAX))
    }

    /// The bytes of the state.
    ///
    /// # Errors
    /// Says which rule of FORMAT 13 it breaks: what is encoded is a state that parses.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        let bytes = self.write()?;
        State::parse(&mut Cursor::new(&bytes))?;
        Ok(bytes)
    }

    /// The digest of the state, from which the secret of its epoch follows.
    ///
    /// # Errors
    /// Says which rule of FORMAT 13 it breaks.
    pub fn digest(&self) -> Result<StateDigest, StateError> {
        Ok(StateDigest::of(&self.encode()?))
    }

    fn write(&self) -> Result<Vec<u8>, StateError> {
        let roots = 1 + self.later_roots.len();
        let root_count = u8::try_from(roots).map_err(|_| StateError::RootCount(roots))?;
        let revoked_count = u16::try_from(self.revoked.len())
            .map_err(|_| StateError::RevokedCount(self.revoked.len()))?;
        let kept_count =
            u16::try_from(self.kept.len()).map_err(|_| StateError::KeptCount(self.kept.len()))?;
        let extensions_length = u16::try_from(self.extensions.len())
            .map_err(|_| StateError::ExtensionsLength(self.extensions.len()))?;

        let mut bytes = vec![if self.has_clear_names { CLEAR_NAMES } else { 0 }];
        bytes.extend(self.vault().as_bytes());
        bytes.extend(self.epoch().number().to_be_bytes());
        self.past.iter().for_each(|tag| bytes.extend(tag.as_bytes()));
        bytes.push(root_count);
        bytes.extend(self.first_root.to_numbered_bytes());
        for root in &self.later_roots {
            bytes.extend(root.key.to_numbered_bytes());
            bytes.extend(root.signature.as_bytes());
        }
        for root in &self.later_roots {
            bytes.extend(root.until.number().to_be_bytes());
        }
        bytes.extend(revoked_count.to_be_bytes());
        for (device, until) in &self.revoked {
            bytes.extend(device.as_bytes());
            bytes.extend(until.number().to_be_bytes());
        }
        bytes.extend(kept_count.to_be_bytes());
        self.kept.iter().for_each(|digest| bytes.extend(digest.as_bytes()));
        bytes.extend(extensions_length.to_be_bytes());
        bytes.extend(&self.extensions);
        Ok(bytes)
    }
}

/// The state of a vault, as a charter says it whose signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    fields: StateFields,
    vault: VaultId,
    digest: StateDigest,
    tag: CharterTag,
}

impl State {
    /// Parses a state at the front of `cursor`, and verifies that its roots chain.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, StateError> {
        let bytes = cursor.rest();
        let start = cursor.position();
        let flags = cursor.u8().ok_or(StateError::Cut)?;
        if flags & !CLEAR_NAMES != 0 {
            return Err(StateError::Flags(flags));
        }
        let vault = VaultId::from_bytes(cursor.array().ok_or(StateError::Cut)?);
        let past = read_past(cursor)?;
        let epoch = Epoch::new(u32::try_from(past.len()).unwrap_or(u32::MAX));
        let (first_root, later_roots) = read_roots(cursor, &vault, epoch)?;
        let revoked = read_revoked(cursor, epoch)?;
        let kept = read_kept(cursor)?;
        let length = cursor.u16().ok_or(StateError::Cut)?;
        let extensions = cursor.take(length.into()).ok_or(StateError::Cut)?;
        TaggedFields::parse(extensions, &[])?;
        let bytes = bytes.get(..cursor.position() - start).ok_or(StateError::Cut)?;
        let digest = StateDigest::of(bytes);
        Ok(Self {
            fields: StateFields {
                has_clear_names: flags & CLEAR_NAMES != 0,
                past,
                first_root,
                later_roots,
                revoked,
                kept,
                extensions: extensions.to_vec(),
            },
            vault,
            tag: digest.tag(),
            digest,
        })
    }

    /// What it says.
    #[must_use]
    pub const fn fields(&self) -> &StateFields {
        &self.fields
    }

    /// The vault whose state it is.
    #[must_use]
    pub const fn vault(&self) -> &VaultId {
        &self.vault
    }

    /// The epoch in force.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.fields.epoch()
    }

    /// The digest of this state.
    #[must_use]
    pub const fn digest(&self) -> &StateDigest {
        &self.digest
    }

    /// The tag of this state.
    #[must_use]
    pub const fn tag(&self) -> &CharterTag {
        &self.tag
    }

    /// The tag of the state of this epoch or an earlier one; `None` for a later epoch.
    #[must_use]
    pub fn tag_of(&self, epoch: Epoch) -> Option<&CharterTag> {
        if epoch == self.epoch() {
            return Some(&self.tag);
        }
        self.fields.past.get(usize::try_from(epoch.number()).ok()?)
    }

    /// The public key of the root of this index.
    #[must_use]
    pub fn root(&self, index: u8) -> Option<&SigningPublicKey> {
        match index {
            0 => Some(&self.fields.first_root),
            later => self.fields.later_roots.get(usize::from(later) - 1).map(|root| &root.key),
        }
    }

    /// The public key of the last root, which signs the charter.
    #[must_use]
    pub fn last_root(&self) -> &SigningPublicKey {
        self.fields.later_roots.last().map_or(&self.fields.first_root, |root| &root.key)
    }

    /// The epoch below which certificates of the root of this index count; `None` for the last
    /// root, whose certificates count in every epoch.
    pub(super) fn until_of_root(&self, index: u8) -> Option<Epoch> {
        self.fields.later_roots.get(usize::from(index)).map(|next| next.until)
    }
}

fn read_past(cursor: &mut Cursor<'_>) -> Result<Vec<CharterTag>, StateError> {
    let epoch = cursor.u32().ok_or(StateError::Cut)?;
    let length = usize::try_from(epoch).ok().filter(|epoch| *epoch < EPOCHS_MAX);
    let length = length.ok_or(StateError::Epoch(epoch))?;
    let tag = |_| cursor.array().map(CharterTag::from_bytes).ok_or(StateError::Cut);
    (0..length).map(tag).collect()
}

/// Reads the roots and until when each of them counts, and verifies that each one signed the next.
fn read_roots(
    cursor: &mut Cursor<'_>,
    vault: &VaultId,
    epoch: Epoch,
) -> Result<(SigningPublicKey, Vec<Succession>), StateError> {
    let count = usize::from(cursor.u8().ok_or(StateError::Cut)?);
    if count == 0 || count > ROOTS_MAX {
        return Err(StateError::RootCount(count));
    }
    let first = read_key(cursor, 0)?;
    if VaultId::of(&first) != *vault {
        return Err(StateError::VaultId(*vault));
    }
    let mut signed = Vec::with_capacity(count - 1);
    let mut before = first.algorithm();
    for index in 1..count {
        let key = read_key(cursor, index)?;
        let signature = cursor.take(before.signature_bytes()).ok_or(StateError::Cut)?;
        let signature = Signature::parse(before, signature);
        before = key.algorithm();
        signed.push((key, signature.map_err(|why| StateError::Root { index, why })?));
    }
    let mut later = Vec::with_capacity(signed.len());
    for (key, signature) in signed {
        let until = read_until(cursor, epoch)?;
        later.push(Succession { key, signature, until });
    }
    let mut before = &first;
    for (index, root) in (1..).zip(&later) {
        root.verify(vault, index, before)
            .map_err(|why| StateError::Root { index: index.into(), why })?;
        before = &root.key;
    }
    Ok((first, later))
}

fn read_key(cursor: &mut Cursor<'_>, index: usize) -> Result<SigningPublicKey, StateError> {
    let number = cursor.u8().ok_or(StateError::Cut)?;
    let refused = |why| StateError::Root { index, why };
    let algorithm = Algorithm::from_u8(number).map_err(refused)?;
    let key = cursor.take(algorithm.key_bytes()).ok_or(StateError::Cut)?;
    SigningPublicKey::parse(algorithm, key).map_err(refused)
}

fn read_until(cursor: &mut Cursor<'_>, epoch: Epoch) -> Result<Epoch, StateError> {
    let until = Epoch::new(cursor.u32().ok_or(StateError::Cut)?);
    if until > epoch { Err(StateError::Until { until, epoch }) } else { Ok(until) }
}

fn read_revoked(
    cursor: &mut Cursor<'_>,
    epoch: Epoch,
) -> Result<BTreeMap<DevicePublicKey, Epoch>, StateError> {
    let count = usize::from(cursor.u16().ok_or(StateError::Cut)?);
    if count > REVOKED_MAX {
        return Err(StateError::RevokedCount(count));
    }
    let mut revoked = BTreeMap::new();
    for _ in 0..count {
        let device = DevicePublicKey::from_bytes(cursor.array().ok_or(StateError::Cut)?);
        if revoked.last_key_value().is_some_and(|(last, _)| device <= *last) {
            return Err(StateError::RevokedOrder);
        }
        revoked.insert(device, read_until(cursor, epoch)?);
    }
    Ok(revoked)
}

fn read_kept(cursor: &mut Cursor<'_>) -> Result<BTreeSet<CertificateDigest>, StateError> {
    let count = usize::from(cursor.u16().ok_or(StateError::Cut)?);
    if count > KEPT_MAX {
        return Err(StateError::KeptCount(count));
    }
    let mut kept = BTreeSet::new();
    for _ in 0..count {
        let digest = CertificateDigest::from_bytes(cursor.array().ok_or(StateError::Cut)?);
        if kept.last().is_some_and(|last| digest <= *last) {
            return Err(StateError::KeptOrder);
        }
        kept.insert(digest);
    }
    Ok(kept)
}

/// The flag of a vault whose names are clear.
const CLEAR_NAMES: u8 = 1;
