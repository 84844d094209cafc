//! Where the passphrase of a key file comes from: a command, a descriptor, a credential of a service, or a person.
//!
//! It is never an argument, and never stands in the environment: others can see those. What stands there is how to get it.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use zeroize::Zeroizing;

use crate::{cleanup::ChildGuard, destination::Descriptor, secret_file};

/// systemd.exec(5): where a service finds its credentials.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// The credential that is a passphrase.
const PASSPHRASE_CREDENTIAL: &str = "zput.passphrase";
/// The credential that is a key file.
const KEY_CREDENTIAL: &str = "zput.key";

/// Longest passphrase that is taken, in bytes: no longer one can be typed.
const PASSPHRASE_MAX_BYTES: usize = 4096;

/// Where a passphrase comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PassphraseSource {
    /// A person at the terminal.
    #[default]
    Terminal,
    /// What this shell command prints.
    Command(OsString),
    /// What can be read from this descriptor of the process.
    Descriptor(u16),
    /// What is in this file.
    File(PathBuf),
}

impl PassphraseSource {
    /// By what was said, else by a credential.
    #[must_use]
    pub fn find(command: Option<OsString>, descriptor: Option<u16>) -> Self {
        match Self::new_by(command, descriptor) {
            Self::Terminal => credential(PASSPHRASE_CREDENTIAL).map_or(Self::Terminal, Self::File),
            said => said,
        }
    }

    /// By what was said of a new one.
    #[must_use]
    pub fn new_by(command: Option<OsString>, descriptor: Option<u16>) -> Self {
        match (descriptor, command) {
            (Some(descriptor), _) => Self::Descriptor(descriptor),
            (None, Some(command)) => Self::Command(command),
            (None, None) => Self::Terminal,
        }
    }

    /// The passphrase; none where a person has to be asked.
    ///
    /// # Errors
    /// When it cannot be had, or is empty.
    pub(crate) fn read(&self) -> io::Result<Option<Zeroizing<String>>> {
        let text = match self {
            Self::Terminal => return Ok(None),
            Self::Command(command) => output_of(command)?,
            Self::Descriptor(number) => {
                let descriptor = Descriptor::own((*number).into()).for_reading()?;
                secret_file::read(descriptor, PASSPHRASE_MAX_BYTES)?
            }
            Self::File(path) => secret_file::read(File::open(path)?, PASSPHRASE_MAX_BYTES)?,
        };
        // What prints a line ends it.
        let line = text
            .strip_suffix('\n')
            .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if line.is_empty() {
            return Err(io::Error::other("it is empty"));
        }
        Ok(Some(Zeroizing::new(line.to_owned())))
    }

    /// What it is called in an error.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Terminal => "the terminal".to_owned(),
            Self::Command(command) => format!("the command {}", command.display()),
            Self::Descriptor(number) => format!("descriptor {number}"),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// The key file that a service was handed.
pub(crate) fn key_credential() -> Option<PathBuf> {
    credential(KEY_CREDENTIAL)
}

fn credential(name: &str) -> Option<PathBuf> {
    let directory =
        env::var_os(CREDENTIALS_VARIABLE).filter(|path| Path::new(path).is_absolute())?;
    let path = Path::new(&directory).join(name);
    path.exists().then_some(path)
}

/// What `command` prints, by a shell; its stderr is this process's.
fn output_of(command: &OsString) -> io::Result<Zeroizing<String>> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
    let (mut child, guard) = ChildGuard::spawn(&mut shell)?;
    let Some(stdout) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let read = secret_file::read(stdout, PASSPHRASE_MAX_BYTES);
    drop(guard);
    let status = child.wait()?;
    let text = read?;
    if !status.success() {
        return Err(io::Error::other(format!("it failed with {status}")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(command: &str) -> Result<String, String> {
        let read = PassphraseSource::Command(command.into()).read();
        read.map(|text| text.unwrap().to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_prints_it_and_succeeds() {
        assert_eq!(printed("echo hunter2"), Ok("hunter2".into()));
        assert_eq!(printed("printf 'a b\\r\\n'"), Ok("a b".into()));
        assert_eq!(printed("printf ' spaces stay \\n\\n'"), Ok(" spaces stay \n".into()));
        assert_eq!(printed("true"), Err("it is empty".into()));
        assert_eq!(printed("echo half; exit 3"), Err("it failed with exit status: 3".into()));
        assert_eq!(printed("yes"), Err("it has more than 4096 bytes".into()));
    }

    #[test]
    fn a_file_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zput.passphrase");
        std::fs::write(&path, "hunter2\n").unwrap();
        let read = PassphraseSource::File(path.clone()).read().unwrap().unwrap();
        assert_eq!(read.as_str(), "hunter2");
        std::fs::remove_file(&path).unwrap();
        assert!(PassphraseSource::File(path).read().is_err());
    }
}
