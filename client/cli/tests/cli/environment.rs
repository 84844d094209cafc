//! docs/ENVIRONMENT.md against the options that the commands have.

use std::{collections::BTreeSet, fs, path::Path};

use clap::Command;
use zput_cli::cmd::{COMMAND_LINE_ONLY, Program, environment_variable};

/// The long options of a command and its subcommands.
fn longs(command: &Command, into: &mut BTreeSet<String>) {
    into.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned));
    command.get_subcommands().for_each(|command| longs(command, into));
}

/// Every long option has a variable or a reason on the page ENVIRONMENT, and no other.
#[test]
fn environment_page_covers_every_option() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ENVIRONMENT.md");
    let page = fs::read_to_string(page).unwrap();
    let mut all = BTreeSet::new();
    for program in Program::ALL {
        let mut command = program.command();
        command.build();
        longs(&command, &mut all);
    }
    for known in ["key", "retries", "json", "quiet", "jobs", "invite-file", "force", "help"] {
        assert!(all.contains(known), "{known}");
    }
    for long in &all {
        let reason = COMMAND_LINE_ONLY.iter().find(|(said, _)| said == long);
        let row = match (environment_variable(long), reason) {
            (Some(variable), None) => format!("\n| `{variable}` | `--{long}` | "),
            (None, Some((_, why))) => format!("\n| `--{long}` | {why} |\n"),
            (variable, reason) => panic!("--{long}: {variable:?} and {reason:?}"),
        };
        assert!(page.contains(&row), "{}", row.trim());
    }
    for line in page.lines().filter(|line| line.starts_with("| `ZPUT_")) {
        let long = line.split("`--").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
        assert!(all.contains(long), "no command has --{long}");
    }
    assert_eq!(environment_variable("some-option").as_deref(), Some("ZPUT_SOME_OPTION"));
}
