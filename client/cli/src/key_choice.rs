//! Which key file a command uses, and where its passphrase comes from.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use zput::{
    cli::{Directories, KeyPath, Unlocked},
    error::KeystoreError,
};
use zput_seal::keys::{KeyFile, KeyFileError, ParsedKeyFile, PassphraseError};

use crate::{
    error::CommandError,
    passphrase::{self, PassphraseSource},
    terminal,
};

/// The environment variable that holds the path of a key file.
const KEY_VARIABLE: &str = "ZPUT_KEY";

/// How often a passphrase may be typed.
const PASSPHRASE_TRIES: usize = 3;

/// The key file of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyChoice {
    /// The file, which may not exist.
    pub(crate) file: KeyPath,
    /// Whether the path was named by flag, variable or credential; otherwise it is the default one.
    pub(crate) is_named: bool,
    /// Where its passphrase comes from, if it has one.
    passphrase: PassphraseSource,
}

impl KeyChoice {
    /// Chooses the key file: flag, then environment, then the service's credential `zput.key`, then
    /// the default.
    pub(crate) fn find(
        flag: Option<&Path>,
        directories: &Directories,
        passphrase: PassphraseSource,
    ) -> Self {
        let variable = env::var_os(KEY_VARIABLE);
        let credential = passphrase::key_credential();
        let (path, is_named) = choose(flag, variable, credential, directories);
        Self { file: KeyPath::new(path), is_named, passphrase }
    }

    /// Reads the file, and gets its passphrase if it has one.
    ///
    /// # Errors
    /// When the file is missing or no key file, and for a wrong passphrase.
    pub(crate) fn open(&self) -> Result<KeyFile, CommandError> {
        self.unlock().map(|unlocked| unlocked.key_file)
    }

    /// Like [`open`](Self::open), and returns the passphrase too, so that the file can be written
    /// again.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub(crate) fn unlock(&self) -> Result<Unlocked, CommandError> {
        let path = &self.file;
        let locked = match path.parse()? {
            ParsedKeyFile::Open(key_file) => return Ok(Unlocked { key_file, passphrase: None }),
            ParsedKeyFile::Locked(locked) => locked,
        };
        let given = self.passphrase.read().map_err(|source| KeystoreError::Passphrase {
            from: self.passphrase.describe(),
            source,
        })?;
        if let Some(passphrase) = given {
            return Ok(path.unlock_with(&locked, passphrase)?);
        }
        if !terminal::can_ask() {
            return Err(CommandError::CannotAsk(path.as_path().to_owned()));
        }
        for left in (0..PASSPHRASE_TRIES).rev() {
            let prompt = format!("Passphrase of {}: ", path.as_path().display());
            let passphrase = terminal::ask_secret(&prompt).map_err(CommandError::Ask)?;
            match locked.unlock(&passphrase) {
                Ok(key_file) => return Ok(Unlocked { key_file, passphrase: Some(passphrase) }),
                Err(KeyFileError::Passphrase(PassphraseError::Wrong)) if left > 0 => {
                    let tries = if left == 1 { "1 try" } else { &format!("{left} tries") };
                    let line = format!("wrong passphrase, {tries} left");
                    terminal::print_line(&line).map_err(CommandError::Ask)?;
                }
                Err(error) => return Err(path.malformed(error).into()),
            }
        }
        Err(path.malformed(PassphraseError::Wrong.into()).into())
    }
}

/// The path of the key file, and whether it was named.
fn choose(
    flag: Option<&Path>,
    variable: Option<OsString>,
    credential: Option<PathBuf>,
    directories: &Directories,
) -> (PathBuf, bool) {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    match flag.map(Path::to_owned).or(variable).or(credential) {
        Some(path) => (path, true),
        None => (directories.default_key_file(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories() -> Directories {
        Directories { config: "/c/zput".into(), data: "/d/zput".into(), state: "/s/zput".into() }
    }

    /// The key file is chosen by flag, then environment, then credential, then default.
    #[test]
    fn key_path_prefers_flag_over_environment_over_default() {
        let find = |flag: Option<&str>, variable: Option<&str>| {
            let (flag, variable) = (flag.map(Path::new), variable.map(OsString::from));
            let (path, is_named) = choose(flag, variable, None, &directories());
            (path.display().to_string(), is_named)
        };
        assert_eq!(find(Some("/flag"), Some("/env")), ("/flag".into(), true));
        assert_eq!(find(None, Some("/env")), ("/env".into(), true));
        assert_eq!(find(None, Some("")), ("/c/zput/default.zkey".into(), false));
        assert_eq!(find(None, None), ("/c/zput/default.zkey".into(), false));
        let credential = Some(PathBuf::from("/run/credentials/x/zput.key"));
        let (path, is_named) = choose(None, None, credential.clone(), &directories());
        assert_eq!((Some(path), is_named), (credential.clone(), true));
        let (path, _) = choose(None, Some("/env".into()), credential, &directories());
        assert_eq!(path, Path::new("/env"));
    }
}
