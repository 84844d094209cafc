//! A client of the HTTP door that believes nothing but the bytes that it reads.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

/// No test waits longer than this for a server.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest head that is read.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// An HTTP client with one connection.
#[derive(Debug)]
pub struct WebClient {
    stream: TcpStream,
}

/// What a response begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status, of three digits.
    pub status: u16,
    text: String,
}

impl WebClient {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// When no server accepts the connection.
    pub fn connect(address: &str) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// Takes a connection over.
    ///
    /// # Errors
    /// When it is closed.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// The socket of the connection, for raw reads and writes.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Asks by a request line's first two words and further field lines, each with its CRLF.
    ///
    /// # Errors
    /// When the server has hung up.
    pub fn say(&mut self, line: &str, fields: &str) -> io::Result<()> {
        let request = format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        self.stream.write_all(request.as_bytes())
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

    /// Asks for a path and reads the whole answer.
    ///
    /// # Errors
    /// When the connection ends before it does.
    pub fn get(&mut self, path: &str) -> io::Result<(Head, Vec<u8>)> {
        self.get_with(path, "")
    }

    /// As [`WebClient::get`], with further field lines.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub fn get_with(&mut self, path: &str, fields: &str) -> io::Result<(Head, Vec<u8>)> {
        self.say(&format!("GET {path}"), fields)?;
        let head = self.head()?;
        let mut body = Vec::new();
        let wanted = head.length();
        (&mut self.stream).take(wanted).read_to_end(&mut body)?;
        if (body.len() as u64) < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((head, body))
    }

    /// Whatever comes until the server ends the connection, or resets it.
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

/// A connection on whose way only some kilobytes fit: what it does not read stays with the server.
///
/// # Panics
/// When no server accepts the connection.
#[must_use]
pub fn narrow(address: &str) -> TcpStream {
    let connected = || -> io::Result<TcpStream> {
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, 4096)?;
        connect(&socket, &address)?;
        Ok(socket.into())
    };
    let stream = connected().unwrap_or_else(|e| panic!("{address}: {e}"));
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(PATIENCE)).unwrap_or_else(|e| panic!("{address}: {e}"));
    }
    stream
}
