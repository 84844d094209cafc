//! `zblob key join`: redeems an invite.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use zeroize::Zeroizing;
use zput::cli::{
    IfExists, KeyFileLock, Session, Staged, Unlocked, os_rng, secret_file, standard_streams,
};
use zput_proto::{keys::Invite, label::is_label, limits::LABEL_MAX_BYTES};
use zput_seal::keys::KeyFile;

use super::{
    super::{
        Console, Context, Failure, KeyArguments, RetryArguments, directories, local, usage,
        warn_if_exposed,
    },
    migrate::LocalStore,
};
use crate::{error::CommandError, terminal};

#[derive(Args, Debug)]
pub(super) struct Join {
    /// File that holds the invite; `-` is stdin [default: stdin, or a prompt if stdin is a
    /// terminal]
    #[arg(long, value_name = "PATH")]
    invite_file: Option<PathBuf>,
    /// Name of this device for the server's operator [default: the host name]
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Replace the server that the key file names; a local store is left with all that is in it
    #[arg(short, long)]
    force: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    retries: RetryArguments,
    #[command(flatten)]
    key: KeyArguments,
}

/// The device's new account, as JSON (docs/JSON.md).
#[derive(Serialize)]
struct Line {
    file: String,
    remote: String,
    label: String,
    scopes: String,
    created: bool,
}

impl Join {
    pub(super) fn run(self, console: &Console) -> Result<(), Failure> {
        let label = self.label.unwrap_or_else(host_name);
        if !is_label(&label) {
            return Err(usage(format!(
                "a label has at most {LABEL_MAX_BYTES} bytes and no control characters"
            )));
        }
        let invite = read_invite(self.invite_file.as_deref())?;
        let directories = directories()?;
        let key = self.key.path(&directories);
        let path = &key.file;
        // A concurrent join uses the key file that the first one creates.
        let _lock = KeyFileLock::acquire(path.as_path()).map_err(|error| path.file_error(error))?;
        let existed = path.exists()?;
        let mut unlocked = if existed {
            key.unlock()?
        } else {
            Unlocked { key_file: KeyFile::generate(&mut os_rng()), passphrase: None }
        };
        let store = match self.force {
            true => None,
            false => LocalStore::of(&unlocked.key_file, &directories)?,
        };
        if let Some(remote) = &unlocked.key_file.remote
            && *remote != invite.address
            && store.is_none()
            && !self.force
        {
            let (path, address) = (path.as_path().display(), &invite.address);
            return Err(usage(format!(
                "{path} names the server {remote} already (--force replaces it by {address}; \
                 --key PATH makes another key file)"
            )));
        }
        unlocked.key_file.accept(&invite);

        // An invite can be used once, so everything here that can fail does so before.
        let text = unlocked.to_text().map_err(|error| path.malformed(error))?;
        let staged =
            Staged::write(path.as_path(), text.as_bytes()).map_err(|e| path.file_error(e))?;
        let mut client = Session::new(unlocked.key_file, &directories)?;
        self.retries.apply(&mut client, console)?;
        let scopes = client.join(&invite, &label).context("the invite")?;
        let mut store = store;
        if let Some(store) = &mut store {
            let _moved = store.move_to(&mut client, console)?;
        }
        let if_exists = if existed { IfExists::Replace } else { IfExists::Keep };
        staged.publish(if_exists).map_err(|error| path.file_error(error))?;
        console.note(&format_args!("joined {} as {label}: may {scopes}", invite.address));
        if !existed {
            console.note_created_key_file(path);
        }
        warn_if_exposed(path, console);
        if let Some(store) = &mut store {
            // Also move what was put while the key file still named the store.
            let _moved = store.move_to(&mut client, console)?;
            store.note_moved(console);
        }
        if self.json {
            console.print_json(&Line {
                file: path.as_path().display().to_string(),
                remote: invite.address.to_string(),
                label,
                scopes: scopes.to_string(),
                created: !existed,
            })?;
        }
        Ok(())
    }
}

/// Longest file with an invite, in bytes.
const INVITE_FILE_MAX_BYTES: usize = 16_384;
/// Prefix of an invite.
const INVITE_PREFIX: &str = "zputinvite1";

/// Reads the invite from the file, from stdin, or from the terminal; never from an argument, which
/// other users can see.
fn read_invite(file: Option<&Path>) -> Result<Invite, Failure> {
    let stdin = || standard_streams::stdin().map_err(|error| local("cannot read stdin", error));
    let text = match file {
        None if io::stdin().is_terminal() => Zeroizing::new(
            terminal::ask_secret("Invite: ")
                .map_err(|error| local("cannot ask for the invite", error))?
                .to_string(),
        ),
        None => read_bounded(stdin()?, "stdin")?,
        Some(path) if path == Path::new("-") => read_bounded(stdin()?, "stdin")?,
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

fn read_bounded(from: impl Read, name: &str) -> Result<Zeroizing<String>, CommandError> {
    secret_file::read(from, INVITE_FILE_MAX_BYTES)
        .map_err(|error| local(&format!("cannot read {name}"), error))
}

/// The machine's host name, as far as it fits into a label.
fn host_name() -> String {
    // Without a host name the label is "unnamed".
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
