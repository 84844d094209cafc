//! `zrestore`: makes an earlier or removed version the current one.

use clap::Parser;
use serde::Serialize;
use zput_common::name::BlobName;

use super::{Console, Context, Failure, KeyArguments, RetryArguments, format};
use crate::{calendar::When, terminal::printable};

const EXAMPLES: &str = "\
Examples:
  zrestore secret.bin                          what zrm removed last
  zrestore secret.bin yesterday                what was current then (also: \"2026-11-29 18:00\")
  zstat --versions secret.bin                  which versions there are
  zrestore secret.bin 1763715600000000000

What is current becomes an earlier version. What was restored is the newest for every machine: an earlier version
is sealed under a new generation for that, and its bytes are fetched and sent.

Exit codes: 0 ok, 1 other, 2 usage, 4 not found, 5 try again, 6 denied, 7 key missing or wrong,
8 integrity.";

/// Makes an earlier or removed version of a blob the current one
#[derive(Parser, Debug)]
#[command(name = "zrestore", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the blob
    #[arg(value_name = "NAME")]
    name: String,

    /// Version to restore, or when it was current [default: the newest in the trash]
    #[arg(value_name = "VERSION|WHEN")]
    which: Option<When>,

    /// The same
    #[arg(long, value_name = "VERSION|WHEN", conflicts_with = "which")]
    at: Option<When>,

    /// Print a line of JSON
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
    /// The version that was restored.
    restored: String,
}

/// Runs the command.
///
/// # Errors
/// When the version was not restored.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let name = BlobName::parse(&arguments.name).context(&arguments.name)?;
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    let asked = match arguments.which.or(arguments.at) {
        Some(when) => client.version_at(&name, &when),
        None => client.newest_removed(&name),
    };
    let asked = asked.context(&name)?;
    let progress = console.progress(name.as_str());
    let version = match client.restore(&name, asked, &*progress) {
        Ok(version) => version,
        Err(error) => {
            return Err(client.explain_not_found(&name, Some(asked), error)).context(&name);
        }
    };
    let time = format::local_version_time(asked);
    console.success(&format_args!("{} is what it was {time}", printable(name.as_str())));
    if arguments.json {
        console.print_json(&Line {
            name: name.as_str(),
            version: format::number(version.0),
            committed: format::version_time(version),
            restored: format::number(asked.0),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_sound() {
        use clap::CommandFactory;
        super::super::with_common_arguments(Arguments::command()).debug_assert();
    }
}
