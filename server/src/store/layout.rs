//! What things are called on disk. No name holds anything that a client chose.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zput_common::{
    digest::{Digest, Hasher},
    keys::public::DevicePublicKey,
    name::ObjectKey,
    proto::message::Version,
};

pub(crate) const STORE_FILE: &str = "zput-store.toml";
pub(super) const SUSPECT_FILE: &str = "suspect.toml";
/// What [`SUSPECT_FILE`] is called while somebody verifies the store.
pub(super) const VERIFYING_FILE: &str = "suspect-verifying.toml";
pub(super) const SCRUB_FILE: &str = "scrub.toml";
pub(super) const SERVER_KEY_FILE: &str = "server.key";
pub(super) const STAGING: &str = "staging";
pub(super) const QUARANTINE: &str = "quarantine";
pub(super) const LOCKS: &str = "locks";
pub(super) const CLIENTS: &str = "clients";
pub(super) const INVITES: &str = "invites";
/// What the names of files begin with that are written beside their target and then renamed.
pub(super) const TEMPORARY_PREFIX: &str = ".tmp-";

/// What the digest of a [`resume_name`] begins with.
const RESUME_NAME_CONTEXT: &[u8] = b"zput/v1/staging";
/// Digits of a [`resume_name`]; other files of staging have fewer.
const RESUME_NAME_DIGITS: usize = 64;

/// What an upload that can be resumed is called in staging: hex of BLAKE3-256(`"zput/v1/staging"` || the writer's
/// public key, zeros for an anonymous one || the digest of its header).
pub(super) fn resume_name(writer: Option<&DevicePublicKey>, header: &Digest) -> String {
    let mut hasher = Hasher::new();
    hasher.update(RESUME_NAME_CONTEXT);
    hasher.update(writer.map_or(&[0; 32], |writer| writer.as_bytes()));
    hasher.update(header.as_bytes());
    hasher.finish().to_string()
}

/// Whether a file of staging can be resumed, by its name.
pub(super) fn is_resume_name(file_name: &str) -> bool {
    file_name.len() == RESUME_NAME_DIGITS
}

/// Where object files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    /// `objects`: current versions.
    Objects = 0,
    /// `history`: replaced ones.
    History,
    /// `trash`: deleted ones.
    Trash,
}

impl Shelf {
    pub(super) const ALL: [Self; 3] = [Self::Objects, Self::History, Self::Trash];

    /// Its directory.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::History => "history",
            Self::Trash => "trash",
        }
    }
}

/// The first byte of an [`ObjectName`]: what the directories are divided by, and the locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard(pub(super) u8);

impl Shard {
    /// All of them, in order.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// Its directory on a shelf: `objects/ab`.
    pub(super) fn on(self, shelf: Shelf) -> String {
        format!("{}/{self}", shelf.name())
    }

    /// The file that orders its writers: `locks/ab`.
    pub(super) fn lock_file(self) -> String {
        format!("{LOCKS}/{self}")
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

/// `H`: the SHA-256 of an object's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectName(pub(super) [u8; 32]);

impl ObjectName {
    /// Of the object with this key.
    pub(super) fn of(key: &ObjectKey) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The shard it is in.
    pub(super) fn shard(&self) -> Shard {
        Shard(self.0[0])
    }

    /// Its current version, from the store's directory: `objects/ab/<H>`.
    pub(super) fn current_path(&self) -> String {
        format!("{}/{self}", self.shard().on(Shelf::Objects))
    }

    /// A version of it, within a shard's directory of history or trash: `<H>.<version>`.
    pub(super) fn version_file(&self, version: Version) -> String {
        format!("{self}.{:020}", version.0)
    }

    /// The object that a file of `objects` belongs to, if it is one's.
    pub(super) fn parse(file_name: &str) -> Option<Self> {
        // One spelling for each name: 64 lower-case digits.
        if file_name.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let mut name = [0; 32];
        hex::decode_to_slice(file_name, &mut name).ok()?;
        Some(Self(name))
    }

    /// The version that a file of history or trash holds, if it is one of this object's.
    pub(super) fn parse_version(&self, file_name: &str) -> Option<Version> {
        let (name, version) = file_name.split_once('.')?;
        if version.len() != 20 || !version.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let version = version.parse().ok().map(Version)?;
        (Self::parse(name)? == *self).then_some(version)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256("abc") of FIPS 180-2, B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn names_are_those_of_the_document() {
        let name = ObjectName::of(&ObjectKey::new("abc").unwrap());
        assert_eq!(name.current_path(), format!("objects/ba/{ABC}"));
        assert_eq!(name.version_file(Version(1234)), format!("{ABC}.00000000000000001234"));
        assert_eq!(name.version_file(Version(u64::MAX)), format!("{ABC}.18446744073709551615"));
        assert_eq!(name.shard().on(Shelf::Trash), "trash/ba");
        assert_eq!(name.shard().lock_file(), "locks/ba");
    }

    #[test]
    fn only_one_spelling_is_a_name() {
        let name = ObjectName::of(&ObjectKey::new("abc").unwrap());
        assert_eq!(ObjectName::parse(ABC), Some(name));
        for other in [&ABC.to_uppercase(), &ABC[1..], "", ".tmp-x", &format!("{ABC}0")] {
            assert_eq!(ObjectName::parse(other), None, "{other}");
        }
        let version = |text: &str| name.parse_version(&format!("{ABC}.{text}"));
        assert_eq!(version("00000000000000001234"), Some(Version(1234)));
        for other in ["1234", "+0000000000000001234", "99999999999999999999", "", "x"] {
            assert_eq!(version(other), None, "{other}");
        }
        assert_eq!(name.parse_version(ABC), None);
    }
}
