//! `zserve invite`: creates an invite for one device.
//!
//! The store's files are the database, so this works beside a running server.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use thiserror::Error;
use zput_proto::{
    keys::{Invite, Remote},
    message::Scopes,
    mount::MountName,
};

use crate::{
    runtime::address::ListenAddress,
    store::{Store, StoreError},
};

/// Why no invite was made.
#[derive(Debug, Error)]
pub enum CreateInviteError {
    /// Clients cannot connect to the address.
    #[error("\"{0}\" is no address that a client can connect to: write HOST:PORT or unix:/path")]
    Address(ListenAddress),
    /// A mount is given for a Unix socket, whose address cannot name one.
    #[error("a client that comes by a Unix socket uses the mount at the root: leave --mount out")]
    UnixMount,
    /// The invite's file cannot be written.
    #[error("cannot write the invite to {}: {source}{}", path.display(), advice(source))]
    File {
        /// The file's path.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The store could not record the invite.
    #[error("the store did not take the invite: {0}")]
    Store(#[from] StoreError),
}

/// Creates an invite to `mount` of the server of `store` at `address`. The one device that redeems
/// it within `valid_for` gets `scopes`.
///
/// # Errors
/// When clients cannot connect to the address, or the store cannot be written.
pub fn create(
    store: &Store,
    address: &ListenAddress,
    mount: &MountName,
    scopes: Scopes,
    valid_for: Duration,
) -> Result<Invite, CreateInviteError> {
    let remote = match address {
        ListenAddress::Tcp(text) if mount.is_root() => format!("zput://{text}"),
        ListenAddress::Tcp(text) => format!("zput://{text}/{mount}"),
        ListenAddress::Unix(_) if !mount.is_root() => return Err(CreateInviteError::UnixMount),
        ListenAddress::Unix(path) => format!("unix://{}", path.display()),
    };
    let address: Remote =
        remote.parse().map_err(|_| CreateInviteError::Address(address.clone()))?;
    let secret = store.create_invite(scopes, valid_for)?;
    Ok(Invite { address, server_key: store.server_key().public_key(), secret })
}

/// Creates an invite and writes it into a new file at `path`, which only its owner can read.
///
/// # Errors
/// When the file exists or cannot be written, and when no invite was made. No file is left then.
pub fn write(
    path: &Path,
    create: impl FnOnce() -> Result<Invite, CreateInviteError>,
) -> Result<Invite, CreateInviteError> {
    let cannot = |source| CreateInviteError::File { path: path.to_owned(), source };
    let mut file =
        File::options().write(true).create_new(true).mode(0o600).open(path).map_err(cannot)?;
    let written = create().and_then(|invite| {
        let text = invite.to_text();
        file.write_all(text.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .map_err(cannot)?;
        Ok(invite)
    });
    if written.is_err() {
        // That no invite was made is more important than that its file is left.
        let _removed = fs::remove_file(path);
    }
    written
}

/// What to do about an existing file, for the message.
fn advice(failure: &io::Error) -> &'static str {
    match failure.kind() {
        io::ErrorKind::AlreadyExists => "; remove it, or choose another name",
        _ => "",
    }
}

/// An invite as one line of JSON, with its text or the file that contains it.
#[must_use]
pub fn json(
    invite: &Invite,
    text: Option<&str>,
    file: Option<&Path>,
    scopes: Scopes,
    expires: &str,
) -> String {
    let scopes = scopes.to_string();
    json!({
        "event": "invite",
        "address": invite.address.to_string(),
        "scopes": scopes.split(',').collect::<Vec<_>>(),
        "expires": expires,
        "invite": text,
        "file": file.map(|path| path.display().to_string()),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use zput_proto::keys::DevicePublicKey;

    use super::*;
    use crate::store::Clock;

    /// An invite holds the server's address and public key, and one device can redeem it.
    #[test]
    fn invite_has_address_and_key_and_is_redeemed_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let day = Duration::from_secs(86_400);
        let address = "backup.example:7399".parse().unwrap();
        let invite = create(&store, &address, &MountName::ROOT, Scopes::PUT, day).unwrap();
        assert_eq!(invite.address.to_string(), "zput://backup.example:7399");
        assert_eq!(invite.server_key, store.server_key().public_key());
        let device = DevicePublicKey::from_bytes([7; 32]);
        let other = DevicePublicKey::from_bytes([8; 32]);
        let redeem = |device| store.redeem_invite(&invite.secret, device, "x");
        assert_eq!(redeem(&device).unwrap(), Scopes::PUT);
        assert!(redeem(&other).is_err());
    }

    /// An invite can name a mount in its address, except with a Unix socket.
    #[test]
    fn invite_names_mount_in_address() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let mount = MountName::parse("images/public").unwrap();
        let to = |address: &str| {
            let address = address.parse().unwrap();
            create(&store, &address, &mount, Scopes::GET, Duration::from_secs(60))
        };
        let invite = to("[::1]:7399").unwrap();
        assert_eq!(invite.address.to_string(), "zput://[::1]:7399/images/public");
        assert!(matches!(to("unix:/run/z"), Err(CreateInviteError::UnixMount)));
        assert_eq!(std::fs::read_dir(dir.path().join("invites")).unwrap().count(), 1);
    }

    /// An invite file has mode 0600, replaces no file, and is left out when none was made.
    #[test]
    fn invite_file_has_mode_0600_and_replaces_no_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s"), Clock::system()).unwrap();
        let address = "h:1".parse().unwrap();
        let day = Duration::from_secs(86_400);
        let make = || create(&store, &address, &MountName::ROOT, Scopes::PUT, day);
        let path = dir.path().join("invite");
        let invite = write(&path, make).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", invite.to_text().as_str()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let failure = write(&path, make).unwrap_err().to_string();
        assert!(failure.ends_with("remove it, or choose another name"), "{failure}");
        assert_eq!(fs::read_dir(dir.path().join("s/invites")).unwrap().count(), 1);
        // Where no invite was made, no file is left.
        let other = dir.path().join("other");
        assert!(write(&other, || Err(CreateInviteError::UnixMount)).is_err());
        assert!(!other.exists());
    }

    /// An invite with port 0 is refused before anything is written to the store.
    #[test]
    fn invite_with_port_zero_is_refused_before_writing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let failure =
            create(&store, &address, &MountName::ROOT, Scopes::PUT, Duration::from_secs(60))
                .unwrap_err();
        assert!(matches!(failure, CreateInviteError::Address(_)));
        assert_eq!(std::fs::read_dir(dir.path().join("invites")).unwrap().count(), 0);
    }
}
