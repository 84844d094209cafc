//! One connection: bytes and time in, requests out; answers in, bytes and ranges of objects out.

use std::{
    ops::Range,
    time::{Duration, Instant, SystemTime},
};

use thiserror::Error;

use super::{
    KEPT_BYTES, Method, Now, Refusal, Request,
    conditional::{EntityTag, Outcome, last_modified},
    date::HttpTime,
    head::HeadReader,
    range::{Selected, select},
    response::{ContentType, Persistence, Status, Validators, Writer},
};

/// The time limits of a client.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Time from the first byte of a head to its last.
    pub head: Duration,
    /// Time without a byte: before a head begins, and while the client takes no byte of a response.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(HEAD_SECONDS.into()),
            idle: Duration::from_secs(DEFAULT_IDLE_SECONDS.into()),
        }
    }
}

/// The description of an object.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its length in bytes.
    pub length: u64,
    /// Its entity tag, which changes whenever its bytes do.
    pub etag: EntityTag<'a>,
    /// Time of the last change of its bytes.
    pub modified: Option<SystemTime>,
    /// Its media type; `None` for the one of its path's extension.
    pub content_type: Option<ContentType>,
}

/// The result of looking a path up.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The object exists and the client may read it.
    Found(Facts<'a>),
    /// There is no object, or the client may not read it.
    NotFound,
    /// The server is busy: 503.
    Busy,
    /// The server failed: 500.
    Internal,
}

/// The next bytes to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit<'a> {
    /// These bytes; the caller reports the number written to [`Session::bytes_sent`].
    Bytes {
        /// At least one byte of the response's head or text.
        bytes: &'a [u8],
        /// Whether a payload follows, so that both can leave together.
        more: bool,
    },
    /// This range of the object, not empty; the caller reports the number of bytes written to
    /// [`Session::payload_sent`].
    Payload(Range<u64>),
}

/// An answer without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no request to answer")]
pub struct NothingToAnswer;

/// The server's end of one connection.
///
/// The caller owns the socket and the objects. One request after the other:
///
/// - While [`wants_read`](Self::wants_read), the bytes read go to
///   [`handle_input`](Self::handle_input), which takes a part of them and stops behind a head. The
///   rest is given to it again once the session wants to read again.
/// - [`poll_request`](Self::poll_request) then returns the request to look up, once.
/// - [`answer`](Self::answer) takes the result, and returns the range of the object to send.
/// - [`poll_transmit`](Self::poll_transmit) returns the next bytes to write, until there are none.
///
/// When it [should close](Self::should_close), the connection is ended. If the last response was
/// not to a whole request, unread bytes may still arrive, and a socket that is closed over them
/// resets the connection and may take the response with it: stop writing, and read on for a while
/// (RFC 9112, 9.6).
#[derive(Debug)]
pub struct Session {
    timeouts: Timeouts,
    reader: HeadReader,
    phase: Phase,
    /// The bytes to write before the payload, and the number written of them.
    out: Vec<u8>,
    out_sent: usize,
    /// The rest of the payload.
    payload: Range<u64>,
    /// The last answer, until it is polled.
    status: Option<Status>,
    /// Whether no more requests are read.
    closing: bool,
    /// When the phase began, or a byte moved that extends its deadline.
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for a head, or reading one.
    Head,
    /// The head is complete, and was not polled yet.
    Requested,
    /// The caller looks the path up.
    Asked,
    /// A response is being sent.
    Responding,
    /// The connection is to be closed.
    Over,
}

impl Session {
    /// A connection that was accepted at `now`.
    #[must_use]
    pub fn new(timeouts: Timeouts, now: Instant) -> Self {
        Self {
            timeouts,
            reader: HeadReader::default(),
            phase: Phase::Head,
            out: Vec::new(),
            out_sent: 0,
            payload: 0..0,
            status: None,
            closing: false,
            since: now,
        }
    }

    /// Whether bytes from the client are wanted.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.phase == Phase::Head
    }

    /// Takes bytes, cut anywhere; returns how many. It leaves what is behind a head, and everything
    /// unless [`wants_read`](Self::wants_read).
    pub fn handle_input(&mut self, now: &Now, bytes: &[u8]) -> usize {
        if !self.wants_read() {
            return 0;
        }
        let was_started = self.reader.is_started();
        let mut rest = bytes;
        match self.reader.read(&mut rest) {
            Ok(true) => self.on_head_complete(now),
            Ok(false) => {
                if self.reader.is_started() != was_started {
                    self.since = now.instant;
                }
            }
            Err(refusal) => self.refuse(now, refusal),
        }
        bytes.len() - rest.len()
    }

    /// The client has shut down its side, and all bytes before that were taken. A complete request
    /// is still answered.
    pub fn handle_eof(&mut self) {
        self.closing = true;
        if self.phase == Phase::Head {
            self.phase = Phase::Over;
        }
    }

    /// The request that is to be looked up now, once.
    pub fn poll_request(&mut self) -> Option<&Request> {
        if self.phase != Phase::Requested {
            return None;
        }
        self.phase = Phase::Asked;
        Some(self.reader.request())
    }

    /// The request that is being looked up or answered.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        match self.phase {
            Phase::Requested | Phase::Asked => Some(self.reader.request()),
            // A refused head is not all there.
            Phase::Responding | Phase::Head | Phase::Over => None,
        }
    }

    /// Answers the request. Returns the stretch of the object that will be sent as payload; if
    /// nothing, the object is not needed any more.
    ///
    /// # Errors
    /// When no request was polled that is not answered yet; nothing changes.
    pub fn answer(
        &mut self,
        now: &Now,
        answer: &Answer<'_>,
    ) -> Result<Option<Range<u64>>, NothingToAnswer> {
        if self.phase != Phase::Asked {
            return Err(NothingToAnswer);
        }
        match answer {
            Answer::Found(facts) => self.answer_found(now, facts),
            Answer::NotFound => self.answer_error(now, Status::NotFound, "no such object"),
            Answer::Busy => self.answer_error(now, Status::ServiceUnavailable, "busy, try again"),
            Answer::Internal => {
                self.answer_error(now, Status::InternalServerError, "the server failed");
            }
        }
        Ok((!self.payload.is_empty()).then(|| self.payload.clone()))
    }

    /// The method and the status of a response since the last call; the method is GET for a head
    /// that could not be read.
    pub fn poll_answered(&mut self) -> Option<(Method, Status)> {
        Some((self.reader.request().method(), self.status.take()?))
    }

    /// What is to be written next.
    #[must_use]
    pub fn poll_transmit(&self) -> Option<Transmit<'_>> {
        if self.phase != Phase::Responding {
            return None;
        }
        let bytes = self.out.get(self.out_sent..).unwrap_or_default();
        if !bytes.is_empty() {
            return Some(Transmit::Bytes { bytes, more: !self.payload.is_empty() });
        }
        (!self.payload.is_empty()).then(|| Transmit::Payload(self.payload.clone()))
    }

    /// `count` of the bytes were written, at least one.
    pub fn bytes_sent(&mut self, now: &Now, count: usize) {
        self.out_sent = self.out_sent.saturating_add(count);
        self.on_bytes_sent(now);
    }

    /// `count` bytes of the payload were written, at least one.
    pub fn payload_sent(&mut self, now: &Now, count: u64) {
        self.payload.start = self.payload.start.saturating_add(count);
        self.on_bytes_sent(now);
    }

    /// Takes no more requests. A response in progress is still sent, and so is the one to a head
    /// that has begun.
    pub fn close(&mut self) {
        self.closing = true;
        if self.phase == Phase::Head && !self.reader.is_started() {
            self.phase = Phase::Over;
        }
    }

    /// Whether the connection must be closed: all responses are written, or cannot be.
    #[must_use]
    pub fn should_close(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Restarts the idle clock at `now`, because the client waited for the server.
    pub fn restart_idle(&mut self, now: Instant) {
        self.since = now;
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless the session makes
    /// progress before. None while the caller looks an object up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let after = match self.phase {
            Phase::Head if self.reader.is_started() => self.timeouts.head,
            Phase::Head | Phase::Responding => self.timeouts.idle,
            Phase::Requested | Phase::Asked | Phase::Over => return None,
        };
        Some(self.since + after)
    }

    /// Handles a deadline that may have passed: a head that took too long is answered with 408
    /// (15.5.9); otherwise the connection ends, and bytes that were not written are dropped.
    pub fn handle_timeout(&mut self, now: &Now) {
        if self.deadline().is_none_or(|deadline| now.instant < deadline) {
            return;
        }
        if self.phase == Phase::Head && self.reader.is_started() {
            self.refuse(now, Refusal::Timeout);
        } else {
            self.phase = Phase::Over;
        }
    }

    /// Called when a head is complete: the request then waits for an answer.
    fn on_head_complete(&mut self, now: &Now) {
        self.phase = Phase::Requested;
        if self.reader.request().path().is_empty() {
            self.answer_error(now, Status::NotFound, "no such object");
        }
    }

    fn answer_found(&mut self, now: &Now, facts: &Facts<'_>) {
        let request = self.reader.request();
        let conditions = request.conditions();
        let modified = facts.modified.and_then(HttpTime::of);
        let last_modified = last_modified(modified, now.date.time());
        match conditions.evaluate(facts.etag, modified) {
            Outcome::Failed => {
                return self.answer_error(
                    now,
                    Status::PreconditionFailed,
                    "If-Match or If-Unmodified-Since does not hold for this object",
                );
            }
            Outcome::NotModified => {
                self.respond(now, |writer| writer.not_modified(facts.etag));
                return;
            }
            Outcome::Perform => {}
        }
        let selected = match request.range() {
            Some(range) if conditions.range_applies(facts.etag, last_modified) => {
                select(range, facts.length)
            }
            _ => Selected::Whole,
        };
        let part = match selected {
            Selected::Whole => None,
            Selected::Part(part) => Some(part),
            Selected::Unsatisfiable => {
                self.respond(now, |writer| writer.unsatisfiable(facts.length));
                return;
            }
        };
        let content_type =
            facts.content_type.unwrap_or_else(|| ContentType::of_path(request.path()));
        let validators = Validators { etag: facts.etag, last_modified };
        if request.method() == Method::Get {
            self.payload = part.clone().unwrap_or(0..facts.length);
        }
        self.respond(now, |writer| {
            writer.object(content_type, facts.length, part.as_ref(), validators);
        });
    }

    fn answer_error(&mut self, now: &Now, status: Status, text: &str) {
        self.respond(now, |writer| writer.error(status, text));
    }

    /// The connection ends behind the response.
    fn refuse(&mut self, now: &Now, refusal: Refusal) {
        self.closing = true;
        self.respond(now, |writer| writer.error(refusal.status(), refusal));
    }

    fn respond(&mut self, now: &Now, write: impl FnOnce(Writer<'_>)) {
        let request = self.reader.request();
        self.closing |= !request.keeps_alive();
        let persistence = match (self.closing, request.is_http_1_0()) {
            (true, _) => Persistence::Close,
            (false, true) => Persistence::KeepAliveHttp10,
            (false, false) => Persistence::KeepAlive,
        };
        let head_only = request.method() == Method::Head;
        let (out, date, status) = (&mut self.out, &now.date, &mut self.status);
        write(Writer { out, date, persistence, head_only, status });
        self.phase = Phase::Responding;
        self.since = now.instant;
    }

    /// Called when bytes of the response were sent: restarts the timeout, and ends the response
    /// with its last byte.
    fn on_bytes_sent(&mut self, now: &Now) {
        if self.phase != Phase::Responding {
            return;
        }
        self.since = now.instant;
        if self.out_sent < self.out.len() || !self.payload.is_empty() {
            return;
        }
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        self.out_sent = 0;
        self.reader.reset();
        self.phase = if self.closing { Phase::Over } else { Phase::Head };
    }
}

/// Default time for a head, in seconds. A head fits one packet; ten seconds are for the slowest
/// links.
pub const HEAD_SECONDS: u32 = 10;

/// Default idle time in seconds: about as long as browsers and CDNs keep a connection.
pub const DEFAULT_IDLE_SECONDS: u32 = 60;
