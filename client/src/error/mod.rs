//! Errors of the client.
//!
//! [`Error`] says what happened and to what; `source()` has the cause, which its text does not
//! repeat. [`Error::kind`] says what a caller can do about it.
//!
//! ```
//! use std::error::Error as _;
//!
//! # fn main() {
//! let error = zput::Client::open("/nonexistent/k.zkey").unwrap_err();
//! assert_eq!(error.kind(), zput::ErrorKind::Key);
//! // What happened, and each cause behind it.
//! let mut text = error.to_string();
//! let mut cause = error.source();
//! while let Some(error) = cause {
//!     text = format!("{text}: {error}");
//!     cause = error.source();
//! }
//! assert_eq!(text, "there is no key file /nonexistent/k.zkey");
//! # }
//! ```

mod clock_skew;
mod kind;
mod restart_reason;
mod variants;

pub use crate::{
    connection::{ConnectionError, ResolveError},
    embedded::EmbeddedError,
    files::directories::DirectoriesError,
    io::{
        sink::{AttributeWarning, SinkError},
        source::SourceError,
    },
    key::path::KeystoreError,
    state::{journal::JournalError, rollback::RollbackError},
};

pub use self::{
    kind::ErrorKind,
    restart_reason::RestartReason,
    variants::{Error, Result},
};
