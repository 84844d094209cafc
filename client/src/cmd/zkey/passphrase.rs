//! `zkey passphrase`: sets, changes and removes one.

use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use super::super::{Console, Failure, KeyArguments, directories, usage};
use crate::{
    atomic::Existing,
    keystore::{KeystoreError, Unlocked},
    terminal,
};

#[derive(Args, Debug)]
pub(super) struct Passphrase {
    /// What to do
    #[arg(value_enum)]
    action: PassphraseAction,
    #[command(flatten)]
    key: KeyArguments,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum PassphraseAction {
    /// Put the secrets under a passphrase
    Set,
    /// Ask for the old one and for a new one
    Change,
    /// Take it off
    Remove,
}

impl Passphrase {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let path = self.key.path(&directories()?);
        match (self.action, path.is_locked()?) {
            (PassphraseAction::Set, true) => {
                return Err(usage("there is a passphrase already (zkey passphrase change)"));
            }
            (PassphraseAction::Change, false) => {
                return Err(usage("there is no passphrase yet (zkey passphrase set)"));
            }
            (PassphraseAction::Remove, false) => {
                return Err(usage("there is no passphrase to take off"));
            }
            _ => {}
        }
        if !terminal::can_ask() {
            return Err(KeystoreError::CannotAsk(path.path).into());
        }
        let Unlocked { key_file, .. } = path.unlock()?;
        let passphrase = match self.action {
            PassphraseAction::Set | PassphraseAction::Change => Some(ask_twice()?),
            PassphraseAction::Remove => None,
        };
        let text = Unlocked { key_file, passphrase }.to_text().map_err(|e| path.malformed(e))?;
        path.save_text(&text, Existing::Replace)?;
        console.tell(&match self.action {
            PassphraseAction::Set => {
                "the secrets are under a passphrase now; a lost one cannot be found again"
            }
            PassphraseAction::Change => {
                "the passphrase is changed; backups of the key file keep the old one"
            }
            PassphraseAction::Remove => "the secrets are no longer under a passphrase",
        });
        Ok(())
    }
}

fn ask_twice() -> Result<Zeroizing<String>, Failure> {
    let ask = |prompt| terminal::ask_secret(prompt).map_err(KeystoreError::Ask);
    let first = ask("New passphrase: ")?;
    if first.is_empty() {
        return Err(usage("a passphrase cannot be empty"));
    }
    if *first != *ask("The same again: ")? {
        return Err(usage("the two are not the same; nothing was changed"));
    }
    Ok(first)
}
