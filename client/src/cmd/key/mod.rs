//! `zkey`: makes, shows, shares and protects key files.

mod export;
mod join;
mod make;
mod migrate;
mod passphrase;
mod show;

use clap::{Parser, Subcommand};
use serde::Serialize;

use super::{Console, Failure};
use crate::atomic::IfExists;

const EXAMPLES: &str = "\
Examples:
  zkey new                                    a new vault and a post-quantum identity
  zkey join --invite-file invite.txt          give this device an account on a server
  zkey export --put-only -o backup.zkey       for a host that stores and cannot open
  zkey export --get-only -o fleet.zkey        for machines that open what you put
  zkey passphrase set                         put the secrets under a passphrase
  zkey public                                 public keys, and a fingerprint to compare aloud
  zkey import --identity key.txt              a new vault around age-keygen's identity

A key file is this machine's whole capability. Back it up: what is sealed to a key that is lost stays
sealed. Secrets are never arguments and never in the environment. A passphrase is asked for on the
terminal, or comes from --passphrase-command (or $ZPUT_PASSPHRASE_COMMAND), --passphrase-fd, or a
service's credential zput.passphrase; the key file itself may be the credential zput.key.

Exit codes: 0 ok, 1 other, 2 usage, 5 try again, 6 denied, 7 key missing or wrong, 10 exists.";

/// Makes, shows, shares and protects key files
#[derive(Parser, Debug)]
#[command(name = "zkey", version, after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make a key file: a new vault with a fresh post-quantum identity
    New(make::New),
    /// Make a key file for another device of this vault
    Export(export::Export),
    /// Print what others may know: recipients, and this device's public keys
    Public(show::Public),
    /// Show what the key file says, but for its secrets
    Show(show::Show),
    /// Redeem an invite: give this device an account on a server; makes a key file where there is
    /// none
    Join(join::Join),
    /// Put the secrets under a passphrase, change it, or take it off
    Passphrase(passphrase::Passphrase),
    /// Make a key file around an identity that exists: a new vault
    Import(make::Import),
}

/// Runs the command.
///
/// # Errors
/// When the key file could not be made, read or written, or the server refused.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    match arguments.action {
        Action::New(new) => new.run(console),
        Action::Export(export) => export.run(console),
        Action::Public(public) => public.run(console),
        Action::Show(show) => show.run(console),
        Action::Join(join) => join.run(console),
        Action::Passphrase(passphrase) => passphrase.run(console),
        Action::Import(import) => import.run(console),
    }
}

/// A new key file, as JSON (docs/JSON.md).
#[derive(Serialize)]
struct CreatedLine {
    file: String,
    role: String,
}

/// What `--force` means for an existing file.
const fn if_exists(force: bool) -> IfExists {
    if force { IfExists::Replace } else { IfExists::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_has_one_role() {
        let parse = |line: &[&str]| Arguments::try_parse_from(line).map(|_| ());
        assert!(parse(&["zkey", "export", "--put-only", "-o", "f"]).is_ok());
        assert!(parse(&["zkey", "export", "--get-only", "-o", "f"]).is_ok());
        assert!(parse(&["zkey", "export", "-o", "f"]).is_err());
        assert!(parse(&["zkey", "export", "--put-only", "--get-only", "-o", "f"]).is_err());
        assert!(parse(&["zkey", "export", "--put-only"]).is_err());
    }

    /// A secret on a command line is visible to every user.
    #[test]
    fn an_invite_is_no_argument() {
        assert!(Arguments::try_parse_from(["zkey", "join", "zputinvite1qqq"]).is_err());
    }

    #[test]
    fn help_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
