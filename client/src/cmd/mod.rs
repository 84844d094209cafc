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

mod format;

use std::{
    env, fmt,
    io::{self, Write},
    path::PathBuf,
    process,
    sync::Arc,
};

use clap::{Args, Parser};
use serde::Serialize;

use crate::{
    Client, ClientError, ExitCode, cleanup,
    directories::Directories,
    keystore::KeyPath,
    progress::{self, Bar, Progress, Silent},
    retry::RETRIES,
    standard_streams,
    terminal::printable,
};

/// Runs a command: arguments in, exit code out.
pub fn run<A: Parser>(
    name: &'static str,
    command: fn(A, &Console) -> Result<(), Failure>,
) -> process::ExitCode {
    let arguments = A::parse();
    let console = Console { name };
    let ended = cleanup::on_signals()
        .map_err(|error| local("cannot watch for signals", error).into())
        .and_then(|()| command(arguments, &console));
    match ended {
        Ok(()) => ExitCode::Ok.into(),
        Err(failure) => {
            cleanup::give_up();
            console.tell(&failure);
            failure.error.exit_code().into()
        }
    }
}

/// Why a command failed, and at what.
#[derive(Debug)]
pub struct Failure {
    /// The name, file or version it failed at.
    thing: Option<String>,
    error: ClientError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(thing) = &self.thing {
            write!(f, "{}: ", printable(thing))?;
        }
        write!(f, "{}", printable(&self.error.to_string()))
    }
}

impl<E: Into<ClientError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { thing: None, error: error.into() }
    }
}

/// Names the thing that an operation failed at.
pub(crate) trait At<T> {
    fn at(self, thing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<ClientError>> At<T> for Result<T, E> {
    fn at(self, thing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure { thing: Some(thing.to_string()), error: error.into() })
    }
}

/// Where a command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    name: &'static str,
}

impl Console {
    /// A line on stderr.
    pub(crate) fn tell(&self, what: &dyn fmt::Display) {
        // There is nobody left to be told that stderr is gone.
        let _told = progress::aside(|| writeln!(io::stderr(), "{}", self.line(what)));
    }

    /// The line that tells it.
    pub(crate) fn line(&self, what: &dyn fmt::Display) -> String {
        format!("{}: {what}", self.name)
    }

    /// That there is a new key file, and what to do with it.
    pub(crate) fn tell_made(&self, key_file: &KeyPath) {
        self.tell(&format_args!("made a key file: {}", key_file.path.display()));
        self.tell(&"back it up: what is sealed to a key that is lost stays sealed");
    }

    /// A line of data on stdout.
    pub(crate) fn print(&self, line: &dyn fmt::Display) -> Result<(), ClientError> {
        let line = format!("{line}\n");
        standard_streams::stdout()
            .and_then(|mut stdout| stdout.write_all(line.as_bytes()))
            .map_err(|error| local("cannot write to stdout", error))
    }

    /// An object of JSON, on a line of its own.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), ClientError> {
        let text = serde_json::to_string(value)
            .map_err(|error| local("cannot write JSON", io::Error::other(error)))?;
        self.print(&text)
    }

    /// Progress on the terminal, if stderr is one.
    pub(crate) fn progress(&self, label: &str) -> Box<dyn Progress> {
        match Bar::on_terminal(&printable(label)) {
            Some(bar) => Box::new(bar),
            None => Box::new(Silent),
        }
    }

    /// Does something with each of `things`; a failure of one does not keep the others from it.
    pub(crate) fn each<T>(
        &self,
        things: Vec<T>,
        mut act: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut tally = Tally::of(things.len());
        for thing in things {
            tally.note(act(thing), self);
        }
        tally.end()
    }
}

/// How several things have ended.
#[derive(Debug)]
pub(crate) struct Tally {
    all: usize,
    failed: usize,
    /// Of a single thing: nobody has been told yet.
    failure: Option<Failure>,
}

impl Tally {
    pub(crate) fn of(all: usize) -> Self {
        Self { all, failed: 0, failure: None }
    }

    /// One has ended.
    pub(crate) fn note(&mut self, ended: Result<(), Failure>, console: &Console) {
        let Err(failure) = ended else { return };
        self.failed += 1;
        if self.all == 1 {
            self.failure = Some(failure);
        } else {
            console.tell(&failure);
        }
    }

    /// All have.
    pub(crate) fn end(self) -> Result<(), Failure> {
        let Self { all, failed, failure } = self;
        match failure {
            Some(failure) => Err(failure),
            None if failed == 0 => Ok(()),
            None => Err(ClientError::Several { failed, all }.into()),
        }
    }
}

/// Which key file.
#[derive(Args, Clone, Debug)]
pub struct KeyArguments {
    /// Key file to use [default: $ZPUT_KEY, else $XDG_CONFIG_HOME/zput/default.zkey]
    #[arg(long = "key", value_name = "PATH")]
    key: Option<PathBuf>,
}

impl KeyArguments {
    pub(crate) fn path(&self, directories: &Directories) -> KeyPath {
        KeyPath::find(self.key.as_deref(), directories)
    }

    /// A client by this key file.
    pub(crate) fn client(&self, console: &Console) -> Result<Client, Failure> {
        let directories = directories()?;
        let path = self.path(&directories);
        let key_file = open_key_file(&path, console)?;
        Ok(Client::new(key_file, &directories)?)
    }
}

/// How often what fails for a moment is tried again.
#[derive(Args, Clone, Copy, Debug)]
pub struct RetryArguments {
    /// How often in a row to try again when the connection fails or the server is busy [default: $ZPUT_RETRIES, else 5]
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
}

/// The environment variable that says how often to try again.
pub const RETRIES_VARIABLE: &str = "ZPUT_RETRIES";

impl RetryArguments {
    /// Lets `client` try again, and tell of it.
    pub(crate) fn apply(self, client: &mut Client, console: &Console) -> Result<(), Failure> {
        let retries = match (self.retries, env::var_os(RETRIES_VARIABLE)) {
            (Some(retries), _) => retries,
            (None, Some(value)) if !value.is_empty() => {
                let number = value.to_str().and_then(|value| value.parse().ok());
                number.ok_or_else(|| usage(format!("{RETRIES_VARIABLE} is not a number")))?
            }
            (None, _) => RETRIES,
        };
        let console = *console;
        client.persist(retries, Arc::new(move |notice| console.tell(notice)));
        Ok(())
    }
}

/// Opens a key file, and says so when others may read it.
pub(crate) fn open_key_file(
    path: &KeyPath,
    console: &Console,
) -> Result<zput_common::keys::KeyFile, ClientError> {
    let key_file = path.open()?;
    if path.is_exposed() {
        let path = path.path.display();
        console
            .tell(&format_args!("warning: others can read the key file {path} (chmod 600 {path})"));
    }
    Ok(key_file)
}

pub(crate) fn directories() -> Result<Directories, ClientError> {
    Directories::of_user()
        .map_err(|error| local("cannot find your home directory", io::Error::other(error)))
}

pub(crate) fn local(what: &str, error: io::Error) -> ClientError {
    ClientError::Local { what: what.to_owned(), error }
}

pub(crate) fn usage(text: impl Into<String>) -> Failure {
    ClientError::Usage(text.into()).into()
}
