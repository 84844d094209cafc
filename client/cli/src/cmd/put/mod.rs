//! `zput`: seals files and stores them.

mod task;

use std::{ffi::OsString, io, path::PathBuf};

use clap::{
    Args, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use serde::Serialize;
use zput::{
    Error, PutReceipt, Resume,
    cli::{
        CommandSource, CreatedStore, Directories, FileSource, JOBS, JOBS_MAX, NamedFile,
        PutOptions, Session, Source, check_readable, create_on_first_use, create_store, printable,
    },
};
use zput_proto::{message::Condition, name::BlobName};
use zput_seal::{
    aead::Suite,
    keys::{KeyFile, Role},
};

use self::task::{Task, TaskArguments, parse_task};
use super::{
    Console, Context, Failure, KeyArguments, RetryArguments, Summary, directories, format,
    interrupted::InterruptMessage, open_key_file, usage,
};

const EXAMPLES: &str = "\
Examples:
  zput secret.bin                          store a file under its own name
  zput --prefix plans *.pdf                store files as plans/NAME
  tar c home | zput --name home.tar -      store the output of a pipe
  zput --exec --name pg/main -- pg_dump main
                                           store the output of a command, if it succeeds
  zput --if-absent --name lock token       fail with exit code 10 if the name is taken

A file that grows while it is read is stored with the length that it had at first. A pipe or a
command that gives no bytes is refused, since most often its writer has failed; --allow-empty stores
an empty blob.

Without a key file, zput creates one, and a store in your home directory, and prints where they are.

Exit codes: 0 ok, 1 other, 2 usage, 3 some of several failed, 4 not found, 5 try again, 6 denied,
7 key missing or wrong, 8 integrity, 9 disk or quota full, 10 exists.";

/// Seals files and stores them
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Files to store, each under its last path component; `-` is stdin and needs --name
    // Not clap's parser of paths, which refuses the whole command line for an empty one.
    #[arg(value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    files: Vec<PathBuf>,

    /// Name to store the only FILE under
    #[arg(long, value_name = "NAME", conflicts_with = "prefix")]
    name: Option<String>,

    /// Prefix of the names: FILE is stored as PREFIX/FILE
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,

    /// Run the command behind `--` and store its output; if the command fails, store nothing
    #[arg(long, requires = "name")]
    exec: bool,

    /// Store only if no blob has the name; otherwise fail with exit code 10
    #[arg(long)]
    if_absent: bool,

    /// Store an empty blob if a pipe or the command of --exec gives no bytes
    #[arg(long)]
    allow_empty: bool,

    /// Cipher to seal with
    #[arg(long, value_enum, default_value_t = SuiteName::Aes)]
    suite: SuiteName,

    /// Record the SHA-256 of each file in its blob; zblob stat shows it
    #[arg(long, conflicts_with = "plaintext")]
    sha256: bool,

    /// Store the bytes unsealed; only on plaintext connections
    #[arg(long)]
    plaintext: bool,

    /// Resume an interrupted put of the same file; fail with exit code 4 if there is none
    #[arg(long, conflicts_with_all = ["no_resume", "plaintext", "exec"])]
    resume: bool,

    /// Discard an interrupted put of the same name, and start over
    #[arg(long)]
    no_resume: bool,

    /// How many small files (up to 256 KiB) to store at a time
    #[arg(short, long, value_name = "N", default_value_t = JOBS as u16,
        value_parser = clap::value_parser!(u16).range(1..=JOBS_MAX as i64))]
    jobs: u16,

    /// Print a line of JSON for each stored file, in the order of the command line
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

impl Arguments {
    /// Takes what says what to put.
    fn task_arguments(&mut self) -> TaskArguments<'_> {
        TaskArguments {
            files: std::mem::take(&mut self.files),
            trailing: std::mem::take(&mut self.command),
            name: self.name.as_deref(),
            prefix: self.prefix.as_deref(),
            exec: self.exec,
            resume: self.resume,
        }
    }
}

/// Cipher suites by the names that users type.
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
    let input = open_inputs(parse_task(arguments.task_arguments())?, &arguments, console)?;
    let Some(input) = input else { return Ok(()) };
    let directories = directories()?;
    let key_file = key_file(&arguments, &directories, console)?;
    if key_file.role() == Role::Get {
        return Err(Error::CannotPut(Role::Get).into());
    }
    let mut client = Session::new(key_file, &directories)?;
    arguments.retries.apply(&mut client, console)?;
    let options = options(&arguments);
    let to = client.remote().to_string();
    let success = |name: &BlobName, receipt: &PutReceipt| {
        let (name, size) = (printable(name.as_str()), format::size(receipt.length));
        format!("{name} → {to}  {size}  version {}", receipt.version)
    };
    let (name, receipt) = match input {
        Input::Single { name, source } => {
            let receipt = put_source(&mut client, &name, source, &options, console)?;
            (name, receipt)
        }
        Input::Many { files, mut summary } => {
            let label = format!("{} files", files.len());
            let progress = console.progress(&label);
            let jobs = arguments.jobs.into();
            let (mut stored, mut bytes) = (0_u64, 0);
            client.put_batch(&files, &options, jobs, &*progress, |item| {
                let name = &item.file.name;
                let result = match item.result {
                    Ok(receipt) => {
                        stored += 1;
                        bytes += receipt.length;
                        console.verbose(&success(name, &receipt));
                        print_receipt(name, &receipt, arguments.json, console)
                    }
                    // An error of the source names its path itself.
                    Err(error @ Error::Source(_)) => Err(error.into()),
                    Err(error) => Err(error).context(name),
                };
                summary.record(result, console);
            });
            let size = format::size(bytes);
            console.success(&format_args!("{stored} of {label} → {to}  {size}"));
            return summary.finish();
        }
        Input::Command { command, arguments, name } => {
            let source = CommandSource::start(&command, &arguments)?;
            let source = source.allow_empty(options.allow_empty);
            let receipt = put_source(&mut client, &name, source, &options, console)?;
            (name, receipt)
        }
    };
    print_receipt(&name, &receipt, arguments.json, console)?;
    console.success(&success(&name, &receipt));
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

/// What to put, as far as it is known before the key file is read.
enum Input {
    /// A single source, which is open.
    Single { name: BlobName, source: FileSource },
    /// Readable files, and the failures of the others.
    Many { files: Vec<NamedFile>, summary: Summary },
    /// A command, which was not started yet.
    Command { command: OsString, arguments: Vec<OsString>, name: BlobName },
}

/// Checks all sources before the key file is read, so that nothing is set up for sources that
/// cannot be read. A single file is opened here, once. Of several only the permissions are checked,
/// since opening a pipe has side effects.
fn open_inputs(
    task: Task,
    arguments: &Arguments,
    console: &Console,
) -> Result<Option<Input>, Failure> {
    let files = match task {
        Task::Files(files) => files,
        Task::Stdin { name } => {
            let source = FileSource::stdin()?.allow_empty(arguments.allow_empty);
            return Ok(Some(Input::Single { name, source }));
        }
        Task::Command { command, arguments, name } => {
            return Ok(Some(Input::Command { command, arguments, name }));
        }
    };
    let files = match <[_; 1]>::try_from(files) {
        Ok([file]) => {
            let NamedFile { name, path } = file?;
            let source = FileSource::open(&path)?.allow_empty(arguments.allow_empty);
            return Ok(Some(Input::Single { name, source }));
        }
        Err(files) => files,
    };
    refuse_destination_argument(&files)?;
    let intended = intended_name(&files);
    let mut summary = Summary::new(files.len());
    let mut good = Vec::with_capacity(files.len());
    for file in files {
        let checked = file.and_then(|file| {
            check_readable(&file.path)?;
            Ok(file)
        });
        match checked {
            Ok(file) => good.push(file),
            Err(failure) => summary.record(Err(failure), console),
        }
    }
    if let Some(intended) = intended {
        console.note(&format_args!("did you mean {intended}?"));
    }
    if good.is_empty() {
        return summary.finish().map(|()| None);
    }
    Ok(Some(Input::Many { files: good, summary }))
}

/// Refuses `zput FILE remote/name`, in the manner of cp(1): if there is no such directory, a blob
/// name was meant.
fn refuse_destination_argument(files: &[Result<NamedFile, Failure>]) -> Result<(), Failure> {
    let [Ok(first), Ok(NamedFile { path: last, .. })] = files else { return Ok(()) };
    let Some(parent) = last.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    if parent.is_dir() || last.is_absolute() || check_readable(&first.path).is_err() {
        return Ok(());
    }
    let (first, last) = (first.path.display(), last.display());
    Err(usage(format!(
        "cannot read {last}: there is no such file; nothing was stored (did you mean --name {last}? \
         zput --name {last} {first})"
    )))
}

/// The command that `zput FILE name` was probably meant as, in the manner of cp(1). FILE is stored
/// under its own name nevertheless.
fn intended_name(files: &[Result<NamedFile, Failure>]) -> Option<String> {
    let [Ok(NamedFile { path: first, .. }), Ok(NamedFile { name, path: last })] = files else {
        return None;
    };
    let is_missing = last.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let is_plain = last.as_os_str() == name.as_str();
    let intended = || format!("zput --name {} {}", last.display(), first.display());
    (is_missing && is_plain && check_readable(first).is_ok()).then(intended)
}

/// Prints a line of JSON about a stored file, if `--json` was given.
fn print_receipt(
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

fn put_source(
    client: &mut Session,
    name: &BlobName,
    source: impl Source + 'static,
    options: &PutOptions,
    console: &Console,
) -> Result<PutReceipt, Failure> {
    let progress = console.progress(name.as_str());
    let has_journal = source.identity().is_some() && options.resume != Resume::Never;
    let kept = has_journal && !options.unsealed;
    let progress = InterruptMessage::new(&*progress, console.line(name), kept);
    client.put(name, source, options, &progress).context(name)
}

/// Opens the key file; the very first put creates it, with a store.
fn key_file(
    arguments: &Arguments,
    directories: &Directories,
    console: &Console,
) -> Result<KeyFile, Failure> {
    let path = arguments.key.path(directories);
    if !path.is_named
        && let Some(created) = create_on_first_use(directories)?
    {
        console.note_created_key_file(&path.file);
        note_created_store(&created, console);
    }
    let mut key_file = open_key_file(&path, console)?;
    if key_file.remote.is_none()
        && !path.is_named
        && !path.file.is_locked()?
        && let Some(created) = create_store(&mut key_file, &path.file, directories)?
    {
        note_created_store(&created, console);
    }
    Ok(key_file)
}

fn note_created_store(created: &CreatedStore, console: &Console) {
    console.note(&format_args!("created a store: {}", created.store.display()));
}
