//! Certificates: what one device may do in one vault (FORMAT 12).

use thiserror::Error;

use super::id::{CertificateDigest, PrefixTag, VaultId};
use super::order::{Epoch, Order};
use super::scopes::Scopes;
use super::state::State;
use crate::cursor::Cursor;
use crate::keys::{
    Algorithm, AlgorithmError, DevicePublicKey, Signature, SignatureLabel, SigningPublicKey,
};
use crate::limits::{CERTIFICATE_MAX_BYTES, SIGNATURE_MAX_BYTES};
use crate::tagged::{TaggedError, TaggedFields};

/// Why bytes are not a certificate, or why one does not hold, count, or let its device in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There are more bytes than a certificate has.
    #[error("a certificate has at most {CERTIFICATE_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// A field ends behind the end of the certificate.
    #[error("the certificate is cut off")]
    Cut,
    /// A newer program made it.
    #[error("a certificate of version {0}, which is not known here")]
    UnknownVersion(u8),
    /// It ends at a time that no certificate has.
    #[error("a certificate cannot end {0} seconds after 1970")]
    NotAfter(u64),
    /// It lets nobody in: the device's key is one for which anybody can sign, or none at all.
    #[error("the device's key is refused")]
    Device(#[source] AlgorithmError),
    /// The writer's key or its algorithm is refused.
    #[error("the writer's key is refused")]
    Writer(#[source] AlgorithmError),
    /// It allows to put and has no writer key, or the other way round.
    #[error("a certificate has a writer's key exactly if its device may put")]
    WriterWithoutPut,
    /// The extensions are too long; the number is that of their bytes.
    #[error("extensions have at most 65535 bytes, these have {0}")]
    ExtensionsLength(usize),
    /// The extensions are refused.
    #[error("the certificate's extensions are refused")]
    Extensions(#[from] TaggedError),
    /// No algorithm has so long a signature; the number is that of its bytes.
    #[error("a signature has at most {SIGNATURE_MAX_BYTES} bytes, this one has {0}")]
    SignatureLength(usize),
    /// It does not hold: it is another vault's.
    #[error("the certificate is for the vault {0}")]
    OtherVault(VaultId),
    /// It does not hold: the charter has no such root.
    #[error("the certificate is of root {0}, which the vault does not have")]
    NoSuchRoot(u8),
    /// It does not hold: the root did not sign it.
    #[error("the certificate's signature is refused")]
    Signature(#[source] AlgorithmError),
    /// It does not count: its device may not put.
    #[error("the certificate does not allow its device to put")]
    NoPut,
    /// It does not count: its root is not the vault's any more, and it is not kept.
    #[error("the certificate is of an earlier root of the vault, which does not count here")]
    RootLeft,
    /// It does not count: its device is shut out.
    #[error("the device of the certificate is shut out of the vault")]
    Revoked,
    /// It does not count: it ended before.
    #[error("the certificate ended {0} seconds after 1970")]
    Expired(u64),
    /// It lets nobody in: another device has shown it.
    #[error("the certificate is another device's")]
    OtherDevice,
}

/// What a certificate says. To write one, fill it, sign [`to_sign`](Self::to_sign), and put it
/// together by [`signed`](Self::signed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFields {
    /// The index of the root that signs.
    pub root: u8,
    /// The vault.
    pub vault: VaultId,
    /// What the device may do. Bits that this program does not know are left out when a certificate
    /// is parsed.
    pub scopes: Scopes,
    /// Until when, in seconds since 1970, below 2^33; 0: for ever.
    pub not_after: u64,
    /// Which names the device may write.
    pub prefix: PrefixTag,
    /// The device: its TLS key or, of a later algorithm, a hash of that. It is compared, and looked
    /// at as a key by [`Held::may_enter`] only.
    pub device: DevicePublicKey,
    /// The key that signs the device's blobs; there is one exactly if the device may put.
    pub writer: Option<SigningPublicKey>,
    /// A list of tagged fields; format 2 has none of its own, so writers leave it empty.
    pub extensions: Vec<u8>,
}

impl CertificateFields {
    /// The bytes that the root signs.
    ///
    /// # Errors
    /// When the extensions have no length that can be written.
    pub fn to_sign(&self) -> Result<Vec<u8>, CertificateError> {
        Ok(SignatureLabel::Certificate.input(&[&self.unsigned()?]))
    }

    /// The certificate with the root's signature over [`to_sign`](Self::to_sign). The signature is
    /// looked at by [`Certificate::holds_under`].
    ///
    /// # Errors
    /// Says which rule of FORMAT 12 the fields break.
    pub fn signed(&self, signature: &Signature) -> Result<Certificate, CertificateError> {
        let mut bytes = self.unsigned()?;
        bytes.extend(signature.as_bytes());
        Certificate::parse(&bytes)
    }

    fn unsigned(&self) -> Result<Vec<u8>, CertificateError> {
        let length = self.extensions.len();
        let length =
            u16::try_from(length).map_err(|_| CertificateError::ExtensionsLength(length))?;
        let mut bytes = vec![VERSION, self.root];
        bytes.extend(self.vault.as_bytes());
        bytes.extend(self.scopes.bits().to_be_bytes());
        bytes.extend(self.not_after.to_be_bytes());
        bytes.extend(self.prefix.as_bytes());
        bytes.extend(self.device.as_bytes());
        match &self.writer {
            Some(writer) => bytes.extend(writer.to_numbered_bytes()),
            None => bytes.push(NO_WRITER),
        }
        bytes.extend(length.to_be_bytes());
        bytes.extend(&self.extensions);
        Ok(bytes)
    }
}

/// A well-formed certificate. Whether a root has signed it, [`holds_under`](Self::holds_under)
/// says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    bytes: Vec<u8>,
    fields: CertificateFields,
    signature_start: usize,
}

impl Certificate {
    /// Parses `bytes`, a whole certificate and nothing else.
    ///
    /// # Errors
    /// Says which rule of FORMAT 12 they break.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > CERTIFICATE_MAX_BYTES {
            return Err(CertificateError::TooLong(bytes.len()));
        }
        let mut cursor = Cursor::new(bytes);
        let version = cursor.u8().ok_or(CertificateError::Cut)?;
        if version != VERSION {
            return Err(CertificateError::UnknownVersion(version));
        }
        let fields = read(&mut cursor)?;
        let signature = cursor.rest().len();
        if signature > SIGNATURE_MAX_BYTES {
            return Err(CertificateError::SignatureLength(signature));
        }
        Ok(Self { bytes: bytes.to_vec(), fields, signature_start: cursor.position() })
    }

    /// The whole certificate.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    #[must_use]
    pub const fn fields(&self) -> &CertificateFields {
        &self.fields
    }

    /// The digest by which a charter keeps it.
    #[must_use]
    pub fn digest(&self) -> CertificateDigest {
        CertificateDigest::of(&self.bytes)
    }

    /// Verifies that one of the roots of `state` signed it for this vault.
    ///
    /// FORMAT 12: "when it parses, `root` is one of the charter's roots, and the signature holds
    /// under that root's key".
    ///
    /// # Errors
    /// Says why it does not hold.
    pub fn holds_under<'a>(&'a self, state: &'a State) -> Result<Held<'a>, CertificateError> {
        if self.fields.vault != *state.vault() {
            return Err(CertificateError::OtherVault(self.fields.vault));
        }
        let root = state.root(self.fields.root);
        let root = root.ok_or(CertificateError::NoSuchRoot(self.fields.root))?;
        let (signed, signature) = self.bytes.split_at(self.signature_start);
        Signature::parse(root.algorithm(), signature)
            .and_then(|signature| root.verify(SignatureLabel::Certificate, &[signed], &signature))
            .map_err(CertificateError::Signature)?;
        Ok(Held { certificate: self, state })
    }

    /// Whether a charter has taken from it what it said of blobs of this epoch: its root does not
    /// count there any more and the certificate is not kept, or its device is shut out. The
    /// signature is not looked at.
    pub(super) fn check_standing(
        &self,
        state: &State,
        epoch: Epoch,
    ) -> Result<(), CertificateError> {
        let until = state.until_of_root(self.fields.root);
        if until.is_some_and(|until| epoch >= until) && !self.is_kept(state) {
            return Err(CertificateError::RootLeft);
        }
        let revoked = state.fields().revoked.get(&self.fields.device);
        if revoked.is_some_and(|until| epoch >= *until) {
            return Err(CertificateError::Revoked);
        }
        Ok(())
    }

    fn is_kept(&self, state: &State) -> bool {
        state.fields().kept.contains(&self.digest())
    }
}

/// A certificate that holds under the charter of its vault: a root signed it. A value of it is what
/// [`Certificate::holds_under`] leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    certificate: &'a Certificate,
    state: &'a State,
}

impl<'a> Held<'a> {
    /// The certificate.
    #[must_use]
    pub const fn certificate(self) -> &'a Certificate {
        self.certificate
    }

    /// The state under which it holds.
    #[must_use]
    pub const fn state(self) -> &'a State {
        self.state
    }

    /// Whether the certificate vouches for a blob of this epoch and generation, whatever its name.
    ///
    /// # Errors
    /// Says which point of FORMAT 12 it fails.
    pub fn counts(self, order: Order) -> Result<Counts<'a>, CertificateError> {
        let fields = self.certificate.fields();
        // The parser saw to it that there is a writer exactly where there is the put bit.
        let writer = fields.writer.as_ref().ok_or(CertificateError::NoPut)?;
        self.certificate.check_standing(self.state, order.epoch())?;
        let last = (fields.not_after + GRACE_SECONDS) * NANOSECONDS;
        if fields.not_after != 0 && order.generation() > last {
            return Err(CertificateError::Expired(fields.not_after));
        }
        Ok(Counts { certificate: self.certificate, writer })
    }

    /// Whether the certificate has not ended by a server's clock, in seconds since 1970: "the
    /// server's clock is not beyond `not_after`".
    ///
    /// # Errors
    /// [`CertificateError::Expired`].
    pub fn check_date(self, now: u64) -> Result<(), CertificateError> {
        match self.certificate.fields().not_after {
            0 => Ok(()),
            not_after if now <= not_after => Ok(()),
            not_after => Err(CertificateError::Expired(not_after)),
        }
    }

    /// Whether a server lets the device into the vault: the one that has `proved` its key in the
    /// TLS handshake, at `now` in seconds since 1970. Gives the scopes of the certificate.
    ///
    /// # Errors
    /// Says which point of FORMAT 12, "At a server", it fails.
    pub fn may_enter(self, proved: &DevicePublicKey, now: u64) -> Result<Scopes, CertificateError> {
        let fields = self.certificate.fields();
        if fields.device != *proved {
            return Err(CertificateError::OtherDevice);
        }
        // "a canonical encoding of a point that is not of small order"
        SigningPublicKey::parse(Algorithm::Ed25519, fields.device.as_bytes())
            .map_err(CertificateError::Device)?;
        self.check_date(now)?;
        let is_of_last_root = self.state.until_of_root(fields.root).is_none();
        if !is_of_last_root && !self.certificate.is_kept(self.state) {
            return Err(CertificateError::RootLeft);
        }
        if self.state.fields().revoked.contains_key(&fields.device) {
            return Err(CertificateError::Revoked);
        }
        Ok(fields.scopes)
    }
}

/// A certificate that counts for a blob of some epoch and generation: the witness that a blob's
/// signature may be verified by this writer's key. Its prefix is still to be compared with the
/// blob's name, which only readers know.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a> {
    certificate: &'a Certificate,
    writer: &'a SigningPublicKey,
}

impl<'a> Counts<'a> {
    /// The certificate.
    #[must_use]
    pub const fn certificate(self) -> &'a Certificate {
        self.certificate
    }

    /// The key that must have signed the blob.
    #[must_use]
    pub const fn writer(self) -> &'a SigningPublicKey {
        self.writer
    }

    /// Whether the device may write a name whose prefixes have these tags.
    ///
    /// FORMAT 12: "`prefix_tag` is zeros, or the tag of a prefix of the blob's name".
    #[must_use]
    pub fn allows_name(self, prefixes: &[PrefixTag]) -> bool {
        let own = &self.certificate.fields().prefix;
        *own == PrefixTag::EVERY_NAME || prefixes.contains(own)
    }
}

/// Reads the fields behind the version and before the signature.
fn read(cursor: &mut Cursor<'_>) -> Result<CertificateFields, CertificateError> {
    let cut = CertificateError::Cut;
    let root = cursor.u8().ok_or(cut)?;
    let vault = VaultId::from_bytes(cursor.array().ok_or(cut)?);
    let scopes = Scopes::from_bits(cursor.u16().ok_or(cut)?);
    let not_after = cursor.u64().ok_or(cut)?;
    if not_after >= NOT_AFTER_END {
        return Err(CertificateError::NotAfter(not_after));
    }
    let prefix = PrefixTag::from_bytes(cursor.array().ok_or(cut)?);
    let device = DevicePublicKey::from_bytes(cursor.array().ok_or(cut)?);
    let writer = match cursor.u8().ok_or(cut)? {
        NO_WRITER => None,
        number => {
            let algorithm = Algorithm::from_u8(number).map_err(CertificateError::Writer)?;
            let key = cursor.take(algorithm.key_bytes()).ok_or(cut)?;
            Some(SigningPublicKey::parse(algorithm, key).map_err(CertificateError::Writer)?)
        }
    };
    if writer.is_some() != scopes.allows(Scopes::PUT) {
        return Err(CertificateError::WriterWithoutPut);
    }
    let length = cursor.u16().ok_or(cut)?;
    let extensions = cursor.take(length.into()).ok_or(cut)?;
    TaggedFields::parse(extensions, &[])?;
    let extensions = extensions.to_vec();
    Ok(CertificateFields { root, vault, scopes, not_after, prefix, device, writer, extensions })
}

/// The version of the format.
const VERSION: u8 = 2;
/// Stands for the algorithm of a writer key that is not there.
const NO_WRITER: u8 = 0;
/// Certificates end before this second after 1970.
const NOT_AFTER_END: u64 = 1 << 33;
/// How far a writer's clock may be behind the time at which a certificate ends.
const GRACE_SECONDS: u64 = 86_400;
/// In a second.
const NANOSECONDS: u64 = 1_000_000_000;
