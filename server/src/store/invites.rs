//! Invites: one file per unspent one, named by the hash of its secret.

use std::{
    io::ErrorKind,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;
use zput_common::{
    keys::{invite::InviteSecret, public::DevicePublicKey},
    proto::message::Scopes,
};

use super::{
    FORMAT, Store,
    accounts::{check_format, check_label, date, parse, parse_scopes, write},
    directories,
    error::{Doing, StoreError},
    layout::INVITES,
    small_file,
    staging::random,
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
    /// Makes an invite for one device, and returns its secret, which is written nowhere.
    ///
    /// # Errors
    /// When it cannot be written; [`StoreError::Suspect`].
    pub fn create_invite(
        &self,
        scopes: Scopes,
        valid_for: Duration,
    ) -> Result<InviteSecret, StoreError> {
        self.check_trusted()?;
        let secret = InviteSecret::from_bytes(*Zeroizing::new(random::<32>()?));
        let valid_for = u64::try_from(valid_for.as_nanos()).unwrap_or(u64::MAX);
        let file = InviteFile {
            format: FORMAT,
            scopes: scopes.names().map(str::to_owned).collect(),
            expires: date(self.clock().now_ns().saturating_add(valid_for)),
        };
        let dir = self.invites_dir()?.ok_or_else(|| StoreError::Missing(INVITES.to_owned()))?;
        let name = file_name(&secret);
        let text = write(&file).map_err(|what| StoreError::Account { file: path(&name), what })?;
        small_file::write(self.syncs(), dir.as_fd(), INVITES, &name, &text)?;
        Ok(secret)
    }

    /// Spends an invite and gives the device an account with its scopes, beside those that it may have already. Returns
    /// what the device may do now.
    ///
    /// A device that has an account is told its scopes where the invite is unknown or spent: it may have spent
    /// it itself and have lost the answer.
    ///
    /// # Errors
    /// [`StoreError::InviteUnknown`], [`StoreError::InviteExpired`]; [`StoreError::Label`] and [`StoreError::Suspect`], which
    /// spend nothing.
    pub fn redeem_invite(
        &self,
        secret: &InviteSecret,
        device: &DevicePublicKey,
        label: &str,
    ) -> Result<Scopes, StoreError> {
        check_label(label)?;
        self.check_trusted()?;
        match self.spend(secret) {
            Ok(scopes) => self.add_account(device, label, scopes),
            Err(StoreError::InviteUnknown) => {
                self.scopes_of(device)?.ok_or(StoreError::InviteUnknown)
            }
            Err(error) => Err(error),
        }
    }

    /// Spends an invite; gives its scopes. One that cannot be read or understood is not spent: its operator may mend it.
    fn spend(&self, secret: &InviteSecret) -> Result<Scopes, StoreError> {
        let dir = self.invites_dir()?.ok_or(StoreError::InviteUnknown)?;
        let name = file_name(secret);
        let file = path(&name);
        let text = small_file::read(dir.as_fd(), &name, &file)?;
        let text = text.ok_or(StoreError::InviteUnknown)?;
        let parsed = parse_invite(&text);
        let (scopes, expires) =
            parsed.map_err(|what| StoreError::Account { file: file.clone(), what })?;
        // STORE: "Invites are spent by unlink + fsync(invites) before the client's file is written". Of two devices
        // only one gets to unlink it.
        match fs::unlink(&dir, &name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::InviteUnknown);
            }
            result => result.doing_to("spend an invite", file)?,
        }
        self.syncs().dir(&dir)?;
        if UNIX_EPOCH + Duration::from_nanos(self.clock().now_ns()) >= expires {
            return Err(StoreError::InviteExpired);
        }
        Ok(scopes)
    }

    fn invites_dir(&self) -> Result<Option<OwnedFd>, StoreError> {
        directories::open(self.syncs(), INVITES)
    }
}

/// What the text of an invite's file gives, and until when; or what is wrong with it.
pub(super) fn parse_invite(text: &str) -> Result<(Scopes, SystemTime), String> {
    let invite: InviteFile = parse(text)?;
    check_format(invite.format)?;
    let expires = humantime::parse_rfc3339(&invite.expires).map_err(|error| error.to_string())?;
    Ok((parse_scopes(&invite.scopes)?, expires))
}

fn path(name: &str) -> String {
    format!("{INVITES}/{name}")
}

fn file_name(secret: &InviteSecret) -> String {
    format!("{}.toml", hex::encode(Sha256::digest(secret.as_bytes())))
}
