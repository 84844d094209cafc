//! One request and its answer.

use std::{
    io,
    net::Shutdown,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

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

/// Reads a request from `socket`, which does not block, and writes what `reply` says of its path.
/// All of it is done by `until`, or fails as timed out.
pub(super) fn converse(
    socket: &Socket,
    until: Instant,
    reply: impl FnOnce(&str) -> Reply,
) -> io::Result<()> {
    let mut head = vec![0; HEAD_MAX_BYTES];
    let mut filled = 0;
    let (reply, head_only) = loop {
        if filled == head.len() {
            break (Reply::text(TOO_LARGE, "the head of the request is too long"), false);
        }
        let Some(rest) = head.get_mut(filled..) else { return Ok(()) };
        match socket.read_once(rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                wait(socket, PollFlags::IN, until)?;
            }
            Err(e) => return Err(e),
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(head.get(..filled).unwrap_or_default()) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => match (request.method, request.path) {
                (Some(method @ ("GET" | "HEAD")), Some(target)) => {
                    let path = target.split('?').next().unwrap_or_default();
                    break (reply(path), method == "HEAD");
                }
                _ => break (Reply::text(METHOD, "there are GET and HEAD"), false),
            },
            Err(failure) => break (Reply::text(MALFORMED, &failure.to_string()), false),
        }
    };
    send(socket, &reply.to_bytes(head_only), until)?;
    socket.shutdown(Shutdown::Write)?;
    drain(socket, until)
}

fn send(socket: &Socket, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        match sys::net::send(socket.as_fd(), bytes, false) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                wait(socket, PollFlags::OUT, until)?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads what the client still sends, until it has the answer and closes: closing over unread bytes
/// resets the connection and may take the answer with it (RFC 9112, 9.6).
fn drain(socket: &Socket, until: Instant) -> io::Result<()> {
    let mut rest = [0; 4096];
    let mut read = 0;
    while read < HEAD_MAX_BYTES {
        match socket.read_once(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(count) => read += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                wait(socket, PollFlags::IN, until)?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn wait(socket: &Socket, what: PollFlags, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    // Rounded up, or the last millisecond would be spent spinning.
    let left = left + Duration::from_millis(1);
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(&socket.as_fd(), what)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}
