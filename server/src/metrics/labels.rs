//! The values of the labels of the metrics.

use zput_proto::message::{ErrorCode, Request};

/// A label with a fixed set of values, each with an index into an array of counters.
pub(super) trait Labelled: Copy + 'static {
    /// All values, in the order of their indices.
    const ALL: &'static [Self];

    /// The index of this value.
    fn index(self) -> usize;

    /// The text of this value in Prometheus.
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

            fn index(self) -> usize {
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
    /// The protocol of a connection.
    Protocol {
        /// The protocol of docs/PROTOCOL.md.
        Zput = "zput",
        /// HTTP/1.1, of the listeners under `http`.
        Http = "http",
    }
}

labelled! {
    /// Why a connection was refused.
    Refusal {
        /// The limit of all connections, or of peers without a key, is reached.
        Limit = "limit",
        /// The limit of connections of one client is reached.
        PerClient = "per_client",
        /// Descriptors or memory ran out.
        Exhausted = "exhausted",
    }
}

labelled! {
    /// The kind of a request.
    RequestKind {
        /// Redeem an invite.
        Join = "join",
        /// Keep the connection open.
        Ping = "ping",
        /// Send sections of an object.
        Get = "get",
        /// Send the metadata of an object.
        Stat = "stat",
        /// Send a page of the listing.
        List = "list",
        /// Send a page of an object's versions.
        Versions = "versions",
        /// Begin an upload.
        Begin = "begin",
        /// Receive a slice of the upload.
        Slice = "slice",
        /// Commit the upload.
        Commit = "commit",
        /// Discard the upload.
        Abort = "abort",
        /// Move the current version to the trash.
        Delete = "delete",
        /// Make a version of the trash or the history current.
        Restore = "restore",
        /// Select a mount.
        Mount = "mount",
        /// Resume an interrupted upload.
        Resume = "resume",
        /// Compare the slices of a resumed upload.
        Claim = "claim",
        /// Confirm both hellos.
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
    /// How a request was answered: an error code of PROTOCOL 7, or an HTTP status by the same
    /// words.
    Outcome {
        /// The request succeeded; HTTP: 200.
        Ok = "ok",
        /// Code 1; HTTP: 400, 405, 408, 413, 414, 431, 501 and 505.
        Malformed = "malformed",
        /// Code 2: unknown device, scope missing, or invite unknown, spent or expired.
        Denied = "denied",
        /// Code 3; HTTP: 404.
        NotFound = "not_found",
        /// Code 4; HTTP: 412.
        Exists = "exists",
        /// Code 5: disk full or quota reached.
        Full = "full",
        /// Code 6; HTTP: 503.
        Busy = "busy",
        /// Code 7: a slice does not match its digest.
        Digest = "digest",
        /// Code 8; HTTP: 416.
        Range = "range",
        /// Code 9: the object is of the other kind, or the listener does not carry its kind.
        Kind = "kind",
        /// Code 10: no upload is open, or one is open already.
        State = "state",
        /// Code 11; HTTP: 500.
        Internal = "internal",
        /// Code 12: no common protocol version.
        Version = "version",
        /// Code 13: no common mode.
        Mode = "mode",
        /// Code 14: the store takes no writes until it has been verified.
        Suspect = "suspect",
        /// Code 15: the key has or had an object of as high a generation.
        Older = "older",
        /// Code 16: the store cannot be written to.
        ReadOnly = "read_only",
        /// Code 17: something is stored and cannot be read.
        Unreadable = "unreadable",
        /// Code 18: the generation is more than 24 hours ahead of the server's clock.
        Ahead = "ahead",
        /// HTTP: 206, a range of the object.
        Partial = "partial",
        /// HTTP: 304, the client has the current bytes.
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
    /// A pool of threads that wait for the disk, and the prefix of their names.
    PoolKind {
        /// Looks up accounts and redeems invites.
        Control = "control",
        /// Opens and describes current versions.
        Open = "open",
        /// Loads windows of files into memory.
        Load = "load",
        /// Receives and commits uploads, deletes and restores.
        Write = "write",
        /// Reads directories, and versions that are not current.
        List = "list",
        /// Does what no peer waits for.
        Upkeep = "upkeep",
    }
}

impl From<PoolKind> for &'static str {
    fn from(kind: PoolKind) -> Self {
        kind.label()
    }
}
