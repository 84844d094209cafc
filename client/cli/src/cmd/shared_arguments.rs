//! The arguments that several verbs have: which key file, retries, names.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    sync::Arc,
};

use ::zput::cli::{Directories, IfExists, KeyPath, RETRIES, Session};
use clap::Args;
use zput_proto::name::BlobName;
use zput_seal::keys::KeyFile;

use super::{
    console::Console,
    failure::{Context, Failure, local, usage},
};
use crate::{
    ephemeral_state, error::CommandError, key_choice::KeyChoice, notice_text::NoticeText,
    passphrase::PassphraseSource,
};

/// What `--force` means for an output.
pub(crate) const fn if_exists(force: bool) -> IfExists {
    if force { IfExists::Replace } else { IfExists::Keep }
}

/// Which key file.
#[derive(Args, Clone, Debug)]
pub struct KeyArguments {
    /// Key file to use [default: $ZPUT_KEY, else the service credential zput.key, else
    /// $XDG_CONFIG_HOME/zput/default.zkey]
    #[arg(long = "key", value_name = "PATH")]
    key: Option<PathBuf>,

    /// Shell command that prints the passphrase of the key file [default: the service credential
    /// zput.passphrase, else a prompt]
    #[arg(long, value_name = "COMMAND", conflicts_with = "passphrase_fd")]
    passphrase_command: Option<OsString>,

    /// File descriptor from which the passphrase of the key file is read
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u16>,
}

impl KeyArguments {
    pub(crate) fn path(&self, directories: &Directories) -> KeyChoice {
        KeyChoice::find(self.key.as_deref(), directories, self.passphrase())
    }

    /// Where the passphrase comes from.
    pub(crate) fn passphrase(&self) -> PassphraseSource {
        PassphraseSource::find(self.passphrase_command.clone(), self.passphrase_fd)
    }

    /// A client with this key file.
    pub(crate) fn client(&self, console: &Console) -> Result<Session, Failure> {
        let directories = directories()?;
        let path = self.path(&directories);
        let key_file = open_key_file(&path, console)?;
        let client = Session::new(key_file, &directories)?;
        console.verbose(&format_args!(
            "by {} to {}",
            path.file.as_path().display(),
            client.remote()
        ));
        Ok(client)
    }
}

/// How often what fails for a moment is tried again.
#[derive(Args, Clone, Copy, Debug)]
pub struct RetryArguments {
    /// Retries in a row when the connection fails or the server is busy
    #[arg(long, value_name = "N", default_value_t = RETRIES)]
    retries: u32,
}

impl RetryArguments {
    /// Sets the retries of `client`, and prints its notices.
    pub(crate) fn apply(self, client: &mut Session, console: &Console) -> Result<(), Failure> {
        let console = *console;
        client.set_retries(self.retries, Arc::new(move |notice| console.note(&NoticeText(notice))));
        Ok(())
    }
}

/// Opens a key file, and warns if other users may read it.
pub(crate) fn open_key_file(path: &KeyChoice, console: &Console) -> Result<KeyFile, CommandError> {
    let key_file = path.open()?;
    warn_if_exposed(&path.file, console);
    Ok(key_file)
}

/// Warns if other users may read a key file. Some file systems do not keep modes.
pub(crate) fn warn_if_exposed(path: &KeyPath, console: &Console) {
    if path.is_exposed() {
        let path = path.as_path().display();
        console.warn(&format_args!(
            "warning: other users can read the key file {path} (chmod 600 {path})"
        ));
    }
}

/// Splits names into UTF-8 texts and others.
pub(crate) fn utf8(names: Vec<OsString>) -> (Vec<String>, Vec<OsString>) {
    let (mut texts, mut others) = (Vec::new(), Vec::new());
    for name in names {
        match name.into_string() {
            Ok(text) => texts.push(text),
            Err(other) => others.push(other),
        }
    }
    (texts, others)
}

/// Parses the name of a blob, as it was typed.
pub(crate) fn blob_name(text: &OsStr) -> Result<BlobName, Failure> {
    let Some(name) = text.to_str() else {
        return Err(usage(format!("{} is not UTF-8, and no name of a blob", text.display())));
    };
    BlobName::parse(name).context(name)
}

pub(crate) fn directories() -> Result<Directories, CommandError> {
    let mut directories = Directories::of_user()
        .map_err(|error| local("cannot determine your directories", io::Error::other(error)))?;
    if let Some(state) = ephemeral_state::directory() {
        directories.state = state;
    }
    Ok(directories)
}

/// Parses the arguments of one verb, without the options of every verb.
#[cfg(test)]
pub(crate) fn parse_arguments<A: Args>(line: &[&str]) -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new("verb"));
    A::from_arg_matches(&command.try_get_matches_from(line)?)
}
