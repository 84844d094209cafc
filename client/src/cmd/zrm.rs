//! `zrm`: moves blobs to the trash.

use clap::Parser;
use serde::Serialize;
use zput_common::name::BlobName;

use super::{At, Console, Failure, KeyArguments, RetryArguments, format};

const EXAMPLES: &str = "\
Examples:
  zrm secret.bin
  zrm --json secret.bin | jq -r .version      the version that zrestore takes

The blob stays in the server's trash; zrestore takes it out again.

Exit codes: 0 ok, 1 other, 2 usage, 3 some of several failed, 4 not found, 5 try again, 6 denied,
7 key missing or wrong.";

/// Moves blobs to the trash
#[derive(Parser, Debug)]
#[command(name = "zrm", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Names of the blobs
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Print a line of JSON for each blob removed
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
}

/// Runs the command.
///
/// # Errors
/// When a blob was not removed.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let names: Vec<BlobName> = arguments
        .names
        .iter()
        .map(|name| BlobName::parse(name).at(name))
        .collect::<Result<_, _>>()?;
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    console.each(names, |name| {
        let version = client.remove(&name).at(&name)?;
        if arguments.json {
            let version = format::number(version.0);
            console.print_json(&Line { name: name.as_str(), version })?;
        }
        Ok(())
    })
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
