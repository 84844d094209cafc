//! `zblob key public` and `zblob key show`: print what a key file contains.

use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zput::cli::printable;
use zput_proto::keys::Remote;
use zput_seal::{
    age::Recipient,
    keys::{KeyFile, ParsedKeyFile},
};

use super::super::{Console, Failure, KeyArguments, directories};

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
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArguments,
}

#[derive(Serialize)]
struct PublicLine {
    recipients: Vec<String>,
    device: String,
    writer: String,
    fingerprint: String,
}

impl PublicLine {
    fn of(key_file: &KeyFile) -> Self {
        let recipients: Vec<_> = key_file.recipients.iter().map(ToString::to_string).collect();
        let device = key_file.device_seed().tls_key().public_key().to_string();
        let writer = key_file.device_seed().writer_key().public_key().to_string();
        let fingerprint = fingerprint(recipients.iter().chain([&device, &writer]));
        Self { recipients, device, writer, fingerprint }
    }
}

/// A fingerprint for two people to compare aloud: 30 decimal digits from the SHA-256 of all lines.
fn fingerprint<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    let mut hash = Sha256::new();
    hash.update("zput/v1/fingerprint\n");
    for line in lines {
        hash.update(line);
        hash.update("\n");
    }
    let digits = |bytes: &[u8]| {
        let number = bytes.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        format!("{:05}", number % 100_000)
    };
    let hash = hash.finalize();
    hash.chunks_exact(5).map(digits).collect::<Vec<_>>().join(" ")
}

impl Public {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let key_file = self.key.path(&directories()?).open()?;
        let line = PublicLine::of(&key_file);
        if self.json {
            return Ok(console.print_json(&line)?);
        }
        for recipient in &line.recipients {
            console.print(&format_args!("recipient {recipient}"))?;
        }
        console.print(&format_args!("device    {}", line.device))?;
        console.print(&format_args!("writer    {}", line.writer))?;
        console.print(&format_args!("fingerprint {}", line.fingerprint))?;
        Ok(())
    }
}

impl Show {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let path = self.key.path(&directories()?).file;
        if self.json {
            let file = path.as_path().display().to_string();
            return Ok(console.print_json(&ShowLine::of(file, path.parse()?))?);
        }
        let remote = |remote: Option<&Remote>| {
            remote.map_or_else(
                || "none (zblob key join takes an invite)".to_owned(),
                ToString::to_string,
            )
        };
        let mut lines = vec![("file", path.as_path().display().to_string())];
        match path.parse()? {
            ParsedKeyFile::Locked(locked) => lines.extend([
                ("role", locked.role().to_string()),
                ("remote", remote(locked.remote())),
                ("secrets", "encrypted with a passphrase".to_owned()),
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
                lines.push(("secrets", "not encrypted".to_owned()));
            }
        }
        for (label, value) in lines {
            console.print(&format_args!("{label:<10} {}", printable(&value)))?;
        }
        Ok(())
    }
}

/// The contents of a key file without its secrets, as JSON (docs/JSON.md).
#[derive(Default, Serialize)]
struct ShowLine {
    file: String,
    role: String,
    remote: Option<String>,
    encrypted: bool,
    mode: Option<String>,
    names: Option<String>,
    server_key: Option<String>,
    recipients: Option<Vec<String>>,
    writers: Option<Vec<String>>,
}

impl ShowLine {
    fn of(file: String, parsed: ParsedKeyFile) -> Self {
        match parsed {
            ParsedKeyFile::Locked(locked) => Self {
                file,
                role: locked.role().to_string(),
                remote: locked.remote().map(ToString::to_string),
                encrypted: true,
                ..Self::default()
            },
            ParsedKeyFile::Open(open) => Self {
                file,
                role: open.role().to_string(),
                remote: open.remote.as_ref().map(ToString::to_string),
                encrypted: false,
                mode: Some(open.mode.as_str().to_owned()),
                names: Some(open.names.as_str().to_owned()),
                server_key: open.server_key.as_ref().map(ToString::to_string),
                recipients: Some(open.recipients.iter().map(ToString::to_string).collect()),
                writers: Some(open.writers.iter().map(ToString::to_string).collect()),
            },
        }
    }
}

/// A post-quantum recipient has two thousand characters; `zblob key public` prints all of them.
fn shortened(recipient: &Recipient) -> String {
    let text = recipient.to_string();
    match text.get(..SHOWN_CHARACTERS) {
        Some(beginning) if text.len() > MAX_SHOWN_CHARACTERS => format!("{beginning}…"),
        _ => text,
    }
}

/// Characters that are shown of a longer text.
const SHOWN_CHARACTERS: usize = 48;
/// A text of at most this many characters is shown completely; an X25519 recipient has 62.
const MAX_SHOWN_CHARACTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::fingerprint;

    /// The SHA-256 of the four lines is 0a7a8f96…, computed by sha256sum(1) and python.
    #[test]
    fn fingerprint_is_thirty_digits_of_all_lines() {
        let lines = ["age1x".to_owned(), "device".to_owned(), "writer".to_owned()];
        assert_eq!(fingerprint(lines.iter()), "03433 67881 79021 76066 20674 36316");
        assert_ne!(fingerprint(lines[1..].iter()), "03433 67881 79021 76066 20674 36316");
    }
}
