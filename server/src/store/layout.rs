//! The names of files and directories on disk. None contains anything that a client chose.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zput_proto::{
    digest::{Digest, Hasher},
    keys::DevicePublicKey,
    message::Version,
    name::ObjectKey,
};

/// The format of the store and of all its small files.
pub(super) const FORMAT: u64 = 2;

pub(crate) const STORE_FILE: &str = "zput-store.toml";
pub(super) const SUSPECT_FILE: &str = "suspect.toml";
/// The name of [`SUSPECT_FILE`] while a process verifies the store.
pub(super) const VERIFYING_FILE: &str = "suspect-verifying.toml";
pub(super) const SCRUB_FILE: &str = "scrub.toml";
pub(super) const CLOCK_FILE: &str = "clock";
pub(super) const SERVER_KEY_FILE: &str = "server.key";
pub(super) const STAGING: &str = "staging";
pub(super) const QUARANTINE: &str = "quarantine";
pub(super) const LOCKS: &str = "locks";
pub(super) const CLIENTS: &str = "clients";
pub(super) const INVITES: &str = "invites";
/// The prefix of temporary files, which are written beside their target and then renamed.
pub(super) const TEMPORARY_PREFIX: &str = ".tmp-";

/// The prefix of the hash input of a [`resume_name`].
const RESUME_NAME_CONTEXT: &[u8] = b"zput/v1/staging";
/// Digits of a [`resume_name`]; other names in staging are shorter.
const RESUME_NAME_DIGITS: usize = 64;

/// The name in staging of an upload that can be resumed: hex of BLAKE3-256(`"zput/v1/staging"` ||
/// the writer's public key, zeros for an anonymous one || the digest of its header).
pub(super) fn resume_name(writer: Option<&DevicePublicKey>, header: &Digest) -> String {
    let mut hasher = Hasher::new();
    hasher.update(RESUME_NAME_CONTEXT);
    hasher.update(writer.map_or(&[0; 32], |writer| writer.as_bytes()));
    hasher.update(header.as_bytes());
    hasher.finish().to_string()
}

/// Whether a file in staging can be resumed, by its name.
pub(super) fn is_resume_name(file_name: &str) -> bool {
    file_name.len() == RESUME_NAME_DIGITS
}

/// The directories of object files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    /// `objects`: current versions.
    Objects = 0,
    /// `history`: replaced versions.
    History,
    /// `trash`: deleted versions.
    Trash,
}

impl Area {
    pub(super) const ALL: [Self; 3] = [Self::Objects, Self::History, Self::Trash];

    /// The area's directory, from the store's own.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::History => "history",
            Self::Trash => "trash",
        }
    }
}

/// The first byte of an [`ObjectName`]. Directories and locks are divided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shard(pub(super) u8);

impl Shard {
    /// All 256 shards, in order.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// The shard's directory in an area: `objects/ab`.
    pub(super) fn dir_in(self, area: Area) -> String {
        format!("{}/{self}", area.name())
    }

    /// The file whose lock orders the shard's writers: `locks/ab`.
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
    /// The name of the object with this key.
    pub(super) fn for_key(key: &ObjectKey) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The shard that the object is in.
    pub(super) fn shard(&self) -> Shard {
        Shard(self.0[0])
    }

    /// The path of the object's current version, from the store's directory: `objects/ab/<H>`.
    pub(super) fn current_path(&self) -> String {
        format!("{}/{self}", self.shard().dir_in(Area::Objects))
    }

    /// The file name of a version in a shard's directory of history or trash: `<H>.<version>`.
    pub(super) fn version_file(&self, version: Version) -> String {
        format!("{self}.{:020}", version.0)
    }

    /// Parses the file name of a current version: 64 lower-case hex digits.
    pub(super) fn parse(file_name: &str) -> Option<Self> {
        // Each name has one spelling only.
        if file_name.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let mut name = [0; 32];
        hex::decode_to_slice(file_name, &mut name).ok()?;
        Some(Self(name))
    }

    /// Parses the file name of one of this object's versions in history or trash.
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

/// The path, from the store's directory, at which the current version of an object is or would be.
pub(crate) fn current_file_path(key: &ObjectKey) -> String {
    ObjectName::for_key(key).current_path()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256("abc") of FIPS 180-2, B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// The paths of objects, versions, trash and locks are those that STORE documents.
    #[test]
    fn layout_names_match_documented_paths() {
        let name = ObjectName::for_key(&ObjectKey::new("abc").unwrap());
        assert_eq!(name.current_path(), format!("objects/ba/{ABC}"));
        assert_eq!(name.version_file(Version(1234)), format!("{ABC}.00000000000000001234"));
        assert_eq!(name.version_file(Version(u64::MAX)), format!("{ABC}.18446744073709551615"));
        assert_eq!(name.shard().dir_in(Area::Trash), "trash/ba");
        assert_eq!(name.shard().lock_file(), "locks/ba");
    }

    /// ObjectName and version names parse only in their canonical spelling.
    #[test]
    fn object_name_parses_only_canonical_spelling() {
        let name = ObjectName::for_key(&ObjectKey::new("abc").unwrap());
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
