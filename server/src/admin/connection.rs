//! One request and its response, step by step, without blocking.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use rustix::event::PollFlags;

use crate::{sys, transfer::socket::Socket};

/// Bytes of the longest request head that is accepted.
const HEAD_MAX_BYTES: usize = 8 * 1024;

/// Most header fields of a request.
const FIELDS_MAX: usize = 64;

/// The status line and the body of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    status: &'static str,
    content_type: &'static str,
    content: String,
}

impl Response {
    pub(super) const fn new(
        status: &'static str,
        content_type: &'static str,
        content: String,
    ) -> Self {
        Self { status, content_type, content }
    }

    /// A response of one line of text.
    pub(super) fn text(status: &'static str, line: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// The bytes of the response in HTTP/1.1. Each connection serves one request.
    fn to_bytes(&self, head_only: bool) -> Vec<u8> {
        let Self { status, content_type, content } = self;
        let length = content.len();
        let allow = if *status == METHOD { "Allow: GET, HEAD\r\n" } else { "" };
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             {allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
        if !head_only {
            text.push_str(content);
        }
        text.into_bytes()
    }
}

const METHOD: &str = "405 Method Not Allowed";
const MALFORMED: &str = "400 Bad Request";
const TOO_LARGE: &str = "431 Request Header Fields Too Large";

/// A connection of a client, from accept to close.
#[derive(Debug)]
pub(super) struct AdminConnection {
    socket: Socket,
    deadline: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The request head is being received.
    ReadingHead(Vec<u8>),
    /// The response is being sent.
    Sending { bytes: Vec<u8>, sent: usize },
    /// Lingering close: what the client still sends is read, this many bytes so far, until it has
    /// the response and closes. Closing with unread bytes would reset the connection and could
    /// discard the response (RFC 9112, 9.6).
    Lingering(usize),
}

impl AdminConnection {
    /// A connection on `socket`, which must be non-blocking, that ends at `deadline`.
    pub(super) fn new(socket: Socket, deadline: Instant) -> Self {
        Self { socket, deadline, stage: Stage::ReadingHead(Vec::new()) }
    }

    /// When the connection is closed, in any state.
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the request is not complete yet.
    pub(super) const fn is_awaiting_request(&self) -> bool {
        matches!(self.stage, Stage::ReadingHead(_))
    }

    /// The readiness of the socket that the connection waits for.
    pub(super) const fn interest(&self) -> PollFlags {
        match self.stage {
            Stage::ReadingHead(_) | Stage::Lingering(_) => PollFlags::IN,
            Stage::Sending { .. } => PollFlags::OUT,
        }
    }

    /// Advances as far as possible without blocking; `respond` maps a path to a response. Returns
    /// whether the connection stays open.
    ///
    /// # Errors
    /// When the socket fails, or the client closes before its request is complete.
    pub(super) fn advance(&mut self, respond: impl Fn(&str) -> Response) -> io::Result<bool> {
        loop {
            match self.step(&respond) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn step(&mut self, respond: impl Fn(&str) -> Response) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        match &mut self.stage {
            Stage::ReadingHead(head) => {
                let count = self.socket.read_once(&mut bytes)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                head.extend_from_slice(bytes.get(..count).unwrap_or_default());
                if let Some(bytes) = answer(head, respond) {
                    self.stage = Stage::Sending { bytes, sent: 0 };
                }
            }
            Stage::Sending { bytes, sent } => {
                let rest = bytes.get(*sent..).unwrap_or_default();
                *sent += sys::net::send(self.socket.as_fd(), rest, false)?;
                if *sent == bytes.len() {
                    self.socket.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Lingering(0);
                }
            }
            Stage::Lingering(read) => {
                let count = self.socket.read_once(&mut bytes)?;
                *read += count;
                return Ok(count > 0 && *read < HEAD_MAX_BYTES);
            }
        }
        Ok(true)
    }
}

impl AsFd for AdminConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The bytes of the response to this request head; `None` while the head is incomplete.
fn answer(head: &[u8], respond: impl Fn(&str) -> Response) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let (respond, head_only) = match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() < HEAD_MAX_BYTES => return None,
        Ok(httparse::Status::Partial) => {
            (Response::text(TOO_LARGE, "the head of the request is too long"), false)
        }
        Ok(httparse::Status::Complete(_)) => match (request.method, request.path) {
            (Some(method @ ("GET" | "HEAD")), Some(target)) => {
                let path = target.split('?').next().unwrap_or_default();
                (respond(path), method == "HEAD")
            }
            _ => (Response::text(METHOD, "there are GET and HEAD"), false),
        },
        Err(failure) => (Response::text(MALFORMED, &failure.to_string()), false),
    };
    Some(respond.to_bytes(head_only))
}
