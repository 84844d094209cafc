//! `zblob rm`: moves blobs to the trash.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
};

use clap::Args;
use serde::Serialize;
use zput::cli::{Session, printable};
use zput_proto::name::BlobName;

use super::{
    Console, Context, Failure, KeyArguments, RetryArguments, blob_name, format, local,
    select::{MatchMode, expand, is_pattern},
    utf8,
};
use crate::{error::CommandError, terminal};

const EXAMPLES: &str = "\
Examples:
  zblob rm secret.bin
  zblob rm 'plans/*.pdf'                        the names that match a pattern (* ? ** [ab] {a,b})
  zblob rm -rn plans                            print what would go: plans, and all below plans/
  zblob rm -r plans
  zblob rm --json secret.bin | jq -r .version   the version that zblob restore takes

A removed blob stays in the server's trash; zblob restore brings it back. At a terminal, zblob
rm asks before it removes more than three blobs that are not named one by one.

Exit codes: 0 ok, 1 other, 2 usage, 3 some of several failed, 4 not found, 5 try again, 6 denied,
7 key missing or wrong.";

/// Moves blobs to the trash
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Names of the blobs, or patterns
    #[arg(value_name = "NAME", required = true)]
    names: Vec<OsString>,

    /// Also remove all blobs whose names begin with NAME/
    #[arg(short, long, visible_alias = "prefix")]
    recursive: bool,

    /// Only print what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Ask no question
    #[arg(short, long)]
    yes: bool,

    /// Ask no question, and ignore names that do not exist
    #[arg(short, long)]
    force: bool,

    /// Print a line of JSON for each removed blob
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
    /// `None` in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<String>,
    removed: bool,
}

/// Most blobs that are removed without confirmation, unless each was named.
const UNCONFIRMED_MAX: usize = 3;

/// Runs the command.
///
/// # Errors
/// When a blob was not removed.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    let (texts, others) = utf8(arguments.names.clone());
    let others = others.iter().map(|name| blob_name(name)).collect::<Vec<_>>();
    // If all names are invalid, do not connect.
    if texts.is_empty() {
        return console.for_each(others, |name| name.map(drop));
    }
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    let mode = if arguments.recursive { MatchMode::Recursive } else { MatchMode::Exact };
    let mut names = expand(&mut client, &texts, mode);
    names.extend(others);
    if arguments.force {
        names.retain(|name| !name.as_ref().is_err_and(Failure::is_no_match));
    }
    if !arguments.dry_run && !confirm(&names, &arguments)? {
        console.note(&"nothing was removed");
        return Ok(());
    }
    console.for_each(names, |name| {
        let name = name?;
        if arguments.dry_run {
            return print_dry_run(&mut client, &name, &arguments, console);
        }
        let version = match client.remove(&name) {
            Ok(version) => version,
            Err(error) if arguments.force && error.is_not_found() => return Ok(()),
            Err(error) => return Err(client.explain_not_found(&name, None, error)).context(&name),
        };
        if arguments.json {
            let (committed, version) = (format::version_time(version), format::number(version.0));
            console.print_json(&Line {
                name: name.as_str(),
                version: Some(version),
                committed: Some(committed),
                removed: true,
            })?;
        }
        let shown = printable(name.as_str());
        console.success(&format_args!("{shown} is in the trash (zblob restore brings it back)"));
        Ok(())
    })
}

/// Whether to remove the blobs: at a terminal, many that were not each named have to be confirmed.
fn confirm(names: &[Result<BlobName, Failure>], arguments: &Arguments) -> Result<bool, Failure> {
    let is_pattern = |name: &OsString| name.to_str().is_some_and(is_pattern);
    let are_named = !arguments.recursive && !arguments.names.iter().any(is_pattern);
    let count = names.iter().flatten().count();
    let is_asked = !(arguments.yes || arguments.force || are_named || count <= UNCONFIRMED_MAX)
        && io::stdin().is_terminal()
        && io::stderr().is_terminal()
        && terminal::can_ask();
    if !is_asked {
        return Ok(true);
    }
    let answer = terminal::ask(&format!("Move {count} blobs to the trash (y/N): "))
        .map_err(|error| local("cannot ask", error))?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// Prints that a blob would be removed, if it exists.
fn print_dry_run(
    client: &mut Session,
    name: &BlobName,
    arguments: &Arguments,
    console: &Console,
) -> Result<(), Failure> {
    match client.exists(name) {
        Ok(true) => {}
        Ok(false) if arguments.force => return Ok(()),
        Ok(false) => return Err(CommandError::NoMatch(name.to_string()).into()),
        Err(error) => return Err(error).context(name),
    }
    if arguments.json {
        let line = Line { name: name.as_str(), version: None, committed: None, removed: false };
        return Ok(console.print_json(&line)?);
    }
    Ok(console.print(&console.escape_for_stdout(name.as_str()))?)
}
