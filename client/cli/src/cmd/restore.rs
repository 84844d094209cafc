//! `zblob restore`: makes an earlier or removed version the current one.

use clap::Args;
use serde::Serialize;
use zput::cli::{When, printable};
use zput_proto::name::BlobName;

use super::{Console, Context, Failure, KeyArguments, RetryArguments, format};

const EXAMPLES: &str = "\
Examples:
  zblob restore secret.bin                        the version that zblob rm removed last
  zblob restore secret.bin yesterday              the version that was current then (also:
                                                  \"2026-11-29 18:00\")
  zblob stat --versions secret.bin                list the versions
  zblob restore secret.bin 1763715600000000000

The current version becomes an earlier version. The restored version is the newest for every
machine: an earlier version is sealed again under a new generation, so its bytes are fetched and
sent.

Exit codes: 0 ok, 1 other, 2 usage, 4 not found, 5 try again, 6 denied, 7 key missing or wrong,
8 integrity.";

/// Makes an earlier or removed version of a blob the current one
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the blob
    #[arg(value_name = "NAME")]
    name: String,

    /// Version to restore, or a time at which it was current [default: the newest in the trash]
    #[arg(value_name = "VERSION|WHEN")]
    which: Option<When>,

    /// The same as VERSION|WHEN behind the name
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
    restored_version: String,
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
            restored_version: format::number(asked.0),
        })?;
    }
    Ok(())
}
