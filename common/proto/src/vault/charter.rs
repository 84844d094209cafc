//! Charters: the state of a vault, signed by its last root (FORMAT 13).

use std::ops::Range;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::id::VaultId;
use super::order::Epoch;
use super::state::{State, StateError, StateFields};
use crate::cursor::Cursor;
use crate::keys::{AlgorithmError, Signature, SignatureLabel};
use crate::limits::CHARTER_MAX_BYTES;

/// Why bytes are not a charter that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CharterError {
    /// There are more bytes than a charter has.
    #[error("a charter has at most {CHARTER_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// A field ends behind the end of the charter.
    #[error("the charter is cut off")]
    Cut,
    /// The bytes do not begin with the magic of a charter.
    #[error("this is not a charter")]
    NotACharter,
    /// A newer program made it.
    #[error("a charter of version {0}, which is not known here")]
    UnknownVersion(u16),
    /// Serials begin with 1.
    #[error("a charter has no serial 0")]
    NoSerial,
    /// The state breaks a rule.
    #[error(transparent)]
    State(#[from] StateError),
    /// It is another vault's.
    #[error("the charter is that of the vault {0}, and another one was asked for")]
    OtherVault(VaultId),
    /// The last root did not sign it.
    #[error("the charter's signature is refused")]
    Signature(#[source] AlgorithmError),
}

/// The public part of a charter. To write one: seal `members` and `owner` with
/// [`public_hash`](Self::public_hash) in them, sign [`to_sign`](Self::to_sign), and put it together
/// by [`signed`](Self::signed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharterFields {
    /// From 1 in each epoch, higher in each charter of the epoch.
    pub serial: u64,
    /// The owner's clock in seconds since 1970, which decides nothing.
    pub issued: u64,
    /// The state of the vault.
    pub state: StateFields,
}

impl CharterFields {
    /// The SHA-256 of the charter from its magic to the end of the state, which both sealed parts
    /// repeat.
    ///
    /// # Errors
    /// When the state breaks a rule of FORMAT 13.
    pub fn public_hash(&self) -> Result<[u8; 32], CharterError> {
        Ok(Sha256::digest(self.public_part()?).into())
    }

    /// The bytes that the last root signs, with these sealed parts.
    ///
    /// # Errors
    /// When the state breaks a rule of FORMAT 13, or a part is too long.
    pub fn to_sign(&self, members: &[u8], owner: &[u8]) -> Result<Vec<u8>, CharterError> {
        Ok(SignatureLabel::Charter.input(&[&self.unsigned(members, owner)?]))
    }

    /// The charter with the last root's signature over [`to_sign`](Self::to_sign).
    ///
    /// # Errors
    /// When it does not hold.
    pub fn signed(
        &self,
        members: &[u8],
        owner: &[u8],
        signature: &Signature,
    ) -> Result<HeldCharter, CharterError> {
        let mut bytes = self.unsigned(members, owner)?;
        bytes.extend(signature.as_bytes());
        HeldCharter::parse(&bytes, &self.state.vault())
    }

    fn unsigned(&self, members: &[u8], owner: &[u8]) -> Result<Vec<u8>, CharterError> {
        let mut bytes = self.public_part()?;
        for part in [members, owner] {
            let length =
                u32::try_from(part.len()).map_err(|_| CharterError::TooLong(part.len()))?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(part);
        }
        Ok(bytes)
    }

    fn public_part(&self) -> Result<Vec<u8>, CharterError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(self.serial.to_be_bytes());
        bytes.extend(self.issued.to_be_bytes());
        bytes.extend(self.state.encode()?);
        Ok(bytes)
    }
}

/// A charter that holds.
///
/// FORMAT 13: "A charter holds when it parses, its roots chain, the last root's signature holds,
/// and V is the vault that was asked for. It needs no trust in who brought it."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCharter {
    bytes: Vec<u8>,
    serial: u64,
    issued: u64,
    state: State,
    public_end: usize,
    members: Range<usize>,
    owner: Range<usize>,
}

impl HeldCharter {
    /// Parses `bytes`, a whole charter and nothing else, and verifies its signatures.
    ///
    /// # Errors
    /// Says why it is no charter of this vault that holds.
    pub fn parse(bytes: &[u8], vault: &VaultId) -> Result<Self, CharterError> {
        if bytes.len() > CHARTER_MAX_BYTES {
            return Err(CharterError::TooLong(bytes.len()));
        }
        let mut cursor = Cursor::new(bytes);
        if cursor.array::<8>().ok_or(CharterError::Cut)? != MAGIC {
            return Err(CharterError::NotACharter);
        }
        let version = cursor.u16().ok_or(CharterError::Cut)?;
        if version != VERSION {
            return Err(CharterError::UnknownVersion(version));
        }
        let serial = cursor.u64().ok_or(CharterError::Cut)?;
        if serial == 0 {
            return Err(CharterError::NoSerial);
        }
        let issued = cursor.u64().ok_or(CharterError::Cut)?;
        let state = State::parse(&mut cursor)?;
        let public_end = cursor.position();
        let members = read_part(&mut cursor).ok_or(CharterError::Cut)?;
        let owner = read_part(&mut cursor).ok_or(CharterError::Cut)?;
        if state.vault() != vault {
            return Err(CharterError::OtherVault(*state.vault()));
        }
        let signed = bytes.get(..cursor.position()).ok_or(CharterError::Cut)?;
        let root = state.last_root();
        Signature::parse(root.algorithm(), cursor.rest())
            .and_then(|signature| root.verify(SignatureLabel::Charter, &[signed], &signature))
            .map_err(CharterError::Signature)?;
        Ok(Self { bytes: bytes.to_vec(), serial, issued, state, public_end, members, owner })
    }

    /// The whole charter.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its number, from 1 in each epoch and higher in each charter of it.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// The owner's clock in seconds since 1970; to be shown, it decides nothing.
    #[must_use]
    pub const fn issued(&self) -> u64 {
        self.issued
    }

    /// The state of the vault.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The SHA-256 from the magic to the end of the state, which both sealed parts repeat.
    #[must_use]
    pub fn public_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes[..self.public_end]).into()
    }

    /// What is sealed for members and readers.
    #[must_use]
    pub fn members(&self) -> &[u8] {
        &self.bytes[self.members.clone()]
    }

    /// What is sealed for owners.
    #[must_use]
    pub fn owner(&self) -> &[u8] {
        &self.bytes[self.owner.clone()]
    }

    /// FORMAT 13: "The order of a vault's charters is that of (epoch, serial)".
    fn order(&self) -> (Epoch, u64) {
        (self.state.epoch(), self.serial)
    }

    /// How this charter stands to one that is `known`. Only a [`Follows::Newer`] one is taken.
    ///
    /// `recipients` says how those of the two charters compare, for a program that can read
    /// `members`; it matters where both are of one epoch.
    pub fn follows(&self, known: &Self, recipients: Recipients) -> Follows {
        if self.bytes == known.bytes {
            return Follows::Same;
        }
        let is_one_epoch = self.state.epoch() == known.state.epoch();
        let has_other_recipients = is_one_epoch && recipients == Recipients::Changed;
        if has_other_recipients || !is_one_line(&self.state, &known.state) {
            return Follows::Fork;
        }
        if self.order() > known.order() { Follows::Newer } else { Follows::Older }
    }
}

/// How a charter stands to another one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Follows {
    /// It is the known one, byte for byte.
    Same,
    /// It follows the known one, and replaces it.
    Newer,
    /// It is of the same line and does not follow: it is refused, and the other side is behind.
    Older,
    /// It is of another line: an integrity error, which only a person's choice can end.
    Fork,
}

/// How the recipients of two charters of one epoch compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The program cannot read them, as a server cannot.
    Unread,
    /// Both have the same.
    Same,
    /// They have not.
    Changed,
}

/// Whether two states are of one line: the earlier one is what the later one says of its epoch.
/// The order of the two does not matter.
fn is_one_line(a: &State, b: &State) -> bool {
    if a.epoch() == b.epoch() {
        return a.tag() == b.tag();
    }
    let (earlier, later) = if a.epoch() < b.epoch() { (a, b) } else { (b, a) };
    let (early, late) = (earlier.fields(), later.fields());
    let roots_go_on = late.later_roots.len() >= early.later_roots.len()
        && late.first_root == early.first_root
        // When each counts may change; who they are may not.
        && early.later_roots.iter().zip(&late.later_roots).all(|(early, late)| {
            early.key == late.key && early.signature == late.signature
        });
    early.has_clear_names == late.has_clear_names
        && late.past.starts_with(&early.past)
        && later.tag_of(earlier.epoch()) == Some(earlier.tag())
        && roots_go_on
}

/// Where the next sealed part is.
fn read_part(cursor: &mut Cursor<'_>) -> Option<Range<usize>> {
    let length = usize::try_from(cursor.u32()?).ok()?;
    let start = cursor.position();
    cursor.take(length)?;
    Some(start..cursor.position())
}

/// The bytes that a charter begins with.
const MAGIC: [u8; 8] = *b"\x8Azputchr";
/// The version of the format.
const VERSION: u16 = 2;
