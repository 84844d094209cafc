//! The hello of a server: it accepts a connection, or refuses it.

use super::{
    client::ClientHello,
    extensions::Extensions,
    framing::{
        PREFIX_BYTES, SERVER_HELLO_MAX_BYTES, SERVER_MAGIC, VERSION, extensions, fields, whole,
    },
};
use crate::{
    cursor::Cursor,
    error_code::short_text,
    error_code_v2::ErrorCode,
    hello::{Carries, HelloError, Mode, ServerLimits},
    limits::{SERVER_IDLE_MIN_SECONDS, SERVER_SLICE_MIN_BYTES},
};

/// The first bytes of a connection from the server. Exhaustive: the fields of PROTOCOL 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// Whether the connection goes on.
    pub answer: Answer,
    /// What else the server says.
    pub extensions: Extensions,
}

/// What a server says to a client's hello. Exhaustive: the two answers of PROTOCOL 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server accepts the connection.
    Accepted(Accepted),
    /// The server refuses the connection, which ends.
    Refused(Refusal),
}

/// What is in force on a connection. Exhaustive: the fields of PROTOCOL 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The version in force.
    pub version: u8,
    /// The mode in force.
    pub mode: Mode,
    /// The features in force, a subset of the client's.
    pub features: u32,
    /// What the server accepts.
    pub limits: ServerLimits,
}

/// Why a server refuses a connection: an error code of PROTOCOL 7, never 0, and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: u8,
    reason: String,
}

/// PROTOCOL 1: "longest body of a control frame that the server accepts: at least 131,072".
const FRAME_LEAST_BYTES: u32 = 131_072;
/// PROTOCOL 1: "requests that may be unanswered: at least 64".
const PIPELINE_LEAST: u16 = 64;
/// The longest reason that its length byte can count.
const REASON_MAX_BYTES: usize = 255;
/// The features that this version knows (PROTOCOL 8).
const KNOWN_FEATURES: u32 = 0;

impl ServerHello {
    /// What a server answers to `client`. PROTOCOL 1: "The server picks `tls` whenever the client
    /// offers it; it picks `plaintext` only where the client offers nothing else and the listener
    /// allows it", and "a server ignores bits that it does not know".
    #[must_use]
    pub fn answer(client: &ClientHello, carries: Carries, limits: ServerLimits) -> Self {
        let answer = match pick(client, carries) {
            Ok(mode) => Answer::Accepted(Accepted {
                version: VERSION,
                mode,
                features: client.features & KNOWN_FEATURES,
                limits,
            }),
            Err(refusal) => Answer::Refused(refusal),
        };
        Self { answer, extensions: Extensions::NONE }
    }

    /// The bytes of the hello.
    ///
    /// # Errors
    /// When the extensions make it longer than [`SERVER_HELLO_MAX_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, HelloError> {
        let nothing = ServerLimits { max_frame: 0, max_slice: 0, max_pipeline: 0, idle_seconds: 0 };
        let (bytes, features, limits, reason) = match &self.answer {
            Answer::Accepted(it) => ([0, it.version, it.mode as u8], it.features, it.limits, ""),
            Answer::Refused(it) => ([it.code, 0, 0], 0, nothing, it.reason.as_str()),
        };
        let mut fields = bytes.to_vec();
        fields.extend(features.to_be_bytes());
        fields.extend(limits.max_frame.to_be_bytes());
        fields.extend(limits.max_slice.to_be_bytes());
        fields.extend(limits.max_pipeline.to_be_bytes());
        fields.extend(limits.idle_seconds.to_be_bytes());
        fields.push(reason.len() as u8);
        fields.extend(reason.as_bytes());
        whole(SERVER_MAGIC, fields, &self.extensions, SERVER_HELLO_MAX_BYTES)
    }

    /// Reads a whole hello.
    ///
    /// # Errors
    /// When it is not a server hello, holds what no server may say, or has an extension that must
    /// be understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, HelloError> {
        let mut cursor = fields(bytes, SERVER_MAGIC, SERVER_HELLO_MAX_BYTES - PREFIX_BYTES)?;
        let length = HelloError::Length(cursor.rest().len());
        let said = Said::read(&mut cursor).ok_or(length)?;
        let extensions = extensions(&mut cursor, length)?;
        Ok(Self { answer: said.check()?, extensions })
    }
}

impl Accepted {
    /// Whether the client asked for what is in force. PROTOCOL 1: "A client that is given a mode it
    /// did not offer closes the connection, and so does one that is given a version or a feature it
    /// did not offer."
    ///
    /// # Errors
    /// Names what was not offered.
    pub fn check_offered(&self, client: &ClientHello) -> Result<(), HelloError> {
        if !client.speaks(self.version) {
            return Err(HelloError::VersionNotOffered(self.version));
        }
        if !client.offers(self.mode) {
            return Err(HelloError::ModeNotOffered(self.mode));
        }
        match self.features & !client.features {
            0 => Ok(()),
            more => Err(HelloError::FeaturesNotOffered(more)),
        }
    }
}

impl Refusal {
    /// A refusal by this code. The reason loses its control characters and what is over 255 bytes.
    #[must_use]
    pub fn new(code: ErrorCode, reason: &str) -> Self {
        Self { code: code as u8, reason: clean(reason) }
    }

    /// The code's number, also one that this version does not know.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// An explanation for a person, without control characters.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// The mode for a client, or why there is none.
fn pick(client: &ClientHello, carries: Carries) -> Result<Mode, Refusal> {
    if !client.speaks(VERSION) {
        let reason = format!("this server speaks version {VERSION} of the protocol");
        return Err(Refusal::new(ErrorCode::Version, &reason));
    }
    let (mode, is_carried, reason) = if client.offers(Mode::Tls) {
        (Mode::Tls, carries.tls, "this listener does not speak tls")
    } else if client.offers(Mode::Plaintext) {
        (Mode::Plaintext, carries.plaintext, "this listener speaks tls only")
    } else {
        return Err(Refusal::new(ErrorCode::Mode, "none of the modes offered is known"));
    };
    if is_carried { Ok(mode) } else { Err(Refusal::new(ErrorCode::Mode, reason)) }
}

/// The fields of a server hello before its extensions, read and not yet checked.
struct Said<'a> {
    status: u8,
    version: u8,
    mode: u8,
    features: u32,
    limits: ServerLimits,
    reason: &'a [u8],
}

impl<'a> Said<'a> {
    /// `None` when they are cut off.
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let [status, version, mode] = cursor.array()?;
        let features = cursor.u32()?;
        let limits = ServerLimits {
            max_frame: cursor.u32()?,
            max_slice: cursor.u32()?,
            max_pipeline: cursor.u16()?,
            idle_seconds: cursor.u32()?,
        };
        let reason_length = cursor.u8()?;
        let reason = cursor.take(reason_length.into())?;
        Some(Self { status, version, mode, features, limits, reason })
    }

    /// PROTOCOL 1: "In a refusal version, mode, features and limits mean nothing and are 0."
    fn check(self) -> Result<Answer, HelloError> {
        let reason = str::from_utf8(self.reason).map_err(|_| HelloError::Reason)?;
        if self.status != 0 {
            return Ok(Answer::Refused(Refusal { code: self.status, reason: clean(reason) }));
        }
        if !reason.is_empty() {
            return Err(HelloError::Reason);
        }
        check_limits(&self.limits)?;
        let mode = Mode::from_u8(self.mode).ok_or(HelloError::Mode(self.mode))?;
        let Self { version, features, limits, .. } = self;
        Ok(Answer::Accepted(Accepted { version, mode, features, limits }))
    }
}

/// PROTOCOL 1: "Elsewhere no limit is below its least, and a client refuses a hello where one is."
fn check_limits(limits: &ServerLimits) -> Result<(), HelloError> {
    let least = [
        ("max_frame", limits.max_frame, FRAME_LEAST_BYTES),
        ("max_slice", limits.max_slice, SERVER_SLICE_MIN_BYTES),
        ("max_pipeline", limits.max_pipeline.into(), PIPELINE_LEAST.into()),
        ("idle_seconds", limits.idle_seconds, SERVER_IDLE_MIN_SECONDS),
    ];
    match least.into_iter().find(|(_, found, least)| found < least) {
        Some((limit, found, least)) => Err(HelloError::Limit { limit, found, least }),
        None => Ok(()),
    }
}

/// A reason that its length byte can count, without control characters.
fn clean(text: &str) -> String {
    let mut reason = short_text(text);
    while reason.len() > REASON_MAX_BYTES {
        reason.pop();
    }
    reason
}
