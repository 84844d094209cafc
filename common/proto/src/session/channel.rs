//! The channel that frames travel in: the bare stream, or TLS records.
//!
//! PROTOCOL 2: "A receiver therefore reads one whole record (its 5-byte header says how long) and
//! hands it to TLS before it looks at the next byte." [`TlsChannel::fill`] never reaches past the
//! end of a record, so raw payload between two records cannot get into TLS.

use std::io::{BufRead as _, Write as _};

use rustls::{ClientConnection, Connection, ServerConnection};

use super::{
    error::SessionError,
    outbox::Outbox,
    tls::{self, ClientTls, ServerTls},
};
use crate::{keys::DevicePublicKey, limits::TLS_RECORD_MAX_BYTES};

/// The channel of a connection once the hellos are exchanged.
#[derive(Debug)]
pub(super) enum Channel {
    /// Frames travel as they are.
    Plaintext,
    /// Frames travel in TLS records.
    Tls(Box<TlsChannel>),
}

impl Channel {
    pub(super) fn of_server(tls: &ServerTls) -> Result<Self, SessionError> {
        let connection = ServerConnection::new(tls.0.clone())?;
        Ok(Self::Tls(Box::new(TlsChannel::new(connection.into()))))
    }

    /// Begins the handshake, and queues its first message in `out`.
    pub(super) fn of_client(tls: &ClientTls, out: &mut Outbox) -> Result<Self, SessionError> {
        let connection = ClientConnection::new(tls.0.clone(), tls::server_name()?)?;
        let mut channel = TlsChannel::new(connection.into());
        channel.flush(out)?;
        Ok(Self::Tls(Box::new(channel)))
    }

    /// Whether frames can travel. A TLS channel opens when its handshake is complete.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Plaintext => true,
            Self::Tls(tls) => !tls.connection.is_handshaking(),
        }
    }

    /// The key that the client has proven to hold; `None` without TLS.
    pub(super) fn device(&self) -> Result<Option<DevicePublicKey>, SessionError> {
        match self {
            Self::Plaintext => Ok(None),
            Self::Tls(tls) => match tls.connection.peer_certificates() {
                Some([key]) => Ok(Some(tls::device(key)?)),
                _ => Err(SessionError::Tls(rustls::Error::NoCertificatesPresented)),
            },
        }
    }

    /// Queues a frame. In TLS the frame ends its record.
    pub(super) fn send(&mut self, frame: Vec<u8>, out: &mut Outbox) -> Result<(), SessionError> {
        match self {
            Self::Plaintext => out.push(frame),
            Self::Tls(tls) => {
                tls.connection.writer().write_all(&frame).map_err(general)?;
                tls.flush(out)?;
            }
        }
        Ok(())
    }

    /// Queues a `close_notify` in TLS; a plaintext channel has no such message.
    pub(super) fn send_close(&mut self, out: &mut Outbox) -> Result<(), SessionError> {
        match self {
            Self::Plaintext => Ok(()),
            Self::Tls(tls) => {
                tls.connection.send_close_notify();
                tls.flush(out)
            }
        }
    }
}

/// A TLS connection whose records have raw payload between them.
#[derive(Debug)]
pub(super) struct TlsChannel {
    connection: Connection,
    record: RecordCursor,
    peer_closed: bool,
}

impl TlsChannel {
    fn new(mut connection: Connection) -> Self {
        // Every frame leaves rustls at once, so the length of a frame bounds the buffer.
        connection.set_buffer_limit(None);
        Self { connection, record: RecordCursor::default(), peer_closed: false }
    }

    /// Hands `input` to TLS up to the end of one record. The answer of TLS is queued in `out`;
    /// after a failure that is the alert.
    pub(super) fn fill(&mut self, input: &mut &[u8], out: &mut Outbox) -> Result<(), SessionError> {
        while !input.is_empty() {
            let (mut stretch, rest) = input.split_at(self.record.advance(input)?);
            *input = rest;
            while !stretch.is_empty() {
                if self.connection.read_tls(&mut stretch).map_err(general)? == 0 {
                    return Err(SessionError::Tls(rustls::Error::General("no more read".into())));
                }
            }
            if self.record.is_between() {
                let processed = self.connection.process_new_packets();
                self.flush(out)?;
                self.peer_closed = processed?.peer_has_closed();
                return Ok(());
            }
        }
        Ok(())
    }

    /// The plaintext of the last record that has not been consumed yet.
    pub(super) fn plaintext(&mut self) -> &[u8] {
        self.connection.reader().into_first_chunk().unwrap_or_default()
    }

    /// Takes `length` bytes of [`Self::plaintext`].
    pub(super) fn consume(&mut self, length: usize) {
        self.connection.reader().consume(length);
    }

    /// Whether the peer has sent `close_notify`.
    pub(super) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    fn flush(&mut self, out: &mut Outbox) -> Result<(), SessionError> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).map_err(general)?;
        }
        out.push(bytes);
        Ok(())
    }
}

/// The position of the stream within a TLS record.
#[derive(Debug, Default)]
struct RecordCursor {
    header: [u8; RECORD_HEADER_BYTES],
    /// Number of header bytes that have been read.
    known: usize,
    /// Bytes of the record's body that have not been read, once the header has been.
    left: usize,
}

impl RecordCursor {
    /// Returns how many bytes of `input` belong to the current record, and advances by as many.
    fn advance(&mut self, input: &[u8]) -> Result<usize, SessionError> {
        let header = (RECORD_HEADER_BYTES - self.known).min(input.len());
        self.header[self.known..self.known + header].copy_from_slice(&input[..header]);
        self.known += header;
        if self.known < RECORD_HEADER_BYTES {
            return Ok(header);
        }
        if header > 0 {
            self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            if RECORD_HEADER_BYTES + self.left > TLS_RECORD_MAX_BYTES {
                return Err(SessionError::RecordTooLong(self.left));
            }
        }
        let body = self.left.min(input.len() - header);
        self.left -= body;
        if self.left == 0 {
            self.known = 0;
        }
        Ok(header + body)
    }

    /// Whether the stream is between two records.
    fn is_between(&self) -> bool {
        self.known == 0
    }
}

const RECORD_HEADER_BYTES: usize = 5;

/// Reading from and writing to memory does not fail, so an `io::Error` carries a message of rustls.
fn general(error: std::io::Error) -> SessionError {
    SessionError::Tls(rustls::Error::General(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The record cursor stops at the end of each TLS record however the input is split.
    #[test]
    fn record_cursor_stops_after_each_record_for_any_split() {
        let stream = b"\x17\x03\x03\x00\x02ab\x16\x03\x03\x00\x00raw";
        for step in 1..=stream.len() {
            let mut cursor = RecordCursor::default();
            let (mut at, mut ends) = (0, Vec::new());
            while ends.len() < 2 {
                let upto = (at + step).min(stream.len());
                at += cursor.advance(&stream[at..upto]).unwrap();
                if cursor.is_between() {
                    ends.push(at);
                }
            }
            assert_eq!(ends, [7, 12], "step {step}");
        }
    }

    /// The record cursor refuses a record of 16,641 bytes when it has read the length.
    #[test]
    fn record_cursor_refuses_too_long_record_by_its_header() {
        let mut cursor = RecordCursor::default();
        assert_eq!(cursor.advance(b"\x17\x03\x03\x41\x00"), Ok(5));
        let mut cursor = RecordCursor::default();
        assert_eq!(cursor.advance(b"\x17\x03\x03\x41"), Ok(4));
        assert_eq!(cursor.advance(b"\x01"), Err(SessionError::RecordTooLong(16_641)));
    }
}
