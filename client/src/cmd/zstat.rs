//! `zstat`: what is known of a blob.

use clap::Parser;
use serde::Serialize;
use zput_common::{
    name::BlobName,
    proto::message::{Version, VersionState},
};

use super::{At, Console, Failure, KeyArguments, RetryArguments, format};
use crate::{Client, get::GetOptions, stat::Stat, terminal::printable};

const EXAMPLES: &str = "\
Examples:
  zstat secret.bin
  zstat --json secret.bin | jq -r .version
  zstat --versions secret.bin      every version there is, the trash included
  zstat --verify secret.bin        fetch and verify every part as well

Exit codes: 0 ok, 1 other, 2 usage, 4 not found, 5 try again, 6 denied, 7 key missing or wrong,
8 integrity.";

/// Says what is known of a blob: verified like a get, without fetching its parts
#[derive(Parser, Debug)]
#[command(name = "zstat", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the blob
    #[arg(value_name = "NAME")]
    name: String,

    /// List all versions instead, newest first; what the server says, not verified
    #[arg(long, conflicts_with_all = ["at", "allow_rollback", "verify"])]
    versions: bool,

    /// Fetch and verify every part as well; nothing is kept
    #[arg(long)]
    verify: bool,

    /// This version instead of the current one, however old it is
    #[arg(long, value_name = "VERSION")]
    at: Option<u64>,

    /// Accept an older version than was seen before, and take it for the newest from now on
    #[arg(long, conflicts_with = "at")]
    allow_rollback: bool,

    /// Print JSON; with --versions a line for each
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
    version: String,
    committed: String,
    generation: String,
    length: u64,
    stored: u64,
    mode: u32,
    mtime: String,
    writer: Option<String>,
    recipients: usize,
    sha256: Option<String>,
    key: String,
    /// Whether every part was.
    verified: bool,
}

#[derive(Serialize)]
struct VersionLine {
    version: String,
    committed: String,
    state: &'static str,
    stored: u64,
}

/// Runs the command.
///
/// # Errors
/// When there is no such blob, or it is not what it claims to be.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let name = BlobName::parse(&arguments.name).at(&arguments.name)?;
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    if arguments.versions {
        return versions(&mut client, &name, arguments.json, console);
    }
    let options = GetOptions {
        version: arguments.at.map(Version),
        range: None,
        allow_rollback: arguments.allow_rollback,
    };
    let stat = client.stat(&name, &options).at(&name)?;
    let mut line = line(&name, &stat);
    if arguments.verify {
        // The same version, whatever is put meanwhile.
        let options = GetOptions { version: Some(stat.version), ..options };
        client.verify(&name, &options, &*console.progress(name.as_str())).at(&name)?;
        line.verified = true;
    }
    if arguments.json {
        console.print_json(&line)?;
        return Ok(());
    }
    let author_name = stat.metadata.name.as_str();
    let mut lines = vec![("name", printable(name.as_str()).into_owned())];
    if author_name != name.as_str() {
        lines.push(("sealed as", printable(author_name).into_owned()));
    }
    lines.extend([
        ("bytes", stat.length.to_string()),
        ("stored", stat.stored.to_string()),
        ("modified", line.mtime),
        ("mode", format!("{:03o}", line.mode)),
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
        console.print(&format_args!("{label:<10} {value}"))?;
    }
    Ok(())
}

fn line<'a>(name: &'a BlobName, stat: &Stat) -> Line<'a> {
    Line {
        name: name.as_str(),
        version: format::number(stat.version.0),
        committed: format::version_time(stat.version),
        generation: format::number(stat.generation),
        length: stat.length,
        stored: stat.stored,
        mode: stat.metadata.mode & 0o777,
        mtime: format::time(stat.metadata.mtime_s),
        writer: stat.writer.map(|writer| writer.to_string()),
        recipients: stat.recipients,
        sha256: stat.sha256.map(hex::encode),
        key: stat.key.to_string(),
        verified: false,
    }
}

fn versions(
    client: &mut Client,
    name: &BlobName,
    json: bool,
    console: &Console,
) -> Result<(), Failure> {
    for info in client.versions(name).at(name)? {
        let line = VersionLine {
            version: format::number(info.version.0),
            committed: format::version_time(info.version),
            state: match info.state {
                VersionState::Current => "current",
                VersionState::History => "history",
                VersionState::Trash => "trash",
            },
            stored: info.length,
        };
        if json {
            console.print_json(&line)?;
        } else {
            let VersionLine { version, committed, state, stored } = line;
            console.print(&format_args!("{version} {committed} {state:<7} {stored:>14}"))?;
        }
    }
    Ok(())
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
