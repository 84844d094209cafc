//! `zblob open`: opens a sealed file without a server.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use zput::{
    Error, Silent,
    cli::{FileSource, Output, Sink, offline, secret_file, standard_streams},
    error::SinkError,
};
use zput_proto::limits::KEY_FILE_MAX_BYTES;
use zput_seal::{
    age::{Identity, parse_identity_file},
    blob::open::{BarePolicy, Vouching},
    keys::{KeyFile, Role},
};

use super::{
    Console, Failure, KeyArguments, directories, format, if_exists, local, open_key_file,
    seal::SUFFIX, usage,
};
use crate::error::CommandError;

const EXAMPLES: &str = "\
Examples:
  zblob open secret.bin.zput                 into secret.bin
  cat home.tar.zput | zblob open - | tar x   from a pipe
  zblob open -i key.txt -o plan plan.zput    with an identity of age-keygen

A file is verified to its end before anything is written, also with -o -, and the output file
appears when all of it is written. From a pipe, plaintext is written as its parts are
authenticated, and the whole is verified at the end: if the exit code is not 0, discard the output.

Exit codes: 0 ok, 1 other, 2 usage, 7 key missing or wrong, 8 integrity, 9 disk full, 10 the output
exists, 141 the reader of a pipe is gone.";

/// Opens a sealed file without a server
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Sealed file; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Open with the age identities in this file, and accept blobs that no vault authenticates; may
    /// be repeated
    #[arg(short, long = "identity", value_name = "PATH", conflicts_with = "key")]
    identities: Vec<PathBuf>,

    /// Output file; `-` is stdout [default: FILE without .zput, or stdout for stdin]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Replace an existing output file, or the file that its symbolic link leads to; write binary
    /// data to a terminal
    #[arg(short, long)]
    force: bool,

    /// Accept a blob that no vault authenticates
    #[arg(long)]
    bare: bool,

    /// Print a line of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    key: KeyArguments,
}

/// Runs the command.
///
/// # Errors
/// When the blob was not opened, or not completely.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    if arguments.identities.is_empty() {
        let key_file = open_key_file(&arguments.key.path(&directories()?), console)?;
        return open_with_key_file(&key_file, &arguments, console);
    }
    let mut identities = Vec::new();
    for path in &arguments.identities {
        identities.extend(read_identities(path)?);
    }
    let vouching = Vouching { vault: None, writers: &[], bare: BarePolicy::Accept };
    open(&identities, &vouching, &arguments, console)
}

fn open_with_key_file(
    key_file: &KeyFile,
    arguments: &Arguments,
    console: &Console,
) -> Result<(), Failure> {
    let Some(identity) = key_file.identity() else {
        return Err(Error::CannotOpen(Role::Put).into());
    };
    let mac_key = key_file.vault_secret().mac_key();
    let vouching = Vouching {
        vault: Some(&mac_key),
        writers: &key_file.writers,
        bare: if arguments.bare { BarePolicy::Accept } else { BarePolicy::Refuse },
    };
    open(std::slice::from_ref(identity), &vouching, arguments, console)
}

fn open(
    identities: &[Identity],
    vouching: &Vouching<'_>,
    arguments: &Arguments,
    console: &Console,
) -> Result<(), Failure> {
    let path = arguments.file.as_path();
    let is_stdin = path == Path::new("-");
    let mut source = if is_stdin { FileSource::stdin()? } else { FileSource::open(path)? };
    let mut output = output(arguments, is_stdin)?;
    if arguments.json && matches!(output, Output::Stream(_)) {
        return Err(usage("--json prints on stdout, where the blob would go: -o PATH"));
    }
    let progress = console.progress(&path.display().to_string());
    let progress = &*progress;
    let opened = if !is_stdin && source.is_regular() {
        let file = source.file();
        if matches!(output, Output::Stream(_)) {
            // A stream cannot be taken back, so verify everything first.
            let verified =
                offline::open_file(file, path, identities, vouching, &mut Discard, &Silent);
            super::Context::context(verified, path.display())?;
        }
        offline::open_file(file, path, identities, vouching, &mut output, progress)
    } else {
        let path = if is_stdin { Path::new("stdin") } else { path };
        offline::open_pipe(&mut source, path, identities, vouching, &mut output, progress)
    };
    let thing = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let opened = super::Context::context(opened, thing)?;
    console.warn_attributes(&output.commit(Some(opened.attributes()))?);
    if arguments.json {
        console.print_json(&Line {
            name: opened.metadata.name.as_str(),
            output: target(arguments).display().to_string(),
            length: opened.length,
            mode: format::octal(opened.metadata.mode),
            mtime: format::precise_time(opened.metadata.mtime_s, opened.metadata.mtime_ns),
        })?;
    }
    Ok(())
}

/// An opened file, as JSON (docs/JSON.md).
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    output: String,
    length: u64,
    mode: String,
    mtime: String,
}

/// The path of the output file.
fn target(arguments: &Arguments) -> PathBuf {
    let text = || arguments.file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
    match &arguments.output {
        Some(path) => path.clone(),
        None => text().unwrap_or_default().into(),
    }
}

/// Discards plaintext: a blob is verified by opening it.
struct Discard;

impl Sink for Discard {
    fn write(&mut self, _plaintext: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The output path follows from the file's name, never from the blob's metadata.
fn output(arguments: &Arguments, is_stdin: bool) -> Result<Output, Failure> {
    let output = match &arguments.output {
        Some(path) if path == Path::new("-") => Output::stdout(),
        Some(path) => Output::at(path, if_exists(arguments.force)),
        None if is_stdin && !arguments.force => Output::stdout().map(Output::text_only_on_terminal),
        None if is_stdin => Output::stdout(),
        None => {
            let text = arguments.file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
            match text {
                Some(text) if !text.is_empty() && !text.ends_with('/') => {
                    Output::at(Path::new(text), if_exists(arguments.force))
                }
                _ => {
                    let file = arguments.file.display();
                    return Err(usage(format!(
                        "{file} does not end in {SUFFIX}: say where to, by -o PATH"
                    )));
                }
            }
        }
    };
    Ok(output?)
}

/// The identities of an `age-keygen` file; `-` is stdin.
pub(crate) fn read_identities(path: &Path) -> Result<Vec<Identity>, CommandError> {
    let describe = |error| local(&format!("cannot read {}", path.display()), error);
    let text = if path == Path::new("-") {
        standard_streams::stdin().and_then(|stdin| secret_file::read(stdin, KEY_FILE_MAX_BYTES))
    } else {
        File::open(path).and_then(|file| secret_file::read(file, KEY_FILE_MAX_BYTES))
    };
    let text = text.map_err(describe)?;
    parse_identity_file(&text)
        .map_err(|error| CommandError::Identities { path: path.to_owned(), error })
}
