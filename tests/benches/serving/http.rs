//! The least of an HTTP client: keep-alive, one request at a time, and what comes is thrown away in
//! the kernel.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use rustix::net::{RecvFlags, recv};

use zput_testkit::PATIENCE;

use crate::Failure;

/// The longest head of an answer.
const HEAD_MAX_BYTES: usize = 4096;
/// The most that one call throws away. Nothing is written to this memory, so none is used.
const DISCARD_BYTES: usize = 64 << 20;

/// Throws away what is received.
pub(crate) struct Discard(Vec<u8>);

impl Discard {
    pub(crate) fn new() -> Self {
        Self(vec![0; DISCARD_BYTES])
    }

    /// Some of `length` bytes from `stream`, at least one. tcp(7): "MSG_TRUNC … causes the received
    /// bytes of data to be discarded, rather than passed back in a caller-supplied buffer."
    pub(crate) fn some(&mut self, stream: &TcpStream, length: u64) -> Result<u64, Failure> {
        let most = usize::try_from(length).map_or(DISCARD_BYTES, |n| n.min(DISCARD_BYTES));
        let (_, received) = recv(stream, &mut self.0[..most], RecvFlags::TRUNC)?;
        if received == 0 {
            return Err("the server ended the connection in the middle of a body".into());
        }
        Ok(received as u64)
    }
}

/// A connection.
pub(crate) struct HttpClient {
    stream: TcpStream,
    discard: Discard,
}

impl HttpClient {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, discard: Discard::new() })
    }

    /// The bare connection, which stays open and says nothing more.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Gets `target`; says how many bytes its body had.
    pub(crate) fn get(&mut self, target: &str) -> Result<u64, Failure> {
        self.get_while(target, |_| true)
    }

    /// Gets `target` as long as `more` says so of the bytes that have come, then no more by this
    /// connection; says how many bytes of its body came.
    pub(crate) fn get_while(
        &mut self,
        target: &str,
        mut more: impl FnMut(u64) -> bool,
    ) -> Result<u64, Failure> {
        self.stream.write_all(request(target).as_bytes())?;
        let mut head = [0; HEAD_MAX_BYTES];
        let mut filled = 0;
        let end = loop {
            let received = self.stream.read(&mut head[filled..])?;
            if received == 0 {
                return Err(format!("no answer for {target}").into());
            }
            filled += received;
            if let Some(at) = head[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let length = content_length(std::str::from_utf8(&head[..end])?)?;
        let mut left = length - (filled - end) as u64;
        while left > 0 {
            let now = self.discard.some(&self.stream, left)?;
            left -= now;
            if !more(now) {
                break;
            }
        }
        Ok(length - left)
    }
}

/// The head of a request for `target`.
pub(crate) fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: benchmark\r\n\r\n")
}

/// What the head of a good answer says about its body.
fn content_length(head: &str) -> Result<u64, Failure> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(format!("the server answers {status}").into());
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    Ok(length.ok_or("no Content-Length")?.parse()?)
}
