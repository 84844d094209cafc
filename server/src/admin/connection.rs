//! One request and its answer, step by step: nothing here waits.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use rustix::event::PollFlags;

use crate::{sys, wire::Socket};

/// The longest head that is read.
const HEAD_MAX_BYTES: usize = 8 * 1024;

/// The most field lines that it may have.
const FIELDS_MAX: usize = 64;

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    status: &'static str,
    content_type: &'static str,
    content: String,
}

impl Reply {
    pub(super) const fn new(
        status: &'static str,
        content_type: &'static str,
        content: String,
    ) -> Self {
        Self { status, content_type, content }
    }

    /// One line.
    pub(super) fn text(status: &'static str, line: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// As HTTP/1.1 writes it. Each connection serves one request.
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

/// A client, from its connection to its farewell.
#[derive(Debug)]
pub(super) struct Conversation {
    socket: Socket,
    until: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The head comes in.
    Asking(Vec<u8>),
    /// The answer goes out.
    Answering { bytes: Vec<u8>, sent: usize },
    /// What the client still sends is read, so much until now, until it has the answer and closes: closing
    /// over unread bytes resets the connection and may take the answer with it (RFC 9112, 9.6).
    Leaving(usize),
}

impl Conversation {
    /// With the client at `socket`, which does not block, until it has had its time.
    pub(super) fn new(socket: Socket, until: Instant) -> Self {
        Self { socket, until, stage: Stage::Asking(Vec::new()) }
    }

    /// When it is over, whatever there is to say.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// Whether its client has still to ask.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self.stage, Stage::Asking(_))
    }

    /// What its socket has to say before there is anything to do.
    pub(super) const fn waits_for(&self) -> PollFlags {
        match self.stage {
            Stage::Asking(_) | Stage::Leaving(_) => PollFlags::IN,
            Stage::Answering { .. } => PollFlags::OUT,
        }
    }

    /// Does what can be done now; `reply` says what there is to say of a path. Gives whether it goes on.
    ///
    /// # Errors
    /// When the socket fails, or the client leaves before it has asked.
    pub(super) fn go_on(&mut self, reply: impl Fn(&str) -> Reply) -> io::Result<bool> {
        loop {
            match self.step(&reply) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn step(&mut self, reply: impl Fn(&str) -> Reply) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        match &mut self.stage {
            Stage::Asking(head) => {
                let count = self.socket.read_once(&mut bytes)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                head.extend_from_slice(bytes.get(..count).unwrap_or_default());
                if let Some(bytes) = answer(head, reply) {
                    self.stage = Stage::Answering { bytes, sent: 0 };
                }
            }
            Stage::Answering { bytes, sent } => {
                let rest = bytes.get(*sent..).unwrap_or_default();
                *sent += sys::net::send(self.socket.as_fd(), rest, false)?;
                if *sent == bytes.len() {
                    self.socket.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Leaving(0);
                }
            }
            Stage::Leaving(read) => {
                let count = self.socket.read_once(&mut bytes)?;
                *read += count;
                return Ok(count > 0 && *read < HEAD_MAX_BYTES);
            }
        }
        Ok(true)
    }
}

impl AsFd for Conversation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The answer to this head, once there is one.
fn answer(head: &[u8], reply: impl Fn(&str) -> Reply) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let (reply, head_only) = match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() < HEAD_MAX_BYTES => return None,
        Ok(httparse::Status::Partial) => {
            (Reply::text(TOO_LARGE, "the head of the request is too long"), false)
        }
        Ok(httparse::Status::Complete(_)) => match (request.method, request.path) {
            (Some(method @ ("GET" | "HEAD")), Some(target)) => {
                let path = target.split('?').next().unwrap_or_default();
                (reply(path), method == "HEAD")
            }
            _ => (Reply::text(METHOD, "there are GET and HEAD"), false),
        },
        Err(failure) => (Reply::text(MALFORMED, &failure.to_string()), false),
    };
    Some(reply.to_bytes(head_only))
}
