//! Finds the end of a request's head in a stream of bytes, wherever that was cut.
//!
//! A head is read line by line: what is decided is decided at the same byte however the bytes come.
//! No byte behind its end is taken.

use super::{
    bounds::{HEAD_MAX_BYTES, KEPT_BYTES, TARGET_MAX_BYTES},
    refusal::Refusal,
    request::Request,
};

/// Reads one head after the other.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// The head so far.
    bytes: Vec<u8>,
    /// Where the line begins that is not complete.
    line_start: usize,
    /// Where the field lines begin, once the request line was read.
    fields_start: Option<usize>,
    /// An empty line was in front of this head.
    empty_line: bool,
    request: Request,
}

impl HeadReader {
    /// Takes bytes off the front of `input`, none behind the head's end. True when it is complete.
    ///
    /// # Errors
    /// When this is no head. The caller must read nothing after that.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<bool, Refusal> {
        loop {
            let newline = input.iter().position(|byte| *byte == b'\n');
            let wanted = newline.map_or(input.len(), |at| at + 1);
            let (taken, rest) = input.split_at(wanted.min(self.room()));
            self.bytes.extend_from_slice(taken);
            *input = rest;
            if newline.is_none() || taken.len() < wanted {
                return if self.room() == 0 { Err(self.too_long()) } else { Ok(false) };
            }
            if self.end_line()? {
                return Ok(true);
            }
        }
    }

    /// Whether a byte of a head was read.
    pub(super) const fn is_started(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The request, as far as its head was read.
    pub(super) const fn request(&self) -> &Request {
        &self.request
    }

    /// Forgets the head; the next byte begins another.
    pub(super) fn reset(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.line_start = 0;
        self.fields_start = None;
        self.empty_line = false;
        self.request.reset();
    }

    /// A line is complete. True when it was the head's last.
    fn end_line(&mut self) -> Result<bool, Refusal> {
        let line = self.bytes.get(self.line_start..).unwrap_or_default();
        if !line.ends_with(b"\r\n") {
            return Err(Refusal::LineEnding);
        }
        let is_empty = line.len() == 2;
        match self.fields_start {
            // RFC 9112, 2.2: "a server that is expecting to receive and parse a request-line SHOULD
            // ignore at least one empty line (CRLF) received prior to the request-line."
            None if is_empty => {
                if self.empty_line {
                    return Err(Refusal::EmptyLines);
                }
                self.empty_line = true;
                self.bytes.clear();
            }
            None => {
                self.request.read_line(line)?;
                self.fields_start = Some(self.bytes.len());
            }
            Some(fields) if is_empty => {
                self.request.read_fields(self.bytes.get(fields..).unwrap_or_default())?;
                return Ok(true);
            }
            Some(_) => {}
        }
        self.line_start = self.bytes.len();
        Ok(false)
    }

    /// How many more bytes the head may have.
    const fn room(&self) -> usize {
        let most =
            if self.fields_start.is_some() { HEAD_MAX_BYTES } else { REQUEST_LINE_MAX_BYTES };
        most - self.bytes.len()
    }

    /// RFC 9112, 3: "A server that receives a method longer than any that it implements SHOULD
    /// respond with a 501 (Not Implemented) status code. A server that receives a request-target
    /// longer than any URI it wishes to parse MUST respond with a 414 (URI Too Long) status code."
    fn too_long(&self) -> Refusal {
        if self.fields_start.is_some() {
            Refusal::HeadTooLong
        } else if self.bytes.contains(&b' ') {
            Refusal::TargetTooLong
        } else {
            Refusal::MethodUnknown
        }
    }
}

/// The longest request line: the longest target, and room for a method, the version and what
/// separates them.
const REQUEST_LINE_MAX_BYTES: usize = TARGET_MAX_BYTES + 64;
