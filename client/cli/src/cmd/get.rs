//! `zget`: fetches blobs, verifies and opens them.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use serde::Serialize;
use zput::{
    GetReceipt,
    cli::{
        Attributes, ByteRange, GetOptions, Output, PartialDownloads, Session, When, create_missing,
        printable,
    },
    error::SinkError,
};
use zput_proto::name::BlobName;

use super::{
    Console, Context, Failure, KeyArguments, RetryArguments, blob_name, directories, format,
    if_exists,
    select::{expand_or_keep, is_pattern},
    usage, utf8,
};
use crate::ephemeral_state;

const EXAMPLES: &str = "\
Examples:
  zget secret.bin                  fetch into ./secret.bin
  zget -o - home.tar | tar x       fetch to stdout; each part is verified before it is written
  zget -o plans/ a.pdf b.pdf       fetch several into a directory
  zget --range 0-1023 -o - disk    the first 1,024 bytes
  zget 'plans/*.pdf' -o plans/     the names that match a pattern (* ? ** [ab] {a,b})
  zget --at yesterday secret.bin   the version of that time (also: \"2026-11-29 18:00\", \"2 days
                                   ago\", or a version: zblob stat --versions lists them)
  zget --verify-only secret.bin    fetch and verify all of it, and write nothing

An output file appears when all of it is verified. Its name follows from the NAME that you give,
never from the blob. Until then its bytes are beside it, in .zput-*.tmp. If the transfer is
interrupted after a whole part of 16 MiB, that file stays, and the same command resumes it if the
blob still has the same version.

-o PATH can be a pipe, a device or a descriptor (/dev/stdout, /dev/fd/3): each part is written once
it is verified. Another user's pipe needs --force. A symbolic link is followed: --force replaces the
file that it leads to, which keeps its owner and access list and gets no wider mode. A file that is
a mount point, or is in a directory where no file can be created, is overwritten once all is
verified; a crash meanwhile can leave a part of it. A mode, a time or an owner that cannot be set
is a warning.

If the reader of `zget -o -` takes no bytes for longer than the server's idle limit (120 seconds by
default), the server closes the connection, and the exit code is 5. Fetch into a file if the reader
is slow.

Exit codes: 0 ok, 1 other, 2 usage, 3 some of several failed, 4 not found, 5 try again, 6 denied,
7 key missing or wrong, 8 integrity, 9 disk full, 10 the output exists, 141 the reader of a pipe is
gone.";

/// Fetches blobs, verifies and opens them
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Names of the blobs, or patterns
    #[arg(value_name = "NAME", required = true)]
    names: Vec<OsString>,

    /// Output: a file, a directory (for several blobs), or `-` for stdout; DIR/ is created if it is
    /// missing [default: the last component of NAME, in the current directory]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Keep the directories of NAME below the output, and create those that are missing
    #[arg(short, long)]
    parents: bool,

    /// Replace existing output files; write to pipes of other users, to block devices, and binary
    /// data to a terminal
    #[arg(short, long)]
    force: bool,

    /// Only these bytes, counted from 0, both ends included: START-END, or START- up to the end; an
    /// END behind the end of the blob means its end
    #[arg(long, value_name = "START-END")]
    range: Option<RangeArgument>,

    /// This version, or the version that was current at that time, however old it is
    #[arg(long, value_name = "VERSION|WHEN")]
    at: Option<When>,

    /// Accept an older version than this machine has seen, and remember it as the newest
    #[arg(long, conflicts_with = "at")]
    allow_rollback: bool,

    /// Verify all of each blob and write nothing; the exit code is 8 if a blob fails verification
    #[arg(long, conflicts_with_all = ["output", "force", "parents", "range", "plaintext"])]
    verify_only: bool,

    /// Fetch an unsealed object, which is not authenticated; only on plaintext connections
    #[arg(long, conflicts_with = "allow_rollback")]
    plaintext: bool,

    /// Print a line of JSON for each fetched blob
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    retries: RetryArguments,

    #[command(flatten)]
    key: KeyArguments,
}

/// `START-END` or `START-`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RangeArgument(ByteRange);

impl FromStr for RangeArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a range is START-END or START-, counted from 0".to_owned();
        let (start, last) = text.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
            if is_number { text.parse::<u64>().map_err(|_| wrong()) } else { Err(wrong()) }
        };
        let start = number(start)?;
        if last.is_empty() {
            return Ok(Self(ByteRange { start, end: None }));
        }
        let last = number(last)?;
        let end = last.checked_add(1).ok_or_else(wrong)?;
        if last < start {
            return Err("a range ends behind its start".to_owned());
        }
        Ok(Self(ByteRange { start, end: Some(end) }))
    }
}

/// Where a blob goes.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    Path(PathBuf),
    Discard,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    version: String,
    committed: String,
    generation: Option<String>,
    length: u64,
    /// `None` for an unsealed object, which has no metadata.
    mode: Option<String>,
    mtime: Option<String>,
    key: String,
    output: Option<String>,
}

/// The note about a partial file that is kept.
const RESUMABLE: &str = "the partial file is kept; run the same command to resume";

/// Runs the command.
///
/// # Errors
/// When a blob was not fetched.
pub fn run(mut arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let are_plain = !arguments.names.iter().any(|name| name.to_str().is_some_and(is_pattern));
    let plain = if are_plain { Some(targets(&arguments)?) } else { None };
    // If all names are invalid, do not connect.
    let plain = match plain {
        Some(targets) if targets.iter().all(Result::is_err) => {
            return console.for_each(targets, |target| target.map(drop));
        }
        plain => plain,
    };
    let partial_downloads = PartialDownloads::of(&directories()?);
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    let targets = match plain {
        Some(targets) => targets,
        None => {
            let (texts, others) = utf8(std::mem::take(&mut arguments.names));
            let selected = expand_or_keep(&mut client, &texts).into_iter().map(OsString::from);
            arguments.names = selected.chain(others).collect();
            targets(&arguments)?
        }
    };
    console.for_each(targets, |wanted| {
        let (name, target) = wanted?;
        let line = fetch(&mut client, &name, &target, &partial_downloads, &arguments, console)?;
        if arguments.json {
            console.print_json(&line)?;
        }
        let size = format::size(line.length);
        let to = line.output.as_deref().unwrap_or(if arguments.verify_only {
            "verified"
        } else {
            "stdout"
        });
        console.success(&format_args!(
            "{} → {}  {size}  version {}",
            printable(line.name),
            printable(to),
            line.version
        ));
        Ok(())
    })
}

/// The output for `target`; `None` where nothing is written. A range, an unsealed object and a get
/// without state cannot be resumed.
fn output(
    name: &BlobName,
    target: &Target,
    partial_downloads: &PartialDownloads,
    arguments: &Arguments,
    console: &Console,
) -> Result<Option<Output>, Failure> {
    Ok(Some(match target {
        Target::Discard => return Ok(None),
        Target::Stdout if arguments.force => Output::stdout()?,
        Target::Stdout => Output::stdout()?.text_only_on_terminal(),
        Target::Path(path)
            if arguments.range.is_some()
                || arguments.plaintext
                || ephemeral_state::directory().is_some() =>
        {
            Output::at(path, if_exists(arguments.force))?
        }
        Target::Path(path) => {
            let line = console.line(&format_args!("{name}: interrupted; {RESUMABLE}"));
            Output::resumable(path, if_exists(arguments.force), partial_downloads, line)?
        }
    }))
}

fn fetch<'a>(
    client: &mut Session,
    name: &'a BlobName,
    target: &Target,
    partial_downloads: &PartialDownloads,
    arguments: &Arguments,
    console: &Console,
) -> Result<Line<'a>, Failure> {
    let options = GetOptions {
        version: match &arguments.at {
            Some(when) => Some(client.version_at(name, when).context(name)?),
            None => None,
        },
        range: arguments.range.map(|RangeArgument(range)| range),
        allow_rollback: arguments.allow_rollback,
    };
    let progress = console.progress(name.as_str());
    let mut created = CreatedDirectories::default();
    if let Target::Path(path) = target {
        created.create(path, arguments)?;
    }
    let Some(mut output) = output(name, target, partial_downloads, arguments, console)? else {
        let got = client.verify(name, &options, &*progress);
        let got = explain(client, name, &options, got)?;
        return Ok(Line::of(client, name, &got, None));
    };
    let path = match target {
        Target::Path(path) => Some(path.display().to_string()),
        Target::Stdout | Target::Discard => None,
    };
    if arguments.plaintext {
        let got = client.get_unsealed(name, &options, &mut output, &*progress);
        let (version, length) = explain(client, name, &options, got)?;
        console.warn_attributes(&output.commit(None)?);
        created.keep();
        return Ok(Line {
            name: name.as_str(),
            version: format::number(version.0),
            committed: format::version_time(version),
            generation: None,
            length,
            mode: None,
            mtime: None,
            key: client.key_file().object_key(name).to_string(),
            output: path,
        });
    }
    let got = client.get(name, &options, &mut output, &*progress);
    if got.is_err() && output.is_resumable() {
        console.note(&format_args!("{name}: {RESUMABLE}"));
    }
    let got = explain(client, name, &options, got)?;
    // A range of a file does not get the file's attributes.
    let attributes = options.range.is_none().then(|| Attributes::from(&got.metadata));
    console.warn_attributes(&output.commit(attributes)?);
    created.keep();
    Ok(Line::of(client, name, &got, path))
}

/// Adds to a "not found" error what is known about the name.
fn explain<T>(
    client: &mut Session,
    name: &BlobName,
    options: &GetOptions,
    got: Result<T, zput::Error>,
) -> Result<T, Failure> {
    got.map_err(|error| client.explain_not_found(name, options.version, error)).context(name)
}

/// Directories that were created for an output. Dropping it removes those that are empty.
#[derive(Debug, Default)]
struct CreatedDirectories(Vec<PathBuf>);

impl CreatedDirectories {
    /// Creates missing directories of `path`, if the arguments ask for it.
    fn create(&mut self, path: &Path, arguments: &Arguments) -> Result<(), Failure> {
        let Some(directory) = path.parent() else { return Ok(()) };
        let is_named = arguments.output.as_deref().is_some_and(ends_in_slash);
        if is_named || arguments.parents {
            let created = create_missing(directory, 0o777);
            let path = || directory.to_owned();
            self.0 = created.map_err(|source| SinkError::Write { path: path(), source })?;
        }
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for CreatedDirectories {
    fn drop(&mut self) {
        for created in self.0.iter().rev() {
            // A directory that is not empty stays.
            let _not_empty = fs::remove_dir(created);
        }
    }
}

impl<'a> Line<'a> {
    fn of(client: &Session, name: &'a BlobName, got: &GetReceipt, output: Option<String>) -> Self {
        Self {
            name: name.as_str(),
            version: format::number(got.version.0),
            committed: format::version_time(got.version),
            generation: Some(format::number(got.generation)),
            length: got.length,
            mode: Some(format::octal(got.metadata.mode)),
            mtime: Some(format::precise_time(got.metadata.mtime_s, got.metadata.mtime_ns)),
            key: client.key_file().object_key(name).to_string(),
            output,
        }
    }
}

/// A blob and where it goes, or why it is not fetched.
type Assignment = Result<(BlobName, Target), Failure>;

/// Where each name goes. Of two names with the same output path the second fails.
fn targets(arguments: &Arguments) -> Result<Vec<Assignment>, Failure> {
    let names: Vec<_> = arguments.names.iter().map(|name| blob_name(name)).collect();
    let to_stdout = arguments.output.as_deref().is_some_and(|path| path == Path::new("-"));
    if to_stdout && arguments.json {
        return Err(usage("--json prints on stdout, where -o - puts the blob"));
    }
    if to_stdout && names.len() > 1 {
        return Err(usage("stdout takes one blob; -o DIR/ takes several"));
    }
    let directory = match &arguments.output {
        None => Some(Path::new("")),
        Some(path) if is_directory(path) => Some(path.as_path()),
        Some(_) => None,
    };
    if names.len() > 1 && directory.is_none() {
        return Err(usage("several blobs need a directory: -o DIR/"));
    }
    if arguments.verify_only {
        return Ok(names.into_iter().map(|name| Ok((name?, Target::Discard))).collect());
    }
    let mut taken = BTreeSet::new();
    let mut target = |name: &BlobName| {
        if let Some(directory) = directory {
            let path = match arguments.parents {
                true => directory.join(name.as_str()),
                false => directory.join(name.base_name()),
            };
            if !taken.insert(path.clone()) {
                let path = path.display();
                return Err(usage(format!("{name} would go to {path}, as another one does")));
            }
            Ok(Target::Path(path))
        } else if to_stdout {
            Ok(Target::Stdout)
        } else {
            Ok(Target::Path(arguments.output.clone().unwrap_or_default()))
        }
    };
    let wanted = |name: Result<BlobName, Failure>| {
        let name = name?;
        let target = target(&name)?;
        Ok((name, target))
    };
    Ok(names.into_iter().map(wanted).collect())
}

/// A path that ends in a slash means a directory, whether it exists or not.
fn is_directory(path: &Path) -> bool {
    ends_in_slash(path) || path.is_dir()
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::parse_arguments;

    fn paths(line: &[&str]) -> Result<Vec<String>, String> {
        let arguments =
            parse_arguments::<Arguments>(line).map_err(|error| error.kind().to_string())?;
        let told = |failure: Failure| failure.to_string();
        let path = |wanted: Assignment| {
            wanted.map_err(told).map(|(_, target)| match target {
                Target::Stdout => "stdout".to_owned(),
                Target::Path(path) => path.display().to_string(),
                Target::Discard => "nowhere".to_owned(),
            })
        };
        targets(&arguments).map_err(told)?.into_iter().map(path).collect()
    }

    /// Output paths are the last component of each name, or follow -o and --parents.
    #[test]
    fn zget_targets_are_named_by_the_requested_names() {
        assert_eq!(paths(&["zget", "a"]).unwrap(), ["a"]);
        assert_eq!(paths(&["zget", "x/y/a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(paths(&["zget", "-o", "-", "x/a"]).unwrap(), ["stdout"]);
        assert_eq!(paths(&["zget", "-o", "out", "x/a"]).unwrap(), ["out"]);
        assert_eq!(paths(&["zget", "-o", "new/", "x/a", "b"]).unwrap(), ["new/a", "new/b"]);
        assert_eq!(paths(&["zget", "-o", "/tmp", "x/a"]).unwrap(), ["/tmp/a"]);
        assert_eq!(paths(&["zget", "-p", "-o", "d/", "x/a", "y/a"]).unwrap(), ["d/x/a", "d/y/a"]);
        assert_eq!(paths(&["zget", "--parents", "x/a"]).unwrap(), ["x/a"]);
        assert_eq!(paths(&["zget", "--verify-only", "x/a", "y/a"]).unwrap(), ["nowhere"; 2]);
    }

    /// Arguments of zget that conflict, bad names and two blobs for one output are refused.
    #[test]
    fn zget_refuses_senseless_argument_combinations() {
        for line in [
            &["zget"][..],
            &["zget", "../a"],
            &["zget", "/etc/passwd"],
            &["zget", "a/.."],
            &["zget", "a\nb"],
            &["zget", "x/a", "y/a"],
            &["zget", "-o", "-", "a", "b"],
            &["zget", "-o", "nowhere-to-be-found", "a", "b"],
            &["zget", "-o", "-", "--json", "a"],
            &["zget", "--at", "5", "--allow-rollback", "a"],
            &["zget", "--at", "x", "a"],
            &["zget", "--verify-only", "-o", "x", "a"],
            &["zget", "--verify-only", "--plaintext", "a"],
        ] {
            assert!(paths(line).is_err(), "{line:?}");
        }
    }

    /// A range argument has an inclusive end or none; other texts are refused.
    #[test]
    fn range_argument_is_inclusive() {
        let range = |text: &str| text.parse::<RangeArgument>().ok().map(|r| (r.0.start, r.0.end));
        assert_eq!(range("0-0"), Some((0, Some(1))));
        assert_eq!(range("0-1023"), Some((0, Some(1024))));
        assert_eq!(range("5-"), Some((5, None)));
        for wrong in
            ["", "-", "-5", "5", "5-4", "+1-2", "1-+2", "a-b", "0-18446744073709551615", "1-2-3"]
        {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }
}
