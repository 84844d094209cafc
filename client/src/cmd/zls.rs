//! `zls`: lists the vault's blobs.

use clap::Parser;
use serde::Serialize;

use super::{Console, Failure, KeyArguments, RetryArguments, format};
use crate::{
    ClientError,
    list::{Listed, Listing},
    terminal::printable,
};

const EXAMPLES: &str = "\
Examples:
  zls                      names, sorted
  zls -l plans/            permissions, bytes, time of modification, version and name
  zls --json | jq -r .name

Names, times and permissions come out of each blob's sealed header; a name that does not lead to the
blob it stands in is an integrity error. Sizes follow from what the server says; zstat verifies them.

Exit codes: 0 ok, 1 other, 2 usage, 5 try again, 6 denied, 7 key missing or wrong, 8 integrity.";

/// Lists the vault's blobs
#[derive(Parser, Debug)]
#[command(name = "zls", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Only names that begin with this
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,

    /// Permissions, bytes, time of modification and version too
    #[arg(short)]
    long: bool,

    /// Print a line of JSON for each blob
    #[arg(long, conflicts_with = "long")]
    json: bool,

    #[command(flatten)]
    retries: RetryArguments,

    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    length: u64,
    stored: u64,
    mode: u32,
    mtime: String,
    version: String,
    generation: String,
}

/// Runs the command.
///
/// # Errors
/// When the listing is not complete.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    let Listing { blobs, foreign, unsealed, damaged } = client.list(&arguments.prefix)?;
    for blob in &blobs {
        if arguments.json {
            console.print_json(&Line {
                name: blob.metadata.name.as_str(),
                length: blob.length,
                stored: blob.stored,
                mode: blob.metadata.mode & 0o777,
                mtime: format::time(blob.metadata.mtime_s),
                version: format::number(blob.version.0),
                generation: format::number(blob.generation),
            })?;
        } else if arguments.long {
            console.print(&long_line(blob))?;
        } else {
            console.print(&printable(blob.metadata.name.as_str()))?;
        }
    }
    if foreign > 0 {
        console.tell(&format_args!("{foreign} more are sealed to others than this key file"));
    }
    if unsealed > 0 {
        console
            .tell(&format_args!("{unsealed} more are not sealed (zget --plaintext fetches them)"));
    }
    for unlisted in &damaged {
        console.tell(&format_args!("object {}: {}", unlisted.key, unlisted.error));
    }
    match damaged.into_iter().next() {
        Some(_) => Err(ClientError::Envelope("some objects are not what they claim to be").into()),
        None => Ok(()),
    }
}

fn long_line(blob: &Listed) -> String {
    format!(
        "{} {:>14} {} {} {}",
        permissions(blob.metadata.mode),
        blob.length,
        format::time(blob.metadata.mtime_s),
        blob.version,
        printable(blob.metadata.name.as_str())
    )
}

/// `rwxr-xr-x`.
fn permissions(mode: u32) -> String {
    (0..9)
        .rev()
        .map(|bit| if mode >> bit & 1 == 0 { '-' } else { ['x', 'w', 'r'][bit % 3] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_usual() {
        assert_eq!(permissions(0o755), "rwxr-xr-x");
        assert_eq!(permissions(0o4640), "rw-r-----");
        assert_eq!(permissions(0), "---------");
    }

    #[test]
    fn help_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
