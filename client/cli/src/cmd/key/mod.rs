//! `zblob key`: makes, shows, shares and protects key files.

mod created;
mod export;
mod join;
mod make;
mod migrate;
mod passphrase;
mod show;

use clap::{Args, Subcommand};

use super::{Console, Failure};

const EXAMPLES: &str = "\
Examples:
  zblob key new                                a new vault and a post-quantum identity
  zblob key join --invite-file invite.txt      give this device an account on a server
  zblob key export --put-only -o backup.zkey   for a host that stores and cannot open
  zblob key export --get-only -o fleet.zkey    for machines that open what you put
  zblob key passphrase set                     encrypt the secrets with a passphrase
  zblob key public                             public keys, and a fingerprint to compare aloud
  zblob key import --identity key.txt          a new vault around an identity of age-keygen

A key file holds all that this machine may do. Back it up: a blob that is sealed to a lost key stays
sealed. Secrets are never arguments and never in the environment. A passphrase is asked for on the
terminal, or comes from --passphrase-command (or $ZPUT_PASSPHRASE_COMMAND), --passphrase-fd, or the
service credential zput.passphrase. The key file itself may be the service credential zput.key.

Exit codes: 0 ok, 1 other, 2 usage, 5 try again, 6 denied, 7 key missing or wrong, 10 exists.";

/// Makes, shows, shares and protects key files
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
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
    /// Print the recipients, and the public keys of this device
    Public(show::Public),
    /// Show what the key file holds, except its secrets
    Show(show::Show),
    /// Redeem an invite: give this device an account on a server; creates a key file if there is
    /// none
    Join(join::Join),
    /// Set, change or remove the passphrase of the key file
    Passphrase(passphrase::Passphrase),
    /// Make a key file for a new vault around an existing identity
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::parse_arguments;

    /// The command zblob key export requires an output and exactly one role.
    #[test]
    fn zblob_key_export_requires_exactly_one_role() {
        let parse = |line: &[&str]| parse_arguments::<Arguments>(line).map(drop);
        assert!(parse(&["key", "export", "--put-only", "-o", "f"]).is_ok());
        assert!(parse(&["key", "export", "--get-only", "-o", "f"]).is_ok());
        assert!(parse(&["key", "export", "-o", "f"]).is_err());
        assert!(parse(&["key", "export", "--put-only", "--get-only", "-o", "f"]).is_err());
        assert!(parse(&["key", "export", "--put-only"]).is_err());
    }

    /// A secret on a command line is visible to every user.
    #[test]
    fn zblob_key_join_refuses_invite_as_argument() {
        assert!(parse_arguments::<Arguments>(&["key", "join", "zputinvite1qqq"]).is_err());
    }
}
