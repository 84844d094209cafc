//! A migration: the blobs of one store go to another server as they are. Nothing is opened but headers
//! and footers, nothing is sealed again, and the store that they come from stays as it was.
//!
//! A migration can be repeated: a version that the server has is recognised by its header and not sent
//! again, and an upload that was cut off goes on behind the parts that the server kept.

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
    get::{Found, Wanted},
    progress::Progress,
    retry::Tries,
    send::{Resumed, SLICE_BYTES, Upload, abort},
};

/// How one blob fared in a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// The server has its current version, and every earlier one that was not in the trash. So many versions
    /// were sent; none when all had been there.
    Whole {
        /// Versions that were sent now.
        sent: u64,
    },
    /// The server has something newer under this name, which stays its current version.
    Superseded,
}

/// What the server has of one version.
pub(crate) enum Placed {
    Sent(Version),
    There(Version),
    /// A version of a later generation is current: this one.
    Superseded(u64),
}

/// What came of talking to the server, where a failure of the store is another matter.
type FromServer<T> = Result<T, ClientError>;

/// One version of a blob, in the store that it comes from.
pub(crate) struct Outgoing<'a> {
    pub(crate) name: &'a BlobName,
    pub(crate) key: &'a ObjectKey,
    /// Its header and footer are what is sent; its version and its parts are those of the store.
    pub(crate) found: Found,
}

impl Client {
    /// Sends the versions of `name` that `origin` has to this client's server, the oldest first. What was in
    /// the trash stays behind.
    ///
    /// # Errors
    /// When `origin` has no such blob or it is damaged there, and when the server takes it not. What was sent
    /// before stays on the server; the same call goes on behind it.
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
        let (mut sent, mut placed, mut last) = (0, HashSet::new(), None);
        for VersionInfo { version, kind, .. } in versions {
            if kind != Kind::Sealed {
                return Err(ClientError::Envelope("it is unsealed"));
            }
            let wanted =
                Wanted { key: &key, version: Some(version), allow_rollback: false, body: false };
            let found = origin.find(&wanted)?;
            let outgoing = Outgoing { name, key: &key, found };
            last = match self.place(origin, &outgoing, progress)? {
                Placed::Sent(version) => {
                    sent += 1;
                    Some(version)
                }
                Placed::There(version) => Some(version),
                Placed::Superseded(_) => None,
            };
            placed.extend(last);
        }
        progress.end();
        let Some(last) = last else { return Ok(Migrated::Superseded) };
        let current = self.current(name, &key)?;
        if current == Some(last) {
            return Ok(Migrated::Whole { sent });
        }
        // An earlier version was restored in the store: its bytes came before those of the one that it replaced.
        if current.is_none_or(|current| placed.contains(&current)) {
            self.restore(name, last, progress)?;
            return Ok(Migrated::Whole { sent });
        }
        Ok(Migrated::Superseded)
    }

    /// The current version on the server.
    fn current(
        &mut self,
        name: &BlobName,
        key: &ObjectKey,
    ) -> Result<Option<Version>, ClientError> {
        let request = Request::Stat { key: key.clone(), version: None };
        match self.ask_again(Some(name.as_str()), &request) {
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
    pub(crate) fn place(
        &mut self,
        origin: &mut Client,
        outgoing: &Outgoing<'_>,
        progress: &dyn Progress,
    ) -> Result<Placed, ClientError> {
        let mut tries = Tries::default();
        loop {
            progress.begin(Some(outgoing.found.info.length));
            let error = match self.place_once(origin, outgoing, progress, &mut tries) {
                Ok(Ok(placed)) => return Ok(placed),
                Ok(Err(error @ ClientError::Overtaken { there })) => {
                    self.recover(&error, abort);
                    return Ok(Placed::Superseded(there));
                }
                Ok(Err(error)) => error,
                // A failure of the store is not the server's, and is not tried again.
                Err(error) => {
                    self.recover(&error, abort);
                    return Err(error);
                }
            };
            // What the server holds of the upload is claimed by the next try.
            self.hang_up();
            self.pause(&mut tries, Some(outgoing.name.as_str()), error)?;
        }
    }

    fn place_once(
        &mut self,
        origin: &mut Client,
        outgoing: &Outgoing<'_>,
        progress: &dyn Progress,
        tries: &mut Tries,
    ) -> Result<FromServer<Placed>, ClientError> {
        let header = HeaderSlice::of(outgoing.found.header.clone());
        let resumed = self.connection().and_then(|connection| {
            Upload::resume(connection, outgoing.key, header.clone(), Condition::Any)
        });
        let held = match resumed {
            Err(error) => return Ok(Err(error)),
            Ok(Resumed::Committed(version)) => {
                progress.advance(outgoing.found.info.length);
                return Ok(Ok(Placed::There(version)));
            }
            Ok(Resumed::Open) => match self.claim_parts(outgoing) {
                Ok(held) => held,
                Err(error) => return Ok(Err(error)),
            },
            Ok(Resumed::Nothing) => {
                let begun = self.connection().and_then(|connection| {
                    let begin = Some(header);
                    Upload::begin(connection, outgoing.key, begin, Condition::Any)?.hear_begun()
                });
                if let Err(error) = begun {
                    return Ok(Err(error));
                }
                0
            }
        };
        if held > 0 {
            tries.progressed();
        }
        let sent = self.send_parts(origin, outgoing, held, progress);
        if !matches!(sent, Ok(Ok(_))) {
            // The rest of a part may still be on its way from the store.
            origin.hang_up();
        }
        Ok(sent?.map(Placed::Sent))
    }

    /// Claims the parts of an upload that is open, as the footer names them; gives how many the server holds.
    fn claim_parts(&mut self, outgoing: &Outgoing<'_>) -> Result<u64, ClientError> {
        let (trusted, mut held) = (&outgoing.found.trusted, 0);
        let parts = trusted.layout().parts();
        let mut upload = Upload::opened(self.connection()?);
        while held < parts {
            let end = parts.min(held + CLAIM_MAX_SLICES as u64);
            let slices = (held..end)
                .map(|part| {
                    let length = trusted.layout().sealed_part_len(part).unwrap_or(0);
                    // A sealed part has at most 16 MiB and a little.
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

    /// Sends the parts from `next` on and the footer into the upload that is open, and commits it.
    fn send_parts(
        &mut self,
        origin: &mut Client,
        outgoing: &Outgoing<'_>,
        next: u64,
        progress: &dyn Progress,
    ) -> Result<FromServer<Version>, ClientError> {
        let Outgoing { found, .. } = outgoing;
        let layout = found.trusted.layout();
        let first = layout.part_offset(next).unwrap_or(layout.footer_offset());
        progress.advance(first);
        let store = origin.read_from(outgoing, first..layout.footer_offset())?;
        let mut upload = match self.connection() {
            Ok(connection) => Upload::opened(connection),
            Err(error) => return Ok(Err(error)),
        };
        let mut part = Vec::new();
        for index in next..layout.parts() {
            let length = layout.sealed_part_len(index).unwrap_or(0) as usize;
            part.resize(length, 0);
            fill(store, &mut part)?;
            let digest = Digest::of(&part);
            if digest != found.trusted.digest(index)? {
                return Err(ClientError::Envelope("a part of it is damaged"));
            }
            if let Err(error) = upload.slice(&part, digest) {
                return Ok(Err(error));
            }
            progress.advance(length as u64);
        }
        for piece in found.footer.chunks(SLICE_BYTES) {
            if let Err(error) = upload.slice(piece, Digest::of(piece)) {
                return Ok(Err(error));
            }
            progress.advance(piece.len() as u64);
        }
        Ok(upload.commit())
    }

    /// Asks for a stretch of a version, which then comes as payload of the connection.
    fn read_from(
        &mut self,
        outgoing: &Outgoing<'_>,
        stretch: Range<u64>,
    ) -> Result<&mut Connection, ClientError> {
        let connection = self.connection()?;
        let length = stretch.end - stretch.start;
        let request = Request::Get {
            key: outgoing.key.clone(),
            version: Some(outgoing.found.info.version),
            sections: vec![Section::Range { offset: stretch.start, length }],
            kind: Kind::Sealed,
        };
        match connection.ask(&request)? {
            Response::Object { payload, .. } if payload == length => Ok(connection),
            _ => Err(connection.unexpected("not the parts that were asked for").into()),
        }
    }
}

/// Fills `part` from the payload that `connection` gives.
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
