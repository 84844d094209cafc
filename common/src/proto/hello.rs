//! The hellos (PROTOCOL 1): who speaks which version, and whether inside TLS.
//!
//! They travel in the clear; each side keeps the bytes until both are echoed inside the channel.

use std::ops::RangeInclusive;

use thiserror::Error;

use super::{
    error_code::{ErrorCode, short_text},
    message::RemoteError,
};
use crate::limits::{FRAME_MAX_BYTES, IDLE_SECONDS, PIPELINE_MAX, SLICE_MAX_BYTES};

/// The version of this implementation.
pub const VERSION: u8 = 1;
/// First bytes of a client hello.
pub const CLIENT_MAGIC: [u8; 8] = *b"zput/c1\n";
/// First bytes of a server hello.
pub const SERVER_MAGIC: [u8; 8] = *b"zput/s1\n";
/// Longest client hello: "a server of version 1 accepts up to 64".
pub const CLIENT_HELLO_MAX_BYTES: usize = PREFIX_BYTES + 64;
/// Longest server hello: "26 plus the length of the reason, at most 282".
pub const SERVER_HELLO_MAX_BYTES: usize = PREFIX_BYTES + 282;

const PREFIX_BYTES: usize = 10;
const CLIENT_FIELDS_BYTES: usize = 7;
const SERVER_FIELDS_BYTES: usize = 26;

/// How the frames of a connection travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// With nothing around them.
    Plaintext = 1,
    /// Inside TLS records; payload between the records.
    Tls = 2,
}

impl Mode {
    /// Its bit in a client hello.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Plaintext => 1,
            Self::Tls => 2,
        }
    }

    const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Plaintext),
            2 => Some(Self::Tls),
            _ => None,
        }
    }
}

/// What a server accepts, as its hello says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Longest body of a frame, in bytes.
    pub max_frame: u32,
    /// Longest slice, in bytes.
    pub max_slice: u32,
    /// Requests that may be unanswered.
    pub max_pipeline: u16,
    /// Seconds without a byte in either direction after which it closes.
    pub idle_seconds: u32,
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

/// What a client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Oldest version it speaks.
    pub min_version: u8,
    /// Newest version it speaks.
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
        let Some(([min_version, max_version, modes, features @ ..], _)) =
            fields.split_first_chunk::<CLIENT_FIELDS_BYTES>()
        else {
            return Err(HelloError::Length(fields.len()));
        };
        Ok(Self {
            min_version: *min_version,
            max_version: *max_version,
            modes: *modes,
            features: u32::from_be_bytes(*features),
        })
    }
}

/// What a server says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHello {
    /// The connection goes on.
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
    /// It ends here. In this hello version, mode, features and limits are 0 and mean nothing.
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
        let Some((fixed, reason)) = fields.split_first_chunk::<SERVER_FIELDS_BYTES>() else {
            return Err(HelloError::Length(fields.len()));
        };
        // status version mode features[4] max_frame[4] max_slice[4] max_pipeline[2] idle[4]
        // reserved[4] reason_length
        let [
            status,
            version,
            mode,
            f0,
            f1,
            f2,
            f3,
            m0,
            m1,
            m2,
            m3,
            s0,
            s1,
            s2,
            s3,
            p0,
            p1,
            i0,
            i1,
            i2,
            i3,
            _,
            _,
            _,
            _,
            reason_length,
        ] = *fixed;
        if usize::from(reason_length) != reason.len() {
            return Err(HelloError::Length(fields.len()));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| HelloError::Reason)?;
        if status != 0 {
            return Ok(Self::Refused(RemoteError { code: status, text: short_text(reason) }));
        }
        if !reason.is_empty() {
            return Err(HelloError::Reason);
        }
        let limits = ServerLimits {
            max_frame: u32::from_be_bytes([m0, m1, m2, m3]),
            max_slice: u32::from_be_bytes([s0, s1, s2, s3]),
            max_pipeline: u16::from_be_bytes([p0, p1]),
            idle_seconds: u32::from_be_bytes([i0, i1, i2, i3]),
        };
        if limits.max_frame == 0 || limits.max_slice == 0 || limits.max_pipeline == 0 {
            return Err(HelloError::Limits);
        }
        Ok(Self::Accepted {
            version,
            mode: Mode::from_u8(mode).ok_or(HelloError::Mode(mode))?,
            features: u32::from_be_bytes([f0, f1, f2, f3]),
            limits,
        })
    }
}

/// What a listener carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carries {
    /// `tls`: it has a key.
    pub tls: bool,
    /// `plaintext`: its operator allows it.
    pub plaintext: bool,
}

/// Why bytes are not a hello, or not one that can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HelloError {
    /// Another protocol.
    #[error("the peer does not speak this protocol")]
    Magic,
    /// Longer or shorter than a hello can be.
    #[error("a hello cannot have a length of {0}")]
    Length(usize),
    /// A mode that does not exist.
    #[error("there is no mode {0}")]
    Mode(u8),
    /// A limit of 0.
    #[error("the server accepts nothing at all")]
    Limits,
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
}

/// Collects a hello from a stream and takes not a byte more.
#[derive(Debug)]
pub(super) struct HelloReader {
    magic: [u8; 8],
    lengths: RangeInclusive<usize>,
    bytes: Vec<u8>,
}

impl HelloReader {
    pub(super) fn of_client() -> Self {
        Self { magic: CLIENT_MAGIC, lengths: CLIENT_LENGTHS, bytes: Vec::new() }
    }

    pub(super) fn of_server() -> Self {
        Self { magic: SERVER_MAGIC, lengths: SERVER_LENGTHS, bytes: Vec::new() }
    }

    /// Takes from `input` what belongs to the hello; gives its bytes once they are whole.
    /// What cannot become a hello is refused at its first wrong byte.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
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
                return Err(HelloError::Magic);
            }
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
) -> Result<&[u8], HelloError> {
    let Some((prefix, fields)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(HelloError::Length(bytes.len()));
    };
    if prefix[..8] != magic {
        return Err(HelloError::Magic);
    }
    let length = usize::from(u16::from_be_bytes([prefix[8], prefix[9]]));
    if length != fields.len() || !lengths.contains(&length) {
        return Err(HelloError::Length(length));
    }
    Ok(fields)
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
mod tests {
    use super::*;

    const BOTH: Carries = Carries { tls: true, plaintext: true };

    #[test]
    fn hellos_have_the_bytes_of_the_protocol() {
        let client = ClientHello::only(Mode::Tls).encode();
        assert_eq!(client, *b"zput/c1\n\x00\x07\x01\x01\x02\x00\x00\x00\x00");
        let server = ServerHello::Accepted {
            version: 1,
            mode: Mode::Tls,
            features: 0,
            limits: ServerLimits::default(),
        };
        assert_eq!(
            server.encode(),
            *b"zput/s1\n\x00\x1a\x00\x01\x02\x00\x00\x00\x00\x00\x02\x00\x00\x01\x01\x00\x00\x00\x40\x00\x00\x00\x78\x00\x00\x00\x00\x00"
        );
        assert_eq!(ServerHello::parse(&server.encode()), Ok(server));
        let refused = ServerHello::Refused(RemoteError { code: 13, text: "no".into() });
        let bytes = refused.encode();
        assert_eq!(bytes[8..11], [0, 28, 13]);
        assert_eq!(bytes[35..], [2, b'n', b'o']);
        assert_eq!(ServerHello::parse(&bytes), Ok(refused));
    }

    #[test]
    fn the_server_picks_tls_whenever_it_is_offered() {
        let limits = ServerLimits::default();
        let pick = |modes, carries| {
            let client = ClientHello { min_version: 1, max_version: 1, modes, features: 0 };
            match ServerHello::answer(&client, carries, limits) {
                ServerHello::Accepted { mode, .. } => Ok(mode),
                ServerHello::Refused(error) => Err(error.code),
            }
        };
        assert_eq!(pick(0b11, BOTH), Ok(Mode::Tls));
        assert_eq!(pick(0b1111_1110, BOTH), Ok(Mode::Tls));
        assert_eq!(pick(0b01, BOTH), Ok(Mode::Plaintext));
        assert_eq!(pick(0b01, Carries { tls: true, plaintext: false }), Err(13));
        assert_eq!(pick(0b10, Carries { tls: false, plaintext: true }), Err(13));
        // A client that would rather have tls is not talked out of it.
        assert_eq!(pick(0b11, Carries { tls: false, plaintext: true }), Err(13));
        assert_eq!(pick(0b1111_1100, BOTH), Err(13));
    }

    #[test]
    fn a_version_that_is_not_spoken_is_refused() {
        for (min_version, max_version) in [(2, 9), (0, 0), (2, 1)] {
            let client = ClientHello { min_version, max_version, modes: 3, features: 0 };
            let answer = ServerHello::answer(&client, BOTH, ServerLimits::default());
            assert!(matches!(answer, ServerHello::Refused(RemoteError { code: 12, .. })));
        }
        let client = ClientHello { min_version: 0, max_version: 7, modes: 3, features: u32::MAX };
        let answer = ServerHello::answer(&client, BOTH, ServerLimits::default());
        assert!(matches!(answer, ServerHello::Accepted { version: 1, features: 0, .. }));
    }

    #[test]
    fn a_longer_client_hello_is_read_and_a_too_long_one_refused() {
        let mut long = b"zput/c1\n\x00\x40\x01\x02\x03\x00\x00\x00\x01".to_vec();
        long.resize(74, 0xaa);
        assert_eq!(
            ClientHello::parse(&long),
            Ok(ClientHello { min_version: 1, max_version: 2, modes: 3, features: 1 })
        );
        long[9] = 65;
        long.push(0);
        assert_eq!(ClientHello::parse(&long), Err(HelloError::Length(65)));
        assert_eq!(
            ClientHello::parse(b"zput/c1\n\x00\x06\x01\x01\x02\0\0\0"),
            Err(HelloError::Length(6))
        );
    }

    #[test]
    fn a_server_hello_says_nothing_that_it_may_not() {
        let good = ServerHello::Accepted {
            version: 1,
            mode: Mode::Tls,
            features: 0,
            limits: ServerLimits::default(),
        }
        .encode();
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            ServerHello::parse(&bytes)
        };
        assert_eq!(with(0, b'Z'), Err(HelloError::Magic));
        assert_eq!(with(9, 27), Err(HelloError::Length(27)));
        assert_eq!(with(12, 3), Err(HelloError::Mode(3)));
        assert_eq!(with(26, 0), Err(HelloError::Limits));
        assert_eq!(with(35, 1), Err(HelloError::Length(26)));
        let mut reasoned = good.clone();
        reasoned[9] += 1;
        reasoned[35] = 1;
        reasoned.push(b'x');
        assert_eq!(ServerHello::parse(&reasoned), Err(HelloError::Reason));
        reasoned[10] = 2;
        reasoned[36] = 0xff;
        assert_eq!(ServerHello::parse(&reasoned), Err(HelloError::Reason));
        reasoned[36] = 0x1b;
        assert_eq!(
            ServerHello::parse(&reasoned),
            Ok(ServerHello::Refused(RemoteError { code: 2, text: "\u{fffd}".into() }))
        );
    }

    #[test]
    fn a_reader_stops_behind_the_hello_and_at_the_first_wrong_byte() {
        let bytes = [ClientHello::only(Mode::Plaintext).encode(), b"next".to_vec()].concat();
        for split in 0..=bytes.len() {
            let mut reader = HelloReader::of_client();
            let (mut first, mut second) = bytes.split_at(split);
            let hello = match reader.read(&mut first).unwrap() {
                Some(hello) => hello,
                None => reader.read(&mut second).unwrap().unwrap(),
            };
            assert_eq!(hello.len(), 17);
            assert_eq!([first, second].concat(), b"next");
        }
        assert_eq!(HelloReader::of_client().read(&mut &b"GET /"[..]), Err(HelloError::Magic));
        assert_eq!(
            HelloReader::of_server().read(&mut &b"zput/s1\n\x01\x1b"[..]),
            Err(HelloError::Length(283))
        );
    }
}
