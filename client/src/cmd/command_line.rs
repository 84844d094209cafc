//! The command line: what every command understands, options from the environment, and words for
//! what is not understood.
//!
//! `--some-option` can be given as `ZPUT_SOME_OPTION`, whichever command has it. The command line
//! counts more: an option of the environment that contradicts one that was typed is not looked at.

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    io::Write as _,
    process,
};

use clap::{
    ArgAction, ArgMatches, Args, Command, Parser,
    builder::FalseyValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{Console, Failure, Voice, peers, usage};
use crate::ExitCode;

/// What every command understands.
#[derive(Args, Clone, Copy, Debug)]
struct Common {
    /// Say nothing but errors: no progress, no notes
    #[arg(short, long, global = true, overrides_with = "verbose")]
    quiet: bool,

    /// Say each step and each success, also into a pipe
    #[arg(short, long, global = true, overrides_with = "quiet")]
    verbose: bool,

    /// Leave nothing on this machine: for containers that are thrown away. A server that gives
    /// something older is then not noticed, and what is interrupted starts over
    #[arg(long, global = true)]
    no_state: bool,
}

/// Bytes that an invite or an age identity has at least; a name may begin like one.
const SECRET_MIN_BYTES: usize = 40;

/// Options that have no environment variable, and why.
pub const ALWAYS_SAID: [(&str, &str); 7] = [
    ("help", "it asks for words and does nothing"),
    ("version", "it asks for words and does nothing"),
    ("force", "it replaces what is there: that is said where it is meant"),
    ("yes", "it answers a question that was not asked yet"),
    ("allow-rollback", "it lowers a guard, for one blob and once"),
    ("bare", "it lowers a guard: nobody vouches for what is opened"),
    ("plaintext", "it lowers a guard: nothing is sealed"),
];

/// The environment variable of the option `--long`, if it has one.
#[must_use]
pub fn variable_of(long: &str) -> Option<String> {
    let is_said = ALWAYS_SAID.iter().any(|(said, _)| *said == long);
    (!is_said).then(|| format!("ZPUT_{}", long.to_uppercase().replace('-', "_")))
}

/// The command as it is parsed, but for what the environment says.
#[must_use]
pub fn prepared(command: Command) -> Command {
    Common::augment_args(command)
}

/// What was asked for.
pub(super) struct Given<A> {
    pub(super) arguments: A,
    pub(super) console: Console,
    /// Nothing is to be left on this machine.
    pub(super) without_state: bool,
}

/// The arguments of this process.
pub(super) fn parse<A: Parser>(name: &'static str) -> Result<Given<A>, process::ExitCode> {
    let given: Vec<OsString> = env::args_os().collect();
    if given.iter().any(|word| is_secret(word)) {
        return Err(tell_secret(name, &given));
    }
    let command = prepared(A::command());
    let typed = typed(&command, &given);
    let command = with_environment(command, &typed);
    let parsed = command.clone().try_get_matches_from(&given).and_then(|matches| {
        let deepest = deepest(&matches);
        let is_json = flag(deepest, "json");
        let voice = match (flag(deepest, "quiet"), flag(deepest, "verbose")) {
            (true, _) => Voice::Quiet,
            (false, true) => Voice::Verbose,
            (false, false) => Voice::Normal,
        };
        Ok(Given {
            arguments: A::from_arg_matches(&matches)?,
            console: Console::new(name, voice, is_json),
            without_state: flag(deepest, "no_state"),
        })
    });
    parsed.map_err(|error| tell(name, error, &given))
}

/// Whether an argument is an invite or an age identity itself, where the name of its file was meant.
fn is_secret(word: &OsStr) -> bool {
    let word = word.to_string_lossy().to_lowercase();
    let begins = ["zputinvite1", "age-secret-key-"].iter().find_map(|prefix| word.find(prefix));
    let Some(secret) = begins.and_then(|at| word.get(at..)) else { return false };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    secret.len() >= SECRET_MIN_BYTES && secret.bytes().all(is_part)
}

/// Says so without repeating it: what goes to stderr often goes to a log.
fn tell_secret(name: &'static str, given: &[OsString]) -> process::ExitCode {
    let text = "an argument is a secret, which other users of this machine can see; it is not used (zkey join \
                reads an invite from stdin or --invite-file PATH; age identities are named by their file)";
    Console::new(name, Voice::Normal, is_json(given)).fail(&usage(text));
    ExitCode::Usage.into()
}

/// Whether errors are to be JSON too, as far as that can be told of a line that is not understood.
fn is_json(given: &[OsString]) -> bool {
    given.iter().any(|word| word == "--json")
        || env::var_os("ZPUT_JSON").is_some_and(|value| is_given(&value, true))
}

fn flag(matches: &ArgMatches, id: &str) -> bool {
    matches.try_get_one::<bool>(id).ok().flatten().copied().unwrap_or(false)
}

/// The matches of the subcommand, where there is one.
fn deepest(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| deepest(matches))
}

/// The ids of what was typed, as far as that can be told without the environment.
fn typed(command: &Command, given: &[OsString]) -> BTreeSet<String> {
    let mut typed = BTreeSet::new();
    let parsed = command.clone().ignore_errors(true).try_get_matches_from(given);
    let mut matches = parsed.as_ref().ok();
    while let Some(these) = matches {
        let is_typed =
            |id: &&clap::Id| these.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        typed.extend(these.ids().filter(is_typed).map(ToString::to_string));
        matches = these.subcommand().map(|(_, matches)| matches);
    }
    typed
}

/// Lets the environment give what was not typed.
fn with_environment(command: Command, typed: &BTreeSet<String>) -> Command {
    let beaten = beaten(&command, typed);
    command
        .mut_args(|arg| {
            let variable = arg.get_long().and_then(variable_of);
            let Some(variable) = variable.filter(|_| !beaten.contains(arg.get_id().as_str()))
            else {
                return arg;
            };
            let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
            match env::var_os(&variable) {
                Some(value) if is_given(&value, is_flag) => {
                    let arg =
                        if is_flag { arg.value_parser(FalseyValueParser::new()) } else { arg };
                    arg.env(&*variable.leak()).hide_env(true)
                }
                _ => arg,
            }
        })
        .mut_subcommands(|command| with_environment(command, typed))
}

/// Whether a variable says anything: an empty one does not, nor one that says no to a flag.
fn is_given(value: &OsStr, is_flag: bool) -> bool {
    let says_no = ["0", "n", "no", "f", "false", "off"];
    let text = value.to_string_lossy().to_lowercase();
    !(value.is_empty() || is_flag && says_no.contains(&text.as_str()))
}

/// What contradicts something that was typed.
fn beaten(command: &Command, typed: &BTreeSet<String>) -> BTreeSet<String> {
    let mut built = command.clone();
    built.build();
    let mut beaten = BTreeSet::new();
    for arg in built.get_arguments().filter(|arg| !arg.is_global_set()) {
        for other in built.get_arg_conflicts_with(arg) {
            let pair = [arg.get_id().to_string(), other.get_id().to_string()];
            let are_typed = pair.each_ref().map(|id| typed.contains(id));
            match (pair, are_typed) {
                ([_, second], [true, false]) => drop(beaten.insert(second)),
                ([first, _], [false, true]) => drop(beaten.insert(first)),
                _ => {}
            }
        }
    }
    // Of these two the last one counts, and a typed one is the last.
    let loud = [("quiet", "verbose"), ("verbose", "quiet")];
    beaten
        .extend(loud.iter().filter(|(id, _)| typed.contains(*id)).map(|(_, id)| (*id).to_owned()));
    beaten
}

/// Says what is wrong with the command line, or what was asked for (`--help`).
fn tell(name: &'static str, error: clap::Error, given: &[OsString]) -> process::ExitCode {
    if !error.use_stderr() {
        // A reader that left has read what it wanted.
        let _told = error.print();
        return ExitCode::Ok.into();
    }
    let text = words(name, &error).or_else(|| of_variable(&error));
    let is_json = is_json(given);
    let console = Console::new(name, Voice::Normal, is_json);
    match text {
        Some(text) => console.fail(&usage(text)),
        None => {
            let _told = error.print();
            if is_json {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                let text = first.strip_prefix("error: ").unwrap_or(first);
                let failure: Failure = usage(text);
                let _told = console.print_json(&failure.json());
            }
        }
    }
    let _flushed = std::io::stderr().flush();
    ExitCode::Usage.into()
}

/// An option that there is not: what there is instead.
fn words(name: &str, error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let option = context(error, ContextKind::InvalidArg)?;
    let help = format!("{name} --help lists what there is");
    if let Some(instead) = peers::instead_of(name, &option) {
        return Some(format!("there is no {option} here: {instead} ({help})"));
    }
    match context(error, ContextKind::SuggestedArg) {
        Some(near) => Some(format!("there is no {option}: did you mean {near}? ({help})")),
        None => Some(format!("there is no {option} here ({help})")),
    }
}

/// A value that does not fit, and that an environment variable says.
fn of_variable(error: &clap::Error) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let option = context(error, ContextKind::InvalidArg)?;
    let value = context(error, ContextKind::InvalidValue)?;
    let long = option.strip_prefix("--")?.split([' ', '=']).next()?;
    let variable = variable_of(long)?;
    let said = env::var(&variable).ok().filter(|said| *said == value)?;
    Some(format!("{variable} is {said:?}, which --{long} does not take"))
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_and_a_no_say_nothing() {
        for (value, as_flag, as_value) in [
            ("", false, false),
            ("0", false, true),
            ("no", false, true),
            ("FALSE", false, true),
            ("1", true, true),
            ("yes", true, true),
            ("5", true, true),
        ] {
            assert_eq!(is_given(OsStr::new(value), true), as_flag, "{value}");
            assert_eq!(is_given(OsStr::new(value), false), as_value, "{value}");
        }
    }

    #[test]
    fn variables_are_named_by_their_options() {
        assert_eq!(variable_of("no-resume").as_deref(), Some("ZPUT_NO_RESUME"));
        assert_eq!(variable_of("key").as_deref(), Some("ZPUT_KEY"));
        assert_eq!(variable_of("force"), None);
    }
}
