//! `zput`: seals files and stores them.

mod task;

use std::{ffi::OsString, io, path::PathBuf};

use clap::{
    Parser, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use serde::Serialize;
use zput_common::{
    aead::Suite,
    keys::{KeyFile, Role},
    name::BlobName,
    proto::message::Condition,
};

use self::task::{Task, task};
use super::{
    At, Console, Failure, KeyArguments, RetryArguments, Tally, directories, format,
    interrupted::Watched, open_key_file, usage,
};
use crate::{
    Client, ClientError,
    directories::Directories,
    embedded::{self, Made},
    put::{JOBS, JOBS_MAX, NamedFile, PutOptions, PutReceipt, Resume},
    source::{CommandSource, FileSource, Source, look},
    terminal::printable,
};

const EXAMPLES: &str = "\
Examples:
  zput secret.bin                          store a file under its own name
  zput --prefix plans *.pdf                store files as plans/NAME
  tar c home | zput --name home.tar -      store what a pipe gives
  zput --exec --name pg/main -- pg_dump main
                                           store what a command prints, if it succeeds
  zput --if-absent --name lock token       fail with exit code 10 if it is there

A file that only grows is stored as it was at first. A pipe or a command that gives no byte is refused,
for most often its writer has failed; --allow-empty stores an empty blob.

With nothing configured, zput makes a key file and a store in your home and says where they are.

Exit codes: 0 ok, 1 other, 2 usage, 3 some of several failed, 4 not found, 5 try again, 6 denied,
7 key missing or wrong, 8 integrity, 9 disk or quota full, 10 exists.";

/// Seals files and stores them
#[derive(Parser, Debug)]
#[command(name = "zput", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Files to store, each under its last path component; `-` is stdin and needs --name
    // Not clap's parser of paths, which refuses the whole command line for an empty one.
    #[arg(value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    files: Vec<PathBuf>,

    /// Name to store the one FILE under
    #[arg(long, value_name = "NAME", conflicts_with = "prefix")]
    name: Option<String>,

    /// What to put in front of the names: FILE is stored as PREFIX/FILE
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,

    /// Run the command behind `--` and store what it prints; if it fails, store nothing
    #[arg(long, requires = "name")]
    exec: bool,

    /// Store only if the name is not taken; otherwise fail with exit code 10
    #[arg(long)]
    if_absent: bool,

    /// Store an empty blob where a pipe or the command of --exec gives no byte
    #[arg(long)]
    allow_empty: bool,

    /// Cipher to seal with
    #[arg(long, value_enum, default_value_t = SuiteName::Aes)]
    suite: SuiteName,

    /// Note the SHA-256 of each file in its blob, for zstat to show
    #[arg(long, conflicts_with = "plaintext")]
    sha256: bool,

    /// Store the bytes as they are, sealed to nobody; only on plaintext connections
    #[arg(long)]
    plaintext: bool,

    /// Go on with an interrupted put of the same file, or fail with exit code 4 if there is none
    #[arg(long, conflicts_with_all = ["no_resume", "plaintext", "exec"])]
    resume: bool,

    /// Give an interrupted put of the same name up, and start over
    #[arg(long)]
    no_resume: bool,

    /// How many small files (up to 256 KiB) to put at a time
    #[arg(short, long, value_name = "N", default_value_t = JOBS as u16,
        value_parser = clap::value_parser!(u16).range(1..=JOBS_MAX as i64))]
    jobs: u16,

    /// Print a line of JSON for each file stored, in the order given
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    retries: RetryArguments,

    #[command(flatten)]
    key: KeyArguments,

    /// The command and its arguments, for --exec
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
}

/// The ciphers by the names that people type.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuiteName {
    /// AES-256-GCM
    Aes,
    /// ChaCha20-Poly1305
    Chacha,
}

impl From<SuiteName> for Suite {
    fn from(name: SuiteName) -> Self {
        match name {
            SuiteName::Aes => Self::Aes256Gcm,
            SuiteName::Chacha => Self::ChaCha20Poly1305,
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    version: String,
    committed: String,
    generation: Option<String>,
    length: u64,
    key: String,
}

/// Runs the command.
///
/// # Errors
/// When a file was not stored.
pub fn run(mut arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let begun = begin(task(&mut arguments)?, &arguments, console)?;
    let Some(begun) = begun else { return Ok(()) };
    let directories = directories()?;
    let key_file = key_file(&arguments, &directories, console)?;
    if key_file.role() == Role::Get {
        return Err(ClientError::CannotPut(Role::Get).into());
    }
    let mut client = Client::new(key_file, &directories)?;
    arguments.retries.apply(&mut client, console)?;
    let options = options(&arguments);
    let to = client.remote().to_string();
    let success = |name: &BlobName, receipt: &PutReceipt| {
        let (name, size) = (printable(name.as_str()), format::size(receipt.length));
        format!("{name} → {to}  {size}  version {}", receipt.version)
    };
    let (name, receipt) = match begun {
        Begun::One { name, source } => {
            let receipt = put_from(&mut client, &name, source, &options, console)?;
            (name, receipt)
        }
        Begun::Several { files, mut tally } => {
            let label = format!("{} files", files.len());
            let progress = console.progress(&label);
            let jobs = arguments.jobs.into();
            let (mut stored, mut bytes) = (0_u64, 0);
            client.put_many(&files, &options, jobs, &*progress, |index, put| {
                let Some(NamedFile { name, .. }) = files.get(index) else { return };
                let ended = match put {
                    Ok(receipt) => {
                        stored += 1;
                        bytes += receipt.length;
                        console.detail(&success(name, &receipt));
                        tell(name, &receipt, arguments.json, console)
                    }
                    // An error of the source names its path itself.
                    Err(error @ ClientError::Source(_)) => Err(error.into()),
                    Err(error) => Err(error).at(name),
                };
                tally.note(ended, console);
            });
            let size = format::size(bytes);
            console.done(&format_args!("{stored} of {label} → {to}  {size}"));
            return tally.end();
        }
        Begun::Command { command, arguments, name } => {
            let source = CommandSource::start(&command, &arguments)?;
            let source = source.allow_empty(options.allow_empty);
            let receipt = put_from(&mut client, &name, source, &options, console)?;
            (name, receipt)
        }
    };
    tell(&name, &receipt, arguments.json, console)?;
    console.done(&success(&name, &receipt));
    Ok(())
}

fn options(arguments: &Arguments) -> PutOptions {
    PutOptions {
        suite: arguments.suite.into(),
        condition: if arguments.if_absent { Condition::Absent } else { Condition::Any },
        sha256: arguments.sha256,
        unsealed: arguments.plaintext,
        resume: match (arguments.resume, arguments.no_resume) {
            (true, _) => Resume::Insist,
            (false, true) => Resume::Never,
            (false, false) => Resume::Auto,
        },
        allow_empty: arguments.allow_empty,
    }
}

/// What can be read, as far as that is known before a key file is looked for.
enum Begun {
    /// A single source, which is open.
    One { name: BlobName, source: FileSource },
    /// Files that are there, and how the others have failed.
    Several { files: Vec<NamedFile>, tally: Tally },
    /// A command, which does not run yet.
    Command { command: OsString, arguments: Vec<OsString>, name: BlobName },
}

/// Looks at all sources before the first put: nothing is set up for the sake of what cannot be read. A single
/// one is opened, once and for good; of several the system is asked, for opening has effects on a pipe.
fn begin(task: Task, arguments: &Arguments, console: &Console) -> Result<Option<Begun>, Failure> {
    let files = match task {
        Task::Files(files) => files,
        Task::Stdin { name } => {
            let source = FileSource::stdin()?.allow_empty(arguments.allow_empty);
            return Ok(Some(Begun::One { name, source }));
        }
        Task::Command { command, arguments, name } => {
            return Ok(Some(Begun::Command { command, arguments, name }));
        }
    };
    let files = match <[_; 1]>::try_from(files) {
        Ok([file]) => {
            let NamedFile { name, path } = file?;
            let source = FileSource::open(&path)?.allow_empty(arguments.allow_empty);
            return Ok(Some(Begun::One { name, source }));
        }
        Err(files) => files,
    };
    refuse_a_destination(&files)?;
    let meant = plain_destination(&files);
    let mut tally = Tally::of(files.len());
    let mut good = Vec::with_capacity(files.len());
    for file in files {
        let looked = file.and_then(|file| {
            look(&file.path)?;
            Ok(file)
        });
        match looked {
            Ok(file) => good.push(file),
            Err(failure) => tally.note(Err(failure), console),
        }
    }
    if let Some(meant) = meant {
        console.tell(&format_args!("did you mean {meant}?"));
    }
    if good.is_empty() {
        return tally.end().map(|()| None);
    }
    Ok(Some(Begun::Several { files: good, tally }))
}

/// `zput FILE remote/name`, as cp(1) has it: where there is no such directory, a name was meant.
fn refuse_a_destination(files: &[Result<NamedFile, Failure>]) -> Result<(), Failure> {
    let [Ok(first), Ok(NamedFile { path: last, .. })] = files else { return Ok(()) };
    let Some(parent) = last.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    if parent.is_dir() || last.is_absolute() || look(&first.path).is_err() {
        return Ok(());
    }
    let (first, last) = (first.path.display(), last.display());
    Err(usage(format!(
        "cannot read {last}: there is no such file; nothing was stored (did you mean --name {last}? \
         zput --name {last} {first})"
    )))
}

/// `zput FILE name`, as cp(1) has it: the first is stored under its own name all the same, and the line
/// says what stores it under the other one.
fn plain_destination(files: &[Result<NamedFile, Failure>]) -> Option<String> {
    let [Ok(NamedFile { path: first, .. }), Ok(NamedFile { name, path: last })] = files else {
        return None;
    };
    let is_missing = last.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let is_plain = last.as_os_str() == name.as_str();
    let meant = || format!("zput --name {} {}", last.display(), first.display());
    (is_missing && is_plain && look(first).is_ok()).then(meant)
}

/// Tells a script of a file that was stored.
fn tell(
    name: &BlobName,
    receipt: &PutReceipt,
    json: bool,
    console: &Console,
) -> Result<(), Failure> {
    if !json {
        return Ok(());
    }
    console.print_json(&Line {
        name: name.as_str(),
        version: format::number(receipt.version.0),
        committed: format::version_time(receipt.version),
        generation: receipt.generation.map(format::number),
        length: receipt.length,
        key: receipt.key.to_string(),
    })?;
    Ok(())
}

fn put_from(
    client: &mut Client,
    name: &BlobName,
    source: impl Source + 'static,
    options: &PutOptions,
    console: &Console,
) -> Result<PutReceipt, Failure> {
    let progress = console.progress(name.as_str());
    let has_journal = source.identity().is_some() && options.resume != Resume::Never;
    let kept = has_journal && !options.unsealed;
    let watched = Watched::new(&*progress, console.line(name), kept);
    client.put(name, source, options, &watched).at(name)
}

/// The key file; on the first put of all, a new one with a store.
fn key_file(
    arguments: &Arguments,
    directories: &Directories,
    console: &Console,
) -> Result<KeyFile, Failure> {
    let path = arguments.key.path(directories);
    if !path.is_named
        && let Some(made) = embedded::first_use(directories)?
    {
        console.tell_made(&path);
        tell_store(&made, console);
    }
    let mut key_file = open_key_file(&path, console)?;
    if key_file.remote.is_none()
        && !path.is_named
        && !path.is_locked()?
        && let Some(made) = embedded::settle(&mut key_file, &path, directories)?
    {
        tell_store(&made, console);
    }
    Ok(key_file)
}

fn tell_store(made: &Made, console: &Console) {
    console.tell(&format_args!("made a store: {}", made.store.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
