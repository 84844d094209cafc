//! A get: receive → open → sink.
//!
//! ```text
//! server ──header, footer, parts──▶ calling thread ──blocks of 1 MiB──▶ open ──verified parts──▶ sink
//! ```
//!
//! One request asks for header, footer and parts, in this order. So the whole blob is authenticated
//! before its first part arrives, and a get costs one round trip. Lengths that the server states
//! are checked against the format's bounds before anything is allocated by them.
//!
//! After a temporary failure the missing parts of the same version are requested; the footer that
//! was verified first authenticates them. A file that an interrupted get left behind is completed
//! in the same way, if its blob has the same footer.

mod lengths;
mod receive;

use std::ops::Range;

use zput_common::{
    aead::Engine,
    blob::{
        header::Header,
        metadata::Metadata,
        open::{Seen, Trusted},
    },
    keys::{Role, WriterPublicKey},
    name::{BlobName, ObjectKey},
    proto::{
        Mode,
        message::{Info, Kind, Request, Response, Section, Version},
    },
};

use self::{
    lengths::check_lengths,
    receive::{Blocks, receive, receive_small},
};
use crate::{
    client::Client,
    connection::Connection,
    error::ClientError,
    memory::reserve,
    notice::{Event, Notice},
    progress::{Progress, Proportion},
    retry::RetryState,
    sink::Sink,
    state::rollback::RollbackError,
};

/// A range of the plaintext: from `start` to before `end`, or to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte; `None` for the end of the blob.
    pub end: Option<u64>,
}

/// Options of a get.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    /// The version to get; `None` for the current one. A version that was asked for by its number
    /// may be an old one, so the rollback guard is neither consulted nor advanced for it.
    pub version: Option<Version>,
    /// Get only these bytes; `None` for all.
    pub range: Option<ByteRange>,
    /// Accept a blob that is older than one seen before, and record it as the newest.
    pub allow_rollback: bool,
}

/// The result of a get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetReceipt {
    /// The version that was got.
    pub version: Version,
    /// The blob's generation.
    pub generation: u64,
    /// Bytes that were written to the sink.
    pub length: u64,
    /// Name, time and mode as the writer stated them. The name may differ from the one asked for.
    pub metadata: Metadata,
    /// The key that signed the blob; `None` if it is not signed.
    pub writer: Option<WriterPublicKey>,
    /// SHA-256 of the whole plaintext as the writer stated it; `None` if it did not.
    pub sha256: Option<[u8; 32]>,
}

/// An authenticated blob of which no part was opened yet.
pub(crate) struct BlobHead {
    pub(crate) info: Info,
    pub(crate) recipients: usize,
    pub(crate) trusted: Trusted,
    /// Header and footer as the server sent them.
    pub(crate) header: Vec<u8>,
    pub(crate) footer: Vec<u8>,
}

/// A request for a blob's header and footer.
#[derive(Clone, Copy)]
pub(crate) struct HeadRequest<'a> {
    pub(crate) key: &'a ObjectKey,
    pub(crate) version: Option<Version>,
    pub(crate) allow_rollback: bool,
    /// Whether the parts follow on the connection.
    pub(crate) body: bool,
}

impl Client {
    /// Gets the blob called `name`; only verified plaintext reaches `sink`.
    ///
    /// # Errors
    /// When there is no such blob, it cannot be opened, or it is not as it was sealed. What `sink`
    /// received is then genuine but incomplete.
    pub fn get(
        &mut self,
        name: &BlobName,
        options: &GetOptions,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<GetReceipt, ClientError> {
        let key = self.key_file().object_key(name);
        let query = HeadRequest {
            key: &key,
            version: options.version,
            allow_rollback: options.allow_rollback,
            body: options.range.is_none() && !sink.has_partial(),
        };
        let (mut download, mut retries) = (None, RetryState::default());
        let got = loop {
            let before = download.as_ref().map(|download: &Download| download.next);
            let got = self.continue_download(name, &query, options, &mut download, sink, progress);
            let error = match self.drop_on_error(got) {
                Ok(receipt) => {
                    self.set_circuit_open(false);
                    break Ok(receipt);
                }
                Err(error) => error,
            };
            if download.as_ref().map(|download| download.next) != before {
                retries.progressed();
            }
            if download.as_ref().is_some_and(|download| download.has_partial_write) {
                break Err(error);
            }
            if let Err(error) = self.pause(&mut retries, Some(name.as_str()), error) {
                break Err(error);
            }
        };
        progress.end();
        got
    }

    /// Gets what is still missing.
    fn continue_download(
        &mut self,
        name: &BlobName,
        query: &HeadRequest<'_>,
        options: &GetOptions,
        download: &mut Option<Download>,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<GetReceipt, ClientError> {
        let body_follows = download.is_none() && query.body;
        let download = match download {
            Some(download) => download,
            None => {
                let head = self.fetch_head(query)?;
                let begin = Download::of(head, options, sink)?;
                if begin.held > 0 {
                    let event = Event::Resumed { held: begin.held, length: begin.range.end };
                    self.notify(&Notice { thing: Some(name.as_str()), event });
                }
                download.insert(begin)
            }
        };
        progress.begin(Some(download.range.end - download.range.start));
        progress.held(download.written_bytes());
        let sealed = download.missing_range();
        let length = sealed.end - sealed.start;
        if length > 0 {
            let version = Some(download.head.info.version);
            let connection = self.connection()?;
            if !body_follows {
                let section = Section::Range { offset: sealed.start, length };
                let (key, sections) = (query.key.clone(), vec![section]);
                let request = Request::Get { key, version, sections, kind: Kind::Sealed };
                let ObjectAnswer { payload, .. } = request_object(connection, &request)?;
                if payload != length {
                    return Err(ClientError::Envelope("the range has another length"));
                }
            }
            let plain = download.range.end - download.range.start - download.written_bytes();
            let mut proportion = Proportion::new(progress, length, plain);
            receive(connection, length, &mut |received| proportion.moved(received), |blocks| {
                download.open_parts(blocks, sink)
            })?;
        }
        Ok(download.receipt())
    }

    /// Gets the unsealed object called `name`. Only the server vouches for its contents.
    ///
    /// # Errors
    /// When there is none, or the connection is protected by TLS.
    pub fn get_unsealed(
        &mut self,
        name: &BlobName,
        options: &GetOptions,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<(Version, u64), ClientError> {
        self.refuse_unsealed_over_tls()?;
        let key = self.key_file().object_key(name);
        let mut retries = RetryState::default();
        let got = loop {
            // Nothing authenticates the bytes, so a second answer cannot be known to continue the
            // first.
            let mut nothing_written = true;
            let got = self.get_plain(&key, options, &mut nothing_written, sink, progress);
            let paused = match self.drop_on_error(got) {
                Err(error) if nothing_written => {
                    self.pause(&mut retries, Some(name.as_str()), error)
                }
                got => break got,
            };
            if let Err(error) = paused {
                break Err(error);
            }
        };
        progress.end();
        got
    }

    fn get_plain(
        &mut self,
        key: &ObjectKey,
        options: &GetOptions,
        nothing_written: &mut bool,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<(Version, u64), ClientError> {
        let connection = self.connection()?;
        let mut version = options.version;
        let mut section = Section::All;
        let mut expected = None;
        if options.range.is_some() {
            let Response::Stat { info } =
                connection.call(&Request::Stat { key: key.clone(), version })?
            else {
                return Err(connection.unexpected("not what it knows of the object").into());
            };
            let range = clamp_range(options.range, info.length)?;
            let length = range.end - range.start;
            version = Some(info.version);
            section = Section::Range { offset: range.start, length };
            expected = Some(length);
        }
        let (key, sections) = (key.clone(), vec![section]);
        let request = Request::Get { key, version, sections, kind: Kind::Plain };
        let ObjectAnswer { info, payload, .. } = request_object(connection, &request)?;
        if info.kind != Kind::Plain || payload != expected.unwrap_or(info.length) {
            return Err(ClientError::Envelope("not the unsealed bytes that were asked for"));
        }
        progress.begin(Some(payload));
        receive(connection, payload, &mut |received| progress.advance(received), |blocks| {
            let mut left = payload;
            while left > 0 {
                let Some(bytes) = blocks.next(left) else { return Err(ClientError::Incomplete) };
                left -= bytes.len() as u64;
                *nothing_written = false;
                sink.write(bytes)?;
            }
            Ok(())
        })?;
        Ok((info.version, payload))
    }

    /// Requests header and footer and verifies them in the order of trust (FORMAT 9, 1 to 6).
    pub(crate) fn fetch_head(&mut self, query: &HeadRequest<'_>) -> Result<BlobHead, ClientError> {
        let Some(identity) = self.key_file().identity().cloned() else {
            return Err(ClientError::CannotOpen(Role::Put));
        };
        let mut sections = vec![Section::Header, Section::Footer];
        if query.body {
            sections.push(Section::Body);
        }
        let request = Request::Get {
            key: query.key.clone(),
            version: query.version,
            sections,
            kind: Kind::Sealed,
        };
        let connection = self.connection()?;
        let ObjectAnswer { info, header, payload } = request_object(connection, &request)?;
        let header = header.unwrap_or_default();
        check_lengths(&info, header.len(), payload, query)?;
        let footer = receive_small(connection, info.footer_length)?;

        let parsed = Header::parse(&header)?;
        let recipients = parsed.stanzas().len();
        let authentic = parsed.unwrap_file_key(&[identity])?.authenticate(Engine::default())?;
        let vouched =
            self.check_name(authentic, query.key)?.vouched_by(&footer, &self.vouching())?;
        let newest = match query.version {
            None => self.rollback_guard().newest(query.key)?,
            Some(_) => None,
        };
        let accept = query.allow_rollback;
        let trusted = vouched.not_older_than(newest.as_ref().filter(|_| !accept))?;
        if trusted.layout().object_length(info.footer_length) != info.length {
            return Err(ClientError::Envelope("the lengths do not add up"));
        }
        if query.version.is_none() {
            let recorded = self.record_seen(query, newest, &trusted.seen());
            self.rollback_warning().warn_once(info.version, recorded)?;
        }
        Ok(BlobHead { info, recipients, trusted, header, footer })
    }

    /// Advances the rollback guard to what was verified.
    fn record_seen(
        &self,
        query: &HeadRequest<'_>,
        newest: Option<Seen>,
        seen: &Seen,
    ) -> Result<(), RollbackError> {
        match newest {
            Some(newest) if newest == *seen => Ok(()),
            Some(newest) if query.allow_rollback && newest.generation >= seen.generation => {
                self.rollback_guard().accept(query.key, seen)
            }
            _ => {
                if self.rollback_guard().is_ahead(seen.generation) {
                    let event = Event::GenerationAhead { generation: seen.generation };
                    self.notify(&Notice { thing: None, event });
                }
                self.rollback_guard().advance(query.key, seen)
            }
        }
    }

    pub(crate) fn refuse_unsealed_over_tls(&self) -> Result<(), ClientError> {
        match self.mode() {
            Mode::Plaintext => Ok(()),
            Mode::Tls => Err(ClientError::UnsealedOverTls),
        }
    }
}

/// The server's answer to Get.
struct ObjectAnswer {
    info: Info,
    header: Option<Vec<u8>>,
    /// Bytes of payload that follow.
    payload: u64,
}

/// Requests sections of an object.
fn request_object(
    connection: &mut Connection,
    request: &Request,
) -> Result<ObjectAnswer, ClientError> {
    match connection.call(request)? {
        Response::Object { info, header, payload } => Ok(ObjectAnswer { info, header, payload }),
        _ => Err(connection.unexpected("not the object").into()),
    }
}

/// The part of `range` that lies within `total` bytes.
///
/// # Errors
/// [`ClientError::Range`] when it begins after the end.
fn clamp_range(range: Option<ByteRange>, total: u64) -> Result<Range<u64>, ClientError> {
    let Some(ByteRange { start, end }) = range else { return Ok(0..total) };
    if start > total {
        return Err(ClientError::Range { offset: start, length: total });
    }
    // RFC 9110, 14.1.2, has the same rule for HTTP ranges: one that ends after the end is cut
    // there.
    Ok(start..end.map_or(total, |end| end.min(total)).max(start))
}

/// A blob whose parts are being received.
struct Download {
    head: BlobHead,
    /// The range of the plaintext that is wanted.
    range: Range<u64>,
    /// The parts that contain it.
    parts: Range<u64>,
    /// The first part that was not written yet.
    next: u64,
    /// Bytes that were in the sink before.
    held: u64,
    /// A part was written incompletely, so no other may follow it.
    has_partial_write: bool,
}

impl Download {
    fn of(head: BlobHead, options: &GetOptions, sink: &mut dyn Sink) -> Result<Self, ClientError> {
        let trusted = &head.trusted;
        let layout = trusted.layout();
        let range = clamp_range(options.range, layout.total_length())?;
        if options.range.is_some() {
            let parts = layout.parts_of(range.clone());
            return Ok(Self {
                range,
                next: parts.start,
                parts,
                held: 0,
                has_partial_write: false,
                head,
            });
        }
        let parts = 0..layout.parts();
        let next = sink.begin(trusted)?.min(parts.end);
        let held = (next * layout.part_size().bytes()).min(range.end);
        Ok(Self { range, parts, next, held, has_partial_write: false, head })
    }

    /// The range of the object that holds the missing parts.
    fn missing_range(&self) -> Range<u64> {
        let layout = self.head.trusted.layout();
        let offset = |part| layout.part_offset(part).unwrap_or(layout.footer_offset());
        if self.next < self.parts.end { offset(self.next)..offset(self.parts.end) } else { 0..0 }
    }

    /// Bytes of the range that were written.
    fn written_bytes(&self) -> u64 {
        let layout = self.head.trusted.layout();
        let written = self.next * layout.part_size().bytes();
        written.clamp(self.range.start, self.range.end) - self.range.start
    }

    /// Opens the missing parts and writes what of the range is in them.
    fn open_parts(&mut self, blocks: &mut Blocks, sink: &mut dyn Sink) -> Result<(), ClientError> {
        let (trusted, range) = (&self.head.trusted, &self.range);
        let layout = trusted.layout();
        let mut buffer = Vec::new();
        while self.next < self.parts.end {
            let index = self.next;
            let mut left = layout.sealed_part_len(index).unwrap_or(0);
            reserve(&mut buffer, left)?;
            let mut part = trusted.open_part(index, buffer)?;
            while left > 0 {
                let Some(bytes) = blocks.next(left) else { return Err(ClientError::Incomplete) };
                left -= bytes.len() as u64;
                part.push(bytes)?;
            }
            let opened = part.finish()?;
            let part_start = index * layout.part_size().bytes();
            let part_range = offset_in_part(range.start, part_start, opened.len())
                ..offset_in_part(range.end, part_start, opened.len());
            let bytes = opened.get(part_range).unwrap_or_default();
            self.has_partial_write = true;
            sink.write(bytes)?;
            self.has_partial_write = false;
            self.next += 1;
            buffer = opened.into_buffer();
        }
        Ok(())
    }

    fn receipt(&self) -> GetReceipt {
        let BlobHead { info, trusted, .. } = &self.head;
        GetReceipt {
            version: info.version,
            generation: trusted.seen().generation,
            length: self.range.end - self.range.start,
            metadata: trusted.metadata().clone(),
            writer: trusted.writer(),
            sha256: trusted.sha256(),
        }
    }
}

/// Offset of the plaintext byte `offset` within a part of `length` bytes that starts at
/// `part_start`.
fn offset_in_part(offset: u64, part_start: u64, length: usize) -> usize {
    usize::try_from(offset.saturating_sub(part_start)).map_or(length, |offset| offset.min(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_the_blob_ends() {
        let range = |start, end| clamp_range(Some(ByteRange { start, end }), 10).ok();
        assert_eq!(range(0, Some(10)), Some(0..10));
        assert_eq!(range(3, None), Some(3..10));
        assert_eq!(range(10, None), Some(10..10));
        assert_eq!(range(0, Some(11)), Some(0..10));
        assert_eq!(range(9, Some(u64::MAX)), Some(9..10));
        assert_eq!(range(10, Some(11)), Some(10..10));
        assert_eq!(range(11, None), None);
        assert_eq!(range(11, Some(12)), None);
        assert_eq!(range(u64::MAX, Some(u64::MAX)), None);
        assert_eq!(clamp_range(None, 10).ok(), Some(0..10));
    }

    #[test]
    fn offsets_fall_into_parts() {
        assert_eq!(offset_in_part(5, 10, 4), 0);
        assert_eq!(offset_in_part(12, 10, 4), 2);
        assert_eq!(offset_in_part(u64::MAX, 10, 4), 4);
    }
}
