//! Why a job failed.

use tracing::error;
use zput_proto::{message::ErrorCode, name::ObjectKey};

use crate::{mounts::OpenError, store};

/// Why a job failed, as far as a response may tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobError {
    /// The code, for every peer.
    pub(crate) code: ErrorCode,
    /// The cause with the name of a file, where that says more than the code. It goes to the log,
    /// and to the peers of an embedded server, which hold the store's directory themselves.
    pub(crate) cause: Option<String>,
    /// A text for every peer, where that says more than the code.
    pub(crate) reason: Option<&'static str>,
    /// The number that belongs to the code, or 0 (PROTOCOL 7).
    pub(crate) number: u64,
}

impl From<ErrorCode> for JobError {
    fn from(code: ErrorCode) -> Self {
        Self { code, cause: None, reason: None, number: 0 }
    }
}

impl JobError {
    /// The error of a job that failed. Failures of the server itself are logged with their cause.
    pub(crate) fn of(failure: OpenError) -> Self {
        let error = Self::without_cause(&failure);
        if !error.is_server_fault() {
            return error;
        }
        error!(error = %failure, "a request failed");
        Self { cause: Some(failure.to_string()), ..error }
    }

    /// As [`Self::of`], for a job about the object `key`, whose file the log names.
    pub(crate) fn about(key: &ObjectKey) -> impl Fn(OpenError) -> Self {
        let key = key.clone();
        move |failure| {
            let error = Self::without_cause(&failure);
            if !error.is_server_fault() {
                return error;
            }
            let file = store::current_file_path(&key);
            error!(error = %failure, file, "a request failed");
            Self { cause: Some(format!("{failure} ({file})")), ..error }
        }
    }

    fn without_cause(failure: &OpenError) -> Self {
        Self {
            code: failure.code(),
            cause: None,
            reason: failure.reason(),
            number: failure.number(),
        }
    }

    /// Whether the operator, rather than the peer, has to do something about it.
    const fn is_server_fault(&self) -> bool {
        matches!(
            self.code,
            ErrorCode::Internal
                | ErrorCode::Suspect
                | ErrorCode::Full
                | ErrorCode::ReadOnly
                | ErrorCode::Unreadable
        )
    }
}
