//! Key files on this machine: which one to use, and how to read and write it.

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
    atomic::{self, IfExists, Staged},
    directories::Directories,
    error::ExitCode,
    passphrase::{self, PassphraseSource},
    random, secret_file, terminal,
};

/// The environment variable that holds the path of a key file.
pub const KEY_VARIABLE: &str = "ZPUT_KEY";

/// The path of a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath {
    /// The path; the file may not exist.
    pub path: PathBuf,
    /// Whether the path was named by flag, variable or credential; otherwise it is the default one.
    pub is_named: bool,
    /// Where its passphrase comes from, if it has one.
    pub passphrase: PassphraseSource,
}

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

/// Why a key file cannot be used.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// There is no key file.
    #[error(
        "there is no key file {} (zblob key new makes one, zblob key join takes an invite)",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot use the key file {}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file exists, and replacing was not allowed.
    #[error("{} exists already (--force replaces it, and what it opens is lost without it)", .0.display())]
    Exists(PathBuf),
    /// The file is not a valid key file, or the passphrase is wrong.
    #[error("{}: {error}", path.display())]
    Malformed {
        /// Its path.
        path: PathBuf,
        /// The parser's error.
        error: KeyFileError,
    },
    /// The key file has a passphrase, and there is no terminal to ask for it.
    #[error(
        "{} is under a passphrase and there is no terminal to ask on (--passphrase-command or \
         --passphrase-fd gives it; zblob key passphrase remove takes it off)",
        .0.display()
    )]
    CannotAsk(PathBuf),
    /// The passphrase could not be read from its source.
    #[error("cannot get the passphrase from {from}: {error}")]
    Passphrase {
        /// The source, as the error text names it.
        from: String,
        /// The system's error.
        error: io::Error,
    },
    /// The terminal failed while the passphrase was asked for.
    #[error("cannot ask for the passphrase: {0}")]
    Ask(io::Error),
}

impl KeystoreError {
    /// The exit code of a command that fails with this error.
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
    /// Chooses the key file: flag, then environment, then the service's credential `zput.key`, then
    /// the default.
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

    /// The key file at `path`, whose passphrase is asked for on the terminal.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, is_named: true, passphrase: PassphraseSource::Terminal }
    }

    /// The same with another source of its passphrase.
    #[must_use]
    pub fn with_passphrase_from(self, passphrase: PassphraseSource) -> Self {
        Self { passphrase, ..self }
    }

    /// Whether the name exists.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn exists(&self) -> Result<bool, KeystoreError> {
        atomic::is_taken(&self.path).map_err(|error| self.file_error(error))
    }

    /// Reads and parses the file; does not ask for a passphrase.
    ///
    /// # Errors
    /// When it is missing, or not a key file.
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

    /// Reads the file, and gets its passphrase if it has one.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and a wrong passphrase.
    pub fn open(&self) -> Result<KeyFile, KeystoreError> {
        self.unlock().map(|unlocked| unlocked.key_file)
    }

    /// Like [`open`](Self::open), and returns the passphrase too, so that the file can be written
    /// again.
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
                    terminal::print_line(&line).map_err(KeystoreError::Ask)?;
                }
                Err(error) => return Err(self.malformed(error)),
            }
        }
        Err(self.malformed(PassphraseError::Wrong.into()))
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
        std::fs::metadata(&self.path)
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
        let staged = Staged::write(&self.path, text.as_bytes());
        match staged.map_err(|error| self.file_error(error))?.publish(if_exists) {
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

/// How often a passphrase may be typed.
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
        let key_file = KeyFile::generate(&mut random::os_rng());
        path.save(&key_file, IfExists::Keep).unwrap();
        assert_eq!(path.open().unwrap(), key_file);
        assert!(!path.is_exposed());
        let error = path.save(&key_file, IfExists::Keep).unwrap_err();
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
