//! The command line: options of every verb, options from the environment, and hints for unknown
//! options and verbs.
//!
//! `--some-option` can also be given as `ZPUT_SOME_OPTION`. The command line takes precedence: an
//! environment option that conflicts with a typed one is ignored.

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    io::Write as _,
    process,
};

use clap::{
    ArgAction, ArgMatches, Command,
    builder::FalseyValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{
    console::{Console, Verbosity},
    failure::{Failure, usage},
    foreign_options,
    global_options::environment_variable,
    program::Program,
    verb::Verb,
};
use crate::exit_code::ExitCode;

/// Least length in bytes of an invite or an age identity; a shorter text may be a name.
const SECRET_MIN_BYTES: usize = 40;

/// The parsed command line.
pub(super) struct Invocation {
    pub(super) verb: Verb,
    pub(super) console: Console,
    /// Whether `--no-state` was given.
    pub(super) without_state: bool,
}

/// Parses the arguments of this process.
///
/// # Errors
/// The exit code, after the error was reported.
pub(super) fn parse(program: Program) -> Result<Invocation, process::ExitCode> {
    let given: Vec<OsString> = env::args_os().collect();
    let command = program.command();
    let name = called_name(program, &command, &given);
    if given.iter().any(|word| is_secret(word)) {
        return Err(report_secret(name, &given));
    }
    let typed = typed_options(&command, &given);
    let command = with_environment(command, &typed);
    let parsed = command.clone().try_get_matches_from(&given).and_then(|matches| {
        let innermost = innermost(&matches);
        let is_json = flag(innermost, "json");
        let verbosity = match (flag(innermost, "quiet"), flag(innermost, "verbose")) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        };
        Ok(Invocation {
            verb: program.verb_of(&matches)?,
            console: Console::new(name, verbosity, is_json),
            without_state: flag(innermost, "no_state"),
        })
    });
    parsed.map_err(|error| report(program, name, error, &given))
}

/// The program and the verbs that were typed behind it: `zblob key join`.
fn called_name(program: Program, command: &Command, given: &[OsString]) -> &'static str {
    let mut name = program.name().to_owned();
    let mut command = command;
    for word in given.iter().skip(1) {
        match word.to_str().and_then(|word| command.find_subcommand(word)) {
            Some(verb) => {
                name.extend([" ", verb.get_name()]);
                command = verb;
            }
            // The options before a verb take no value.
            None if word.as_encoded_bytes().starts_with(b"-") => {}
            None => break,
        }
    }
    // Once in a process.
    name.leak()
}

/// Whether an argument is itself an invite or an age identity, where a file name was meant.
fn is_secret(word: &OsStr) -> bool {
    let word = word.to_string_lossy().to_lowercase();
    let begins = ["zputinvite1", "age-secret-key-"].iter().find_map(|prefix| word.find(prefix));
    let Some(secret) = begins.and_then(|at| word.get(at..)) else { return false };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    secret.len() >= SECRET_MIN_BYTES && secret.bytes().all(is_part)
}

/// Reports a secret argument without repeating it, because stderr often goes to a log.
fn report_secret(name: &'static str, given: &[OsString]) -> process::ExitCode {
    let text = "an argument is a secret, visible to other users of this machine; it was not used \
                (zblob key join reads an invite from stdin or --invite-file PATH; age identities are \
                named by their file)";
    Console::new(name, Verbosity::Normal, is_json(given)).report_failure(&usage(text));
    ExitCode::Usage.into()
}

/// Whether errors are to be printed as JSON, judged without parsing the command line.
fn is_json(given: &[OsString]) -> bool {
    given.iter().any(|word| word == "--json")
        || env::var_os("ZPUT_JSON").is_some_and(|value| is_set(&value, true))
}

fn flag(matches: &ArgMatches, id: &str) -> bool {
    matches.try_get_one::<bool>(id).ok().flatten().copied().unwrap_or(false)
}

/// The matches of the innermost subcommand.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| innermost(matches))
}

/// Ids of the typed options, determined without the environment.
fn typed_options(command: &Command, given: &[OsString]) -> BTreeSet<String> {
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

/// Lets the environment set the options that were not typed.
fn with_environment(command: Command, typed: &BTreeSet<String>) -> Command {
    let overridden = overridden(&command, typed);
    command
        .mut_args(|arg| {
            let variable = arg.get_long().and_then(environment_variable);
            let Some(variable) = variable.filter(|_| !overridden.contains(arg.get_id().as_str()))
            else {
                return arg;
            };
            let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
            match env::var_os(&variable) {
                Some(value) if is_set(&value, is_flag) => {
                    let arg =
                        if is_flag { arg.value_parser(FalseyValueParser::new()) } else { arg };
                    arg.env(&*variable.leak()).hide_env(true)
                }
                _ => arg,
            }
        })
        .mut_subcommands(|command| with_environment(command, typed))
}

/// Whether a variable sets an option: an empty one does not, nor one that denies a flag.
fn is_set(value: &OsStr, is_flag: bool) -> bool {
    let says_no = ["0", "n", "no", "f", "false", "off"];
    let text = value.to_string_lossy().to_lowercase();
    !(value.is_empty() || is_flag && says_no.contains(&text.as_str()))
}

/// Ids of the options that conflict with a typed one.
fn overridden(command: &Command, typed: &BTreeSet<String>) -> BTreeSet<String> {
    let mut built = command.clone();
    built.build();
    let mut overridden = BTreeSet::new();
    for arg in built.get_arguments().filter(|arg| !arg.is_global_set()) {
        for other in built.get_arg_conflicts_with(arg) {
            let pair = [arg.get_id().to_string(), other.get_id().to_string()];
            let are_typed = pair.each_ref().map(|id| typed.contains(id));
            match (pair, are_typed) {
                ([_, second], [true, false]) => drop(overridden.insert(second)),
                ([first, _], [false, true]) => drop(overridden.insert(first)),
                _ => {}
            }
        }
    }
    // Of these two the last one counts, which is the typed one.
    let rivals = [("quiet", "verbose"), ("verbose", "quiet")];
    overridden.extend(
        rivals.iter().filter(|(id, _)| typed.contains(*id)).map(|(_, id)| (*id).to_owned()),
    );
    overridden
}

/// Reports an error of the command line, or prints the help that was asked for.
fn report(
    program: Program,
    name: &'static str,
    error: clap::Error,
    given: &[OsString],
) -> process::ExitCode {
    if !error.use_stderr() {
        // A reader that is gone needs no error message.
        let _unwritable = error.print();
        return ExitCode::Ok.into();
    }
    let text = suggest(program, name, &error)
        .or_else(|| suggest_verb(name, &error))
        .or_else(|| describe_variable(&error));
    let is_json = is_json(given);
    let console = Console::new(name, Verbosity::Normal, is_json);
    match text {
        Some(text) => console.report_failure(&usage(text)),
        None => {
            let _unwritable = error.print();
            if is_json {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                let text = first.strip_prefix("error: ").unwrap_or(first);
                let failure: Failure = usage(text);
                let _unwritable = console.print_json(&failure.json());
            }
        }
    }
    let _flushed = std::io::stderr().flush();
    ExitCode::Usage.into()
}

/// A hint for an unknown option.
fn suggest(program: Program, name: &str, error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let option = context(error, ContextKind::InvalidArg)?;
    let help = format!("{name} --help lists what there is");
    let verb = name.split(' ').nth(1).or(program.verb()).unwrap_or_default();
    if let Some(instead) = foreign_options::suggestion(verb, &option) {
        return Some(format!("there is no {option} here: {instead} ({help})"));
    }
    match context(error, ContextKind::SuggestedArg) {
        Some(near) => Some(format!("there is no {option}: did you mean {near}? ({help})")),
        None => Some(format!("there is no {option} here ({help})")),
    }
}

/// A hint for an unknown verb.
fn suggest_verb(name: &str, error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let verb = context(error, ContextKind::InvalidSubcommand)?;
    // clap lists the most similar one last.
    let similar = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(verbs)) => verbs.last().map(String::as_str),
        _ => None,
    };
    let is_below_a_verb = name.contains(' ');
    let foreign = if is_below_a_verb { None } else { foreign_options::verb(&verb) };
    let near = foreign.or(similar);
    let near = near.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
    Some(format!("there is no verb {verb}{near} ({name} --help lists what there is)"))
}

/// The error text for an invalid value that comes from an environment variable.
fn describe_variable(error: &clap::Error) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let option = context(error, ContextKind::InvalidArg)?;
    let value = context(error, ContextKind::InvalidValue)?;
    let long = option.strip_prefix("--")?.split([' ', '=']).next()?;
    let variable = environment_variable(long)?;
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

    /// An empty variable sets no option, and one of "no" sets no flag.
    #[test]
    fn environment_option_empty_or_no_is_unset() {
        for (value, as_flag, as_value) in [
            ("", false, false),
            ("0", false, true),
            ("no", false, true),
            ("FALSE", false, true),
            ("1", true, true),
            ("yes", true, true),
            ("5", true, true),
        ] {
            assert_eq!(is_set(OsStr::new(value), true), as_flag, "{value}");
            assert_eq!(is_set(OsStr::new(value), false), as_value, "{value}");
        }
    }

    /// An option's variable is its name in capitals after ZPUT_; --force has none.
    #[test]
    fn environment_variable_is_named_by_its_option() {
        assert_eq!(environment_variable("no-resume").as_deref(), Some("ZPUT_NO_RESUME"));
        assert_eq!(environment_variable("key").as_deref(), Some("ZPUT_KEY"));
        assert_eq!(environment_variable("force"), None);
    }
}
