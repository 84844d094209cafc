//! Out of the trash, and back to an earlier version.
//!
//! The newest version of all, when it was removed, is made current again by the server alone. An earlier one is of
//! an earlier generation than what other machines have seen: they would take it for a rollback. So it is
//! sealed under a new generation, by another header and footer over the same parts. Those are fetched and
//! sent as they are.

use zput_common::{
    blob::{footer::Provenance, open::Seen},
    keys::Role,
    name::{BlobName, ObjectKey},
    proto::message::{Kind, Request, Response, Version, VersionInfo},
};

use crate::{
    client::Client,
    error::ClientError,
    get::{Found, GetOptions, Wanted},
    migrate::{Outgoing, Placed},
    progress::Progress,
    put::generation_after,
    random,
    retry::unanswered,
};

/// How often it is sealed again because another put of its name was faster.
const SEALED_MAX: u32 = 4;

impl Client {
    /// Makes an earlier or deleted version of `name` the current one; gives its new version.
    ///
    /// # Errors
    /// When there is no such version, the server refuses, or what is there is not the vault's.
    pub fn restore(
        &mut self,
        name: &BlobName,
        version: Version,
        progress: &dyn Progress,
    ) -> Result<Version, ClientError> {
        let key = self.key_file().object_key(name);
        let is_superseded = self.key_file().role() == Role::Full && {
            let versions = self.versions(name)?;
            let is_newest = versions.first().is_none_or(|newest| newest.version == version);
            let is_it = |info: &&VersionInfo| info.version == version;
            !is_newest && versions.iter().find(is_it).is_some_and(|info| info.kind == Kind::Sealed)
        };
        if !is_superseded {
            return self.restore_as_it_is(name, &key, version);
        }
        let wanted =
            Wanted { key: &key, version: Some(version), allow_rollback: false, body: false };
        let found = self.retrying(Some(name.as_str()), |client| {
            let found = client.find(&wanted);
            client.after(found)
        })?;
        let restored = self.restore_resealed(name, &key, found, progress);
        progress.end();
        restored
    }

    /// Puts the version that was `found` again, under a new generation.
    fn restore_resealed(
        &mut self,
        name: &BlobName,
        key: &ObjectKey,
        found: Found,
        progress: &dyn Progress,
    ) -> Result<Version, ClientError> {
        let mac_key = self.key_file().vault_secret().mac_key();
        let writer = self.key_file().device_seed().writer_key();
        let version = found.info.version;
        let mut reader = self.twin();
        let mut outgoing = Outgoing { name, key, found };
        let mut there = 0;
        for _ in 0..SEALED_MAX {
            let newest = self.record().newest(key)?;
            let generation = generation_after(self.record().now_ns(), newest, there)?;
            let provenance = Provenance::Vault { mac_key: &mac_key, writer: &writer };
            let trusted = &outgoing.found.trusted;
            let resealed = trusted.reseal(generation, provenance, &mut random::system())?;
            let seen = Seen { generation, transcript: resealed.footer.transcript };
            outgoing.found.header = resealed.header;
            outgoing.found.footer = resealed.footer.bytes;
            match self.place(&mut reader, &outgoing, progress)? {
                Placed::Sent(restored) | Placed::There(restored) => {
                    let noted = self.record().advance(key, &seen);
                    self.record_warning().of(restored, noted)?;
                    return Ok(restored);
                }
                // Above a generation that no clock reaches nothing should be put: readers do not remember it, so
                // the version as it is takes its place without an alarm.
                Placed::Superseded(newer) if self.record().is_ahead(newer) => {
                    return self.restore_as_it_is(name, key, version);
                }
                Placed::Superseded(newer) => there = newer,
            }
        }
        Err(ClientError::Overtaken { there })
    }

    /// Lets the server make a version current as it is, of the generation that it was. Where the key file can open
    /// it, this machine takes it for the newest from now on.
    fn restore_as_it_is(
        &mut self,
        name: &BlobName,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Version, ClientError> {
        let connection = self.reach(Some(name.as_str()))?;
        let request = Request::Restore { key: key.clone(), version };
        let restored = match connection.ask(&request).map_err(unanswered)? {
            Response::Committed { version } => version,
            _ => return Err(connection.unexpected("not what was restored").into()),
        };
        if self.key_file().identity().is_some() {
            let accept = GetOptions { allow_rollback: true, ..GetOptions::default() };
            self.stat(name, &accept)?;
        }
        Ok(restored)
    }
}
