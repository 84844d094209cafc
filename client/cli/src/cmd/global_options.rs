//! The options of every verb, and the environment variable of each option.

use clap::{Args, Command};

/// What every verb understands.
#[derive(Args, Clone, Copy, Debug)]
struct Common {
    /// Print errors only: no progress, no notes
    #[arg(short, long, global = true, overrides_with = "verbose")]
    quiet: bool,

    /// Print each step and each success, even if stderr is no terminal
    #[arg(short, long, global = true, overrides_with = "quiet")]
    verbose: bool,

    /// Keep no state on this machine, for containers that are thrown away: a server that returns an
    /// older version is then not detected, and an interrupted transfer starts over
    #[arg(long, global = true)]
    no_state: bool,
}

/// Options without an environment variable, and the reason for each.
pub const COMMAND_LINE_ONLY: [(&str, &str); 7] = [
    ("help", "prints text only"),
    ("version", "prints text only"),
    ("force", "overwrites files: to be typed where that is wanted"),
    ("yes", "confirms a removal: to be typed where that is wanted"),
    ("allow-rollback", "disables the rollback check for one blob"),
    ("bare", "disables authentication by a vault"),
    ("plaintext", "disables encryption"),
];

/// The environment variable of the option `--long`, if it has one.
#[must_use]
pub fn environment_variable(long: &str) -> Option<String> {
    let is_command_line_only = COMMAND_LINE_ONLY.iter().any(|(said, _)| *said == long);
    (!is_command_line_only).then(|| format!("ZPUT_{}", long.to_uppercase().replace('-', "_")))
}

/// The command with the options of every verb, without the environment.
pub(super) fn with_global_options(command: Command) -> Command {
    // The derived definition also describes the command it is added to.
    let about = command.get_about().cloned();
    Common::augment_args(command).about(about.unwrap_or_default())
}
