//! What a device knows of its vault: what opening a blob needs.

use thiserror::Error;
use zput_proto::name::{KeyLengthError, ObjectKey};
use zput_proto::vault::{Epoch, HeldCharter, PrefixTag, VaultId};

use super::epochs::{EpochError, EpochSecrets};
use super::members::{Members, MembersError};
use super::owner::{Owner, OwnerError};
use crate::age::{Identity, Recipient};
use crate::keys::member::{MacKey, MemberSecret, NameKey};
use crate::keys::root::RootSecret;
use crate::keys::wrap::WrapKey;

/// Why secrets and a charter give no view of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The members' part of the charter is refused.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// The owner's part of the charter is refused.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The charter does not give the epochs' secrets.
    #[error(transparent)]
    Epoch(#[from] EpochError),
}

/// A vault under one charter, as a device sees it that has the vault's member secret.
#[derive(Clone, Debug)]
pub struct VaultView {
    id: VaultId,
    charter: HeldCharter,
    members: Members,
    /// Of the epochs from 0 on.
    identities: Vec<Identity>,
    names: Names,
    mac_key: MacKey,
}

impl VaultView {
    /// The view of an owner, who has the vault's last root.
    ///
    /// # Errors
    /// When the charter has another last root, or says which of its sealed parts is refused and
    /// why.
    pub fn of_owner(charter: HeldCharter, root: &RootSecret) -> Result<Self, ViewError> {
        let owner = Owner::open(&charter, &root.owner_key())?;
        let secret = root.epoch(charter.state().epoch(), charter.state().digest());
        Self::new(charter, owner.member_secret(), |members| Ok(Some(members.epochs(secret)?)))
    }

    /// The view of a device that opens by a wrap key: of the roles `member` and `get`.
    ///
    /// # Errors
    /// [`EpochError::NoEnvelope`] when the charter leaves it out: what it has is then
    /// [`of_writer`](Self::of_writer) with the epochs
    /// [that it had](Self::with_identities_of). Otherwise says what is wrong.
    pub fn of_reader(
        charter: HeldCharter,
        member_secret: &MemberSecret,
        wrap_key: &WrapKey,
    ) -> Result<Self, ViewError> {
        Self::new(charter, member_secret, |members| {
            Ok(Some(members.epochs(members.epoch_secret(wrap_key)?)?))
        })
    }

    /// The view of a device that opens nothing: of the roles `put` and `list`.
    ///
    /// # Errors
    /// When the member secret is that of another vault, or the members' part is refused.
    pub fn of_writer(
        charter: HeldCharter,
        member_secret: &MemberSecret,
    ) -> Result<Self, ViewError> {
        Self::new(charter, member_secret, |_| Ok(None))
    }

    fn new(
        charter: HeldCharter,
        member_secret: &MemberSecret,
        epochs: impl FnOnce(&Members) -> Result<Option<EpochSecrets>, EpochError>,
    ) -> Result<Self, ViewError> {
        let members = Members::open(&charter, &member_secret.charter_key())?;
        let identities = epochs(&members)?.map_or_else(Vec::new, |epochs| epochs.identities());
        let is_clear = charter.state().fields().has_clear_names;
        Ok(Self {
            id: *charter.state().vault(),
            members,
            identities,
            names: Names { key: member_secret.name_key(), is_clear },
            mac_key: member_secret.mac_key(),
            charter,
        })
    }

    /// This view with the identities of an earlier one, if it has none of its own and the earlier
    /// charter is of the same line.
    ///
    /// FORMAT 13: "A charter without an envelope for the key file leaves it with the epochs that it
    /// had".
    #[must_use]
    pub fn with_identities_of(mut self, earlier: &Self) -> Self {
        let (known, state) = (earlier.charter.state(), self.charter.state());
        let is_of_line =
            known.vault() == state.vault() && state.tag_of(known.epoch()) == Some(known.tag());
        if self.identities.is_empty() && is_of_line {
            self.identities.clone_from(&earlier.identities);
        }
        self
    }

    /// The vault's id.
    #[must_use]
    pub const fn id(&self) -> &VaultId {
        &self.id
    }

    /// The charter.
    #[must_use]
    pub const fn charter(&self) -> &HeldCharter {
        &self.charter
    }

    /// Whom blobs are sealed for, the epoch's own recipient first.
    #[must_use]
    pub fn recipients(&self) -> &[Recipient] {
        self.members.recipients()
    }

    /// The members' part of the charter.
    #[must_use]
    pub const fn members(&self) -> &Members {
        &self.members
    }

    /// The identity that opens what is sealed for the recipient of this epoch; `None` when the
    /// device does not have it.
    #[must_use]
    pub fn identity(&self, epoch: Epoch) -> Option<&Identity> {
        self.identities.get(usize::try_from(epoch.number()).ok()?)
    }

    /// How names and object keys belong together.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// The key of the vault MAC.
    #[must_use]
    pub const fn mac_key(&self) -> &MacKey {
        &self.mac_key
    }
}

/// The object keys and prefix tags of a vault's names.
#[derive(Clone, Debug)]
pub struct Names {
    key: NameKey,
    is_clear: bool,
}

impl Names {
    /// The object key of a name (FORMAT 10).
    ///
    /// # Errors
    /// When names are clear, and this one has no bytes or more than 1,024.
    pub fn object_key(&self, name: &[u8]) -> Result<ObjectKey, KeyLengthError> {
        if self.is_clear { ObjectKey::new(name) } else { Ok(self.key.object_key(name)) }
    }

    /// The tags of all prefixes of a name, the shortest first.
    pub fn prefix_tags(&self, name: &[u8]) -> impl Iterator<Item = PrefixTag> {
        self.key.prefix_tags(name)
    }

    /// The tag of a prefix, which ends with `/`.
    #[must_use]
    pub fn prefix_tag(&self, prefix: &[u8]) -> PrefixTag {
        self.key.prefix_tag(prefix)
    }
}
