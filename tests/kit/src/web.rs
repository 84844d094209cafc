//! An HTTP client that believes nothing but the bytes that it reads.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    ops::Deref,
};

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

use crate::set_up;

/// Longest head that is read.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Receive buffer of a [`narrow`] connection.
const NARROW_BYTES: usize = 4096;

/// A connection to an HTTP listener.
#[derive(Debug)]
pub struct WebClient {
    stream: TcpStream,
}

/// The status line and the fields of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status, of three digits.
    pub status: u16,
    /// All of it as it came, with the empty line at its end.
    pub text: String,
}

/// A response as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebResponse {
    /// What it begins with.
    pub head: Head,
    /// What follows; empty for HEAD and 304.
    pub body: Vec<u8>,
}

impl Deref for WebResponse {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl WebClient {
    /// Connects.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// Uses a connection that is there.
    ///
    /// # Errors
    /// When it is closed.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        set_up(&stream)?;
        Ok(Self { stream })
    }

    /// Its socket.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends a text as it is.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }

    /// Sends a request: the first two words of its line, and further field lines, each with its
    /// CRLF.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub fn say(&mut self, line: &str, fields: &str) -> io::Result<()> {
        self.send(&format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"))
    }

    /// The head of the next response.
    ///
    /// # Errors
    /// When the connection ends before it does.
    pub fn head(&mut self) -> io::Result<Head> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            bytes.push(byte[0]);
            if bytes.len() > HEAD_MAX_BYTES {
                return Err(io::Error::other("the head does not end"));
            }
        }
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no head: {text:?}")))?;
        Ok(Head { status, text })
    }

    /// The next response, to anything but HEAD.
    ///
    /// # Errors
    /// When the connection ends before it does.
    pub fn receive(&mut self) -> io::Result<WebResponse> {
        let head = self.head()?;
        let mut body = Vec::new();
        let wanted = if head.status == 304 { 0 } else { head.length() };
        (&mut self.stream).take(wanted).read_to_end(&mut body)?;
        if (body.len() as u64) < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(WebResponse { head, body })
    }

    /// Gets a path.
    ///
    /// # Errors
    /// When the connection ends before the response does.
    pub fn get(&mut self, path: &str) -> io::Result<WebResponse> {
        self.get_with(path, "")
    }

    /// As [`WebClient::get`], with further field lines.
    ///
    /// # Errors
    /// When the connection ends before the response does.
    pub fn get_with(&mut self, path: &str, fields: &str) -> io::Result<WebResponse> {
        self.say(&format!("GET {path}"), fields)?;
        self.receive()
    }

    /// The head that a path has by HEAD.
    ///
    /// # Errors
    /// When the connection ends before it does.
    pub fn head_of(&mut self, path: &str) -> io::Result<Head> {
        self.say(&format!("HEAD {path}"), "")?;
        self.head()
    }

    /// All that arrives until the server ends the connection, or resets it.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _reset = self.stream.read_to_end(&mut rest);
        rest
    }
}

impl Head {
    /// A field's value, by its name as the server writes it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body's length.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.field("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }
}

/// A connection that has room for some kilobytes only: what its owner does not read stays with the
/// server.
///
/// # Panics
/// When nothing listens there.
#[must_use]
#[track_caller]
pub fn narrow(address: &str) -> TcpStream {
    let connected = || -> io::Result<TcpStream> {
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, NARROW_BYTES)?;
        connect(&socket, &address)?;
        let stream = TcpStream::from(socket);
        set_up(&stream)?;
        Ok(stream)
    };
    connected().unwrap_or_else(|e| panic!("{address}: {e}"))
}
