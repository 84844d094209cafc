//! Restores a version from the trash, or an earlier version.
//!
//! If the newest version of all was removed, the server alone makes it current again. An earlier
//! version has a generation below what other machines have seen, which they would take for a
//! rollback. So it is resealed under a new generation: with a new header and footer over the same
//! parts, which are fetched and sent unchanged.

use zput_proto::{
    message::{Kind, Request, Response, Version, VersionInfo},
    name::{BlobName, ObjectKey},
};
use zput_seal::{
    blob::{footer::Provenance, open::Seen},
    keys::Role,
};

use super::transfer::{Transferred, VersionToSend};
use crate::{
    error::Error,
    get::{BlobHead, GetOptions, HeadRequest},
    io::progress::Progress,
    put::generation_after,
    random,
    retry::outcome_unknown,
    session::Session,
};

/// How often a version is resealed because another put of its name was faster.
const RESEALS_MAX: u32 = 4;

impl Session {
    /// Makes an earlier or removed version of `name` the current one; returns its new version.
    ///
    /// # Errors
    /// When there is no such version, the server refuses, or the version is not the vault's.
    pub fn restore(
        &mut self,
        name: &BlobName,
        version: Version,
        progress: &dyn Progress,
    ) -> Result<Version, Error> {
        let key = self.key_file().object_key(name);
        let is_superseded = self.key_file().role() == Role::Full && {
            let versions = self.versions(name)?;
            let is_newest = versions.first().is_none_or(|newest| newest.version == version);
            let is_requested = |info: &&VersionInfo| info.version == version;
            !is_newest
                && versions.iter().find(is_requested).is_some_and(|info| info.kind == Kind::Sealed)
        };
        if !is_superseded {
            return self.restore_as_it_is(name, &key, version);
        }
        let request =
            HeadRequest { key: &key, version: Some(version), allow_rollback: false, body: false };
        let head = self.with_retries(Some(name.as_str()), |client| {
            let head = client.fetch_head(&request);
            client.drop_on_error(head)
        })?;
        let restored = self.restore_resealed(name, &key, head, progress);
        progress.end();
        restored
    }

    /// Puts the version again, resealed under a new generation.
    fn restore_resealed(
        &mut self,
        name: &BlobName,
        key: &ObjectKey,
        head: BlobHead,
        progress: &dyn Progress,
    ) -> Result<Version, Error> {
        let mac_key = self.key_file().vault_secret().mac_key();
        let writer = self.key_file().device_seed().writer_key();
        let version = head.info.version;
        let mut reader = self.clone_disconnected();
        let mut outgoing = VersionToSend { name, key, head };
        let mut server_generation = 0;
        for _ in 0..RESEALS_MAX {
            let newest = self.rollback_guard().newest(key)?;
            let generation =
                generation_after(self.rollback_guard().now_ns(), newest, server_generation)?;
            let provenance = Provenance::Vault { mac_key: &mac_key, writer: &writer };
            let trusted = &outgoing.head.trusted;
            let resealed = trusted.reseal(generation, provenance, &mut random::os_rng())?;
            let seen = Seen { generation, transcript: resealed.footer.transcript };
            outgoing.head.header = resealed.header;
            outgoing.head.footer = resealed.footer.bytes;
            match self.transfer_version(&mut reader, &outgoing, progress)? {
                Transferred::Sent(restored) | Transferred::AlreadyThere(restored) => {
                    let recorded = self.rollback_guard().advance(key, &seen);
                    self.rollback_warning().warn_once(restored, recorded)?;
                    return Ok(restored);
                }
                // A generation that no clock reaches must not be exceeded. Readers do not record
                // it, so restoring the version unchanged raises no rollback alarm.
                Transferred::Superseded(newer) if self.rollback_guard().is_ahead(newer) => {
                    return self.restore_as_it_is(name, key, version);
                }
                Transferred::Superseded(newer) => server_generation = newer,
            }
        }
        Err(Error::Overtaken { newest: server_generation })
    }

    /// Lets the server make a version current with its old generation. If the key file can open it,
    /// this machine records it as the newest.
    fn restore_as_it_is(
        &mut self,
        name: &BlobName,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Version, Error> {
        let connection = self.probed_connection(Some(name.as_str()))?;
        let request = Request::Restore { key: key.clone(), version };
        let restored = match connection.call(&request).map_err(outcome_unknown)? {
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
