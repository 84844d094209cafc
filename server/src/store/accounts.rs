//! Accounts: one file per device, which the operator may read, edit and delete.

use std::{os::fd::AsFd, time::SystemTime};

use serde::{Deserialize, Serialize};
use zput_proto::{keys::DevicePublicKey, label::is_label, message::Scopes};

use super::{
    Store, directories,
    error::StoreError,
    layout::{CLIENTS, FORMAT},
    lock::Lock,
    small_file,
};
/// What the operator's files say about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The device's label, at most 64 bytes.
    pub label: String,
    /// The operations that the device may use.
    pub scopes: Scopes,
    /// When the device redeemed its first or latest invite, to the second.
    pub joined: SystemTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountFile {
    format: u64,
    label: String,
    scopes: Vec<String>,
    joined: String,
}

impl Store {
    /// The operations that a device may use; `None` for a device without an account. The file is
    /// read each time, so an operator's edit takes effect with the next connection.
    ///
    /// # Errors
    /// [`StoreError::Account`] when the file cannot be parsed.
    pub fn scopes_of(&self, device: &DevicePublicKey) -> Result<Option<Scopes>, StoreError> {
        Ok(self.account(device)?.map(|account| account.scopes))
    }

    /// A device's account; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError::Account`] when the file cannot be parsed.
    pub fn account(&self, device: &DevicePublicKey) -> Result<Option<Account>, StoreError> {
        let Some(dir) = directories::open(self.fsync(), CLIENTS)? else { return Ok(None) };
        let (name, path) = (file_name(device), path(device));
        let Some(text) = small_file::read(dir.as_fd(), &name, &path)? else { return Ok(None) };
        Account::parse(&text).map(Some).map_err(|what| StoreError::Account { file: path, what })
    }

    /// Writes a device's account, durably. An existing account keeps its scopes and gains these.
    /// The lock is held because a device may redeem two invites at once.
    pub(super) fn add_account(
        &self,
        _lock: &Lock,
        device: &DevicePublicKey,
        label: &str,
        scopes: Scopes,
    ) -> Result<Scopes, StoreError> {
        let missing = || StoreError::Missing(CLIENTS.to_owned());
        let dir = directories::open_for_names(self.fsync(), CLIENTS)?.ok_or_else(missing)?;
        let before = self.scopes_of(device)?.unwrap_or(Scopes::NONE);
        let scopes = before.and(scopes);
        let file = AccountFile {
            format: FORMAT,
            label: label.to_owned(),
            scopes: scopes.names().map(str::to_owned).collect(),
            joined: small_file::rfc3339(self.clock().now_ns()),
        };
        let text = small_file::to_toml(&file)
            .map_err(|what| StoreError::Account { file: path(device), what })?;
        small_file::write(self.fsync(), dir.as_fd(), CLIENTS, &file_name(device), &text)?;
        Ok(scopes)
    }
}

impl Account {
    /// Parses the text of an account's file. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: AccountFile = small_file::parse_toml(text)?;
        small_file::check_format(file.format)?;
        let joined = humantime::parse_rfc3339(&file.joined).map_err(|error| error.to_string())?;
        Ok(Self { label: file.label, scopes: small_file::parse_scopes(&file.scopes)?, joined })
    }
}

fn file_name(device: &DevicePublicKey) -> String {
    format!("{}.toml", device)
}

fn path(device: &DevicePublicKey) -> String {
    format!("{CLIENTS}/{}", file_name(device))
}

pub(super) fn check_label(label: &str) -> Result<(), StoreError> {
    if is_label(label) { Ok(()) } else { Err(StoreError::Label) }
}
