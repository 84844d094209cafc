//! A get: receive → open → sink.
//!
//! ```text
//! server ──header, footer, parts──▶ this thread ──blocks of 1 MiB──▶ open ──verified parts──▶ sink
//! ```
//!
//! One request asks for the header, the footer and the parts, in this order, so the whole blob is
//! vouched for before its first part comes, and it costs one round trip. What the server says about
//! lengths is bounded before anything is allocated by it.
//!
//! After a temporary failure the parts that did not come are asked for, of the same version: the footer that was
//! verified at first vouches for them. So it is with a file that an interrupted get has left, if the footer is the same.

mod lengths;

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

use self::lengths::check_lengths;
use crate::{
    client::Client,
    connection::Connection,
    error::ClientError,
    memory::reserve,
    notice::{Event, Notice},
    progress::{Progress, Proportion},
    receive::{Blocks, receive, receive_small},
    retry::Tries,
    seen::SeenError,
    sink::Sink,
};

/// Which bytes of the plaintext are wanted: from `start` to before `end`, or to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// Behind the last byte; `None` for all that follows.
    pub end: Option<u64>,
}

/// How a blob is got.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    /// Which version; the current one when absent. A version that was asked for by its number may be
    /// an old one, and the record of what was seen is neither asked nor moved.
    pub version: Option<Version>,
    /// Only these bytes.
    pub range: Option<ByteRange>,
    /// Accept an older blob than was seen before, and take it for the newest from now on.
    pub allow_rollback: bool,
}

/// What a get came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetReceipt {
    /// Which version it was.
    pub version: Version,
    /// The blob's generation.
    pub generation: u64,
    /// Bytes that went into the sink.
    pub length: u64,
    /// What the file is, by its author's word. The name may be another than the one asked for.
    pub metadata: Metadata,
    /// Who signed it.
    pub writer: Option<WriterPublicKey>,
    /// SHA-256 of the whole plaintext, by its writer's word.
    pub sha256: Option<[u8; 32]>,
}

/// A blob that is vouched for, of which no part was opened yet.
pub(crate) struct Found {
    pub(crate) info: Info,
    pub(crate) recipients: usize,
    pub(crate) trusted: Trusted,
    /// The bytes of the header and of the footer, as they came.
    pub(crate) header: Vec<u8>,
    pub(crate) footer: Vec<u8>,
}

/// How a blob is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a ObjectKey,
    pub(crate) version: Option<Version>,
    pub(crate) allow_rollback: bool,
    /// Whether the parts follow on the connection.
    pub(crate) body: bool,
}

impl Client {
    /// Gets the blob called `name`; only what is verified reaches `sink`.
    ///
    /// # Errors
    /// When there is none, it cannot be opened, or anything about it is not as it was sealed. Then
    /// what `sink` got is genuine but not all of it.
    pub fn get(
        &mut self,
        name: &BlobName,
        options: &GetOptions,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<GetReceipt, ClientError> {
        let key = self.key_file().object_key(name);
        let wanted = Wanted {
            key: &key,
            version: options.version,
            allow_rollback: options.allow_rollback,
            body: options.range.is_none() && !sink.may_hold(),
        };
        let (mut begun, mut tries) = (None, Tries::default());
        let got = loop {
            let before = begun.as_ref().map(|begun: &Begun| begun.next);
            let got = self.get_on(name, &wanted, options, &mut begun, sink, progress);
            let error = match self.after(got) {
                Ok(receipt) => {
                    self.set_hopeless(false);
                    break Ok(receipt);
                }
                Err(error) => error,
            };
            if begun.as_ref().map(|begun| begun.next) != before {
                tries.progressed();
            }
            if begun.as_ref().is_some_and(|begun| begun.is_torn) {
                break Err(error);
            }
            if let Err(error) = self.pause(&mut tries, Some(name.as_str()), error) {
                break Err(error);
            }
        };
        progress.end();
        got
    }

    /// Gets what is still missing.
    fn get_on(
        &mut self,
        name: &BlobName,
        wanted: &Wanted<'_>,
        options: &GetOptions,
        begun: &mut Option<Begun>,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<GetReceipt, ClientError> {
        let is_under_way = begun.is_none() && wanted.body;
        let begun = match begun {
            Some(begun) => begun,
            None => {
                let found = self.find(wanted)?;
                let begin = Begun::of(found, options, sink)?;
                if begin.held > 0 {
                    let event = Event::GoesOn { held: begin.held, length: begin.range.end };
                    self.tell(&Notice { thing: Some(name.as_str()), event });
                }
                begun.insert(begin)
            }
        };
        progress.begin(Some(begun.range.end - begun.range.start));
        progress.held(begun.done());
        let sealed = begun.sealed_stretch();
        let length = sealed.end - sealed.start;
        if length > 0 {
            let version = Some(begun.found.info.version);
            let connection = self.connection()?;
            if !is_under_way {
                let section = Section::Range { offset: sealed.start, length };
                let (key, sections) = (wanted.key.clone(), vec![section]);
                let request = Request::Get { key, version, sections, kind: Kind::Sealed };
                let Answer { payload, .. } = object(connection, &request)?;
                if payload != length {
                    return Err(ClientError::Envelope("the range has another length"));
                }
            }
            let plain = begun.range.end - begun.range.start - begun.done();
            let mut proportion = Proportion::new(progress, length, plain);
            receive(connection, length, &mut |came| proportion.moved(came), |blocks| {
                begun.open(blocks, sink)
            })?;
        }
        Ok(begun.receipt())
    }

    /// Gets the unsealed object called `name`. Nobody vouches for it but the server.
    ///
    /// # Errors
    /// When there is none, or the connection is a protected one.
    pub fn get_unsealed(
        &mut self,
        name: &BlobName,
        options: &GetOptions,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<(Version, u64), ClientError> {
        self.refuse_unsealed_over_tls()?;
        let key = self.key_file().object_key(name);
        let mut tries = Tries::default();
        let got = loop {
            // Nobody vouches for it, so nothing tells whether a second answer goes on where the first one ended.
            let mut is_untouched = true;
            let got = self.get_plain(&key, options, &mut is_untouched, sink, progress);
            let paused = match self.after(got) {
                Err(error) if is_untouched => self.pause(&mut tries, Some(name.as_str()), error),
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
        is_untouched: &mut bool,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<(Version, u64), ClientError> {
        let connection = self.connection()?;
        let mut version = options.version;
        let mut section = Section::All;
        let mut expected = None;
        if options.range.is_some() {
            let Response::Stat { info } =
                connection.ask(&Request::Stat { key: key.clone(), version })?
            else {
                return Err(connection.unexpected("not what it knows of the object").into());
            };
            let range = within(options.range, info.length)?;
            let length = range.end - range.start;
            version = Some(info.version);
            section = Section::Range { offset: range.start, length };
            expected = Some(length);
        }
        let (key, sections) = (key.clone(), vec![section]);
        let request = Request::Get { key, version, sections, kind: Kind::Plain };
        let Answer { info, payload, .. } = object(connection, &request)?;
        if info.kind != Kind::Plain || payload != expected.unwrap_or(info.length) {
            return Err(ClientError::Envelope("not the unsealed bytes that were asked for"));
        }
        progress.begin(Some(payload));
        receive(connection, payload, &mut |came| progress.advance(came), |blocks| {
            let mut left = payload;
            while left > 0 {
                let Some(bytes) = blocks.next(left) else { return Err(ClientError::Incomplete) };
                left -= bytes.len() as u64;
                *is_untouched = false;
                sink.write(bytes)?;
            }
            Ok(())
        })?;
        Ok((info.version, payload))
    }

    /// Asks for header and footer and takes them through the order of trust (FORMAT 9, 1 to 6).
    pub(crate) fn find(&mut self, wanted: &Wanted<'_>) -> Result<Found, ClientError> {
        let Some(identity) = self.key_file().identity().cloned() else {
            return Err(ClientError::CannotOpen(Role::Put));
        };
        let mut sections = vec![Section::Header, Section::Footer];
        if wanted.body {
            sections.push(Section::Body);
        }
        let request = Request::Get {
            key: wanted.key.clone(),
            version: wanted.version,
            sections,
            kind: Kind::Sealed,
        };
        let connection = self.connection()?;
        let Answer { info, header, payload } = object(connection, &request)?;
        let header = header.unwrap_or_default();
        check_lengths(&info, header.len(), payload, wanted)?;
        let footer = receive_small(connection, info.footer_length)?;

        let parsed = Header::parse(&header)?;
        let recipients = parsed.stanzas().len();
        let authentic = parsed.unwrap_file_key(&[identity])?.authenticate(Engine::default())?;
        let vouched = self.named(authentic, wanted.key)?.vouched_by(&footer, &self.vouching())?;
        let newest = match wanted.version {
            None => self.record().newest(wanted.key)?,
            Some(_) => None,
        };
        let accept = wanted.allow_rollback;
        let trusted = vouched.not_older_than(newest.as_ref().filter(|_| !accept))?;
        if trusted.layout().object_length(info.footer_length) != info.length {
            return Err(ClientError::Envelope("the lengths do not add up"));
        }
        if wanted.version.is_none() {
            let noted = self.note(wanted, newest, &trusted.seen());
            self.record_warning().of(info.version, noted)?;
        }
        Ok(Found { info, recipients, trusted, header, footer })
    }

    /// Moves the record of what was seen.
    fn note(
        &self,
        wanted: &Wanted<'_>,
        newest: Option<Seen>,
        seen: &Seen,
    ) -> Result<(), SeenError> {
        match newest {
            Some(newest) if newest == *seen => Ok(()),
            Some(newest) if wanted.allow_rollback && newest.generation >= seen.generation => {
                self.record().accept(wanted.key, seen)
            }
            _ => {
                if self.record().is_ahead(seen.generation) {
                    let event = Event::Ahead { generation: seen.generation };
                    self.tell(&Notice { thing: None, event });
                }
                self.record().advance(wanted.key, seen)
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

/// What a server answers to a Get.
struct Answer {
    info: Info,
    header: Option<Vec<u8>>,
    /// Raw bytes that follow.
    payload: u64,
}

/// Asks for sections of an object.
fn object(connection: &mut Connection, request: &Request) -> Result<Answer, ClientError> {
    match connection.ask(request)? {
        Response::Object { info, header, payload } => Ok(Answer { info, header, payload }),
        _ => Err(connection.unexpected("not the object").into()),
    }
}

/// The bytes of the plaintext that are wanted, as far as there are so many.
fn within(range: Option<ByteRange>, total: u64) -> Result<Range<u64>, ClientError> {
    let Some(ByteRange { start, end }) = range else { return Ok(0..total) };
    if start > total {
        return Err(ClientError::Range { offset: start, length: total });
    }
    // As of an HTTP range (RFC 9110, 14.1.2): what ends behind the end ends there.
    Ok(start..end.map_or(total, |end| end.min(total)).max(start))
}

/// A blob whose parts are coming.
struct Begun {
    found: Found,
    /// The bytes of the plaintext that are wanted.
    range: Range<u64>,
    /// The parts that hold them.
    parts: Range<u64>,
    /// The first of these that was not written.
    next: u64,
    /// Bytes that were there before.
    held: u64,
    /// A part was not written whole, so nothing may be written behind it.
    is_torn: bool,
}

impl Begun {
    fn of(found: Found, options: &GetOptions, sink: &mut dyn Sink) -> Result<Self, ClientError> {
        let trusted = &found.trusted;
        let layout = trusted.layout();
        let range = within(options.range, layout.total_length())?;
        if options.range.is_some() {
            let parts = layout.parts_of(range.clone());
            return Ok(Self { range, next: parts.start, parts, held: 0, is_torn: false, found });
        }
        let parts = 0..layout.parts();
        let next = sink.begin(trusted)?.min(parts.end);
        let held = (next * layout.part_size().bytes()).min(range.end);
        Ok(Self { range, parts, next, held, is_torn: false, found })
    }

    /// Where in the object the parts are that are still missing.
    fn sealed_stretch(&self) -> Range<u64> {
        let layout = self.found.trusted.layout();
        let offset = |part| layout.part_offset(part).unwrap_or(layout.footer_offset());
        if self.next < self.parts.end { offset(self.next)..offset(self.parts.end) } else { 0..0 }
    }

    /// Bytes of the range that were written.
    fn done(&self) -> u64 {
        let layout = self.found.trusted.layout();
        let written = self.next * layout.part_size().bytes();
        written.clamp(self.range.start, self.range.end) - self.range.start
    }

    /// Opens the parts that are still missing, and hands on what of the range is in them.
    fn open(&mut self, blocks: &mut Blocks, sink: &mut dyn Sink) -> Result<(), ClientError> {
        let (trusted, range) = (&self.found.trusted, &self.range);
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
            let begins = index * layout.part_size().bytes();
            let wanted =
                clamp(range.start, begins, opened.len())..clamp(range.end, begins, opened.len());
            let wanted = opened.get(wanted).unwrap_or_default();
            self.is_torn = true;
            sink.write(wanted)?;
            self.is_torn = false;
            self.next += 1;
            buffer = opened.into_buffer();
        }
        Ok(())
    }

    fn receipt(&self) -> GetReceipt {
        let Found { info, trusted, .. } = &self.found;
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

/// Where `offset` of the plaintext falls in a part of `length` bytes that begins at `begins`.
fn clamp(offset: u64, begins: u64, length: usize) -> usize {
    usize::try_from(offset.saturating_sub(begins)).map_or(length, |offset| offset.min(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_the_blob_ends() {
        let range = |start, end| within(Some(ByteRange { start, end }), 10).ok();
        assert_eq!(range(0, Some(10)), Some(0..10));
        assert_eq!(range(3, None), Some(3..10));
        assert_eq!(range(10, None), Some(10..10));
        assert_eq!(range(0, Some(11)), Some(0..10));
        assert_eq!(range(9, Some(u64::MAX)), Some(9..10));
        assert_eq!(range(10, Some(11)), Some(10..10));
        assert_eq!(range(11, None), None);
        assert_eq!(range(11, Some(12)), None);
        assert_eq!(range(u64::MAX, Some(u64::MAX)), None);
        assert_eq!(within(None, 10).ok(), Some(0..10));
    }

    #[test]
    fn offsets_fall_into_parts() {
        assert_eq!(clamp(5, 10, 4), 0);
        assert_eq!(clamp(12, 10, 4), 2);
        assert_eq!(clamp(u64::MAX, 10, 4), 4);
    }
}
