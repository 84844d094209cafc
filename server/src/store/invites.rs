//! Invites: one file for each unspent invite, named after the hash of its secret.

use std::{
    io::ErrorKind,
    os::fd::AsFd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;
use zput_proto::{
    keys::{DevicePublicKey, InviteSecret},
    message::Scopes,
};

use super::{
    Store,
    accounts::check_label,
    directories,
    error::{Context, StoreError},
    layout::{FORMAT, INVITES},
    lock::{Lock, LockName},
    random, small_file,
};
use crate::sys::fs;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteFile {
    format: u64,
    scopes: Vec<String>,
    expires: String,
}

impl Store {
    /// Makes an invite for one device and returns its secret, which is not stored.
    ///
    /// # Errors
    /// When the file cannot be written; [`StoreError::Suspect`].
    pub fn create_invite(
        &self,
        scopes: Scopes,
        valid_for: Duration,
    ) -> Result<InviteSecret, StoreError> {
        self.check_writable()?;
        let secret = InviteSecret::from_bytes(*Zeroizing::new(random::bytes::<32>()?));
        let valid_for = u64::try_from(valid_for.as_nanos()).unwrap_or(u64::MAX);
        let file = InviteFile {
            format: FORMAT,
            scopes: scopes.names().map(str::to_owned).collect(),
            expires: small_file::rfc3339(self.clock().now_ns().saturating_add(valid_for)),
        };
        let missing = || StoreError::Missing(INVITES.to_owned());
        let dir = directories::open_for_names(self.fsync(), INVITES)?.ok_or_else(missing)?;
        let name = file_name(&secret);
        let text = small_file::to_toml(&file)
            .map_err(|what| StoreError::Account { file: path(&name), what })?;
        small_file::write(self.fsync(), dir.as_fd(), INVITES, &name, &text)?;
        Ok(secret)
    }

    /// Spends an invite: the device gets an account with the invite's scopes, in addition to those
    /// that it may have already. Returns the device's scopes.
    ///
    /// If the invite is unknown or spent and the device has an account, its scopes are returned:
    /// the device may have redeemed the invite before and lost the answer.
    ///
    /// # Errors
    /// [`StoreError::InviteUnknown`], [`StoreError::InviteExpired`]; [`StoreError::Label`] and
    /// [`StoreError::Suspect`], which leave the invite unspent, as does [`StoreError::Locked`].
    pub fn redeem_invite(
        &self,
        secret: &InviteSecret,
        device: &DevicePublicKey,
        label: &str,
    ) -> Result<Scopes, StoreError> {
        match self.redeemed_before(secret, device, label)? {
            Some(scopes) => Ok(scopes),
            None => {
                let lock = self.lock_blocking(LockName::Accounts)?;
                self.redeem_invite_with(lock, secret, device, label)
            }
        }
    }

    /// What a Join can say without the lock of the accounts: the device's scopes, when the invite
    /// is spent already. `None` when there is an invite to redeem.
    ///
    /// # Errors
    /// Those of [`Self::redeem_invite`], but [`StoreError::Locked`].
    pub(crate) fn redeemed_before(
        &self,
        secret: &InviteSecret,
        device: &DevicePublicKey,
        label: &str,
    ) -> Result<Option<Scopes>, StoreError> {
        check_label(label)?;
        self.check_writable()?;
        if let Some(dir) = directories::open(self.fsync(), INVITES)? {
            let name = file_name(secret);
            if small_file::read(dir.as_fd(), &name, &path(&name))?.is_some() {
                return Ok(None);
            }
        }
        self.scopes_of(device)?.ok_or(StoreError::InviteUnknown).map(Some)
    }

    /// As [`Self::redeem_invite`], with the lock of the accounts. The lock comes before the invite
    /// is spent, so that a device which does not get it in time still has its invite.
    pub(crate) fn redeem_invite_with(
        &self,
        lock: Lock,
        secret: &InviteSecret,
        device: &DevicePublicKey,
        label: &str,
    ) -> Result<Scopes, StoreError> {
        debug_assert_eq!(lock.name(), LockName::Accounts, "it is another lock");
        check_label(label)?;
        self.check_writable()?;
        match self.spend(secret) {
            Ok(scopes) => self.add_account(&lock, device, label, scopes),
            Err(StoreError::InviteUnknown) => {
                self.scopes_of(device)?.ok_or(StoreError::InviteUnknown)
            }
            Err(error) => Err(error),
        }
    }

    /// Spends an invite and returns its scopes. An invite that cannot be read or parsed is not
    /// spent, so the operator can fix it.
    fn spend(&self, secret: &InviteSecret) -> Result<Scopes, StoreError> {
        let dir = directories::open(self.fsync(), INVITES)?.ok_or(StoreError::InviteUnknown)?;
        let name = file_name(secret);
        let file = path(&name);
        let text = small_file::read(dir.as_fd(), &name, &file)?;
        let text = text.ok_or(StoreError::InviteUnknown)?;
        let parsed = parse_invite(&text);
        let (scopes, expires) =
            parsed.map_err(|what| StoreError::Account { file: file.clone(), what })?;
        // STORE: "Invites are spent by unlink + fsync(invites) before the client's file is
        // written". Of two devices only one succeeds in unlinking it.
        match fs::unlink(&dir, &name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::InviteUnknown);
            }
            result => result.context_file("spend an invite", file)?,
        }
        self.fsync().dir(&dir)?;
        if UNIX_EPOCH + Duration::from_nanos(self.clock().now_ns()) >= expires {
            return Err(StoreError::InviteExpired);
        }
        Ok(scopes)
    }
}

/// Parses the text of an invite's file: its scopes and when it expires. The error says what is
/// wrong.
pub(super) fn parse_invite(text: &str) -> Result<(Scopes, SystemTime), String> {
    let invite: InviteFile = small_file::parse_toml(text)?;
    small_file::check_format(invite.format)?;
    let expires = humantime::parse_rfc3339(&invite.expires).map_err(|error| error.to_string())?;
    Ok((small_file::parse_scopes(&invite.scopes)?, expires))
}

fn path(name: &str) -> String {
    format!("{INVITES}/{name}")
}

fn file_name(secret: &InviteSecret) -> String {
    format!("{}.toml", hex::encode(Sha256::digest(secret.as_bytes())))
}
