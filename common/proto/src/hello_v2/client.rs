//! The hello of a client.

use super::{
    extensions::Extensions,
    framing::{
        CLIENT_HELLO_MAX_BYTES, CLIENT_MAGIC, PREFIX_BYTES, VERSION, extensions, fields, whole,
    },
};
use crate::hello::{HelloError, Mode};

/// The first bytes of a connection from the client. Exhaustive: the fields of PROTOCOL 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Oldest protocol version that the client speaks.
    pub min_version: u8,
    /// Newest protocol version that the client speaks.
    pub max_version: u8,
    /// Bit set of [`Mode::bit`]; unknown bits are ignored.
    pub modes: u8,
    /// Bit set of what the client would use (PROTOCOL 8); unknown bits are ignored.
    pub features: u32,
    /// What else the client says.
    pub extensions: Extensions,
}

impl ClientHello {
    /// The hello of a client of this version that accepts `mode` and nothing else.
    #[must_use]
    pub const fn only(mode: Mode) -> Self {
        Self {
            min_version: VERSION,
            max_version: VERSION,
            modes: mode.bit(),
            features: 0,
            extensions: Extensions::NONE,
        }
    }

    /// The bytes of the hello.
    ///
    /// # Errors
    /// When the extensions make it longer than [`CLIENT_HELLO_MAX_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, HelloError> {
        let mut fields = vec![self.min_version, self.max_version, self.modes];
        fields.extend(self.features.to_be_bytes());
        whole(CLIENT_MAGIC, fields, &self.extensions, CLIENT_HELLO_MAX_BYTES)
    }

    /// Reads a whole hello.
    ///
    /// # Errors
    /// When it is not a client hello, or has an extension that must be understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, HelloError> {
        let mut cursor = fields(bytes, CLIENT_MAGIC, CLIENT_HELLO_MAX_BYTES - PREFIX_BYTES)?;
        let length = HelloError::Length(cursor.rest().len());
        let [min_version, max_version, modes] = cursor.array().ok_or(length)?;
        let features = cursor.u32().ok_or(length)?;
        let extensions = extensions(&mut cursor, length)?;
        Ok(Self { min_version, max_version, modes, features, extensions })
    }

    /// Whether the client accepts `mode`.
    #[must_use]
    pub const fn offers(&self, mode: Mode) -> bool {
        self.modes & mode.bit() != 0
    }

    /// Whether the client speaks this version of the protocol.
    #[must_use]
    pub const fn speaks(&self, version: u8) -> bool {
        self.min_version <= version && version <= self.max_version
    }
}
