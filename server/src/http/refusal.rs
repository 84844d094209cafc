//! Errors of a head.

use thiserror::Error;

use super::{
    bounds::{FIELDS_MAX, HEAD_MAX_BYTES, TARGET_MAX_BYTES},
    response::Status,
    target::TargetError,
};

/// Why a head is refused. The connection ends, because the beginning of the next request is no
/// longer certain.
///
/// The texts are sent to the client; they repeat nothing that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A line feed without a carriage return. RFC 9112, 2.2 allows to take it for a line's end;
    /// two programs that disagree on where a line ends disagree on where a request ends.
    #[error("a line of the head does not end in CR LF")]
    LineEnding,
    /// More than one empty line before the request; RFC 9112, 2.2 says to ignore one.
    #[error("empty lines in front of the request line")]
    EmptyLines,
    /// Not `method SP target SP version`. HTTP/0.9 is among these.
    #[error("no HTTP/1.1 request line")]
    RequestLine,
    /// A version that is none of HTTP/1.0 and HTTP/1.1.
    #[error("the versions of HTTP spoken here are 1.1 and 1.0")]
    Version,
    /// A method that the server knows and does not do.
    #[error("the methods allowed here are GET and HEAD")]
    MethodNotAllowed,
    /// A method that the server does not know.
    #[error("the methods known here are GET and HEAD")]
    MethodUnknown,
    /// A target over [`TARGET_MAX_BYTES`].
    #[error("the request target is longer than {TARGET_MAX_BYTES} bytes")]
    TargetTooLong,
    /// A target that names no object for certain.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A head over [`HEAD_MAX_BYTES`].
    #[error("the head of the request is longer than {HEAD_MAX_BYTES} bytes")]
    HeadTooLong,
    /// More field lines than [`FIELDS_MAX`].
    #[error("the request has more than {FIELDS_MAX} fields")]
    TooManyFields,
    /// A field line that is none. RFC 9112, 5.1: "No whitespace is allowed between the field name
    /// and colon"; 5.2: line folding; control characters.
    #[error("a malformed field line")]
    Field,
    /// RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    /// request message that lacks a Host header field"
    #[error("the Host field is missing")]
    HostMissing,
    /// "and to any request message that contains more than one Host header field line"
    #[error("more than one Host field")]
    HostRepeated,
    /// "or a Host header field with an invalid field value."
    #[error("the Host field names no host")]
    HostInvalid,
    /// A length that is no number. RFC 9112, 6.3: "the message framing is invalid and the
    /// recipient MUST treat it as an unrecoverable error".
    #[error("the Content-Length field is no number")]
    LengthInvalid,
    /// More than one length, equal or not: RFC 9110, 8.6 leaves it to the server.
    #[error("more than one Content-Length field")]
    LengthRepeated,
    /// Any transfer coding, alone or beside a length (RFC 9112, 6.1, 11.2).
    #[error("requests with a transfer coding are not taken")]
    TransferCoding,
    /// Content. 9.3.1: it "might lead some implementations to reject the request and close the
    /// connection because of its potential as a request smuggling attack".
    #[error("requests with content are not taken")]
    Content,
    /// The head was not complete in time.
    #[error("the head of the request took too long")]
    Timeout,
}

impl Refusal {
    /// The status of the response.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::LineEnding
            | Self::EmptyLines
            | Self::RequestLine
            | Self::Target(_)
            | Self::Field
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::LengthInvalid
            | Self::LengthRepeated
            | Self::TransferCoding => Status::BadRequest,
            Self::Version => Status::VersionNotSupported,
            Self::MethodNotAllowed => Status::MethodNotAllowed,
            Self::MethodUnknown => Status::NotImplemented,
            Self::TargetTooLong => Status::UriTooLong,
            Self::HeadTooLong | Self::TooManyFields => Status::HeaderFieldsTooLarge,
            Self::Content => Status::ContentTooLarge,
            Self::Timeout => Status::RequestTimeout,
        }
    }
}
