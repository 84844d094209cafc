//! `zblob man`: manual pages, made of the definitions that parse the command lines.

use std::{fs, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::{Failure, Program, local};

const EXAMPLES: &str = "\
Examples:
  zblob man ~/.local/share/man/man1    pages that man(1) finds: man zblob, man zblob-ls";

/// Writes the manual pages of zblob, zput and zget into a directory
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Directory for the pages; it is created if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Runs the command; `command` defines each program.
///
/// # Errors
/// When a page cannot be written.
pub fn run(arguments: Arguments, command: fn(Program) -> Command) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let describe = |path: &std::path::Path| format!("cannot write {}", path.display());
    fs::create_dir_all(directory).map_err(|error| local(&describe(directory), error))?;
    for program in Program::ALL {
        let mut command = command(program).disable_help_subcommand(true);
        command.build();
        for (name, page) in pages(&command) {
            let path = directory.join(name);
            fs::write(&path, page).map_err(|error| local(&describe(&path), error))?;
        }
    }
    Ok(())
}

/// The pages of a command and of its subcommands, by their file names.
fn pages(command: &Command) -> Vec<(String, Vec<u8>)> {
    let man = Man::new(command.clone())
        .source(concat!("zput ", env!("CARGO_PKG_VERSION")))
        .manual("zput");
    let mut all: Vec<_> = command.get_subcommands().flat_map(pages).collect();
    // Writing into memory does not fail.
    if let Ok(page) = page(&man, command) {
        all.push((man.get_filename(), page));
    }
    all
}

fn page(man: &Man, command: &Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let blocks: Vec<Block<'_>> = text.split("\n\n").map(Block::of).collect();
    let mut description = Roff::new();
    for block in &blocks {
        if let Block::Prose(prose) = block {
            description.control("PP", []).text([roman(*prose)]);
        }
    }
    description.to_writer(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    let mut end = Roff::new();
    for block in &blocks {
        match block {
            Block::Prose(_) => {}
            Block::Examples(lines) => {
                end.control("SH", ["EXAMPLES"]).control("nf", []);
                end.text([roman(*lines)]).control("fi", []);
            }
            Block::ExitCodes(codes) => {
                end.control("SH", ["EXIT STATUS"]).text([roman(*codes)]);
            }
        }
    }
    end.control("SH", ["ENVIRONMENT"]).text([roman(ENVIRONMENT)]);
    end.control("SH", ["SEE ALSO"]).text([roman(SEE_ALSO)]);
    end.to_writer(&mut page)?;
    Ok(page)
}

const ENVIRONMENT: &str = "Most options --some-option can also be given as a variable \
    ZPUT_SOME_OPTION. The command line takes precedence.";

const SEE_ALSO: &str = "zblob(1), zput(1), zget(1), zserve(1)";

/// A paragraph of the text behind the options.
enum Block<'a> {
    Examples(&'a str),
    ExitCodes(&'a str),
    Prose(&'a str),
}

impl<'a> Block<'a> {
    fn of(text: &'a str) -> Self {
        if let Some(lines) = text.strip_prefix("Examples:\n") {
            Self::Examples(lines)
        } else if let Some(codes) = text.strip_prefix("Exit codes: ") {
            Self::ExitCodes(codes)
        } else {
            Self::Prose(text)
        }
    }
}
