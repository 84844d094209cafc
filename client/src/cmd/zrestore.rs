//! `zrestore`: makes an earlier or removed version the current one.

use clap::Parser;
use serde::Serialize;
use zput_common::{name::BlobName, proto::message::Version};

use super::{At, Console, Failure, KeyArguments, RetryArguments, format};

const EXAMPLES: &str = "\
Examples:
  zstat --versions secret.bin                  which versions there are
  zrestore secret.bin 1763715600000000000

To other machines that have seen a newer one, the restored version is an old one: there, zget takes
--allow-rollback once.

Exit codes: 0 ok, 1 other, 2 usage, 4 not found, 5 try again, 6 denied, 7 key missing or wrong,
8 integrity.";

/// Makes an earlier or removed version of a blob the current one
#[derive(Parser, Debug)]
#[command(name = "zrestore", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the blob
    #[arg(value_name = "NAME")]
    name: String,

    /// Version to restore
    #[arg(value_name = "VERSION")]
    which: u64,

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
}

/// Runs the command.
///
/// # Errors
/// When the version was not restored.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let name = BlobName::parse(&arguments.name).at(&arguments.name)?;
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    let version = client.restore(&name, Version(arguments.which)).at(&name)?;
    if arguments.json {
        let version = format::number(version.0);
        console.print_json(&Line { name: name.as_str(), version })?;
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
