//! Key files on this machine: which one is meant, and how it is read and written.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use thiserror::Error;
use zeroize::Zeroizing;
use zput_common::{
    keys::{KeyFile, KeyFileError, ParsedKeyFile, PassphraseError},
    limits::KEY_FILE_MAX_BYTES,
};

use crate::{
    atomic::{self, Existing, Staged},
    directories::Directories,
    error::ExitCode,
    passphrase::{self, PassphraseSource},
    random, secret_file, terminal,
};

/// The environment variable that holds the path of a key file.
pub const KEY_VARIABLE: &str = "ZPUT_KEY";

/// Which key file is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Whether somebody named it; otherwise it is the default one.
    pub is_named: bool,
    /// Where its passphrase comes from, if it has one.
    pub passphrase: PassphraseSource,
}

/// An open key file, and what it was opened with.
pub struct Unlocked {
    /// The key file.
    pub key_file: KeyFile,
    /// Its passphrase, if it has one.
    pub passphrase: Option<Zeroizing<String>>,
}

impl Unlocked {
    /// The text of the file, under the same passphrase.
    ///
    /// # Errors
    /// When the key file would not be read again.
    pub fn to_text(&self) -> Result<Zeroizing<String>, KeyFileError> {
        match &self.passphrase {
            Some(passphrase) => self.key_file.to_toml_locked(passphrase, &mut random::system()),
            None => self.key_file.to_toml(),
        }
    }
}

/// Why there is no key file to work with.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// There is none.
    #[error("there is no key file {} (zkey new makes one, zkey join takes an invite)", .0.display())]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("cannot use the key file {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is one, which nobody said may go.
    #[error("{} exists already (--force replaces it, and what it opens is lost without it)", .0.display())]
    Exists(PathBuf),
    /// It is no key file.
    #[error("{}: {error}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyFileError,
    },
    /// Its secrets are under a passphrase, and there is nobody to ask.
    #[error(
        "{} is under a passphrase and there is no terminal to ask on (--passphrase-command or \
         --passphrase-fd gives it; zkey passphrase remove takes it off)",
        .0.display()
    )]
    CannotAsk(PathBuf),
    /// The passphrase is not where it was said to be.
    #[error("cannot get the passphrase from {from}: {error}")]
    Passphrase {
        /// Where from.
        from: String,
        /// Why not.
        error: io::Error,
    },
    /// The terminal went away.
    #[error("cannot ask for the passphrase: {0}")]
    Ask(io::Error),
}

impl KeystoreError {
    /// What the command's exit code says of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Exists(_) => ExitCode::Exists,
            Self::File { error, .. }
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                ExitCode::Full
            }
            Self::Malformed {
                error: KeyFileError::Passphrase(PassphraseError::Memory(_)), ..
            } => ExitCode::Other,
            _ => ExitCode::Key,
        }
    }
}

impl KeyPath {
    /// Flag, then environment, then a service's credential (`zput.key`), then the default one.
    #[must_use]
    pub fn find(flag: Option<&Path>, directories: &Directories) -> Self {
        let variable = env::var_os(KEY_VARIABLE);
        Self::choose(flag, variable, passphrase::key_credential(), directories)
    }

    fn choose(
        flag: Option<&Path>,
        variable: Option<OsString>,
        credential: Option<PathBuf>,
        directories: &Directories,
    ) -> Self {
        let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
        match flag.map(Path::to_owned).or(variable).or(credential) {
            Some(path) => Self::at(path),
            None => Self { is_named: false, ..Self::at(directories.default_key_file()) },
        }
    }

    /// The key file at `path`; for its passphrase a person is asked.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, is_named: true, passphrase: PassphraseSource::Terminal }
    }

    /// The same, with another source of its passphrase.
    #[must_use]
    pub fn unlocked_by(self, passphrase: PassphraseSource) -> Self {
        Self { passphrase, ..self }
    }

    /// Whether anything is there.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn exists(&self) -> Result<bool, KeystoreError> {
        atomic::is_taken(&self.path).map_err(|error| self.file_error(error))
    }

    /// Reads and parses the file; asks for no passphrase.
    ///
    /// # Errors
    /// When there is none, or it is no key file.
    pub fn parse(&self) -> Result<ParsedKeyFile, KeystoreError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(match atomic::dangling_link(&self.path) {
                    Some(link) => self.file_error(link.into()),
                    None => KeystoreError::Missing(self.path.clone()),
                });
            }
            Err(error) => return Err(self.file_error(error)),
        };
        let text =
            secret_file::read(file, KEY_FILE_MAX_BYTES).map_err(|error| self.file_error(error))?;
        KeyFile::parse(&text).map_err(|error| self.malformed(error))
    }

    /// Reads the file, and asks on the terminal for its passphrase where it has one.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and a wrong passphrase.
    pub fn open(&self) -> Result<KeyFile, KeystoreError> {
        self.unlock().map(|unlocked| unlocked.key_file)
    }

    /// Like [`open`](Self::open), and keeps the passphrase, so that the file can be written again.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn unlock(&self) -> Result<Unlocked, KeystoreError> {
        let locked = match self.parse()? {
            ParsedKeyFile::Open(key_file) => return Ok(Unlocked { key_file, passphrase: None }),
            ParsedKeyFile::Locked(locked) => locked,
        };
        let given = self.passphrase.read().map_err(|error| KeystoreError::Passphrase {
            from: self.passphrase.describe(),
            error,
        })?;
        if let Some(passphrase) = given {
            let key_file = locked.unlock(&passphrase).map_err(|error| self.malformed(error))?;
            return Ok(Unlocked { key_file, passphrase: Some(passphrase) });
        }
        if !terminal::can_ask() {
            return Err(KeystoreError::CannotAsk(self.path.clone()));
        }
        for left in (0..PASSPHRASE_TRIES).rev() {
            let prompt = format!("Passphrase of {}: ", self.path.display());
            let passphrase = terminal::ask_secret(&prompt).map_err(KeystoreError::Ask)?;
            match locked.unlock(&passphrase) {
                Ok(key_file) => return Ok(Unlocked { key_file, passphrase: Some(passphrase) }),
                Err(KeyFileError::Passphrase(PassphraseError::Wrong)) if left > 0 => {
                    let tries = if left == 1 { "1 try" } else { &format!("{left} tries") };
                    let line = format!("wrong passphrase, {tries} left");
                    terminal::tell(&line).map_err(KeystoreError::Ask)?;
                }
                Err(error) => return Err(self.malformed(error)),
            }
        }
        Err(self.malformed(PassphraseError::Wrong.into()))
    }

    /// Whether its secrets are under a passphrase.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    pub fn is_locked(&self) -> Result<bool, KeystoreError> {
        Ok(matches!(self.parse()?, ParsedKeyFile::Locked(_)))
    }

    /// Whether others than the owner may read the file.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        std::fs::metadata(&self.path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 != 0)
    }

    /// Writes the file: mode 0600, whole or not at all.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] unless it may be replaced.
    pub fn save(&self, key_file: &KeyFile, existing: Existing) -> Result<(), KeystoreError> {
        let text = key_file.to_toml().map_err(|error| self.malformed(error))?;
        self.save_text(&text, existing)
    }

    /// Writes a key file's text.
    ///
    /// # Errors
    /// As of [`save`](Self::save).
    pub fn save_text(&self, text: &str, existing: Existing) -> Result<(), KeystoreError> {
        let staged = Staged::write(&self.path, text.as_bytes());
        match staged.map_err(|error| self.file_error(error))?.publish(existing) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(match atomic::dangling_link(&self.path) {
                    Some(link) => self.file_error(link.into()),
                    None => KeystoreError::Exists(self.path.clone()),
                })
            }
            published => published.map_err(|error| self.file_error(error)),
        }
    }

    pub(crate) fn file_error(&self, error: io::Error) -> KeystoreError {
        KeystoreError::File { path: self.path.clone(), error }
    }

    pub(crate) fn malformed(&self, error: KeyFileError) -> KeystoreError {
        KeystoreError::Malformed { path: self.path.clone(), error }
    }
}

/// How often a passphrase may be mistyped.
const PASSPHRASE_TRIES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn directories() -> Directories {
        Directories { config: "/c/zput".into(), data: "/d/zput".into(), state: "/s/zput".into() }
    }

    #[test]
    fn the_flag_goes_before_the_environment_before_the_default() {
        let choose = |flag: Option<&str>, variable: Option<&str>| {
            let (flag, variable) = (flag.map(Path::new), variable.map(OsString::from));
            let found = KeyPath::choose(flag, variable, None, &directories());
            (found.path.display().to_string(), found.is_named)
        };
        assert_eq!(choose(Some("/flag"), Some("/env")), ("/flag".into(), true));
        assert_eq!(choose(None, Some("/env")), ("/env".into(), true));
        assert_eq!(choose(None, Some("")), ("/c/zput/default.zkey".into(), false));
        assert_eq!(choose(None, None), ("/c/zput/default.zkey".into(), false));
        let credential = Some(PathBuf::from("/run/credentials/x/zput.key"));
        let found = KeyPath::choose(None, None, credential.clone(), &directories());
        assert_eq!((Some(found.path), found.is_named), (credential.clone(), true));
        let found = KeyPath::choose(None, Some("/env".into()), credential, &directories());
        assert_eq!(found.path, Path::new("/env"));
    }

    #[test]
    fn a_key_file_is_written_and_read_back_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = KeyPath::at(dir.path().join("new/k.zkey"));
        assert!(matches!(path.open(), Err(KeystoreError::Missing(_))));
        let key_file = KeyFile::generate(&mut random::system());
        path.save(&key_file, Existing::Keep).unwrap();
        assert_eq!(path.open().unwrap(), key_file);
        assert!(!path.is_exposed());
        let error = path.save(&key_file, Existing::Keep).unwrap_err();
        assert_eq!(error.exit_code() as u8, 10);
    }

    #[test]
    fn a_file_that_is_none_is_an_error_of_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = KeyPath::at(dir.path().join("k.zkey"));
        for text in ["", "format = 1\n", &"#".repeat(65_536)] {
            std::fs::write(&path.path, text).unwrap();
            let error = path.open().unwrap_err();
            assert!(matches!(error, KeystoreError::Malformed { .. }), "{error}");
            assert_eq!(error.exit_code() as u8, 7);
        }
        std::fs::write(&path.path, "#".repeat(65_537)).unwrap();
        let error = path.open().unwrap_err();
        assert!(error.to_string().ends_with(": it has more than 65536 bytes"), "{error}");
        assert_eq!(error.exit_code() as u8, 7);
        std::fs::set_permissions(&path.path, std::os::unix::fs::PermissionsExt::from_mode(0o640))
            .unwrap();
        assert!(path.is_exposed());
    }
}
