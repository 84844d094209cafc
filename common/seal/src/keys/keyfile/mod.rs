//! Key files: one text that holds all that a device may do (FORMAT 11).
//!
//! ```text
//! text ──parse──▶ Open(KeyFile)
//!             └─▶ Locked(LockedKeyFile) ──unlock──▶ KeyFile ──to_toml, to_toml_locked──▶ text
//! ```

use std::fmt;

use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;
use zput_proto::keys::{Invite, Remote, ServerPublicKey, WriterPublicKey};
use zput_proto::limits::{KEY_FILE_MAX_BYTES, RECIPIENTS_MAX};
use zput_proto::name::{BlobName, ObjectKey};

use super::device::DeviceSeed;
use super::passphrase::{PassphraseError, Protected};
use super::vault::VaultSecret;
use crate::age::{Identity, Recipient};

mod causes;
mod text;

/// The role of a key file: what its device may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The device puts blobs and opens them.
    Full,
    /// The device opens what others put.
    Get,
    /// The device puts blobs, and cannot open even its own.
    Put,
}

impl Role {
    /// The word in a key file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Get => "get",
            Self::Put => "put",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether connections are protected. This is local policy, never the peer's choice. Exhaustive: a
/// client has to obey each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModePolicy {
    /// Connections use TLS with pinned keys.
    #[default]
    Tls,
    /// Frames travel in the clear. Blobs are sealed all the same.
    Plaintext,
}

impl ModePolicy {
    /// The word in a key file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Plaintext => "plaintext",
        }
    }
}

/// What a server sees of blob names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Names {
    /// The server sees a keyed hash of the name.
    #[default]
    Sealed,
    /// The server sees the name itself.
    Clear,
}

impl Names {
    /// The word in a key file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Clear => "clear",
        }
    }
}

/// An open key file. `Debug` shows no secret; secrets are zeroized on drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    role: Role,
    /// The address of the server or the store; `None` until it is set.
    pub remote: Option<Remote>,
    /// Whether connections to the server are protected.
    pub mode: ModePolicy,
    /// The key that the server must prove to hold.
    pub server_key: Option<ServerPublicKey>,
    /// What the server sees of blob names.
    pub names: Names,
    /// The recipients that blobs are sealed for.
    pub recipients: Vec<Recipient>,
    /// The writers whose blobs are accepted; empty accepts any member of the vault.
    pub writers: Vec<WriterPublicKey>,
    secrets: Secrets,
}

/// A key file whose secrets are under a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedKeyFile {
    role: Role,
    remote: Option<Remote>,
    mode: ModePolicy,
    server_key: Option<ServerPublicKey>,
    names: Names,
    recipients: Vec<Recipient>,
    writers: Vec<WriterPublicKey>,
    protected: Protected,
}

/// A key file, parsed from its text. Exhaustive: a caller has to unlock it, or need not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedKeyFile {
    /// The secrets are in the clear.
    Open(KeyFile),
    /// The secrets are under a passphrase.
    Locked(LockedKeyFile),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Secrets {
    device_seed: DeviceSeed,
    vault_secret: VaultSecret,
    identity: Option<Identity>,
}

/// What is wrong with a key file. It never repeats a value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file is longer than [`KEY_FILE_MAX_BYTES`].
    #[error("a key file has at most {KEY_FILE_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The text is not TOML, a field is missing, unknown or repeated, or a value has the wrong
    /// type.
    #[error("line {line} of the key file: {message}")]
    Toml {
        /// Number of the line, from 1.
        line: usize,
        /// The parser's message, without the line itself.
        message: String,
    },
    /// The file was written by a newer version.
    #[error("the key file is of format {0}, this program knows format 1")]
    Format(i64),
    /// A field has a value that it cannot have.
    #[error("{field} of the key file: {reason}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with the value, and why: a text, because the error of its parser is that
        /// of another type for each field.
        reason: String,
    },
    /// A secret is missing.
    #[error("the key file has no {0}")]
    Missing(&'static str),
    /// The file has secrets both in the clear and under `protected`.
    #[error("the key file has both protected and unprotected secrets")]
    TwiceProtected,
    /// A `put` file must not be able to open.
    #[error("the role is put, yet the key file has an identity")]
    IdentityInPut,
    /// A `full` or `get` file must be able to open.
    #[error("the role is {0}, yet the key file has no identity")]
    NoIdentity(Role),
    /// A `full` or `put` file must have recipients to seal for.
    #[error("the role is {0}, yet the key file has no recipients")]
    NoRecipients(Role),
    /// The file has more recipients than [`RECIPIENTS_MAX`].
    #[error("a key file has at most {RECIPIENTS_MAX} recipients")]
    TooManyRecipients,
    /// A server in mode `tls` needs a `server_key`.
    #[error("the mode is tls, yet the key file has no server_key")]
    NoServerKey,
    /// A key file of this role cannot make one of that role.
    #[error("a key file of role {from} cannot make one of role {to}")]
    Export {
        /// The role of this file.
        from: Role,
        /// The role that was asked for.
        to: Role,
    },
    /// Locking or unlocking by the passphrase failed.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
}

impl KeyFile {
    /// Makes a new vault with a new post-quantum identity.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let identity = Identity::generate_hybrid(rng);
        Self::from_identity(identity, rng)
    }

    /// Makes a new vault around an existing identity, such as one of `age-keygen`.
    pub fn from_identity(identity: Identity, rng: &mut dyn CryptoRng) -> Self {
        Self {
            role: Role::Full,
            remote: None,
            mode: ModePolicy::default(),
            server_key: None,
            names: Names::default(),
            recipients: vec![identity.to_recipient()],
            writers: Vec::new(),
            secrets: Secrets {
                device_seed: DeviceSeed::generate(rng),
                vault_secret: VaultSecret::generate(rng),
                identity: Some(identity),
            },
        }
    }

    /// Makes a key file of `role` for another device of the same vault, with a new device seed.
    ///
    /// A `put` file gets no identity. A `get` file gets no recipients, and pins this device's
    /// writer key beside the ones that are pinned here, so that one captured reader cannot forge
    /// blobs for the others. Change `writers` to allow more.
    ///
    /// # Errors
    /// [`KeyFileError::Export`] when this file cannot do what the other should.
    pub fn export(&self, role: Role, rng: &mut dyn CryptoRng) -> Result<Self, KeyFileError> {
        if self.role != Role::Full && self.role != role {
            return Err(KeyFileError::Export { from: self.role, to: role });
        }
        let mut file = self.clone();
        file.role = role;
        file.secrets.device_seed = DeviceSeed::generate(rng);
        match role {
            Role::Full => {}
            Role::Put => file.secrets.identity = None,
            Role::Get => file.recipients.clear(),
        }
        let own = self.secrets.device_seed.writer_key().public_key();
        if self.role == Role::Full && role == Role::Get && !file.writers.contains(&own) {
            file.writers.insert(0, own);
        }
        Ok(file)
    }

    /// Sets the address and the key of the server that `invite` is for.
    pub fn accept(&mut self, invite: &Invite) {
        self.remote = Some(invite.address.clone());
        self.server_key = Some(invite.server_key);
        self.mode = ModePolicy::Tls;
    }

    /// The role of the key file.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The seed of this device.
    #[must_use]
    pub const fn device_seed(&self) -> &DeviceSeed {
        &self.secrets.device_seed
    }

    /// The secret of the vault that the device is a member of.
    #[must_use]
    pub const fn vault_secret(&self) -> &VaultSecret {
        &self.secrets.vault_secret
    }

    /// The identity that opens blobs; `None` in a `put` file.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.secrets.identity.as_ref()
    }

    /// The key under which the server stores the blob of this name.
    #[must_use]
    #[expect(clippy::expect_used, reason = "names and object keys have the same bounds")]
    pub fn object_key(&self, name: &BlobName) -> ObjectKey {
        match self.names {
            Names::Sealed => self.secrets.vault_secret.name_key().object_key(name),
            Names::Clear => ObjectKey::new(name.as_str()).expect("1 to 1,024 bytes"),
        }
    }

    /// The rules between the fields.
    fn check(&self) -> Result<(), KeyFileError> {
        let Self { role, remote, mode, server_key, recipients, .. } = self;
        match (role, &self.secrets.identity) {
            (Role::Put, Some(_)) => return Err(KeyFileError::IdentityInPut),
            (Role::Full | Role::Get, None) => return Err(KeyFileError::NoIdentity(*role)),
            _ => {}
        }
        check_open(*role, remote.as_ref(), *mode, server_key.as_ref(), recipients)
    }
}

/// The rules between the fields that are not secret.
fn check_open(
    role: Role,
    remote: Option<&Remote>,
    mode: ModePolicy,
    server_key: Option<&ServerPublicKey>,
    recipients: &[Recipient],
) -> Result<(), KeyFileError> {
    if recipients.is_empty() && role != Role::Get {
        return Err(KeyFileError::NoRecipients(role));
    }
    if recipients.len() > RECIPIENTS_MAX {
        return Err(KeyFileError::TooManyRecipients);
    }
    let Some(remote) = remote else { return Ok(()) };
    // A remote can be made without its parser, so it is parsed here.
    if remote.to_string().parse().as_ref() != Ok(remote) {
        let reason = "it could not be read again".to_owned();
        return Err(KeyFileError::Field { field: "remote", reason });
    }
    let server = !matches!(remote, Remote::Embedded(_));
    if server && mode == ModePolicy::Tls && server_key.is_none() {
        return Err(KeyFileError::NoServerKey);
    }
    Ok(())
}

impl LockedKeyFile {
    /// Opens the secrets. This takes about a second and 64 MiB, by design.
    ///
    /// # Errors
    /// [`PassphraseError::Wrong`], or an error of [`KeyFile::parse`] about the opened file.
    pub fn unlock(&self, passphrase: &str) -> Result<KeyFile, KeyFileError> {
        let secrets = Secrets::from_bytes(&self.protected.unlock(passphrase)?)?;
        let file = KeyFile {
            role: self.role,
            remote: self.remote.clone(),
            mode: self.mode,
            server_key: self.server_key,
            names: self.names,
            recipients: self.recipients.clone(),
            writers: self.writers.clone(),
            secrets,
        };
        file.check()?;
        Ok(file)
    }

    /// The role of the key file.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The address of the server or the store; `None` until it is set.
    #[must_use]
    pub const fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }
}

impl Secrets {
    /// FORMAT 11: `device_seed[32] || vault_secret[32] || identity text (may be empty)`.
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let identity = self.identity.as_ref().map(Identity::to_secret_string);
        let identity = identity.as_ref().map_or("", |text| text.as_str());
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 + identity.len()));
        bytes.extend_from_slice(self.device_seed.as_bytes());
        bytes.extend_from_slice(self.vault_secret.as_bytes());
        bytes.extend_from_slice(identity.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let malformed = |reason: &str| KeyFileError::Field {
            field: "protected.sealed",
            reason: reason.to_owned(),
        };
        let short = || malformed("there are fewer secrets in it than there must be");
        let (device_seed, bytes) = bytes.split_first_chunk().ok_or_else(short)?;
        let (vault_secret, identity) = bytes.split_first_chunk().ok_or_else(short)?;
        let identity = match std::str::from_utf8(identity) {
            Ok("") => None,
            Ok(text) => Some(text.parse().map_err(|error: crate::age::IdentityError| {
                malformed(&causes::with_causes(&error))
            })?),
            Err(_) => return Err(malformed("the identity in it is not text")),
        };
        Ok(Self {
            device_seed: DeviceSeed::from_bytes(*device_seed),
            vault_secret: VaultSecret::from_bytes(*vault_secret),
            identity,
        })
    }
}

#[cfg(test)]
mod tests;
