//! `zblob stat`: shows facts about a blob.

use std::ffi::OsString;

use clap::Args;
use serde::Serialize;
use zput::{
    Stat,
    cli::{GetOptions, Session, When},
};
use zput_proto::{message::VersionState, name::BlobName};

use super::{
    Console, Context, Failure, KeyArguments, RetryArguments, blob_name, format,
    select::{MatchMode, expand},
    utf8,
};

const EXAMPLES: &str = "\
Examples:
  zblob stat secret.bin
  zblob stat --json secret.bin | jq -r .version
  zblob stat 'plans/*'                   the names that match a pattern (* ? ** [ab] {a,b})
  zblob stat --at yesterday secret.bin   the version of that time (also: \"2026-11-29 18:00\",
                                         \"2 days ago\")
  zblob stat --versions secret.bin       every version, those in the trash included
  zblob stat --verify secret.bin         fetch and verify every part as well

Exit codes: 0 ok, 1 other, 2 usage, 3 some of several failed, 4 not found, 5 try again, 6 denied,
7 key missing or wrong, 8 integrity.";

/// Shows verified metadata of blobs, without fetching their parts
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Names of the blobs, or patterns
    #[arg(value_name = "NAME", required = true)]
    names: Vec<OsString>,

    /// List all versions instead, newest first, as the server reports them; they are not verified
    #[arg(long, conflicts_with_all = ["at", "allow_rollback", "verify"])]
    versions: bool,

    /// Fetch and verify every part as well; nothing is kept
    #[arg(long)]
    verify: bool,

    /// This version, or the version that was current at that time, however old it is
    #[arg(long, value_name = "VERSION|WHEN")]
    at: Option<When>,

    /// Accept an older version than this machine has seen, and remember it as the newest
    #[arg(long, conflicts_with = "at")]
    allow_rollback: bool,

    /// Print a line of JSON for each blob; with --versions for each version
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    retries: RetryArguments,

    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    original_name: &'a str,
    version: String,
    committed: String,
    generation: String,
    length: u64,
    stored_length: u64,
    mode: String,
    mtime: String,
    writer: Option<String>,
    recipients: usize,
    sha256: Option<String>,
    key: String,
    /// Whether every part was verified.
    verified: bool,
}

#[derive(Serialize)]
struct VersionLine<'a> {
    name: &'a str,
    version: String,
    committed: String,
    state: &'static str,
    stored_length: u64,
}

/// Runs the command.
///
/// # Errors
/// When there is no such blob, or it fails verification.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    let (texts, others) = utf8(arguments.names.clone());
    let mut names = expand(&mut client, &texts, MatchMode::Exact);
    names.extend(others.iter().map(|name| blob_name(name)));
    let are_several = names.len() > 1;
    let mut is_first = true;
    console.for_each(names, |name| {
        let name = name?;
        if !arguments.json && are_several {
            let gap = if is_first { "" } else { "\n" };
            let title = if arguments.versions {
                format!("{}:", console.escape_for_stdout(name.as_str()))
            } else {
                String::new()
            };
            let end = if title.is_empty() { "" } else { "\n" };
            console.print_with_end(&format_args!("{gap}{title}"), end)?;
        }
        is_first = false;
        if arguments.versions {
            return versions(&mut client, &name, arguments.json, console);
        }
        one(&mut client, &name, &arguments, console)
    })
}

fn one(
    client: &mut Session,
    name: &BlobName,
    arguments: &Arguments,
    console: &Console,
) -> Result<(), Failure> {
    let version = match &arguments.at {
        Some(when) => Some(client.version_at(name, when).context(name)?),
        None => None,
    };
    let options = GetOptions { version, range: None, allow_rollback: arguments.allow_rollback };
    let stat = match client.stat(name, &options) {
        Ok(stat) => stat,
        Err(error) => return Err(client.explain_not_found(name, version, error)).context(name),
    };
    let mut line = line(name, &stat);
    if arguments.verify {
        // Verify the version that is shown, whatever is put meanwhile.
        let options = GetOptions { version: Some(stat.version), ..options };
        client.verify(name, &options, &*console.progress(name.as_str())).context(name)?;
        line.verified = true;
    }
    if arguments.json {
        console.print_json(&line)?;
        return Ok(());
    }
    let mut lines = vec![("name", name.as_str().to_owned())];
    if line.original_name != name.as_str() {
        lines.push(("sealed as", line.original_name.to_owned()));
    }
    lines.extend([
        ("bytes", stat.length.to_string()),
        ("stored", stat.stored.to_string()),
        ("modified", line.mtime),
        ("mode", line.mode),
        ("version", line.version),
        ("committed", line.committed),
        ("generation", line.generation),
        ("writer", line.writer.unwrap_or_else(|| "nobody".to_owned())),
        ("recipients", stat.recipients.to_string()),
    ]);
    lines.extend(line.sha256.map(|sha256| ("sha256", sha256)));
    lines.push(("key", line.key));
    if line.verified {
        lines.push(("verified", "every part".to_owned()));
    }
    for (label, value) in lines {
        console.print(&format_args!("{label:<10} {}", console.escape_for_stdout(&value)))?;
    }
    Ok(())
}

fn line<'a>(name: &'a BlobName, stat: &'a Stat) -> Line<'a> {
    Line {
        name: name.as_str(),
        original_name: stat.metadata.name.as_str(),
        version: format::number(stat.version.0),
        committed: format::version_time(stat.version),
        generation: format::number(stat.generation),
        length: stat.length,
        stored_length: stat.stored,
        mode: format::octal(stat.metadata.mode),
        mtime: format::precise_time(stat.metadata.mtime_s, stat.metadata.mtime_ns),
        writer: stat.writer.map(|writer| writer.to_string()),
        recipients: stat.recipients,
        sha256: stat.sha256.map(hex::encode),
        key: stat.key.to_string(),
        verified: false,
    }
}

fn versions(
    client: &mut Session,
    name: &BlobName,
    json: bool,
    console: &Console,
) -> Result<(), Failure> {
    let all = match client.versions(name) {
        Ok(all) => all,
        Err(error) => return Err(client.explain_not_found(name, None, error)).context(name),
    };
    for info in all {
        let line = VersionLine {
            name: name.as_str(),
            version: format::number(info.version.0),
            committed: format::version_time(info.version),
            state: match info.state {
                VersionState::Current => "current",
                VersionState::History => "history",
                VersionState::Trash => "trash",
            },
            stored_length: info.length,
        };
        if json {
            console.print_json(&line)?;
        } else {
            let VersionLine { version, committed, state, stored_length, .. } = line;
            console.print(&format_args!("{version} {committed} {state:<7} {stored_length:>14}"))?;
        }
    }
    Ok(())
}
