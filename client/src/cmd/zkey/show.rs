//! `zkey public` and `zkey show`: what a key file says.

use clap::Args;
use serde::Serialize;
use zput_common::{
    age::Recipient,
    keys::{ParsedKeyFile, Remote},
};

use super::super::{Console, Failure, KeyArguments, directories};
use crate::terminal;

#[derive(Args, Debug)]
pub(super) struct Public {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Serialize)]
struct PublicLine {
    recipients: Vec<String>,
    device: String,
    writer: String,
}

impl Public {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let key_file = self.key.path(&directories()?).open()?;
        let line = PublicLine {
            recipients: key_file.recipients.iter().map(ToString::to_string).collect(),
            device: key_file.device_seed().tls_key().public_key().to_string(),
            writer: key_file.device_seed().writer_key().public_key().to_string(),
        };
        if self.json {
            return Ok(console.print_json(&line)?);
        }
        for recipient in &line.recipients {
            console.print(&format_args!("recipient {recipient}"))?;
        }
        console.print(&format_args!("device    {}", line.device))?;
        console.print(&format_args!("writer    {}", line.writer))?;
        Ok(())
    }
}

impl Show {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let path = self.key.path(&directories()?);
        let remote = |remote: Option<&Remote>| {
            remote
                .map_or_else(|| "none (zkey join takes an invite)".to_owned(), ToString::to_string)
        };
        let mut lines = vec![("file", path.path.display().to_string())];
        match path.parse()? {
            ParsedKeyFile::Locked(locked) => lines.extend([
                ("role", locked.role().to_string()),
                ("remote", remote(locked.remote())),
                ("secrets", "under a passphrase".to_owned()),
            ]),
            ParsedKeyFile::Open(file) => {
                lines.extend([
                    ("role", file.role().to_string()),
                    ("remote", remote(file.remote.as_ref())),
                    ("mode", file.mode.as_str().to_owned()),
                    ("names", file.names.as_str().to_owned()),
                ]);
                lines.extend(file.server_key.map(|key| ("server key", key.to_string())));
                lines.extend(file.recipients.iter().map(|key| ("recipient", shortened(key))));
                lines.extend(file.writers.iter().map(|key| ("writer", key.to_string())));
                lines.push(("secrets", "not under a passphrase".to_owned()));
            }
        }
        for (label, value) in lines {
            console.print(&format_args!("{label:<10} {}", terminal::printable(&value)))?;
        }
        Ok(())
    }
}

/// A post-quantum recipient is two thousand characters long; `zkey public` prints all of them.
fn shortened(recipient: &Recipient) -> String {
    let text = recipient.to_string();
    match text.get(..SHOWN_CHARACTERS) {
        Some(beginning) if text.len() > MAX_SHOWN_CHARACTERS => format!("{beginning}…"),
        _ => text,
    }
}

/// Characters that are shown of what is too long to show.
const SHOWN_CHARACTERS: usize = 48;
/// What is not longer is shown whole: an X25519 recipient has 62.
const MAX_SHOWN_CHARACTERS: usize = 64;
