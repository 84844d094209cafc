//! The owner's part of a charter (FORMAT 13): what its owners note of the certificates that they
//! issued. Only those that have the last root can read it.

use std::collections::BTreeMap;

use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;
use zput_proto::cursor::Cursor;
use zput_proto::keys::DevicePublicKey;
use zput_proto::label::is_label;
use zput_proto::tagged::{TaggedError, TaggedFields};
use zput_proto::vault::{CertificateDigest, HeldCharter};

use super::role::Role;
use crate::chunked::{ChunkError, SealMessageError};
use crate::keys::member::MemberSecret;
use crate::keys::root::OwnerKey;
use crate::keys::wrap::WrapRoot;

/// Why the owner's part of a charter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// It was sealed under another key than that of the last root, or is damaged.
    #[error("the owner's part of the charter does not open by this root")]
    Sealed(#[source] ChunkError),
    /// It could not be sealed.
    #[error("the owner's part of the charter could not be sealed")]
    Seal(#[from] SealMessageError),
    /// It was sealed for another charter.
    #[error("the owner's part of the charter is that of another charter")]
    OtherCharter,
    /// A field ends behind the end.
    #[error("the owner's part of the charter is cut off")]
    Cut,
    /// A wrap root stands twice or at another place than its own.
    #[error("the wrap roots are not in strictly increasing order")]
    WrapRootOrder,
    /// A wrap root is of the last root or a later one.
    #[error("the charter has a wrap root of root {0}, which is no older root of the vault")]
    WrapRoot(u8),
    /// A certificate stands twice or at another place than its own.
    #[error("the issued certificates are not in strictly increasing order")]
    IssuedOrder,
    /// A certificate is of a root that the vault does not have.
    #[error("a certificate is noted as one of root {0}, which the vault does not have")]
    IssuedRoot(u8),
    /// The role of a certificate is not known.
    #[error("a certificate is noted with the role {0}, which is not known here")]
    Role(u8),
    /// A label is no text that can be shown.
    #[error("a label has at most 64 bytes of UTF-8 and no control characters")]
    Label,
    /// There are more certificates than a charter can have.
    #[error("a charter notes at most 65535 certificates, and this one {0}")]
    IssuedCount(usize),
    /// The extensions are too long; the number is that of their bytes.
    #[error("extensions have at most 65535 bytes, these have {0}")]
    ExtensionsLength(usize),
    /// The extensions are refused.
    #[error("the extensions of the owner's part are refused")]
    Extensions(#[from] TaggedError),
    /// Something follows behind the last field; the number is that of its bytes.
    #[error("{0} bytes follow behind the owner's part of the charter")]
    Excess(usize),
}

/// The owner's part of a charter that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub(super) member_secret: MemberSecret,
    pub(super) wrap_roots: BTreeMap<u8, WrapRoot>,
    pub(super) issued: BTreeMap<(DevicePublicKey, CertificateDigest), Issued>,
    pub(super) extensions: Vec<u8>,
}

/// What an owner notes of a certificate beside its device and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The index of the root that signed it.
    pub root: u8,
    /// What its key file is for.
    pub role: Role,
    /// What the owner calls it: at most 64 bytes of UTF-8 without control characters.
    pub label: String,
}

impl Owner {
    /// The notes of a vault that nobody has a certificate of.
    pub(super) const fn new(member_secret: MemberSecret) -> Self {
        Self {
            member_secret,
            wrap_roots: BTreeMap::new(),
            issued: BTreeMap::new(),
            extensions: Vec::new(),
        }
    }

    /// Opens the owner's part of `charter` by the key of its last root.
    ///
    /// FORMAT 13: "A program that opens one of the two compares `public_hash`."
    ///
    /// # Errors
    /// Says which rule of FORMAT 13 it breaks.
    pub fn open(charter: &HeldCharter, key: &OwnerKey) -> Result<Self, OwnerError> {
        let plaintext = key.open(CONTEXT, charter.owner()).map_err(OwnerError::Sealed)?;
        let mut cursor = Cursor::new(&plaintext);
        if cursor.array().ok_or(OwnerError::Cut)? != charter.public_hash() {
            return Err(OwnerError::OtherCharter);
        }
        let owner = Self::read(&mut cursor, charter.state().fields().later_roots.len())?;
        match cursor.rest().len() {
            0 => Ok(owner),
            more => Err(OwnerError::Excess(more)),
        }
    }

    /// Reads the fields behind the hash, in a vault whose last root has this index.
    fn read(cursor: &mut Cursor<'_>, last_root: usize) -> Result<Self, OwnerError> {
        let cut = OwnerError::Cut;
        let mut owner = Self::new(MemberSecret::from_bytes(cursor.array().ok_or(cut)?));
        for _ in 0..cursor.u8().ok_or(cut)? {
            let index = cursor.u8().ok_or(cut)?;
            let wrap_root = WrapRoot::from_bytes(cursor.array().ok_or(cut)?);
            if owner.wrap_roots.last_key_value().is_some_and(|(last, _)| index <= *last) {
                return Err(OwnerError::WrapRootOrder);
            }
            if usize::from(index) >= last_root {
                return Err(OwnerError::WrapRoot(index));
            }
            owner.wrap_roots.insert(index, wrap_root);
        }
        for _ in 0..cursor.u16().ok_or(cut)? {
            let device = DevicePublicKey::from_bytes(cursor.array().ok_or(cut)?);
            let key = (device, CertificateDigest::from_bytes(cursor.array().ok_or(cut)?));
            if owner.issued.last_key_value().is_some_and(|(last, _)| key <= *last) {
                return Err(OwnerError::IssuedOrder);
            }
            owner.issued.insert(key, read_issued(cursor, last_root)?);
        }
        let length = cursor.u16().ok_or(cut)?;
        let extensions = cursor.take(length.into()).ok_or(cut)?;
        TaggedFields::parse(extensions, &[])?;
        owner.extensions = extensions.to_vec();
        Ok(owner)
    }

    /// Seals it for the charter whose public part has this hash.
    pub(super) fn seal(
        &self,
        public_hash: &[u8; 32],
        key: &OwnerKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, OwnerError> {
        Ok(key.seal(CONTEXT, &self.write(public_hash)?, rng)?)
    }

    fn write(&self, public_hash: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, OwnerError> {
        // 256 of them have one of index 255, which is beyond all roots.
        let wrap_count =
            u8::try_from(self.wrap_roots.len()).map_err(|_| OwnerError::WrapRoot(u8::MAX))?;
        let issued_count = u16::try_from(self.issued.len())
            .map_err(|_| OwnerError::IssuedCount(self.issued.len()))?;
        let extensions_length = u16::try_from(self.extensions.len())
            .map_err(|_| OwnerError::ExtensionsLength(self.extensions.len()))?;
        // At least the final length: what a growing vector leaves behind is not zeroized.
        let room = 256 * self.wrap_roots.len() + 256 * self.issued.len() + self.extensions.len();
        let mut bytes = Zeroizing::new(Vec::with_capacity(256 + room));
        bytes.extend(public_hash);
        bytes.extend(self.member_secret.as_bytes());
        bytes.push(wrap_count);
        for (index, wrap_root) in &self.wrap_roots {
            bytes.push(*index);
            bytes.extend(wrap_root.as_bytes());
        }
        bytes.extend(issued_count.to_be_bytes());
        for ((device, digest), issued) in &self.issued {
            if !is_label(&issued.label) {
                return Err(OwnerError::Label);
            }
            let label_length = u8::try_from(issued.label.len()).map_err(|_| OwnerError::Label)?;
            bytes.extend(device.as_bytes());
            bytes.extend(digest.as_bytes());
            bytes.extend([issued.root, issued.role.number(), label_length]);
            bytes.extend(issued.label.as_bytes());
        }
        bytes.extend(extensions_length.to_be_bytes());
        bytes.extend(&self.extensions);
        Ok(bytes)
    }

    /// The secret that all devices of the vault share.
    #[must_use]
    pub const fn member_secret(&self) -> &MemberSecret {
        &self.member_secret
    }

    /// The wrap roots of the older roots, by their index, whose key files still get envelopes.
    #[must_use]
    pub const fn wrap_roots(&self) -> &BTreeMap<u8, WrapRoot> {
        &self.wrap_roots
    }

    /// The certificates that were ever issued, by device and digest.
    #[must_use]
    pub const fn issued(&self) -> &BTreeMap<(DevicePublicKey, CertificateDigest), Issued> {
        &self.issued
    }
}

fn read_issued(cursor: &mut Cursor<'_>, last_root: usize) -> Result<Issued, OwnerError> {
    let cut = OwnerError::Cut;
    let root = cursor.u8().ok_or(cut)?;
    if usize::from(root) > last_root {
        return Err(OwnerError::IssuedRoot(root));
    }
    let number = cursor.u8().ok_or(cut)?;
    let role = Role::from_u8(number).ok_or(OwnerError::Role(number))?;
    let length = cursor.u8().ok_or(cut)?;
    let label = cursor.take(length.into()).ok_or(cut)?;
    let label = std::str::from_utf8(label).ok().filter(|label| is_label(label));
    Ok(Issued { root, role, label: label.ok_or(OwnerError::Label)?.to_owned() })
}

const CONTEXT: &[u8] = b"owner";
