//! Sources of a key file's passphrase: a command, a descriptor, a service's credential, or the
//! terminal.
//!
//! A passphrase is never an argument or an environment variable, which other users can see; those
//! only say where to get it.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use zeroize::Zeroizing;
use zput::{
    cleanup::ChildGuard,
    cli::{open_inherited, secret_file},
};

/// systemd.exec(5): the variable with a service's credentials directory.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Name of the credential with a passphrase.
const PASSPHRASE_CREDENTIAL: &str = "zput.passphrase";
/// Name of the credential with a key file.
const KEY_CREDENTIAL: &str = "zput.key";

/// Longest passphrase that is accepted, in bytes; a terminal line is no longer.
const PASSPHRASE_MAX_BYTES: usize = 4096;

/// Where a passphrase comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum PassphraseSource {
    /// The user types it on the terminal.
    #[default]
    Terminal,
    /// This shell command prints it.
    Command(OsString),
    /// It is read from this descriptor of the process.
    Descriptor(u16),
    /// It is read from this file.
    File(PathBuf),
}

impl PassphraseSource {
    /// The source in the arguments, else a credential, else the terminal.
    #[must_use]
    pub(crate) fn find(command: Option<OsString>, descriptor: Option<u16>) -> Self {
        match Self::from_arguments(command, descriptor) {
            Self::Terminal => credential(PASSPHRASE_CREDENTIAL).map_or(Self::Terminal, Self::File),
            said => said,
        }
    }

    /// The source in the arguments for a new passphrase, else the terminal.
    #[must_use]
    pub(crate) fn from_arguments(command: Option<OsString>, descriptor: Option<u16>) -> Self {
        match (descriptor, command) {
            (Some(descriptor), _) => Self::Descriptor(descriptor),
            (None, Some(command)) => Self::Command(command),
            (None, None) => Self::Terminal,
        }
    }

    /// Reads the passphrase; `None` if the user has to be asked.
    ///
    /// # Errors
    /// When it cannot be read, or is empty.
    pub(crate) fn read(&self) -> io::Result<Option<Zeroizing<String>>> {
        let text = match self {
            Self::Terminal => return Ok(None),
            Self::Command(command) => output_of(command)?,
            Self::Descriptor(number) => {
                secret_file::read(open_inherited(*number)?, PASSPHRASE_MAX_BYTES)?
            }
            Self::File(path) => secret_file::read(File::open(path)?, PASSPHRASE_MAX_BYTES)?,
        };
        // Programs end a line with a newline.
        let line = text
            .strip_suffix('\n')
            .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if line.is_empty() {
            return Err(io::Error::other("it is empty"));
        }
        Ok(Some(Zeroizing::new(line.to_owned())))
    }

    /// The source, as an error text names it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Terminal => "the terminal".to_owned(),
            Self::Command(command) => format!("the command {}", command.display()),
            Self::Descriptor(number) => format!("descriptor {number}"),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// The key file in the service's credentials, if there is one.
pub(crate) fn key_credential() -> Option<PathBuf> {
    credential(KEY_CREDENTIAL)
}

fn credential(name: &str) -> Option<PathBuf> {
    let directory =
        env::var_os(CREDENTIALS_VARIABLE).filter(|path| Path::new(path).is_absolute())?;
    let path = Path::new(&directory).join(name);
    path.exists().then_some(path)
}

/// The output of `command`, run by a shell, with this process's stderr.
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

    /// A passphrase command must succeed and print 1 to 4,096 bytes; one line end is cut off.
    #[test]
    fn passphrase_source_command_must_print_it_and_succeed() {
        assert_eq!(printed("echo hunter2"), Ok("hunter2".into()));
        assert_eq!(printed("printf 'a b\\r\\n'"), Ok("a b".into()));
        assert_eq!(printed("printf ' spaces stay \\n\\n'"), Ok(" spaces stay \n".into()));
        assert_eq!(printed("true"), Err("it is empty".into()));
        assert_eq!(printed("echo half; exit 3"), Err("it failed with exit status: 3".into()));
        assert_eq!(printed("yes"), Err("it has more than 4096 bytes".into()));
    }

    /// A passphrase file is read without its newline, and a missing one is an error.
    #[test]
    fn passphrase_source_file_is_read_without_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zput.passphrase");
        std::fs::write(&path, "hunter2\n").unwrap();
        let read = PassphraseSource::File(path.clone()).read().unwrap().unwrap();
        assert_eq!(read.as_str(), "hunter2");
        std::fs::remove_file(&path).unwrap();
        assert!(PassphraseSource::File(path).read().is_err());
    }
}
