//! The texts of error responses.

use zput_proto::message::{ErrorCode, RemoteError, Response};

use crate::jobs::JobError;

/// The error response to a job that failed; with the cause if `explain`.
pub(super) fn response_to(error: &JobError, explain: bool) -> Response {
    match &error.cause {
        Some(cause) if explain => Response::Error(RemoteError::new(error.code, cause)),
        _ if let Some(reason) = error.reason => {
            Response::Error(RemoteError::new(error.code, reason).about(error.number))
        }
        _ => match error_response(error.code) {
            Response::Error(response) => Response::Error(response.about(error.number)),
            other => other,
        },
    }
}

/// The response to a request that the peer may not make.
pub(super) fn forbidden(why: &'static str) -> Response {
    Response::Error(RemoteError { code: ErrorCode::Denied as u8, text: why.to_owned(), number: 0 })
}

/// The error response for `code`. Its text depends on the code alone, so it reveals no secret and
/// no path. The store denies nothing but invites.
pub(super) fn error_response(code: ErrorCode) -> Response {
    let text = match code {
        ErrorCode::Malformed => "malformed request or object",
        ErrorCode::Denied => "the invite is unknown, used or expired",
        ErrorCode::NotFound => "no such object, version or mount",
        ErrorCode::Exists => "the condition does not hold",
        ErrorCode::Full => "disk full or quota reached",
        ErrorCode::Busy => "it is overloaded",
        ErrorCode::Digest => "the slice does not match its digest",
        ErrorCode::Range => "a section lies outside the object",
        ErrorCode::Kind => "an object of the other kind, or one not carried here",
        ErrorCode::State => "no upload is open, or one is open already",
        ErrorCode::Internal => "the server failed",
        ErrorCode::Version => "no common protocol version",
        ErrorCode::Mode => "no common mode",
        ErrorCode::Suspect => "the store takes no writes until it has been verified",
        ErrorCode::Older => "the generation is not higher than that of the current version",
        ErrorCode::ReadOnly => "the store is read-only, or the server may not write there",
        ErrorCode::Unreadable => {
            "something is stored and cannot be read: it is damaged, or its disk or its permissions fail"
        }
        ErrorCode::Ahead => "the generation is more than a day ahead of the server's clock",
    };
    Response::Error(RemoteError { code: code as u8, text: text.to_owned(), number: 0 })
}
