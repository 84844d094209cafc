//! `zblob ls`: lists the vault's blobs.

use std::cmp::Reverse;

use clap::{ArgAction, Args, ValueEnum};
use serde::Serialize;
use zput::{
    Error,
    cli::{Listed, Listing},
};

use super::{
    Console, Failure, KeyArguments, Program, RetryArguments, Summary, format,
    select::{Selector, is_selected},
    tree,
};
use crate::{advice::describe, error::CommandError};

const EXAMPLES: &str = "\
Examples:
  zblob ls                            names, sorted
  zblob ls -l plans/                  permissions, size, time of modification and name of what is
                                      in plans/
  zblob ls '*.pdf' 'plans/**'         the names that match a pattern; ** also crosses slashes
  zblob ls --sort time -r             the newest last
  zblob ls -0 | xargs -0 zblob stat   names that end in NUL
  zblob ls --json | jq -r .name

Names, times and permissions come from each blob's sealed header. A blob that is stored under
another name than its header's is an integrity error. Sizes are computed from what the server
reports; zblob stat verifies them.

Exit codes: 0 ok, 1 other, 2 usage, 3 some could not be read, 4 nothing matches, 5 try again,
6 denied, 7 key missing or wrong, 8 integrity.";

/// Lists the blobs of the vault
#[derive(Args, Debug)]
#[command(disable_help_flag = true, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Only names that begin with one of these, or match a pattern (* ? ** [ab] {a,b})
    #[arg(value_name = "PREFIX|PATTERN")]
    which: Vec<String>,

    /// Print permissions, size and time of modification as well
    #[arg(short, long)]
    long: bool,

    /// End each name in NUL instead of a newline
    #[arg(short = '0', long, conflicts_with_all = ["long", "json", "tree"])]
    null: bool,

    /// Print sizes in bytes [default if stdout is no terminal]
    #[arg(long, conflicts_with = "human")]
    bytes: bool,

    /// Print sizes with units [default on a terminal]
    #[arg(long)]
    human: bool,

    /// Order of the list: by name, by size with the largest first, or by time with the newest first
    #[arg(long, value_enum, default_value_t = Order::Name)]
    sort: Order,

    /// Reverse the order
    #[arg(short, long)]
    reverse: bool,

    /// Show the names as a tree of directories
    #[arg(long, conflicts_with_all = ["long", "json", "sort", "reverse"])]
    tree: bool,

    /// Print a line of JSON for each blob
    #[arg(long)]
    json: bool,

    /// Print help; behind -l, print sizes with units
    #[arg(short = 'h')]
    help_or_human: bool,

    /// Print help with examples
    #[arg(long, action = ArgAction::HelpLong)]
    help: Option<bool>,

    #[command(flatten)]
    retries: RetryArguments,

    #[command(flatten)]
    key: KeyArguments,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Name,
    Size,
    Time,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    version: String,
    committed: String,
    generation: String,
    length: u64,
    stored_length: u64,
    mode: String,
    mtime: String,
    key: String,
}

/// Runs the command.
///
/// # Errors
/// When the listing is incomplete.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    if arguments.help_or_human && !arguments.long {
        return Ok(console.print_with_end(&Program::verb_help("ls"), "")?);
    }
    let mut client = arguments.key.client(console)?;
    arguments.retries.apply(&mut client, console)?;
    let selectors: Vec<Selector> = arguments.which.iter().map(|text| Selector::new(text)).collect();
    let Listing { mut blobs, foreign, unsealed, damaged, unreadable, .. } = client.list("")?;
    blobs.retain(|blob| is_selected(&selectors, blob));
    sort(&mut blobs, arguments.sort, arguments.reverse);
    print(&blobs, &arguments, console)?;
    if foreign > 0 {
        console.note(&format_args!("{foreign} more are sealed to other keys"));
    }
    if unsealed > 0 {
        console
            .note(&format_args!("{unsealed} more are not sealed (zget --plaintext fetches them)"));
    }
    for unlisted in &damaged {
        console.warn(&format_args!("object {}: {}", unlisted.key, describe(&unlisted.error)));
    }
    if !damaged.is_empty() {
        return Err(Error::Envelope("some objects are not what they claim to be").into());
    }
    let mut summary = Summary::new(selectors.len());
    for selector in &selectors {
        let is_there = blobs.iter().any(|blob| selector.matches(blob.metadata.name.as_str()));
        let found = if is_there || selector.text().is_empty() {
            Ok(())
        } else {
            Err(CommandError::NoMatch(selector.text().to_owned()).into())
        };
        summary.record(found, console);
    }
    summary.finish()?;
    if unreadable > 0 { Err(Error::Unreadable(unreadable).into()) } else { Ok(()) }
}

fn sort(blobs: &mut [Listed], order: Order, is_reversed: bool) {
    match order {
        Order::Name => {}
        Order::Size => blobs.sort_by_key(|blob| Reverse(blob.length)),
        Order::Time => {
            blobs.sort_by_key(|blob| Reverse((blob.metadata.mtime_s, blob.metadata.mtime_ns)))
        }
    }
    if is_reversed {
        blobs.reverse();
    }
}

fn print(blobs: &[Listed], arguments: &Arguments, console: &Console) -> Result<(), CommandError> {
    let mut buffer = OutputBuffer::new(console);
    if arguments.tree {
        let all = blobs.iter().map(|blob| (blob.metadata.name.as_str(), blob.length));
        tree::lines(all)
            .iter()
            .try_for_each(|line| buffer.push(&console.escape_for_stdout(line), "\n"))?;
    } else if arguments.json {
        for blob in blobs {
            buffer.push(&Console::json_text(&json_line(blob))?, "\n")?;
        }
    } else if arguments.long {
        print_long(blobs, arguments, console, &mut buffer)?;
    } else if arguments.null {
        blobs.iter().try_for_each(|blob| buffer.push(blob.metadata.name.as_str(), "\0"))?;
    } else {
        let shown =
            |blob: &Listed| console.escape_for_stdout(blob.metadata.name.as_str()).into_owned();
        blobs.iter().try_for_each(|blob| buffer.push(&shown(blob), "\n"))?;
    }
    buffer.finish()
}

/// Gathers lines, since a system call for each would dominate the time of a long listing.
struct OutputBuffer<'a> {
    console: &'a Console,
    text: String,
}

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

impl<'a> OutputBuffer<'a> {
    const fn new(console: &'a Console) -> Self {
        Self { console, text: String::new() }
    }

    fn push(&mut self, line: &str, end: &str) -> Result<(), CommandError> {
        self.text.extend([line, end]);
        if self.text.len() < BUFFER_BYTES {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        self.console.print_with_end(&text, "")
    }

    fn finish(self) -> Result<(), CommandError> {
        if self.text.is_empty() { Ok(()) } else { self.console.print_with_end(&self.text, "") }
    }
}

fn print_long(
    blobs: &[Listed],
    arguments: &Arguments,
    console: &Console,
    buffer: &mut OutputBuffer<'_>,
) -> Result<(), CommandError> {
    let asks_human = arguments.human || arguments.help_or_human;
    let is_human = asks_human || console.is_on_terminal() && !arguments.bytes;
    let size = |bytes: u64| if is_human { format::size(bytes) } else { bytes.to_string() };
    let rows: Vec<(String, String)> =
        blobs.iter().map(|blob| (size(blob.length), format::time(blob.metadata.mtime_s))).collect();
    let sizes = rows.iter().map(|(size, _)| size.len()).max().unwrap_or(0);
    let times = rows.iter().map(|(_, time)| time.len()).max().unwrap_or(0);
    for (blob, (size, time)) in blobs.iter().zip(&rows) {
        let permissions = format::permissions(blob.metadata.mode);
        let name = console.escape_for_stdout(blob.metadata.name.as_str());
        buffer.push(&format!("{permissions} {size:>sizes$} {time:>times$} {name}"), "\n")?;
    }
    if console.is_on_terminal() {
        let total = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.length));
        let what = if blobs.len() == 1 { "blob" } else { "blobs" };
        buffer.push(&format!("{} {what}, {}", blobs.len(), size(total)), "\n")?;
    }
    Ok(())
}

fn json_line(blob: &Listed) -> Line<'_> {
    Line {
        name: blob.metadata.name.as_str(),
        version: format::number(blob.version.0),
        committed: format::version_time(blob.version),
        generation: format::number(blob.generation),
        length: blob.length,
        stored_length: blob.stored,
        mode: format::octal(blob.metadata.mode),
        mtime: format::precise_time(blob.metadata.mtime_s, blob.metadata.mtime_ns),
        key: blob.key.to_string(),
    }
}
