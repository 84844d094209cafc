//! Migration: copies the blobs of one store to another server unchanged. Only headers and footers
//! are opened, nothing is sealed again, and the store keeps its contents.
//!
//! A migration can be repeated: a version that the server has is recognised by its header and not
//! sent again, and an interrupted upload resumes after the parts that the server kept.

use std::collections::HashSet;

use zput_proto::{
    message::{ErrorCode, Kind, Request, Response, Version, VersionInfo, VersionState},
    name::{BlobName, ObjectKey},
};

use super::transfer::{Transferred, VersionToSend};
use crate::{
    connection::ConnectionError, error::Error, get::HeadRequest, io::progress::Progress,
    session::Session,
};

/// The result of migrating one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// The server has its current version, and every earlier one that was not in the trash.
    Whole {
        /// Number of versions that were sent now; 0 if the server had all.
        sent: u64,
    },
    /// The server has a newer blob under this name, which stays current.
    Superseded,
}

impl Session {
    /// Sends the versions of `name` in `origin` to this client's server, the oldest first, without
    /// those in the trash.
    ///
    /// # Errors
    /// When `origin` has no such blob or it is damaged there, and when the server refuses. Versions
    /// that were sent stay on the server, and the same call continues after them.
    pub fn migrate(
        &mut self,
        origin: &mut Session,
        name: &BlobName,
        progress: &dyn Progress,
    ) -> Result<Migrated, Error> {
        let key = origin.key_file().object_key(name);
        let mut versions = origin.versions(name)?;
        versions.retain(|version| version.state != VersionState::Trash);
        versions.reverse();
        let (mut sent, mut transferred, mut last) = (0, HashSet::new(), None);
        for VersionInfo { version, kind, .. } in versions {
            if kind != Kind::Sealed {
                return Err(Error::Envelope("it is unsealed"));
            }
            let request = HeadRequest {
                key: &key,
                version: Some(version),
                allow_rollback: false,
                body: false,
            };
            let head = origin.fetch_head(&request)?;
            let outgoing = VersionToSend { name, key: &key, head };
            last = match self.transfer_version(origin, &outgoing, progress)? {
                Transferred::Sent(version) => {
                    sent += 1;
                    Some(version)
                }
                Transferred::AlreadyThere(version) => Some(version),
                Transferred::Superseded(_) => None,
            };
            transferred.extend(last);
        }
        progress.end();
        let Some(last) = last else { return Ok(Migrated::Superseded) };
        let current = self.current_version(name, &key)?;
        if current == Some(last) {
            return Ok(Migrated::Whole { sent });
        }
        // An earlier version was restored in the store, so it was uploaded before the version that
        // it replaced.
        if current.is_none_or(|current| transferred.contains(&current)) {
            self.restore(name, last, progress)?;
            return Ok(Migrated::Whole { sent });
        }
        Ok(Migrated::Superseded)
    }

    /// The current version on the server; `None` if there is none.
    fn current_version(
        &mut self,
        name: &BlobName,
        key: &ObjectKey,
    ) -> Result<Option<Version>, Error> {
        let request = Request::Stat { key: key.clone(), version: None };
        match self.call_with_retries(Some(name.as_str()), &request) {
            Ok(Response::Stat { info }) => Ok(Some(info.version)),
            Ok(_) => Err(self.connection()?.unexpected("not what it knows of the object").into()),
            Err(Error::Connection(ConnectionError::Refused { error, .. }))
                if error.known() == Some(ErrorCode::NotFound) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
