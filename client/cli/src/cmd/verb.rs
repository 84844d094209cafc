//! The verbs, and the command line of each program, which is made of them.

use std::sync::LazyLock;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _, Subcommand, builder::StyledStr};
use zput_proto::{envelope, hello};

use super::{
    completions, console::Console, failure::Failure, get, global_options::with_global_options, key,
    ls, man, open, program::Program, put, restore, rm, seal, stat,
};

impl Program {
    /// The definition of the command line, without the environment.
    #[must_use]
    pub fn command(self) -> Command {
        let command = Command::new(self.name())
            .version(env!("CARGO_PKG_VERSION"))
            .long_version(LONG_VERSION.as_str());
        with_global_options(match self {
            Self::Zblob => zblob(command),
            Self::Zput => put::Arguments::augment_args(command),
            Self::Zget => get::Arguments::augment_args(command),
        })
    }

    /// The short help of a verb of `zblob`.
    pub(super) fn verb_help(verb: &str) -> StyledStr {
        let mut command = Self::Zblob.command();
        command.build();
        command.find_subcommand_mut(verb).map(Command::render_help).unwrap_or_default()
    }

    /// What the parsed command line asks for.
    pub(super) fn verb_of(self, matches: &ArgMatches) -> Result<Verb, clap::Error> {
        match self {
            Self::Zblob => Verb::from_arg_matches(matches),
            Self::Zput => put::Arguments::from_arg_matches(matches).map(Verb::Put),
            Self::Zget => get::Arguments::from_arg_matches(matches).map(Verb::Get),
        }
    }
}

/// What `--version` prints behind the name: the version, and the numbers that two machines have to
/// share.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let (format, protocol) = (envelope::VERSION, hello::VERSION);
    format!("{}\nblob format {format}, protocol {protocol}", env!("CARGO_PKG_VERSION"))
});

/// A verb of `zblob` with its arguments. The help texts are those of the arguments' types.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Put(put::Arguments),
    Get(get::Arguments),
    Ls(ls::Arguments),
    Stat(stat::Arguments),
    Rm(rm::Arguments),
    Restore(restore::Arguments),
    Seal(seal::Arguments),
    Open(open::Arguments),
    Key(key::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

impl Verb {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        match self {
            Self::Put(arguments) => put::run(arguments, console),
            Self::Get(arguments) => get::run(arguments, console),
            Self::Ls(arguments) => ls::run(arguments, console),
            Self::Stat(arguments) => stat::run(arguments, console),
            Self::Rm(arguments) => rm::run(arguments, console),
            Self::Restore(arguments) => restore::run(arguments, console),
            Self::Seal(arguments) => seal::run(arguments, console),
            Self::Open(arguments) => open::run(arguments, console),
            Self::Key(arguments) => key::run(arguments, console),
            Self::Completions(arguments) => completions::run(arguments, Program::command, console),
            Self::Man(arguments) => man::run(arguments, Program::command),
        }
    }
}

/// The verbs by task, in the order of the first page of help.
const TASKS: [(&str, &[&str]); 6] = [
    ("Store and fetch", &["put", "get"]),
    ("Look at what is stored", &["ls", "stat"]),
    ("Remove and bring back", &["rm", "restore"]),
    ("Seal and open without a server", &["seal", "open"]),
    ("Key files", &["key"]),
    ("Shell", &["completions", "man"]),
];

const NOTE: &str = "\
zput FILE... is zblob put, and zget NAME... is zblob get.
\"zblob help VERB\" describes a verb, with examples and exit codes.";

/// The definition of `zblob`. clap lists subcommands under one heading, so the list by task is part
/// of the template.
fn zblob(command: Command) -> Command {
    let command = Verb::augment_subcommands(command)
        .about("Stores sealed blobs on a server and fetches them")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand_value_name("VERB")
        .subcommand_help_heading("VERBS");
    let verbs = verbs_by_task(&command);
    let header = *command.get_styles().get_header();
    command.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n\
         {verbs}{header}Options:{header:#}\n{{options}}\n\n{NOTE}\n"
    ))
}

fn verbs_by_task(command: &Command) -> String {
    let (header, literal) = (command.get_styles().get_header(), command.get_styles().get_literal());
    let mut text = String::new();
    for (task, verbs) in TASKS {
        text.push_str(&format!("{header}{task}:{header:#}\n"));
        for verb in verbs {
            let about = command.find_subcommand(verb).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {literal}{verb:<11}{literal:#}  {about}\n"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_sound() {
        for program in Program::ALL {
            program.command().debug_assert();
        }
    }

    #[test]
    fn tasks_have_each_verb_once() {
        let command = Program::Zblob.command();
        let mut verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut listed: Vec<&str> = TASKS.iter().flat_map(|(_, verbs)| *verbs).copied().collect();
        verbs.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, verbs);
    }
}
