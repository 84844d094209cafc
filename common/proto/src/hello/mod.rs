//! The hellos (PROTOCOL 1): the two sides agree on a version, and on TLS or plaintext.
//!
//! The hellos travel in the clear; each side keeps their bytes until both are echoed inside the
//! channel.

use std::ops::RangeInclusive;

use thiserror::Error;

use crate::{
    cursor::Cursor,
    error_code::{ErrorCode, RemoteError, short_text},
    limits::{
        FRAME_MAX_BYTES, IDLE_SECONDS, PIPELINE_MAX, SERVER_IDLE_MIN_SECONDS, SERVER_PIPELINE_MIN,
        SERVER_SLICE_MIN_BYTES, SLICE_MAX_BYTES,
    },
    tagged::TaggedError,
};

/// The version of this implementation.
pub const VERSION: u8 = 1;
/// First bytes of a client hello.
pub const CLIENT_MAGIC: [u8; 8] = *b"zput/c1\n";
/// First bytes of a server hello.
pub const SERVER_MAGIC: [u8; 8] = *b"zput/s1\n";
/// Longest client hello: "a server of version 1 accepts up to 64".
pub const CLIENT_HELLO_MAX_BYTES: usize = PREFIX_BYTES + 64;
/// Longest server hello: "26 plus the length of the reason, at most 281".
pub const SERVER_HELLO_MAX_BYTES: usize = PREFIX_BYTES + 281;

const PREFIX_BYTES: usize = 10;
const CLIENT_FIELDS_BYTES: usize = 7;
const SERVER_FIELDS_BYTES: usize = 26;

/// How the frames of a connection travel. Exhaustive: two values of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Frames travel as they are.
    Plaintext = 1,
    /// Frames travel inside TLS records, and raw payload between the records.
    Tls = 2,
}

impl Mode {
    /// The mode's bit in a client hello.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Plaintext => 1,
            Self::Tls => 2,
        }
    }

    pub(crate) const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Plaintext),
            2 => Some(Self::Tls),
            _ => None,
        }
    }
}

/// What a server accepts, as its hello states it. Exhaustive: the fields of PROTOCOL 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Longest body of a frame, in bytes.
    pub max_frame: u32,
    /// Longest slice, in bytes.
    pub max_slice: u32,
    /// Most requests that may be unanswered.
    pub max_pipeline: u16,
    /// Seconds without a byte in either direction after which the server closes the connection.
    pub idle_seconds: u32,
}

impl ServerLimits {
    /// PROTOCOL 1: "at least 16,793,672", "at least 8", "at least 1"; "elsewhere no limit is 0".
    fn check(&self) -> Result<(), HelloError> {
        let limits = [
            ("max_frame", self.max_frame, 1),
            ("max_slice", self.max_slice, SERVER_SLICE_MIN_BYTES),
            ("max_pipeline", self.max_pipeline.into(), SERVER_PIPELINE_MIN.into()),
            ("idle_seconds", self.idle_seconds, SERVER_IDLE_MIN_SECONDS),
        ];
        match limits.into_iter().find(|(_, found, least)| found < least) {
            Some((limit, found, least)) => Err(HelloError::Limit { limit, found, least }),
            None => Ok(()),
        }
    }
}

/// The limits of PROTOCOL 9.
impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_frame: FRAME_MAX_BYTES as u32,
            max_slice: SLICE_MAX_BYTES,
            max_pipeline: PIPELINE_MAX as u16,
            idle_seconds: IDLE_SECONDS,
        }
    }
}

/// The first bytes of a connection from the client. Exhaustive: the fields of PROTOCOL 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Oldest protocol version that the client speaks.
    pub min_version: u8,
    /// Newest protocol version that the client speaks.
    pub max_version: u8,
    /// Bit set of [`Mode::bit`]; unknown bits are ignored.
    pub modes: u8,
    /// Bit set; this version knows none.
    pub features: u32,
}

impl ClientHello {
    /// The hello of a client of this version that accepts `mode` and nothing else.
    #[must_use]
    pub const fn only(mode: Mode) -> Self {
        Self { min_version: VERSION, max_version: VERSION, modes: mode.bit(), features: 0 }
    }

    /// The bytes of the hello.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = CLIENT_MAGIC.to_vec();
        bytes.extend_from_slice(&(CLIENT_FIELDS_BYTES as u16).to_be_bytes());
        bytes.extend_from_slice(&[self.min_version, self.max_version, self.modes]);
        bytes.extend_from_slice(&self.features.to_be_bytes());
        bytes
    }

    /// Reads a whole hello. PROTOCOL 1: "a server of version 1 accepts up to 64 and ignores the
    /// rest".
    ///
    /// # Errors
    /// When it is not a client hello.
    pub fn parse(bytes: &[u8]) -> Result<Self, HelloError> {
        let fields = fields(bytes, CLIENT_MAGIC, CLIENT_LENGTHS)?;
        Self::read(fields).ok_or(HelloError::Length(fields.rest().len()))
    }

    fn read(mut fields: Cursor<'_>) -> Option<Self> {
        Some(Self {
            min_version: fields.u8()?,
            max_version: fields.u8()?,
            modes: fields.u8()?,
            features: fields.u32()?,
        })
    }
}

/// The first bytes of a connection from the server. Exhaustive: the two answers of PROTOCOL 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHello {
    /// The server accepts the connection.
    Accepted {
        /// The version in force.
        version: u8,
        /// The mode in force.
        mode: Mode,
        /// The features in force.
        features: u32,
        /// What the server accepts.
        limits: ServerLimits,
    },
    /// The server refuses the connection. Version, mode, features and limits of such a hello are 0
    /// and mean nothing.
    Refused(RemoteError),
}

impl ServerHello {
    /// What a server answers to `client`. PROTOCOL 1: "The server picks `tls` whenever the client
    /// offers it; it picks `plaintext` only where the client offers nothing else and the listener
    /// allows it."
    #[must_use]
    pub fn answer(client: &ClientHello, carries: Carries, limits: ServerLimits) -> Self {
        if client.min_version > VERSION || client.max_version < VERSION {
            let text = format!("this server speaks version {VERSION} of the protocol");
            return Self::Refused(RemoteError::new(ErrorCode::Version, &text));
        }
        let offers = |mode: Mode| client.modes & mode.bit() != 0;
        let mode = if offers(Mode::Tls) {
            carries.tls.then_some(Mode::Tls).ok_or("this listener does not speak tls")
        } else if offers(Mode::Plaintext) {
            carries.plaintext.then_some(Mode::Plaintext).ok_or("this listener speaks tls only")
        } else {
            Err("none of the modes offered is known")
        };
        match mode {
            Ok(mode) => Self::Accepted { version: VERSION, mode, features: 0, limits },
            Err(reason) => Self::Refused(RemoteError::new(ErrorCode::Mode, reason)),
        }
    }

    /// The bytes of the hello.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let nothing = ServerLimits { max_frame: 0, max_slice: 0, max_pipeline: 0, idle_seconds: 0 };
        let (status, version, mode, features, limits, reason) = match self {
            Self::Accepted { version, mode, features, limits } => {
                (0, *version, *mode as u8, *features, *limits, String::new())
            }
            Self::Refused(error) => (error.code, 0, 0, 0, nothing, reason_text(&error.text)),
        };
        let mut bytes = SERVER_MAGIC.to_vec();
        bytes.extend_from_slice(&((SERVER_FIELDS_BYTES + reason.len()) as u16).to_be_bytes());
        bytes.extend_from_slice(&[status, version, mode]);
        bytes.extend_from_slice(&features.to_be_bytes());
        bytes.extend_from_slice(&limits.max_frame.to_be_bytes());
        bytes.extend_from_slice(&limits.max_slice.to_be_bytes());
        bytes.extend_from_slice(&limits.max_pipeline.to_be_bytes());
        bytes.extend_from_slice(&limits.idle_seconds.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.push(reason.len() as u8);
        bytes.extend_from_slice(reason.as_bytes());
        bytes
    }

    /// Reads a whole hello.
    ///
    /// # Errors
    /// When it is not a server hello, or holds what no server may say.
    pub fn parse(bytes: &[u8]) -> Result<Self, HelloError> {
        let fields = fields(bytes, SERVER_MAGIC, SERVER_LENGTHS)?;
        let length = HelloError::Length(fields.rest().len());
        let ServerFields { status, version, mode, features, limits, reason } =
            ServerFields::read(fields).ok_or(length)?;
        let reason = str::from_utf8(reason).map_err(|_| HelloError::Reason)?;
        if status != 0 {
            return Ok(Self::Refused(RemoteError {
                code: status,
                text: short_text(reason),
                number: 0,
            }));
        }
        if !reason.is_empty() {
            return Err(HelloError::Reason);
        }
        limits.check()?;
        let mode = Mode::from_u8(mode).ok_or(HelloError::Mode(mode))?;
        Ok(Self::Accepted { version, mode, features, limits })
    }
}

/// The modes that a listener accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Carries {
    /// `tls`: the listener has a key.
    pub tls: bool,
    /// `plaintext`: the operator allows it.
    pub plaintext: bool,
}

/// Why bytes are not a hello, or not one that can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The first bytes are those of an unknown protocol.
    #[error("the peer does not speak this protocol")]
    Magic,
    /// The first bytes are those of a known protocol, which is named.
    #[error("this is no zput server: what listens there speaks {0} (is the port the right one?)")]
    Foreign(&'static str),
    /// The hello is longer or shorter than a hello can be.
    #[error("a hello cannot have a length of {0}")]
    Length(usize),
    /// No mode has this number.
    #[error("there is no mode {0}")]
    Mode(u8),
    /// A limit below what each server has to accept.
    #[error("the server says {limit} = {found}, and {least} is the least")]
    Limit {
        /// Its name in PROTOCOL 1.
        limit: &'static str,
        /// The value in the server's hello.
        found: u32,
        /// The lowest value that a server may state.
        least: u32,
    },
    /// A reason that is not UTF-8, or one where nothing was refused.
    #[error("the server's reason is not a text or has no place")]
    Reason,
    /// A version outside the range that was offered.
    #[error("the server chose version {0}, which was not offered")]
    VersionNotOffered(u8),
    /// A mode that was not offered: the mode is this side's policy, not the peer's.
    #[error("the server chose a mode that was not offered: {0:?}")]
    ModeNotOffered(Mode),
    /// A feature that was not offered.
    #[error("the server chose features that were not offered: {0:#x}")]
    FeaturesNotOffered(u32),
    /// Extensions that are no list, or one that must be understood (docs/next/PROTOCOL 1).
    #[error("the extensions of a hello cannot be taken: {0}")]
    Extensions(#[from] TaggedError),
}

/// Collects a hello from a stream, and takes no byte beyond it.
#[derive(Debug)]
pub struct HelloReader {
    magic: [u8; 8],
    lengths: RangeInclusive<usize>,
    bytes: Vec<u8>,
}

impl HelloReader {
    pub(crate) fn of_client() -> Self {
        Self::new(CLIENT_MAGIC, CLIENT_LENGTHS)
    }

    pub(crate) fn of_server() -> Self {
        Self::new(SERVER_MAGIC, SERVER_LENGTHS)
    }

    /// A reader of hellos that begin with `magic`, `lengths` long behind their length.
    pub(crate) const fn new(magic: [u8; 8], lengths: RangeInclusive<usize>) -> Self {
        Self { magic, lengths, bytes: Vec::new() }
    }

    /// Takes from `input` what belongs to the hello; gives its bytes once they are whole. Refuses a
    /// hello at its first wrong byte.
    ///
    /// # Errors
    /// When the bytes begin no hello, or one that is longer or shorter than a hello can be.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
        loop {
            let whole = match self.bytes.as_slice() {
                [_, _, _, _, _, _, _, _, l0, l1, ..] => {
                    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
                    if !self.lengths.contains(&length) {
                        return Err(HelloError::Length(length));
                    }
                    PREFIX_BYTES + length
                }
                _ => PREFIX_BYTES,
            };
            let missing = whole - self.bytes.len();
            if missing == 0 {
                return Ok(Some(std::mem::take(&mut self.bytes)));
            }
            if input.is_empty() {
                return Ok(None);
            }
            let (taken, rest) = input.split_at(missing.min(input.len()));
            self.bytes.extend_from_slice(taken);
            *input = rest;
            if self.bytes.iter().zip(&self.magic).any(|(byte, magic)| byte != magic) {
                return Err(self.not_a_hello());
            }
        }
    }

    /// Names the protocol of first bytes that begin no hello, for a client that was given the port
    /// of another server.
    fn not_a_hello(&self) -> HelloError {
        let begins = |with: &[u8]| self.bytes.starts_with(with);
        // The first 6 bytes of a server's magic are the same in every version.
        if self.magic[..6] != SERVER_MAGIC[..6] {
            HelloError::Magic
        } else if begins(b"HTTP/") {
            HelloError::Foreign("HTTP")
        } else if begins(&[21, 3]) || begins(&[22, 3]) {
            // RFC 8446, 5.1: an alert or a handshake record.
            HelloError::Foreign("TLS")
        } else if begins(b"SSH-") {
            HelloError::Foreign("SSH")
        } else {
            HelloError::Magic
        }
    }
}

const CLIENT_LENGTHS: RangeInclusive<usize> =
    CLIENT_FIELDS_BYTES..=CLIENT_HELLO_MAX_BYTES - PREFIX_BYTES;
const SERVER_LENGTHS: RangeInclusive<usize> =
    SERVER_FIELDS_BYTES..=SERVER_HELLO_MAX_BYTES - PREFIX_BYTES;
const REASON_MAX_BYTES: usize = 255;

/// What follows the magic and the length.
fn fields(
    bytes: &[u8],
    magic: [u8; 8],
    lengths: RangeInclusive<usize>,
) -> Result<Cursor<'_>, HelloError> {
    let mut fields = Cursor::new(bytes);
    if fields.array().ok_or(HelloError::Length(bytes.len()))? != magic {
        return Err(HelloError::Magic);
    }
    let length = usize::from(fields.u16().ok_or(HelloError::Length(fields.rest().len()))?);
    if length != fields.rest().len() || !lengths.contains(&length) {
        return Err(HelloError::Length(length));
    }
    Ok(fields)
}

/// The fields of a server hello, read and not yet checked.
struct ServerFields<'a> {
    status: u8,
    version: u8,
    mode: u8,
    features: u32,
    limits: ServerLimits,
    reason: &'a [u8],
}

impl<'a> ServerFields<'a> {
    /// `None` when the fields do not fill the rest of `fields` exactly.
    fn read(mut fields: Cursor<'a>) -> Option<Self> {
        let (status, version, mode) = (fields.u8()?, fields.u8()?, fields.u8()?);
        let features = fields.u32()?;
        let limits = ServerLimits {
            max_frame: fields.u32()?,
            max_slice: fields.u32()?,
            max_pipeline: fields.u16()?,
            idle_seconds: fields.u32()?,
        };
        let _reserved = fields.u32()?;
        let reason_length = fields.u8()?;
        let reason = fields.take(reason_length.into())?;
        fields.is_at_end().then_some(Self { status, version, mode, features, limits, reason })
    }
}

/// A reason that its length byte can count.
fn reason_text(text: &str) -> String {
    let mut reason = short_text(text);
    while reason.len() > REASON_MAX_BYTES {
        reason.pop();
    }
    reason
}

#[cfg(test)]
mod tests;
