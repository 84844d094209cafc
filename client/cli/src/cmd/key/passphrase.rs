//! `zblob key passphrase`: sets, changes and removes the passphrase of a key file.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use serde::Serialize;
use zeroize::Zeroizing;
use zput::{
    cli::{IfExists, KeyFileLock, KeyPath, Unlocked},
    error::KeystoreError,
};
use zput_seal::keys::ParsedKeyFile;

use super::super::{Console, Failure, KeyArguments, directories, usage};
use crate::{error::CommandError, passphrase::PassphraseSource, terminal};

#[derive(Args, Debug)]
pub(super) struct Passphrase {
    /// What to do
    #[arg(value_enum)]
    action: PassphraseAction,
    /// Shell command that prints the new passphrase, for `change`
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_passphrase_fd")]
    new_passphrase_command: Option<OsString>,
    /// File descriptor from which the new passphrase is read, for `change`
    #[arg(long, value_name = "N")]
    new_passphrase_fd: Option<u16>,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArguments,
}

/// The key file after the change, as JSON (docs/JSON.md).
#[derive(Serialize)]
struct Line {
    file: String,
    encrypted: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum PassphraseAction {
    /// Encrypt the secrets with a passphrase
    Set,
    /// Ask for the old passphrase and for a new one
    Change,
    /// Remove the passphrase: the secrets are then stored as they are
    Remove,
}

impl Passphrase {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let choice = self.key.path(&directories()?);
        let path = &choice.file;
        let before = path.parse()?;
        let is_locked = matches!(before, ParsedKeyFile::Locked(_));
        match (self.action, is_locked) {
            (PassphraseAction::Set, true) => {
                return Err(usage("there is a passphrase already (zblob key passphrase change)"));
            }
            (PassphraseAction::Change, false) => {
                return Err(usage("there is no passphrase yet (zblob key passphrase set)"));
            }
            (PassphraseAction::Remove, false) => {
                return Err(usage("there is no passphrase to remove"));
            }
            _ => {}
        }
        // Without an old passphrase the usual options are about the new one.
        let new = match self.action {
            PassphraseAction::Set => self.key.passphrase(),
            PassphraseAction::Change | PassphraseAction::Remove => {
                PassphraseSource::from_arguments(
                    self.new_passphrase_command.clone(),
                    self.new_passphrase_fd,
                )
            }
        };
        let Unlocked { key_file, .. } = choice.unlock()?;
        let passphrase = match self.action {
            PassphraseAction::Set | PassphraseAction::Change => Some(new_passphrase(&new, path)?),
            PassphraseAction::Remove => None,
        };
        let _lock = KeyFileLock::acquire(path.as_path()).map_err(|error| path.file_error(error))?;
        if path.parse()? != before {
            return Err(usage(
                "the key file was changed meanwhile; it is as it was then (try again)",
            ));
        }
        let text = Unlocked { key_file, passphrase }.to_text().map_err(|e| path.malformed(e))?;
        path.save_text(&text, IfExists::Replace)?;
        console.note(&match self.action {
            PassphraseAction::Set => {
                "the secrets are encrypted with a passphrase now; nobody can recover a lost one"
            }
            PassphraseAction::Change => {
                "the passphrase is changed; backups of the key file keep the old one"
            }
            PassphraseAction::Remove => "the secrets are no longer encrypted with a passphrase",
        });
        if self.json {
            let encrypted = self.action != PassphraseAction::Remove;
            console.print_json(&Line { file: path.as_path().display().to_string(), encrypted })?;
        }
        Ok(())
    }
}

fn new_passphrase(source: &PassphraseSource, path: &KeyPath) -> Result<Zeroizing<String>, Failure> {
    match source.read() {
        Ok(Some(passphrase)) => Ok(passphrase),
        Ok(None) if terminal::can_ask() => ask_twice(),
        Ok(None) => Err(CommandError::CannotAsk(path.as_path().to_owned()).into()),
        Err(error) => {
            Err(KeystoreError::Passphrase { from: source.describe(), source: error }.into())
        }
    }
}

fn ask_twice() -> Result<Zeroizing<String>, Failure> {
    let ask = |prompt| terminal::ask_secret(prompt).map_err(CommandError::Ask);
    let first = ask("New passphrase: ")?;
    if first.is_empty() {
        return Err(usage("a passphrase cannot be empty"));
    }
    if *first != *ask("The same again: ")? {
        return Err(usage("the two passphrases differ; nothing was changed"));
    }
    Ok(first)
}
