//! `zkey`: makes, shows, shares and protects key files.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use zeroize::Zeroizing;
use zput_common::{
    age::Recipient,
    keys::{Invite, KeyFile, Names, ParsedKeyFile, Remote, Role},
    limits::LABEL_MAX_BYTES,
};

use super::{
    At, Console, Failure, KeyArguments, directories, local, usage, zopen::read_identities,
};
use crate::{
    Client, ClientError,
    atomic::{Existing, Staged},
    keystore::{KeyPath, KeystoreError, Unlocked},
    sink::{Output, Sink},
    terminal,
};

const EXAMPLES: &str = "\
Examples:
  zkey new                                    a new vault and a post-quantum identity
  zkey join --invite-file invite.txt          give this device an account on a server
  zkey export --put-only -o backup.zkey       for a host that stores and cannot open
  zkey export --get-only -o fleet.zkey        for machines that open what you put
  zkey passphrase set                         put the secrets under a passphrase
  zkey import --identity key.txt              a new vault around age-keygen's identity

A key file is this machine's whole capability. Back it up: what is sealed to a key that is lost stays
sealed. Secrets are never arguments and never in the environment.

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
    New {
        /// What a server sees of names
        #[arg(long, value_enum, default_value_t = NamesArgument::Sealed)]
        names: NamesArgument,
        /// Replace the key file that is there; what only it opens is lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Make a key file for another device of this vault
    Export {
        #[command(flatten)]
        role: RoleArguments,
        /// Where to; `-` is stdout
        #[arg(short, long, value_name = "PATH")]
        output: PathBuf,
        /// Replace the output file if it is there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Print what others may know: recipients, and this device's public keys
    Public {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Show what the key file says, but for its secrets
    Show {
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Redeem an invite: give this device an account on a server; makes a key file where there is none
    Join {
        /// File that holds the invite; `-` is stdin [default: stdin, or ask if that is a terminal]
        #[arg(long, value_name = "PATH")]
        invite_file: Option<PathBuf>,
        /// What the server's operator sees this device as [default: the host name]
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
        /// Leave the server or the store that the key file names, for this one
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Put the secrets under a passphrase, change it, or take it off
    Passphrase {
        /// What to do
        #[arg(value_enum)]
        action: PassphraseAction,
        #[command(flatten)]
        key: KeyArguments,
    },
    /// Make a key file around an identity that exists: a new vault
    Import {
        /// File that age-keygen wrote, with one identity
        #[arg(long, value_name = "PATH")]
        identity: PathBuf,
        /// What a server sees of names
        #[arg(long, value_enum, default_value_t = NamesArgument::Sealed)]
        names: NamesArgument,
        /// Replace the key file that is there; what only it opens is lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        key: KeyArguments,
    },
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum NamesArgument {
    /// A keyed hash
    Sealed,
    /// The names themselves
    Clear,
}

impl From<NamesArgument> for Names {
    fn from(names: NamesArgument) -> Self {
        match names {
            NamesArgument::Sealed => Self::Sealed,
            NamesArgument::Clear => Self::Clear,
        }
    }
}

#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = false)]
struct RoleArguments {
    /// It stores, and cannot open even what it stored itself
    #[arg(long)]
    put_only: bool,
    /// It opens what this device puts
    #[arg(long)]
    get_only: bool,
    /// It does all that this one does
    #[arg(long)]
    full: bool,
}

impl RoleArguments {
    const fn role(self) -> Role {
        match (self.put_only, self.get_only) {
            (true, _) => Role::Put,
            (_, true) => Role::Get,
            _ => Role::Full,
        }
    }
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

/// Runs the command.
///
/// # Errors
/// When the key file could not be made, read or written, or the server refused.
pub fn run(arguments: Arguments, console: &Console) -> Result<(), Failure> {
    match arguments.action {
        Action::New { names, force, key } => {
            make(KeyFile::generate(&mut rand::rng()), names, force, &key, console)
        }
        Action::Import { identity, names, force, key } => {
            let mut identities = read_identities(&identity)?;
            let (Some(only), true) = (identities.pop(), identities.is_empty()) else {
                let path = identity.display();
                return Err(usage(format!("{path} must hold one identity, and not more")));
            };
            make(KeyFile::from_identity(only, &mut rand::rng()), names, force, &key, console)
        }
        Action::Export { role, output, force, key } => export(role.role(), &output, force, &key),
        Action::Public { json, key } => public(json, &key, console),
        Action::Show { key } => show(&key, console),
        Action::Join { invite_file, label, force, key } => {
            join(invite_file.as_deref(), label, force, &key, console)
        }
        Action::Passphrase { action, key } => passphrase(action, &key, console),
    }
}

fn make(
    mut key_file: KeyFile,
    names: NamesArgument,
    force: bool,
    key: &KeyArguments,
    console: &Console,
) -> Result<(), Failure> {
    let path = key.path(&directories()?);
    key_file.names = names.into();
    path.save(&key_file, if force { Existing::Replace } else { Existing::Keep })?;
    tell_made(&path, console);
    Ok(())
}

fn tell_made(path: &KeyPath, console: &Console) {
    console.tell(&format_args!("made a key file: {}", path.path.display()));
    console.tell(&"back it up: what is sealed to a key that is lost stays sealed");
}

fn export(role: Role, output: &Path, force: bool, key: &KeyArguments) -> Result<(), Failure> {
    let path = key.path(&directories()?);
    let key_file = path.open()?;
    let mut exported =
        key_file.export(role, &mut rand::rng()).map_err(|error| path.malformed(error))?;
    // A store in this machine's file system is on no other.
    if matches!(exported.remote, Some(Remote::Embedded(_))) {
        exported.remote = None;
    }
    if output == Path::new("-") {
        let text = exported.to_toml().map_err(|error| path.malformed(error))?;
        let mut stdout = Output::stdout()?;
        if stdout.is_terminal() {
            return Err(usage("a key file is secret and nothing for a terminal: -o PATH"));
        }
        stdout.write(text.as_bytes())?;
        return Ok(());
    }
    let target = KeyPath { path: output.to_owned(), is_named: true };
    target.save(&exported, if force { Existing::Replace } else { Existing::Keep })?;
    Ok(())
}

#[derive(Serialize)]
struct PublicLine {
    recipients: Vec<String>,
    device: String,
    writer: String,
}

fn public(json: bool, key: &KeyArguments, console: &Console) -> Result<(), Failure> {
    let key_file = key.path(&directories()?).open()?;
    let line = PublicLine {
        recipients: key_file.recipients.iter().map(ToString::to_string).collect(),
        device: key_file.device_seed().tls_key().public_key().to_string(),
        writer: key_file.device_seed().writer_key().public_key().to_string(),
    };
    if json {
        return Ok(console.print_json(&line)?);
    }
    for recipient in &line.recipients {
        console.print(&format_args!("recipient {recipient}"))?;
    }
    console.print(&format_args!("device    {}", line.device))?;
    console.print(&format_args!("writer    {}", line.writer))?;
    Ok(())
}

fn show(key: &KeyArguments, console: &Console) -> Result<(), Failure> {
    let path = key.path(&directories()?);
    let remote = |remote: Option<&Remote>| {
        remote.map_or_else(|| "none (zkey join takes an invite)".to_owned(), ToString::to_string)
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

fn join(
    invite_file: Option<&Path>,
    label: Option<String>,
    force: bool,
    key: &KeyArguments,
    console: &Console,
) -> Result<(), Failure> {
    let label = label.unwrap_or_else(host_name);
    if label.len() > LABEL_MAX_BYTES {
        return Err(usage(format!("a label has at most {LABEL_MAX_BYTES} bytes")));
    }
    let invite = read_invite(invite_file)?;
    let directories = directories()?;
    let path = key.path(&directories);
    let existed = path.exists()?;
    let mut unlocked = if existed {
        path.unlock()?
    } else {
        Unlocked { key_file: KeyFile::generate(&mut rand::rng()), passphrase: None }
    };
    if let Some(remote) = &unlocked.key_file.remote
        && *remote != invite.address
        && !force
    {
        let (path, address) = (path.path.display(), &invite.address);
        return Err(usage(format!(
            "{path} is for {remote} already (--force leaves that for {address}; --key PATH makes another key file)"
        )));
    }
    unlocked.key_file.accept(&invite);

    // An invite is spent by its first use: whatever can fail here has to fail before.
    let text = unlocked.to_text().map_err(|error| path.malformed(error))?;
    let staged = Staged::write(&path.path, text.as_bytes()).map_err(|e| path.file_error(e))?;
    let mut client = Client::new(unlocked.key_file, &directories)?;
    let scopes = client.join(&invite, &label).at("the invite")?;
    let existing = if existed { Existing::Replace } else { Existing::Keep };
    staged.publish(&path.path, existing).map_err(|error| path.file_error(error))?;
    console.tell(&format_args!("joined {} as {label}: may {scopes}", invite.address));
    if !existed {
        tell_made(&path, console);
    }
    Ok(())
}

/// Longest file that an invite is looked for in, in bytes.
const INVITE_FILE_MAX_BYTES: u64 = 16_384;
/// What an invite begins with.
const INVITE_PREFIX: &str = "zputinvite1";

/// From the file, from stdin, or from a person: never from an argument, which others can see.
fn read_invite(file: Option<&Path>) -> Result<Invite, Failure> {
    let text = match file {
        None if io::stdin().is_terminal() => Zeroizing::new(
            terminal::ask_secret("Invite: ")
                .map_err(|error| local("cannot ask for the invite", error))?
                .to_string(),
        ),
        None => read_bounded(io::stdin(), "stdin")?,
        Some(path) if path == Path::new("-") => read_bounded(io::stdin(), "stdin")?,
        Some(path) => {
            let name = path.display().to_string();
            let file =
                File::open(path).map_err(|error| local(&format!("cannot read {name}"), error))?;
            read_bounded(file, &name)?
        }
    };
    let is_invite = |line: &&str| line.starts_with(INVITE_PREFIX);
    let line = text.lines().map(str::trim).find(is_invite).unwrap_or_else(|| text.trim());
    Ok(line.parse::<Invite>()?)
}

fn read_bounded(from: impl Read, name: &str) -> Result<Zeroizing<String>, ClientError> {
    let mut text = Zeroizing::new(String::new());
    from.take(INVITE_FILE_MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| local(&format!("cannot read {name}"), error))?;
    Ok(text)
}

/// What the machine is called, as far as a label holds it.
fn host_name() -> String {
    // A machine without a name is a machine all the same.
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut label = String::new();
    for c in name.trim().chars().filter(|c| !c.is_control()) {
        if label.len() + c.len_utf8() > LABEL_MAX_BYTES {
            break;
        }
        label.push(c);
    }
    if label.is_empty() { "unnamed".to_owned() } else { label }
}

fn passphrase(
    action: PassphraseAction,
    key: &KeyArguments,
    console: &Console,
) -> Result<(), Failure> {
    let path = key.path(&directories()?);
    match (action, path.is_locked()?) {
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
    let passphrase = match action {
        PassphraseAction::Set | PassphraseAction::Change => Some(ask_twice()?),
        PassphraseAction::Remove => None,
    };
    let text = Unlocked { key_file, passphrase }.to_text().map_err(|e| path.malformed(e))?;
    path.save_text(&text, Existing::Replace)?;
    console.tell(&match action {
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

    /// A secret on a command line is everybody's.
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
