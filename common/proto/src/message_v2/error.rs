//! How a failure is reported to the peer (PROTOCOL 7): a code, a text, and what the code is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::head::Head;
use crate::{
    error_code::short_text,
    error_code_v2::ErrorCode,
    limits::{CHARTER_MAX_BYTES, ERROR_TEXT_MAX_BYTES},
    message::{
        OutOfBounds, Version,
        bounded::{Bytes, Text},
    },
    vault::Order,
};

/// A failure as it is reported to the peer. Exhaustive, as a message is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteError {
    /// Number of an [`ErrorCode`], or one that this version does not know.
    pub code: u8,
    /// An explanation for a person. It repeats no secret and no path.
    #[serde(with = "Text::<ERROR_TEXT_MAX_BYTES>")]
    pub text: String,
    /// What the code is about.
    pub about: About,
}

/// What an error is about. Exhaustive: numbers 6 to 9 are reserved (PROTOCOL 8), and refused.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum About {
    /// Nothing more is said.
    Nothing,
    /// The current version, if there is one and the peer may know of it.
    Version(Option<Version>),
    /// Header and tail of the version in the way.
    Head(Head),
    /// The order of the version in the way.
    Order(Order),
    /// The server's clock, in ns since 1970.
    Time(u64),
    /// The charter in force.
    Charter(#[serde(with = "Bytes::<CHARTER_MAX_BYTES>")] Vec<u8>),
}

impl RemoteError {
    /// A failure of this code, about nothing; `text` loses its control characters and what is over
    /// [`ERROR_TEXT_MAX_BYTES`].
    #[must_use]
    pub fn new(code: ErrorCode, text: &str) -> Self {
        Self { code: code as u8, text: short_text(text), about: About::Nothing }
    }

    /// The same failure, about this.
    #[must_use]
    pub fn about(self, about: About) -> Self {
        Self { about, ..self }
    }

    /// The code; `None` when this version does not know it.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::from_u8(self.code)
    }

    /// PROTOCOL 7 has a column of what each code is about. A code that this version does not know
    /// may be about anything.
    pub(super) fn check(&self) -> Result<(), OutOfBounds> {
        let is_about = match self.known() {
            None => true,
            Some(ErrorCode::Exists) => matches!(self.about, About::Version(_)),
            Some(ErrorCode::Older) => matches!(self.about, About::Head(_) | About::Order(_)),
            Some(ErrorCode::Future) => matches!(self.about, About::Time(_)),
            Some(ErrorCode::Stale) => matches!(self.about, About::Charter(_)),
            Some(_) => self.about == About::Nothing,
        };
        if is_about { Ok(()) } else { Err(OutOfBounds::About(self.code)) }
    }
}

/// The peer wrote the text, so control characters are replaced before a terminal shows it.
impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => write!(f, "{code:?}: {}", short_text(&self.text)),
            None => write!(f, "code {}: {}", self.code, short_text(&self.text)),
        }
    }
}

impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Version(version) => write!(f, "Version({version:?})"),
            Self::Head(head) => write!(f, "{head:?}"),
            Self::Order(order) => write!(f, "{order:?}"),
            Self::Time(time) => write!(f, "Time({time})"),
            Self::Charter(bytes) => write!(f, "Charter({} bytes)", bytes.len()),
        }
    }
}
