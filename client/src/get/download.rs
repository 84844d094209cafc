//! A get of a sealed blob: its head, then the parts that are missing.

use std::ops::Range;

use zput_proto::{
    message::{Kind, Request, Section},
    name::BlobName,
};

use super::{
    options::{GetOptions, GetReceipt, clamp_range},
    receive::{Blocks, receive},
    request::{BlobHead, HeadRequest, ObjectAnswer, request_object},
};
use crate::{
    error::Error,
    event::{Event, Notice},
    io::{
        progress::{Progress, Proportion},
        sink::Sink,
    },
    memory::reserve,
    retry::RetryState,
    session::Session,
};

impl Session {
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
    ) -> Result<GetReceipt, Error> {
        self.get_parts(name, options, None, sink, progress)
    }

    /// The same for a blob whose head was fetched before.
    pub(crate) fn get_after_head(
        &mut self,
        name: &BlobName,
        options: &GetOptions,
        head: BlobHead,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<GetReceipt, Error> {
        let download = Download::of(head, options, sink)?;
        self.get_parts(name, options, Some(download), sink, progress)
    }

    fn get_parts(
        &mut self,
        name: &BlobName,
        options: &GetOptions,
        mut download: Option<Download>,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<GetReceipt, Error> {
        let key = self.key_file().object_key(name);
        let query = HeadRequest {
            key: &key,
            version: options.version,
            allow_rollback: options.allow_rollback,
            body: options.range.is_none() && !sink.has_partial(),
        };
        let mut retries = RetryState::default();
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
    ) -> Result<GetReceipt, Error> {
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
                    return Err(Error::Envelope("the range has another length"));
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
    fn of(head: BlobHead, options: &GetOptions, sink: &mut dyn Sink) -> Result<Self, Error> {
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
    fn open_parts(&mut self, blocks: &mut Blocks, sink: &mut dyn Sink) -> Result<(), Error> {
        let (trusted, range) = (&self.head.trusted, &self.range);
        let layout = trusted.layout();
        let mut buffer = Vec::new();
        while self.next < self.parts.end {
            let index = self.next;
            let mut left = layout.sealed_part_len(index).unwrap_or(0);
            reserve(&mut buffer, left)?;
            let mut part = trusted.open_part(index, buffer)?;
            while left > 0 {
                let Some(bytes) = blocks.next(left) else { return Err(Error::Incomplete) };
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

    /// An offset of the blob becomes one within the part, between 0 and its length.
    #[test]
    fn offset_in_part_is_clamped_to_the_part() {
        assert_eq!(offset_in_part(5, 10, 4), 0);
        assert_eq!(offset_in_part(12, 10, 4), 2);
        assert_eq!(offset_in_part(u64::MAX, 10, 4), 4);
    }
}
