//! Charters, as an owner drafts and seals them (FORMAT 13).

use std::collections::BTreeSet;

use rand::CryptoRng;
use thiserror::Error;
use zput_proto::keys::{DevicePublicKey, SigningPublicKey};
use zput_proto::label::is_label;
use zput_proto::limits::FURTHER_MAX;
use zput_proto::vault::{
    Certificate, CertificateDigest, CertificateError, CharterError, CharterFields, CharterTag,
    Epoch, HeldCharter, StateFields, Succession, VaultId,
};

use super::epochs::{EpochError, seal_history};
use super::members::{Members, MembersError, encode, seal_envelope};
use super::owner::{Issued, Owner, OwnerError};
use super::role::Role;
use crate::age::Recipient;
use crate::chunked::SealMessageError;
use crate::keys::epoch::EpochSecret;
use crate::keys::root::RootSecret;
use crate::keys::wrap::{WrapKey, WrapRoot};

/// Why a charter cannot be drafted or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DraftError {
    /// The root is not the one that signs the vault's charters.
    #[error("the root is not the last one of the vault")]
    NotLastRoot,
    /// The new root is one that the vault has or had.
    #[error("the new root has been a root of the vault before")]
    RootAgain,
    /// A device of role owner has a root from which something still follows.
    #[error("{0} has a root of the vault: it is shut out by a new root, as after a theft")]
    HasRoot(DevicePublicKey),
    /// The device is shut out.
    #[error("the device {0} is shut out: it goes on with a new device seed only")]
    Revoked(DevicePublicKey),
    /// The certificate's scopes are not those of the role.
    #[error("the certificate does not fit the role {0:?}")]
    Role(Role),
    /// The certificate is noted with another role.
    #[error("the owner has a note of the certificate {0} with another role")]
    OtherRole(CertificateDigest),
    /// The label cannot be shown.
    #[error("a label has at most 64 bytes of UTF-8 and no control characters")]
    Label,
    /// No root of the vault signed the certificate.
    #[error("the certificate does not hold under the charter")]
    Certificate(#[from] CertificateError),
    /// The root signs the vault's charters, or the vault does not have it.
    #[error("root {0} is no older root of the vault")]
    NotOlderRoot(u8),
    /// The certificate that is to be kept is none that was issued.
    #[error("the owner has no note of the certificate {0}")]
    NotNoted(CertificateDigest),
    /// The known charter has the last serial of its epoch: the next one begins another epoch.
    #[error("the vault's epoch has had its last charter")]
    LastSerial,
    /// The known charter's part for members, or the new one's, is refused.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// The known charter's part for owners, or the new one's, is refused.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The known charter's epochs are refused.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// What is drafted breaks a rule of charters, such as their length: the vault is full.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// The cipher engine failed.
    #[error("the charter could not be sealed")]
    Seal(#[from] SealMessageError),
}

/// Why a vault gets a new root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// It was planned: certificates of the root before count in all earlier epochs, and those of
    /// its key files go on, with envelopes, whose certificates are kept.
    Planned,
    /// The root before may have been stolen: of its certificates those count that are named now.
    /// The thief knows each wrap key that follows from it and from the roots before, so key files
    /// of these roots get no envelopes any more, and are made anew. Nothing is taken over that a
    /// thief can have planted: no certificate that was kept before, no further recipient.
    Theft,
}

/// A charter that an owner is about to seal.
///
/// FORMAT 13: "A state is one epoch's. Every change of the state is a new epoch, one above the
/// last, and so is every change of the recipients." A draft begins as another charter of the epoch
/// that is known, and the first change of that kind takes it to the next epoch.
///
/// ```
/// use rand::{rand_core::UnwrapErr, rngs::SysRng};
/// use zput_proto::vault::{CertificateFields, Epoch, Follows, PrefixTag, Recipients, Scopes};
/// use zput_seal::{
///     keys::{device_v2::DeviceSeed, root::RootSecret},
///     vault::{CharterDraft, Role, VaultView, issue},
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rng = &mut UnwrapErr(SysRng);
/// let (root, seed) = (RootSecret::generate(rng), DeviceSeed::generate(rng));
/// let fields = CertificateFields {
///     root: 0,
///     vault: root.signer().vault_id(),
///     scopes: Scopes::ALL,
///     not_after: 0,
///     prefix: PrefixTag::EVERY_NAME,
///     device: seed.device(),
///     writer: Some(seed.writer()),
///     extensions: Vec::new(),
/// };
/// let mut draft = CharterDraft::first(&root, false, 1_800_000_000);
/// draft.note(issue(&fields, &root.signer())?, Role::Member, "laptop")?;
/// let first = draft.seal(rng)?;
///
/// // The laptop was stolen.
/// let mut draft = CharterDraft::next(&first, &root, 1_800_003_600)?;
/// draft.revoke(seed.device(), Epoch::new(1))?;
/// let second = draft.seal(rng)?;
/// assert_eq!(second.follows(&first, Recipients::Unread), Follows::Newer);
/// let view = VaultView::of_owner(second, &root)?;
/// assert!(view.identity(Epoch::new(1)).is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CharterDraft {
    root: RootSecret,
    /// `None` behind the last one of the epoch.
    serial: Option<u64>,
    issued_at: u64,
    state: StateFields,
    /// The tag and the secret of the known charter's epoch, as long as the draft is of that epoch.
    known: Option<(CharterTag, EpochSecret)>,
    /// The secrets of all epochs before the draft's.
    earlier: Vec<EpochSecret>,
    further: Vec<Recipient>,
    members_extensions: Vec<u8>,
    owner: Owner,
    noted: Vec<Certificate>,
}

impl CharterDraft {
    /// Founds the vault of `root`: its first charter, of epoch 0, issued at a time in seconds since
    /// 1970. Whether its names are clear is decided for its life.
    #[must_use]
    pub fn first(root: &RootSecret, has_clear_names: bool, issued_at: u64) -> Self {
        let state = StateFields {
            has_clear_names,
            past: Vec::new(),
            first_root: root.signer().public_key(),
            later_roots: Vec::new(),
            revoked: [].into(),
            kept: [].into(),
            extensions: Vec::new(),
        };
        Self {
            root: root.clone(),
            serial: Some(1),
            issued_at,
            state,
            known: None,
            earlier: Vec::new(),
            further: Vec::new(),
            members_extensions: Vec::new(),
            owner: Owner::new(root.own_member_secret()),
            noted: Vec::new(),
        }
    }

    /// Begins the charter after `known`, which `root` has signed.
    ///
    /// # Errors
    /// [`DraftError::NotLastRoot`]; or says what is wrong with the known charter's sealed parts.
    pub fn next(
        known: &HeldCharter,
        root: &RootSecret,
        issued_at: u64,
    ) -> Result<Self, DraftError> {
        let state = known.state();
        if root.signer().public_key() != *state.last_root() {
            return Err(DraftError::NotLastRoot);
        }
        let owner = Owner::open(known, &root.owner_key())?;
        let members = Members::open(known, &owner.member_secret.charter_key())?;
        // A new root begins an epoch, so the last one was in force when this epoch began.
        let epochs = members.epochs(root.epoch(state.epoch(), state.digest()))?;
        let (earlier, secret) = epochs.into_parts();
        Ok(Self {
            root: root.clone(),
            serial: known.serial().checked_add(1),
            issued_at,
            state: state.fields().clone(),
            known: Some((*state.tag(), secret)),
            earlier,
            further: members.recipients.get(1..).unwrap_or_default().to_vec(),
            members_extensions: members.extensions,
            owner,
            noted: Vec::new(),
        })
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.state.vault()
    }

    /// The epoch of the charter, as far as it is drafted.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.state.epoch()
    }

    /// What the owner notes of certificates.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The index of the root that signs the charter, and new certificates.
    #[must_use]
    pub fn root_index(&self) -> u8 {
        // `seal` refuses more roots than have an index.
        u8::try_from(self.state.later_roots.len()).unwrap_or(u8::MAX)
    }

    /// Begins the next epoch, if the draft has not done so, and gives its number. It says and seals
    /// for the same as the epoch before; what a later program has added to that is left out.
    pub fn begin_epoch(&mut self) -> Epoch {
        if let Some((tag, secret)) = self.known.take() {
            self.serial = Some(1);
            self.state.past.push(tag);
            self.earlier.push(secret);
            self.state.extensions.clear();
            self.members_extensions.clear();
            self.owner.extensions.clear();
        }
        self.epoch()
    }

    /// Notes a certificate, so that its key file gets an envelope if the role opens. That a root of
    /// the vault has signed it is looked at when the charter is sealed. The label of one that is
    /// noted is replaced.
    ///
    /// # Errors
    /// When the role does not fit the certificate or is another one than is noted of it, its device
    /// is shut out, or the label cannot be shown.
    pub fn note(
        &mut self,
        certificate: Certificate,
        role: Role,
        label: &str,
    ) -> Result<(), DraftError> {
        let fields = certificate.fields();
        let device = fields.device;
        if !role.fits(fields.scopes) {
            return Err(DraftError::Role(role));
        }
        if self.state.revoked.contains_key(&device) {
            return Err(DraftError::Revoked(device));
        }
        if !is_label(label) {
            return Err(DraftError::Label);
        }
        let key = (device, certificate.digest());
        // A key file is left out by revoking its device, and by nothing else.
        if self.owner.issued.get(&key).is_some_and(|noted| noted.role != role) {
            return Err(DraftError::OtherRole(key.1));
        }
        let issued = Issued { root: fields.root, role, label: label.to_owned() };
        self.owner.issued.insert(key, issued);
        self.noted.push(certificate);
        Ok(())
    }

    /// Seals every blob for these recipients too, at most 30, in a new epoch unless they are those
    /// of the known charter. In which order they are given, or how often, makes no difference.
    ///
    /// # Errors
    /// When there are too many.
    pub fn seal_also_for(&mut self, further: &[Recipient]) -> Result<(), DraftError> {
        if further.len() > FURTHER_MAX {
            return Err(MembersError::FurtherCount(further.len()).into());
        }
        let mut further = further.to_vec();
        further.sort_by_cached_key(encode);
        further.dedup();
        if further != self.further {
            self.begin_epoch();
            self.further = further;
        }
        Ok(())
    }

    /// Shuts a device out, in a new epoch, from which on it has no envelope. What it has written
    /// counts in epochs below `until`, which is at most the new epoch; 0: nothing of it. Of two
    /// revocations of a device the lesser `until` stays.
    ///
    /// # Errors
    /// [`DraftError::HasRoot`] for a device of role owner, as long as something follows from a root
    /// that it has: after [`succeed`](Self::succeed) as after a theft, or
    /// [`distrust`](Self::distrust), nothing does.
    pub fn revoke(&mut self, device: DevicePublicKey, until: Epoch) -> Result<(), DraftError> {
        let has_root = self.owner.issued.iter().any(|((noted, _), issued)| {
            *noted == device && issued.role == Role::Owner && self.is_trusted(issued.root)
        });
        if has_root {
            return Err(DraftError::HasRoot(device));
        }
        self.begin_epoch();
        let known = self.state.revoked.entry(device).or_insert(until);
        *known = until.min(*known);
        Ok(())
    }

    /// Whether one that has this root can still sign what counts, or knows a wrap key that still
    /// gets envelopes: of this root or, by the owner's part of a charter, of one before it.
    fn is_trusted(&self, root: u8) -> bool {
        let next = self.state.later_roots.get(usize::from(root));
        next.is_none_or(|next| next.until > Epoch::new(0))
            || self.owner.wrap_roots.range(..=root).next().is_some()
    }

    /// Makes `next` the vault's last root, in a new epoch whose secret comes from it. The devices
    /// of the root before go on by their certificates if these are in `keep`. As after a theft,
    /// `keep` is all that is kept, and the further recipients are none until they are named anew by
    /// [`seal_also_for`](Self::seal_also_for).
    ///
    /// # Errors
    /// [`DraftError::RootAgain`]; [`DraftError::NotNoted`] for a certificate that the owner does
    /// not know.
    pub fn succeed(
        &mut self,
        next: &RootSecret,
        handover: Handover,
        keep: &BTreeSet<CertificateDigest>,
    ) -> Result<(), DraftError> {
        let key = next.signer().public_key();
        if self.has_root(&key) {
            return Err(DraftError::RootAgain);
        }
        self.check_noted(keep)?;
        let (until, before) = (self.begin_epoch(), self.root_index());
        let to_sign = Succession::to_sign(&self.vault(), before.saturating_add(1), &key);
        let signature = self.root.signer().sign(&to_sign);
        self.state.later_roots.push(Succession { key, signature, until });
        self.owner.wrap_roots.insert(before, self.root.wrap_root());
        self.root = next.clone();
        match handover {
            Handover::Planned => self.state.kept.extend(keep),
            Handover::Theft => self.distrust(before, keep)?,
        }
        Ok(())
    }

    /// Takes from an older root what it still has, in a new epoch, since it may have been stolen:
    /// of its certificates, and those of the roots before it, those count that are in `keep`; and
    /// the key files of these roots, whose wrap roots the thief has read, get no envelopes. `keep`
    /// is all that is kept of any older root, and the further recipients are none until they are
    /// named anew by [`seal_also_for`](Self::seal_also_for): the thief can have planted all others.
    ///
    /// # Errors
    /// [`DraftError::NotOlderRoot`]; [`DraftError::NotNoted`] for a certificate that the owner does
    /// not know.
    pub fn distrust(
        &mut self,
        root: u8,
        keep: &BTreeSet<CertificateDigest>,
    ) -> Result<(), DraftError> {
        self.check_noted(keep)?;
        if usize::from(root) >= self.state.later_roots.len() {
            return Err(DraftError::NotOlderRoot(root));
        }
        self.begin_epoch();
        // The thief can have raised that of a root before, which an earlier theft had ended.
        for succession in self.state.later_roots.iter_mut().take(usize::from(root) + 1) {
            succession.until = Epoch::new(0);
        }
        self.owner.wrap_roots.retain(|index, _| *index > root);
        self.state.kept.clone_from(keep);
        self.further.clear();
        Ok(())
    }

    fn check_noted(&self, keep: &BTreeSet<CertificateDigest>) -> Result<(), DraftError> {
        let noted: BTreeSet<_> = self.owner.issued.keys().map(|(_, digest)| *digest).collect();
        match keep.difference(&noted).next() {
            Some(unknown) => Err(DraftError::NotNoted(*unknown)),
            None => Ok(()),
        }
    }

    fn has_root(&self, key: &SigningPublicKey) -> bool {
        self.state.first_root == *key || self.state.later_roots.iter().any(|root| root.key == *key)
    }

    /// Seals the charter, signed by the vault's last root.
    ///
    /// # Errors
    /// Says which rule of FORMAT 13 it would break; [`DraftError::LastSerial`] when the draft
    /// begins no epoch.
    pub fn seal(self, rng: &mut dyn CryptoRng) -> Result<HeldCharter, DraftError> {
        let members = self.members(rng)?;
        let serial = self.serial.ok_or(DraftError::LastSerial)?;
        let Self { root, issued_at: issued, state, owner, noted, .. } = self;
        let fields = CharterFields { serial, issued, state };
        let hash = fields.public_hash()?;
        let members = members.seal(&hash, &owner.member_secret.charter_key(), rng)?;
        let owner = owner.seal(&hash, &root.owner_key(), rng)?;
        let signature = root.signer().sign(&fields.to_sign(&members, &owner)?);
        let charter = fields.signed(&members, &owner, &signature)?;
        for certificate in &noted {
            certificate.holds_under(charter.state())?;
        }
        Ok(charter)
    }

    fn members(&self, rng: &mut dyn CryptoRng) -> Result<Members, DraftError> {
        let epoch = self.epoch();
        let secret = self.root.epoch(epoch, &self.state.digest().map_err(CharterError::State)?);
        let mut recipients = vec![secret.identity().to_recipient()];
        recipients.extend_from_slice(&self.further);
        let history = seal_history(&self.earlier, &secret.history_key(), rng)?;
        let envelopes = self.wrap_keys().into_iter();
        let envelopes = envelopes.map(|key| seal_envelope(&key, epoch, &secret, rng));
        let envelopes = envelopes.collect::<Result<_, _>>()?;
        let extensions = self.members_extensions.clone();
        Ok(Members { epoch, recipients, history, envelopes, extensions })
    }

    /// The wrap keys of all key files that go on: one for each device and root.
    ///
    /// FORMAT 13: "one for each key file that opens, is not shut out, and whose certificate is of
    /// the last root or in `kept`".
    fn wrap_keys(&self) -> Vec<WrapKey> {
        let own = self.root.wrap_root();
        let wrap_root = |index: u8| -> Option<&WrapRoot> {
            if index == self.root_index() { Some(&own) } else { self.owner.wrap_roots.get(&index) }
        };
        let mut seen = BTreeSet::new();
        let mut keys = Vec::new();
        for ((device, digest), issued) in &self.owner.issued {
            let goes_on = issued.role.has_wrap_key()
                && !self.state.revoked.contains_key(device)
                && (issued.root == self.root_index() || self.state.kept.contains(digest));
            if let Some(wrap_root) = wrap_root(issued.root).filter(|_| goes_on)
                && seen.insert((*device, issued.root))
            {
                keys.push(WrapKey::of(wrap_root, device));
            }
        }
        keys
    }
}
