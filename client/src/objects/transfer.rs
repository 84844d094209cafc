//! Transfers one version from a store to a server, unchanged: header, parts and footer.

use std::ops::Range;

use zput_proto::{
    digest::Digest,
    limits::CLAIM_MAX_SLICES,
    message::{ClaimedSlice, Condition, HeaderSlice, Kind, Request, Response, Section, Version},
    name::{BlobName, ObjectKey},
};

use crate::{
    connection::Connection,
    error::Error,
    get::BlobHead,
    io::progress::Progress,
    limits::SLICE_BYTES,
    put::upload::{ResumeAnswer, Upload, abort},
    retry::RetryState,
    session::Session,
};

/// The result of transferring one version.
pub(crate) enum Transferred {
    Sent(Version),
    AlreadyThere(Version),
    /// The current version on the server has this later generation.
    Superseded(u64),
}

/// A result of the server, as opposed to a failure of the store, which is not retried.
type FromServer<T> = Result<T, Error>;

/// A version of a blob in the store that it comes from.
pub(crate) struct VersionToSend<'a> {
    pub(crate) name: &'a BlobName,
    pub(crate) key: &'a ObjectKey,
    /// Header and footer are sent as they are here; version and parts are those of the store.
    pub(crate) head: BlobHead,
}

impl Session {
    /// Sends one version, unless the server has it.
    pub(crate) fn transfer_version(
        &mut self,
        origin: &mut Session,
        outgoing: &VersionToSend<'_>,
        progress: &dyn Progress,
    ) -> Result<Transferred, Error> {
        let mut retries = RetryState::default();
        loop {
            progress.begin(Some(outgoing.head.info.length));
            let error = match self.try_transfer(origin, outgoing, progress, &mut retries) {
                Ok(Ok(transferred)) => return Ok(transferred),
                Ok(Err(error @ Error::Overtaken { newest })) => {
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
        origin: &mut Session,
        outgoing: &VersionToSend<'_>,
        progress: &dyn Progress,
        retries: &mut RetryState,
    ) -> Result<FromServer<Transferred>, Error> {
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
    fn claim_parts(&mut self, outgoing: &VersionToSend<'_>) -> Result<u64, Error> {
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
                .collect::<Result<Vec<_>, Error>>()?;
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
        origin: &mut Session,
        outgoing: &VersionToSend<'_>,
        next: u64,
        progress: &dyn Progress,
    ) -> Result<FromServer<Version>, Error> {
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
                return Err(Error::Envelope("a part of it is damaged"));
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
    ) -> Result<&mut Connection, Error> {
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
fn fill(connection: &mut Connection, part: &mut [u8]) -> Result<(), Error> {
    let mut filled = 0;
    while filled < part.len() {
        match connection.payload(&mut part[filled..])? {
            0 => return Err(Error::Incomplete),
            more => filled += more,
        }
    }
    Ok(())
}
