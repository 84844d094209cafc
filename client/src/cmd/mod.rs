//! What the commands do, one module each.
//!
//! Data and JSON go to stdout, everything else to stderr. A failure is one line that names the thing,
//! what happened to it and what to do next, and an exit code ([`ExitCode`]).

pub mod zget;
pub mod zkey;
pub mod zls;
pub mod zopen;
pub mod zput;
pub mod zrestore;
pub mod zrm;
pub mod zseal;
pub mod zstat;

mod command_line;
mod console;
mod failure;
mod format;
mod interrupted;
#[path = "foreign_options.rs"]
mod peers;
mod select;
mod tree;

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    process,
    sync::Arc,
};

use clap::{Args, Parser};
use zput_common::name::BlobName;
use zput_server::memory;

use self::command_line::Given;
pub use self::{
    command_line::{ALWAYS_SAID, prepared, variable_of},
    console::{Console, Voice},
    failure::Failure,
};
pub(crate) use self::{console::Tally, failure::At};
use crate::{
    Client, ClientError, ExitCode, cleanup, core_dump, directories::Directories, keystore::KeyPath,
    passphrase::PassphraseSource, retry::RETRIES, throwaway,
};

/// Runs a command: arguments in, exit code out.
pub fn run<A: Parser>(
    name: &'static str,
    command: fn(A, &Console) -> Result<(), Failure>,
) -> process::ExitCode {
    core_dump::forbid();
    memory::begin();
    let Given { arguments, console, without_state } = match command_line::parse::<A>(name) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let ended = cleanup::on_signals(name)
        .map_err(|error| local("cannot watch for signals", error))
        .and_then(|()| begin_state(without_state))
        .map_err(Failure::from)
        .and_then(|()| command(arguments, &console));
    cleanup::wait_if_ending();
    throwaway::end();
    match ended {
        Ok(()) => ExitCode::Ok.into(),
        Err(failure) => {
            cleanup::give_up();
            // Who reads no more has heard enough.
            if !failure.is_unread() {
                console.fail(&failure);
            }
            failure.exit_code().into()
        }
    }
}

/// Makes the place for what is noted, if that is to be thrown away: a signal removes it too.
fn begin_state(without_state: bool) -> Result<(), ClientError> {
    if !without_state {
        return Ok(());
    }
    throwaway::begin().map_err(|error| local("no place for --no-state", error))
}

/// Which key file.
#[derive(Args, Clone, Debug)]
pub struct KeyArguments {
    /// Key file to use [default: $ZPUT_KEY, else a service's credential zput.key, else
    /// $XDG_CONFIG_HOME/zput/default.zkey]
    #[arg(long = "key", value_name = "PATH")]
    key: Option<PathBuf>,

    /// Shell command that prints the key file's passphrase [default: a service's credential
    /// zput.passphrase, else ask]
    #[arg(long, value_name = "COMMAND", conflicts_with = "passphrase_fd")]
    passphrase_command: Option<OsString>,

    /// Descriptor from which the key file's passphrase is read
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u16>,
}

impl KeyArguments {
    pub(crate) fn path(&self, directories: &Directories) -> KeyPath {
        KeyPath::find(self.key.as_deref(), directories).unlocked_by(self.passphrase())
    }

    /// Where the passphrase comes from.
    pub(crate) fn passphrase(&self) -> PassphraseSource {
        PassphraseSource::find(self.passphrase_command.clone(), self.passphrase_fd)
    }

    /// A client by this key file.
    pub(crate) fn client(&self, console: &Console) -> Result<Client, Failure> {
        let directories = directories()?;
        let path = self.path(&directories);
        let key_file = open_key_file(&path, console)?;
        let client = Client::new(key_file, &directories)?;
        console.detail(&format_args!("by {} to {}", path.path.display(), client.remote()));
        Ok(client)
    }
}

/// How often what fails for a moment is tried again.
#[derive(Args, Clone, Copy, Debug)]
pub struct RetryArguments {
    /// How often in a row to try again when the connection fails or the server is busy
    #[arg(long, value_name = "N", default_value_t = RETRIES)]
    retries: u32,
}

impl RetryArguments {
    /// Lets `client` try again, and tell of it.
    pub(crate) fn apply(self, client: &mut Client, console: &Console) -> Result<(), Failure> {
        let console = *console;
        client.persist(self.retries, Arc::new(move |notice| console.tell(notice)));
        Ok(())
    }
}

/// Opens a key file, and says so when others may read it.
pub(crate) fn open_key_file(
    path: &KeyPath,
    console: &Console,
) -> Result<zput_common::keys::KeyFile, ClientError> {
    let key_file = path.open()?;
    warn_if_exposed(path, console);
    Ok(key_file)
}

/// Says so when others may read a key file; not every file system keeps modes.
pub(crate) fn warn_if_exposed(path: &KeyPath, console: &Console) {
    if path.is_exposed() {
        let path = path.path.display();
        console
            .warn(&format_args!("warning: others can read the key file {path} (chmod 600 {path})"));
    }
}

/// The names that are texts, and the others.
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

/// The name of a blob, as it was typed.
pub(crate) fn blob_name(text: &OsStr) -> Result<BlobName, Failure> {
    let Some(name) = text.to_str() else {
        return Err(usage(format!("{} is not UTF-8, and no name of a blob", text.display())));
    };
    BlobName::parse(name).at(name)
}

pub(crate) fn directories() -> Result<Directories, ClientError> {
    let mut directories = Directories::of_user()
        .map_err(|error| local("it is not known where your files are", io::Error::other(error)))?;
    if let Some(state) = throwaway::state() {
        directories.state = state;
    }
    Ok(directories)
}

pub(crate) fn local(what: &str, error: io::Error) -> ClientError {
    ClientError::Local { what: what.to_owned(), error }
}

pub(crate) fn usage(text: impl Into<String>) -> Failure {
    ClientError::Usage(text.into()).into()
}
