//! Accounts: one file per device, which an operator may read, edit and delete.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use zput_common::{keys::public::DevicePublicKey, label::is_label, proto::message::Scopes};

use super::{
    FORMAT, Store, directories,
    error::{Doing, StoreError},
    layout::CLIENTS,
    small_file,
};
use crate::sys::fs;

/// What the operator knows of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What it is called.
    pub label: String,
    /// What it may do.
    pub scopes: Scopes,
    /// When it joined, to the second.
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
    /// What a device may do; `None` for one that has not joined. The file is read each time: what an operator changes
    /// holds from the next connection on.
    ///
    /// # Errors
    /// [`StoreError::Account`] when its file cannot be understood.
    pub fn scopes_of(&self, device: &DevicePublicKey) -> Result<Option<Scopes>, StoreError> {
        Ok(self.account(device)?.map(|account| account.scopes))
    }

    /// A device's account.
    ///
    /// # Errors
    /// [`StoreError::Account`] when its file cannot be understood.
    pub fn account(&self, device: &DevicePublicKey) -> Result<Option<Account>, StoreError> {
        let Some(dir) = self.clients_dir()? else { return Ok(None) };
        let (name, path) = (file_name(device), path(device));
        let Some(text) = small_file::read(dir.as_fd(), &name, &path)? else { return Ok(None) };
        Account::parse(&text).map(Some).map_err(|what| StoreError::Account { file: path, what })
    }

    /// Writes a device's account, durably. One that it has already keeps its scopes and gains these.
    pub(super) fn add_account(
        &self,
        device: &DevicePublicKey,
        label: &str,
        scopes: Scopes,
    ) -> Result<Scopes, StoreError> {
        let dir = self.clients_dir()?.ok_or_else(|| StoreError::Missing(CLIENTS.to_owned()))?;
        // A device may redeem two invites at once.
        fs::lock(&dir).doing_to("lock the accounts", CLIENTS)?;
        let before = self.scopes_of(device)?.unwrap_or(Scopes::NONE);
        let scopes = before.and(scopes);
        let file = AccountFile {
            format: FORMAT,
            label: label.to_owned(),
            scopes: scopes.names().map(str::to_owned).collect(),
            joined: date(self.clock().now_ns()),
        };
        let text = write(&file).map_err(|what| StoreError::Account { file: path(device), what })?;
        small_file::write(self.syncs(), dir.as_fd(), CLIENTS, &file_name(device), &text)?;
        Ok(scopes)
    }

    fn clients_dir(&self) -> Result<Option<OwnedFd>, StoreError> {
        directories::open(self.syncs(), CLIENTS)
    }
}

impl Account {
    /// The account in the text of its file, or what is wrong with that.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: AccountFile = parse(text)?;
        check_format(file.format)?;
        let joined = humantime::parse_rfc3339(&file.joined).map_err(|error| error.to_string())?;
        Ok(Self { label: file.label, scopes: parse_scopes(&file.scopes)?, joined })
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

/// The values of a file, or what is wrong with it and where.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        match before {
            Some(before) => {
                let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        }
    })
}

/// The text of a file.
pub(super) fn write(values: &impl Serialize) -> Result<String, String> {
    toml::to_string(values).map_err(|error| error.to_string())
}

pub(super) fn check_format(format: u64) -> Result<(), String> {
    if format == FORMAT { Ok(()) } else { Err(format!("format {format}")) }
}

pub(super) fn parse_scopes(names: &[String]) -> Result<Scopes, String> {
    names.iter().try_fold(Scopes::NONE, |scopes, name| match Scopes::named(name) {
        Some(scope) => Ok(scopes.and(scope)),
        None => Err(format!("no scope is called {name:?}")),
    })
}

/// A point in time as RFC 3339, in UTC, to the second.
pub(super) fn date(ns: u64) -> String {
    // A u64 of ns ends in the year 2554.
    let time = UNIX_EPOCH + Duration::from_nanos(ns);
    humantime::format_rfc3339_seconds(time).to_string()
}
