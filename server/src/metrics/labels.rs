//! What the metrics tell apart.

use zput_common::proto::message::{ErrorCode, Request};

/// A thing of a few kinds, each of which has a label and a place in an array.
pub(super) trait Labelled: Copy + 'static {
    /// All of them, in the order of their places.
    const ALL: &'static [Self];

    /// Its place.
    fn place(self) -> usize;

    /// As Prometheus shows it.
    fn label(self) -> &'static str;
}

macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl Labelled for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn place(self) -> usize {
                self as usize
            }

            fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

labelled! {
    /// By which protocol a connection came.
    Protocol {
        /// The server's own.
        Zput = "zput",
        /// HTTP/1.1.
        Http = "http",
    }
}

labelled! {
    /// Why a connection was not taken.
    Refusal {
        /// There are as many as there may be.
        Limit = "limit",
        /// There are as many of this address as there may be.
        PerClient = "per_client",
        /// Descriptors or memory ran out.
        Exhausted = "exhausted",
    }
}

labelled! {
    /// What a request asks.
    RequestKind {
        /// A redeemed invite.
        Join = "join",
        /// Is the server there?
        Ping = "ping",
        /// Sections of an object.
        Get = "get",
        /// What is known of an object.
        Stat = "stat",
        /// A page of the catalogue.
        List = "list",
        /// A page of an object's versions.
        Versions = "versions",
        /// The beginning of an upload.
        Begin = "begin",
        /// A slice of it.
        Slice = "slice",
        /// Its end.
        Commit = "commit",
        /// Its other end.
        Abort = "abort",
        /// To the trash.
        Delete = "delete",
        /// Out of it.
        Restore = "restore",
        /// The choice of a mount.
        Mount = "mount",
        /// An upload that goes on.
        Resume = "resume",
        /// What of it is there.
        Claim = "claim",
        /// Both hellos.
        Echo = "echo",
        /// GET of the HTTP endpoint.
        HttpGet = "http_get",
        /// HEAD of the HTTP endpoint.
        HttpHead = "http_head",
    }
}

impl From<&Request> for RequestKind {
    fn from(request: &Request) -> Self {
        match request {
            Request::Echo { .. } => Self::Echo,
            Request::Ping => Self::Ping,
            Request::Join { .. } => Self::Join,
            Request::Get { .. } => Self::Get,
            Request::Stat { .. } => Self::Stat,
            Request::List { .. } => Self::List,
            Request::Versions { .. } => Self::Versions,
            Request::Begin { .. } => Self::Begin,
            Request::Slice { .. } => Self::Slice,
            Request::Commit => Self::Commit,
            Request::Abort => Self::Abort,
            Request::Delete { .. } => Self::Delete,
            Request::Restore { .. } => Self::Restore,
            Request::Mount { .. } => Self::Mount,
            Request::Resume { .. } => Self::Resume,
            Request::Claim { .. } => Self::Claim,
        }
    }
}

impl From<crate::http::Method> for RequestKind {
    fn from(method: crate::http::Method) -> Self {
        match method {
            crate::http::Method::Get => Self::HttpGet,
            crate::http::Method::Head => Self::HttpHead,
        }
    }
}

labelled! {
    /// How a request was answered: an error code of PROTOCOL 6, or an HTTP status by the same words.
    Outcome {
        /// With what it asked for; HTTP: 200.
        Ok = "ok",
        /// Code 1; HTTP: 400, 405, 408, 413, 414, 431, 501 and 505.
        Malformed = "malformed",
        /// Code 2.
        Denied = "denied",
        /// Code 3; HTTP: 404.
        NotFound = "not_found",
        /// Code 4; HTTP: 412.
        Exists = "condition",
        /// Code 5.
        Full = "full",
        /// Code 6; HTTP: 503.
        Busy = "busy",
        /// Code 7.
        Digest = "digest",
        /// Code 8; HTTP: 416.
        Range = "range",
        /// Code 9.
        Kind = "kind",
        /// Code 10.
        State = "state",
        /// Code 11; HTTP: 500.
        Internal = "internal",
        /// Code 12.
        Version = "version",
        /// Code 13.
        Mode = "mode",
        /// Code 14.
        Suspect = "suspect",
        /// Code 15.
        Older = "older",
        /// Code 16.
        ReadOnly = "read_only",
        /// Code 17.
        Unreadable = "unreadable",
        /// Code 18.
        Ahead = "ahead",
        /// HTTP: 206.
        Partial = "partial",
        /// HTTP: 304.
        NotModified = "not_modified",
    }
}

impl From<ErrorCode> for Outcome {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Malformed => Self::Malformed,
            ErrorCode::Denied => Self::Denied,
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Exists => Self::Exists,
            ErrorCode::Full => Self::Full,
            ErrorCode::Busy => Self::Busy,
            ErrorCode::Digest => Self::Digest,
            ErrorCode::Range => Self::Range,
            ErrorCode::Kind => Self::Kind,
            ErrorCode::State => Self::State,
            ErrorCode::Internal => Self::Internal,
            ErrorCode::Version => Self::Version,
            ErrorCode::Mode => Self::Mode,
            ErrorCode::Suspect => Self::Suspect,
            ErrorCode::Older => Self::Older,
            ErrorCode::ReadOnly => Self::ReadOnly,
            ErrorCode::Unreadable => Self::Unreadable,
            ErrorCode::Ahead => Self::Ahead,
        }
    }
}

impl From<crate::http::Status> for Outcome {
    fn from(status: crate::http::Status) -> Self {
        use crate::http::Status;
        match status {
            Status::Ok => Self::Ok,
            Status::PartialContent => Self::Partial,
            Status::NotModified => Self::NotModified,
            Status::NotFound => Self::NotFound,
            Status::PreconditionFailed => Self::Exists,
            Status::RangeNotSatisfiable => Self::Range,
            Status::InternalServerError => Self::Internal,
            Status::ServiceUnavailable => Self::Busy,
            Status::BadRequest
            | Status::MethodNotAllowed
            | Status::RequestTimeout
            | Status::ContentTooLarge
            | Status::UriTooLong
            | Status::HeaderFieldsTooLarge
            | Status::NotImplemented
            | Status::VersionNotSupported => Self::Malformed,
        }
    }
}

labelled! {
    /// Which threads wait for the disk.
    PoolKind {
        /// Those that open, write and sync.
        Store = "store",
        /// Those that bring what is to be sent into memory.
        Loader = "loader",
    }
}
