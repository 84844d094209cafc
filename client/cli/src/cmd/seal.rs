//! `zblob seal`: seals a file without a server.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use zput::{
    Error,
    cli::{
        Attributes, FileSource, Output,
        offline::{self, Voucher},
        standard_streams::{self, BlockingStream},
    },
    error::SinkError,
};
use zput_os::Clock;
use zput_proto::name::{BlobName, ObjectKey};
use zput_seal::{age::Recipient, keys::Role};

use super::{
    Console, Context, Failure, KeyArguments, directories, if_exists, open_key_file, put::SuiteName,
    usage,
};

/// Suffix of a sealed file's name.
pub(crate) const SUFFIX: &str = ".zput";

const NS_PER_SECOND: u64 = 1_000_000_000;

const EXAMPLES: &str = "\
Examples:
  zblob seal secret.bin                       seal to your key file's recipients, into
                                              secret.bin.zput
  tar c home | zblob seal - > home.tar.zput   seal the output of a pipe
  zblob seal -r age1... secret.bin            seal to another recipient, authenticated by no vault
  zblob seal --into /srv/images app.img       seal to where zget app.img finds the blob, once a
                                              server mounts /srv/images, or an archive of it

Exit codes: 0 ok, 1 other, 2 usage, 7 key missing or wrong, 9 disk full, 10 the output exists.";

/// Seals a file without a server
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// File to seal; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Seal to this age recipient instead of the key file's; may be repeated
    #[arg(short, long = "recipient", value_name = "RECIPIENT", conflicts_with = "key")]
    recipients: Vec<String>,

    /// Output file; `-` is stdout [default: FILE.zput, or stdout for stdin]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Directory tree to write into, at the path where a server that mounts the tree has the blob
    /// by its name
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "recipients"])]
    into: Option<PathBuf>,

    /// Seal an empty file if stdin or a pipe gives no bytes
    #[arg(long)]
    allow_empty: bool,

    /// Print a line of JSON
    #[arg(long)]
    json: bool,

    /// Replace an existing output file
    #[arg(short, long)]
    force: bool,

    /// Name inside the blob [default: the last path component of FILE, or `stdin`]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Cipher to seal with
    #[arg(long, value_enum, default_value_t = SuiteName::Aes)]
    suite: SuiteName,

    #[command(flatten)]
    key: KeyArguments,
}

/// Runs the command.
///
/// # Errors
/// When nothing was sealed.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let is_stdin = arguments.file == Path::new("-");
    let name = name(&arguments, is_stdin)?;
    let source = if is_stdin { FileSource::stdin() } else { FileSource::open(&arguments.file) };
    let source = source?.allow_empty(arguments.allow_empty);
    let (recipients, voucher) = recipients(&name, &arguments, console)?;
    let to_stdout = match &arguments.output {
        Some(path) => path == Path::new("-"),
        None => arguments.into.is_none(),
    };
    if is_stdin
        && to_stdout
        && standard_streams::stdout().is_ok_and(|stdout| feeds_itself(&source, &stdout))
    {
        return Err(usage("input and output are the same file"));
    }
    seal(source, &name, &recipients, voucher, &arguments, is_stdin, console)
}

/// Whether the output would be read again as input, endlessly: `zblob seal - < f >> f`.
fn feeds_itself(source: &FileSource, stdout: &BlockingStream) -> bool {
    let is_file = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
    is_file(source.file()) && source.is_same_file(stdout)
}

fn seal(
    source: FileSource,
    name: &BlobName,
    recipients: &[Recipient],
    voucher: Option<Voucher>,
    arguments: &Arguments,
    is_stdin: bool,
    console: &Console,
) -> Result<(), Failure> {
    let is_bare = voucher.is_none();
    let object_key = voucher.as_ref().and_then(|voucher| voucher.object_key.as_ref());
    let mut output = match (&arguments.into, object_key) {
        (Some(tree), Some(key)) => {
            Output::at(&path_in_tree(tree, key)?, if_exists(arguments.force))?
        }
        _ => output(arguments, is_stdin)?,
    };
    if arguments.json && matches!(output, Output::Stream(_)) {
        return Err(usage("--json prints on stdout, where the blob would go: -o PATH"));
    }
    let path = match (&arguments.into, object_key) {
        (Some(tree), Some(key)) => path_in_tree(tree, key)?,
        _ => arguments.output.clone().unwrap_or_else(|| default_output(&arguments.file)),
    };
    let progress = console.progress(name.as_str());
    let length = offline::seal(
        name,
        source,
        recipients,
        arguments.suite.into(),
        voucher,
        &mut output,
        &*progress,
    )?;
    let warnings = output.commit(arguments.into.as_ref().map(|_| server_attributes()))?;
    console.warn_attributes(&warnings);
    if is_bare {
        console.note(&"sealed without a vault: the author of this blob is not authenticated");
    }
    if arguments.json {
        console.print_json(&Line {
            name: name.as_str(),
            output: path.display().to_string(),
            length,
            recipients: recipients.len(),
            authenticated: !is_bare,
        })?;
    }
    Ok(())
}

/// A sealed file, as JSON (docs/JSON.md).
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    output: String,
    length: u64,
    recipients: usize,
    authenticated: bool,
}

/// The default output path: `FILE.zput`.
fn default_output(file: &Path) -> PathBuf {
    let mut path = file.to_owned().into_os_string();
    path.push(SUFFIX);
    path.into()
}

/// The recipients, and the voucher; `None` for recipients on the command line, which make a bare
/// blob.
fn recipients(
    name: &BlobName,
    arguments: &Arguments,
    console: &Console,
) -> Result<(Vec<Recipient>, Option<Voucher>), Failure> {
    if !arguments.recipients.is_empty() {
        let recipients = arguments
            .recipients
            .iter()
            .map(|text| match text.to_ascii_uppercase().contains("AGE-SECRET-KEY-") {
                // The error text must not repeat the secret.
                true => Err(usage(
                    "-r takes a recipient (age1...), and this is an identity: a secret, which others may have seen \
                     on the command line",
                )),
                false => text.parse::<Recipient>().context(text),
            })
            .collect::<Result<_, _>>()?;
        return Ok((recipients, None));
    }
    let key_file = open_key_file(&arguments.key.path(&directories()?), console)?;
    if key_file.role() == Role::Get {
        return Err(Error::CannotPut(Role::Get).into());
    }
    let voucher = Voucher {
        object_key: arguments.into.as_ref().map(|_| key_file.object_key(name)),
        mac_key: key_file.vault_secret().mac_key(),
        writer: key_file.device_seed().writer_key(),
    };
    Ok((key_file.recipients, Some(voucher)))
}

fn name(arguments: &Arguments, is_stdin: bool) -> Result<BlobName, Failure> {
    let name = match &arguments.name {
        Some(name) => Some(name.as_str()),
        None if is_stdin => Some("stdin"),
        None => arguments.file.file_name().and_then(|name| name.to_str()),
    };
    let Some(name) = name else {
        let file = arguments.file.display();
        return Err(usage(format!("{file} has no name in UTF-8: give one by --name")));
    };
    BlobName::parse(name).context(name)
}

/// The path of the object `key` in a tree. Missing directories on the way are created, the tree is
/// not. A key of this vault is a hash or a name, whose components are never `..`.
fn path_in_tree(tree: &Path, key: &ObjectKey) -> Result<PathBuf, Failure> {
    let file = tree.join(OsStr::from_bytes(key.as_bytes()));
    if let Some(directory) = file.parent().filter(|_| tree.is_dir()) {
        fs::create_dir_all(directory)
            .map_err(|source| SinkError::Write { path: directory.to_owned(), source })?;
    }
    Ok(file)
}

/// Attributes of a blob for a server: readable by the server's user, and with the current time, so
/// that the plaintext's time is not revealed.
fn server_attributes() -> Attributes {
    let now = Clock::system().now_ns();
    let (seconds, ns) = (now / NS_PER_SECOND, now % NS_PER_SECOND);
    Attributes { mode: 0o644, mtime_s: seconds.cast_signed(), mtime_ns: ns as u32 }
}

fn output(arguments: &Arguments, is_stdin: bool) -> Result<Output, Failure> {
    let output = match &arguments.output {
        Some(path) if path == Path::new("-") => return Ok(Output::stdout()?),
        Some(path) => Output::at(path, if_exists(arguments.force))?,
        None if is_stdin => Output::stdout()?,
        None => Output::at(&default_output(&arguments.file), if_exists(arguments.force))?,
    };
    if output.is_terminal() {
        return Err(usage(
            "a sealed blob is not written to a terminal (-o PATH, or -o - if you insist)",
        ));
    }
    Ok(output)
}
