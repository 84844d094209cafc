//! A key file on this machine: how to read, unlock and write it.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use thiserror::Error;
use zeroize::Zeroizing;
use zput_proto::limits::KEY_FILE_MAX_BYTES;
use zput_seal::keys::{KeyFile, KeyFileError, LockedKeyFile, ParsedKeyFile};

use crate::{
    files::{
        atomic::Staged,
        install::IfExists,
        path::{dangling_link, is_taken},
        secret_file,
    },
    random,
};

/// The path of a key file, which may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath(PathBuf);

/// An open key file and its passphrase.
pub struct Unlocked {
    /// The key file.
    pub key_file: KeyFile,
    /// The passphrase that it was opened with; `None` if it has none.
    pub passphrase: Option<Zeroizing<String>>,
}

impl Unlocked {
    /// The text of the file, locked with the same passphrase.
    ///
    /// # Errors
    /// When the key file would not be read again.
    pub fn to_text(&self) -> Result<Zeroizing<String>, KeyFileError> {
        match &self.passphrase {
            Some(passphrase) => self.key_file.to_toml_locked(passphrase, &mut random::os_rng()),
            None => self.key_file.to_toml(),
        }
    }
}

/// Gives the passphrase of the key file at a path. The library does not prompt.
pub(crate) type PassphraseCallback<'a> = dyn FnMut(&Path) -> io::Result<Zeroizing<String>> + 'a;

/// Why a key file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// There is no key file.
    #[error("there is no key file {}", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot use the key file {}", path.display())]
    File {
        /// The path of the key file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file exists, and replacing was not allowed.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The file is not a valid key file, or the passphrase is wrong.
    #[error("{}", path.display())]
    Malformed {
        /// The path of the key file.
        path: PathBuf,
        /// The parser's error.
        source: KeyFileError,
    },
    /// The key file has a passphrase, and the caller gave none.
    #[error("{} is encrypted with a passphrase", .0.display())]
    Locked(PathBuf),
    /// The passphrase could not be got from where it comes.
    #[error("cannot get the passphrase from {from}")]
    Passphrase {
        /// Where it comes from, as the error text names it.
        from: String,
        /// The system's error.
        source: io::Error,
    },
}

impl KeyPath {
    /// The key file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path as it was given.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Whether the name exists.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn exists(&self) -> Result<bool, KeystoreError> {
        is_taken(&self.0).map_err(|error| self.file_error(error))
    }

    /// Reads and parses the file; does not ask for a passphrase.
    ///
    /// # Errors
    /// When it is missing, or not a key file.
    pub fn parse(&self) -> Result<ParsedKeyFile, KeystoreError> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(match dangling_link(&self.0) {
                    Some(link) => self.file_error(link.into()),
                    None => KeystoreError::Missing(self.0.clone()),
                });
            }
            Err(error) => return Err(self.file_error(error)),
        };
        let text =
            secret_file::read(file, KEY_FILE_MAX_BYTES).map_err(|error| self.file_error(error))?;
        KeyFile::parse(&text).map_err(|error| self.malformed(error))
    }

    /// Reads a file that has no passphrase.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and [`KeystoreError::Locked`].
    pub fn open(&self) -> Result<KeyFile, KeystoreError> {
        match self.parse()? {
            ParsedKeyFile::Open(key_file) => Ok(key_file),
            ParsedKeyFile::Locked(_) => Err(KeystoreError::Locked(self.0.clone())),
        }
    }

    /// Reads the file, and calls `passphrase` if it has one. Returns the passphrase too, so that
    /// the file can be written again.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), an error of `passphrase`, and a wrong passphrase.
    pub(crate) fn unlock(
        &self,
        passphrase: &mut PassphraseCallback<'_>,
    ) -> Result<Unlocked, KeystoreError> {
        let locked = match self.parse()? {
            ParsedKeyFile::Open(key_file) => return Ok(Unlocked { key_file, passphrase: None }),
            ParsedKeyFile::Locked(locked) => locked,
        };
        let given = passphrase(&self.0).map_err(|source| {
            let from = "the caller".to_owned();
            KeystoreError::Passphrase { from, source }
        })?;
        self.unlock_with(&locked, given)
    }

    /// Unlocks what was parsed from this file.
    ///
    /// # Errors
    /// [`KeystoreError::Malformed`] if the passphrase is wrong.
    pub fn unlock_with(
        &self,
        locked: &LockedKeyFile,
        passphrase: Zeroizing<String>,
    ) -> Result<Unlocked, KeystoreError> {
        let key_file = locked.unlock(&passphrase).map_err(|error| self.malformed(error))?;
        Ok(Unlocked { key_file, passphrase: Some(passphrase) })
    }

    /// Whether the file has a passphrase.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    pub fn is_locked(&self) -> Result<bool, KeystoreError> {
        Ok(matches!(self.parse()?, ParsedKeyFile::Locked(_)))
    }

    /// Whether other users may read the file.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        std::fs::metadata(&self.0)
            .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 != 0)
    }

    /// Writes the file with mode 0600, as a whole or not at all.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] with [`IfExists::Keep`] if the file exists, and those of the file
    /// system.
    pub fn save(&self, key_file: &KeyFile, if_exists: IfExists) -> Result<(), KeystoreError> {
        let text = key_file.to_toml().map_err(|error| self.malformed(error))?;
        self.save_text(&text, if_exists)
    }

    /// Writes the text of a key file.
    ///
    /// # Errors
    /// As of [`save`](Self::save).
    pub fn save_text(&self, text: &str, if_exists: IfExists) -> Result<(), KeystoreError> {
        let staged = Staged::write(&self.0, text.as_bytes());
        match staged.map_err(|error| self.file_error(error))?.publish(if_exists) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(match dangling_link(&self.0) {
                    Some(link) => self.file_error(link.into()),
                    None => KeystoreError::Exists(self.0.clone()),
                })
            }
            published => published.map_err(|error| self.file_error(error)),
        }
    }

    /// An error of the file system about this file.
    #[must_use]
    pub fn file_error(&self, source: io::Error) -> KeystoreError {
        KeystoreError::File { path: self.0.clone(), source }
    }

    /// An error of the parser about this file.
    #[must_use]
    pub fn malformed(&self, source: KeyFileError) -> KeystoreError {
        KeystoreError::Malformed { path: self.0.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key file is saved privately, opens again and is not replaced.
    #[test]
    fn key_path_saves_and_opens_without_replacing() {
        let dir = tempfile::tempdir().unwrap();
        let path = KeyPath::new(dir.path().join("new/k.zkey"));
        assert!(matches!(path.open(), Err(KeystoreError::Missing(_))));
        let key_file = KeyFile::generate(&mut random::os_rng());
        path.save(&key_file, IfExists::Keep).unwrap();
        assert_eq!(path.open().unwrap(), key_file);
        assert!(!path.is_exposed());
        let error = path.save(&key_file, IfExists::Keep).unwrap_err();
        assert!(matches!(error, KeystoreError::Exists(_)), "{error}");
    }

    /// A malformed or too long key file has exit code 7; a group-readable one is exposed.
    #[test]
    fn key_path_open_refuses_malformed_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = KeyPath::new(dir.path().join("k.zkey"));
        for text in ["", "format = 1\n", &"#".repeat(65_536)] {
            std::fs::write(path.as_path(), text).unwrap();
            let error = path.open().unwrap_err();
            assert!(matches!(error, KeystoreError::Malformed { .. }), "{error}");
        }
        std::fs::write(path.as_path(), "#".repeat(65_537)).unwrap();
        let error = path.open().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "it has more than 65536 bytes");
        std::fs::set_permissions(
            path.as_path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o640),
        )
        .unwrap();
        assert!(path.is_exposed());
    }
}
