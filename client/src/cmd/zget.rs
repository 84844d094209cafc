//! `zget`: fetches blobs, verifies and opens them.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Parser;
use serde::Serialize;
use zput_common::{name::BlobName, proto::message::Version};

use super::{At, Console, Failure, KeyArguments, format, usage};
use crate::{
    Client,
    get::{ByteRange, GetOptions},
    offline::attributes,
    sink::Output,
};

const EXAMPLES: &str = "\
Examples:
  zget secret.bin                  fetch into ./secret.bin
  zget -o - home.tar | tar x       fetch to stdout; each part is verified before it is written
  zget -o plans/ a.pdf b.pdf       fetch several into a directory
  zget --range 0-1023 -o - disk    the first 1,024 bytes
  zget --at VERSION secret.bin     an earlier version (zstat --versions lists them)

A file appears only when all of it is verified. It is named by what you ask for, never by the blob.

A reader of `zget -o -` that takes nothing for longer than the server's idle limit (120 seconds unless
its operator says otherwise) is cut off, with exit code 5: fetch into a file what is read slowly.

Exit codes: 0 ok, 1 other, 2 usage, 3 some of several failed, 4 not found, 5 try again, 6 denied,
7 key missing or wrong, 8 integrity, 9 disk full, 10 the output exists.";

/// Fetches blobs, verifies and opens them
#[derive(Parser, Debug)]
#[command(name = "zget", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Names of the blobs
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Where to: a file, a directory (for several), or `-` for stdout [default: the name's last
    /// component, here]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Replace output files that are there
    #[arg(long)]
    force: bool,

    /// Only these bytes, from 0, the last one included: START-END, or START- for all that follows
    #[arg(long, value_name = "START-END")]
    range: Option<RangeArgument>,

    /// This version instead of the current one, however old it is
    #[arg(long, value_name = "VERSION")]
    at: Option<u64>,

    /// Accept an older version than was seen before, and take it for the newest from now on
    #[arg(long, conflicts_with = "at")]
    allow_rollback: bool,

    /// Fetch an unsealed object; only on plaintext connections, and nobody vouches for it
    #[arg(long, conflicts_with = "allow_rollback")]
    plaintext: bool,

    /// Print a line of JSON for each blob fetched
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    key: KeyArguments,
}

/// `START-END` or `START-`.
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

/// What goes where.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    Path(PathBuf),
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    version: String,
    generation: Option<String>,
    length: u64,
    output: String,
}

/// Runs the command.
///
/// # Errors
/// When a blob was not fetched.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let targets = targets(&arguments)?;
    let mut client = arguments.key.client(console)?;
    console.each(targets, |(name, target)| fetch(&mut client, &name, &target, &arguments, console))
}

fn fetch(
    client: &mut Client,
    name: &BlobName,
    target: &Target,
    arguments: &Arguments,
    console: &Console,
) -> Result<(), Failure> {
    let mut output = match target {
        Target::Stdout => Output::stdout(),
        Target::Path(path) => Output::at(path, arguments.force),
    }?;
    let options = GetOptions {
        version: arguments.at.map(Version),
        range: arguments.range.map(|RangeArgument(range)| range),
        allow_rollback: arguments.allow_rollback,
    };
    let progress = console.progress(name.as_str());
    let (version, generation, length, attributes) = if arguments.plaintext {
        let got = client.get_unsealed(name, &options, &mut output, &*progress);
        let (version, length) = got.at(name)?;
        (version, None, length, None)
    } else {
        let got = client.get(name, &options, &mut output, &*progress).at(name)?;
        // A stretch of a file is not that file.
        let attributes = options.range.is_none().then(|| attributes(&got.metadata));
        (got.version, Some(got.generation), got.length, attributes)
    };
    output.commit(attributes)?;
    if arguments.json {
        console.print_json(&Line {
            name: name.as_str(),
            version: format::number(version.0),
            generation: generation.map(format::number),
            length,
            output: match target {
                Target::Stdout => "-".to_owned(),
                Target::Path(path) => path.display().to_string(),
            },
        })?;
    }
    Ok(())
}

/// Where each name goes; no two go to one place.
fn targets(arguments: &Arguments) -> Result<Vec<(BlobName, Target)>, Failure> {
    let names: Vec<BlobName> = arguments
        .names
        .iter()
        .map(|name| BlobName::parse(name).at(name))
        .collect::<Result<_, _>>()?;
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
    let mut taken = BTreeSet::new();
    let mut targets = Vec::with_capacity(names.len());
    for name in names {
        if let Some(directory) = directory {
            let path = directory.join(name.base_name());
            if !taken.insert(path.clone()) {
                return Err(usage(format!("two blobs would go to {}", path.display())));
            }
            targets.push((name, Target::Path(path)));
        } else if to_stdout {
            targets.push((name, Target::Stdout));
        } else {
            let path = arguments.output.clone().unwrap_or_default();
            targets.push((name, Target::Path(path)));
        }
    }
    Ok(targets)
}

/// What ends in a slash is meant as a directory, whether it is there or not.
fn is_directory(path: &Path) -> bool {
    let text: &OsStr = path.as_os_str();
    text.as_bytes().ends_with(b"/") || path.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(line: &[&str]) -> Result<Vec<String>, String> {
        let arguments =
            Arguments::try_parse_from(line).map_err(|error| error.kind().to_string())?;
        targets(&arguments).map_err(|failure| failure.to_string()).map(|targets| {
            targets
                .into_iter()
                .map(|(_, target)| match target {
                    Target::Stdout => "stdout".to_owned(),
                    Target::Path(path) => path.display().to_string(),
                })
                .collect()
        })
    }

    #[test]
    fn outputs_are_named_by_what_was_asked_for() {
        assert_eq!(paths(&["zget", "a"]).unwrap(), ["a"]);
        assert_eq!(paths(&["zget", "x/y/a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(paths(&["zget", "-o", "-", "x/a"]).unwrap(), ["stdout"]);
        assert_eq!(paths(&["zget", "-o", "out", "x/a"]).unwrap(), ["out"]);
        assert_eq!(paths(&["zget", "-o", "new/", "x/a", "b"]).unwrap(), ["new/a", "new/b"]);
        assert_eq!(paths(&["zget", "-o", "/tmp", "x/a"]).unwrap(), ["/tmp/a"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
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
        ] {
            assert!(paths(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn ranges_are_inclusive() {
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

    #[test]
    fn help_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
