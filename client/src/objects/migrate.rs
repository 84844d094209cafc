//! Migration: copies the blobs of one store to another server unchanged. Only headers and footers
//! are opened, nothing is sealed again, and the store keeps its contents.
//!
//! A migration can be repeated: a version that the server has is recognised by its header and not
//! sent again, and an interrupted upload resumes after the parts that the server kept.

use std::{collections::HashSet, ops::Range};

use zput_common::{
    digest::Digest,
    limits::CLAIM_MAX_SLICES,
    name::{BlobName, ObjectKey},
    proto::message::{
        ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Section, Version,
        VersionInfo, VersionState,
    },
};

use crate::{
    client::Client,
    connection::{Connection, ConnectionError},
    error::ClientError,
    get::{BlobHead, HeadRequest},
    progress::Progress,
    put::upload::{ResumeAnswer, SLICE_BYTES, Upload, abort},
    retry::RetryState,
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

/// The result of transferring one version.
pub(crate) enum Transferred {
    Sent(Version),
    AlreadyThere(Version),
    /// The current version on the server has this later generation.
    Superseded(u64),
}

/// A result of the server, as opposed to a failure of the store, which is not retried.
type FromServer<T> = Result<T, ClientError>;

/// A version of a blob in the store that it comes from.
pub(crate) struct VersionToSend<'a> {
    pub(crate) name: &'a BlobName,
    pub(crate) key: &'a ObjectKey,
    /// Header and footer are sent as they are here; version and parts are those of the store.
    pub(crate) head: BlobHead,
}

impl Client {
    /// Sends the versions of `name` in `origin` to this client's server, the oldest first, without
    /// those in the trash.
    ///
    /// # Errors
    /// When `origin` has no such blob or it is damaged there, and when the server refuses. Versions
    /// that were sent stay on the server, and the same call continues after them.
    pub fn migrate(
        &mut self,
        origin: &mut Client,
        name: &BlobName,
        progress: &dyn Progress,
    ) -> Result<Migrated, ClientError> {
        let key = origin.key_file().object_key(name);
        let mut versions = origin.versions(name)?;
        versions.retain(|version| version.state != VersionState::Trash);
        versions.reverse();
        let (mut sent, mut transferred, mut last) = (0, HashSet::new(), None);
        for VersionInfo { version, kind, .. } in versions {
            if kind != Kind::Sealed {
                return Err(ClientError::Envelope("it is unsealed"));
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
    ) -> Result<Option<Version>, ClientError> {
        let request = Request::Stat { key: key.clone(), version: None };
        match self.call_with_retries(Some(name.as_str()), &request) {
            Ok(Response::Stat { info }) => Ok(Some(info.version)),
            Ok(_) => Err(self.connection()?.unexpected("not what it knows of the object").into()),
            Err(ClientError::Connection(ConnectionError::Refused { error, .. }))
                if error.known() == Some(ErrorCode::NotFound) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends one version, unless the server has it.
    pub(crate) fn transfer_version(
        &mut self,
        origin: &mut Client,
        outgoing: &VersionToSend<'_>,
        progress: &dyn Progress,
    ) -> Result<Transferred, ClientError> {
        let mut retries = RetryState::default();
        loop {
            progress.begin(Some(outgoing.head.info.length));
            let error = match self.try_transfer(origin, outgoing, progress, &mut retries) {
                Ok(Ok(transferred)) => return Ok(transferred),
                Ok(Err(error @ ClientError::Overtaken { newest })) => {
                    self.recover(&error, abort);
                    return Ok(Transferred::Superseded(newest));
                }
                Ok(Err(error)) => error,
                // A failure of the store is not retried.
                Err(error) => {
                    self.recover(&error, abort);
                    return Err(error);
                }
            };
            // The next try claims what the server holds of the upload.
            self.drop_connection();
            self.pause(&mut retries, Some(outgoing.name.as_str()), error)?;
        }
    }

    fn try_transfer(
        &mut self,
        origin: &mut Client,
        outgoing: &VersionToSend<'_>,
        progress: &dyn Progress,
        retries: &mut RetryState,
    ) -> Result<FromServer<Transferred>, ClientError> {
        let header = HeaderSlice::of(outgoing.head.header.clone());
        let resumed = self.connection().and_then(|connection| {
            Upload::resume(connection, outgoing.key, header.clone(), Condition::Any)
        });
        let held = match resumed {
            Err(error) => return Ok(Err(error)),
            Ok(ResumeAnswer::Committed(version)) => {
                progress.advance(outgoing.head.info.length);
                return Ok(Ok(Transferred::AlreadyThere(version)));
            }
            Ok(ResumeAnswer::Open) => match self.claim_parts(outgoing) {
                Ok(held) => held,
                Err(error) => return Ok(Err(error)),
            },
            Ok(ResumeAnswer::Nothing) => {
                let opened = self.connection().and_then(|connection| {
                    let begin = Some(header);
                    Upload::begin(connection, outgoing.key, begin, Condition::Any)?
                        .wait_until_open()
                });
                if let Err(error) = opened {
                    return Ok(Err(error));
                }
                0
            }
        };
        if held > 0 {
            retries.progressed();
        }
        let sent = self.send_parts(origin, outgoing, held, progress);
        if !matches!(sent, Ok(Ok(_))) {
            // The rest of a part may still arrive from the store.
            origin.drop_connection();
        }
        Ok(sent?.map(Transferred::Sent))
    }

    /// Claims the parts of the open upload, with the digests in the footer; returns how many the
    /// server holds.
    fn claim_parts(&mut self, outgoing: &VersionToSend<'_>) -> Result<u64, ClientError> {
        let (trusted, mut held) = (&outgoing.head.trusted, 0);
        let parts = trusted.layout().parts();
        let mut upload = Upload::attach(self.connection()?);
        while held < parts {
            let end = parts.min(held + CLAIM_MAX_SLICES as u64);
            let slices = (held..end)
                .map(|part| {
                    let length = trusted.layout().sealed_part_len(part).unwrap_or(0);
                    // A sealed part is at most 16 MiB plus its authentication tags.
                    Ok(ClaimedSlice { length: length as u32, digest: trusted.digest(part)? })
                })
                .collect::<Result<Vec<_>, ClientError>>()?;
            let answered = upload.claim(&slices)?;
            held += answered as u64;
            if answered < slices.len() {
                break;
            }
        }
        Ok(held)
    }

    /// Sends the parts from `next` on and the footer into the open upload, and commits it.
    fn send_parts(
        &mut self,
        origin: &mut Client,
        outgoing: &VersionToSend<'_>,
        next: u64,
        progress: &dyn Progress,
    ) -> Result<FromServer<Version>, ClientError> {
        let VersionToSend { head, .. } = outgoing;
        let layout = head.trusted.layout();
        let first = layout.part_offset(next).unwrap_or(layout.footer_offset());
        progress.advance(first);
        let store = origin.request_range(outgoing, first..layout.footer_offset())?;
        let mut upload = match self.connection() {
            Ok(connection) => Upload::attach(connection),
            Err(error) => return Ok(Err(error)),
        };
        let mut part = Vec::new();
        for index in next..layout.parts() {
            let length = layout.sealed_part_len(index).unwrap_or(0) as usize;
            part.resize(length, 0);
            fill(store, &mut part)?;
            let digest = Digest::of(&part);
            if digest != head.trusted.digest(index)? {
                return Err(ClientError::Envelope("a part of it is damaged"));
            }
            if let Err(error) = upload.send_slice(&part, digest) {
                return Ok(Err(error));
            }
            progress.advance(length as u64);
        }
        for piece in head.footer.chunks(SLICE_BYTES) {
            if let Err(error) = upload.send_slice(piece, Digest::of(piece)) {
                return Ok(Err(error));
            }
            progress.advance(piece.len() as u64);
        }
        Ok(upload.commit())
    }

    /// Requests a range of a version, which then arrives as payload of the returned connection.
    fn request_range(
        &mut self,
        outgoing: &VersionToSend<'_>,
        range: Range<u64>,
    ) -> Result<&mut Connection, ClientError> {
        let connection = self.connection()?;
        let length = range.end - range.start;
        let request = Request::Get {
            key: outgoing.key.clone(),
            version: Some(outgoing.head.info.version),
            sections: vec![Section::Range { offset: range.start, length }],
            kind: Kind::Sealed,
        };
        match connection.call(&request)? {
            Response::Object { payload, .. } if payload == length => Ok(connection),
            _ => Err(connection.unexpected("not the parts that were asked for").into()),
        }
    }
}

/// Fills `part` with payload from `connection`.
fn fill(connection: &mut Connection, part: &mut [u8]) -> Result<(), ClientError> {
    let mut filled = 0;
    while filled < part.len() {
        match connection.payload(&mut part[filled..])? {
            0 => return Err(ClientError::Incomplete),
            more => filled += more,
        }
    }
    Ok(())
}
