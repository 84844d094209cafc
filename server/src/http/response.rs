//! Heads of responses, written into a buffer that is used again.

use std::{
    fmt::{self, Write as _},
    ops::Range,
};

use super::{Date, conditional::EntityTag, date::HttpTime};

/// The status of a response (15; 431 is of RFC 6585, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200: the whole object, or its description.
    Ok,
    /// 206: the range of the object that was requested.
    PartialContent,
    /// 304: the client has the current bytes.
    NotModified,
    /// 400: the head is malformed, or its target is invalid.
    BadRequest,
    /// 404: there is no object, or the client may not read it.
    NotFound,
    /// 405: a method that exists and is not GET or HEAD.
    MethodNotAllowed,
    /// 408: the head was not complete in time.
    RequestTimeout,
    /// 412: `If-Match` or `If-Unmodified-Since` does not hold.
    PreconditionFailed,
    /// 413: the request has content, which is not read.
    ContentTooLarge,
    /// 414: the target is longer than 8,192 bytes.
    UriTooLong,
    /// 416: the requested range lies outside of the object.
    RangeNotSatisfiable,
    /// 431: the head is longer than 16,384 bytes, or has more than 64 fields.
    HeaderFieldsTooLarge,
    /// 500: the object could not be read.
    InternalServerError,
    /// 501: a method that this server does not know.
    NotImplemented,
    /// 503: a limit is reached; the client may try again.
    ServiceUnavailable,
    /// 505: another version than HTTP/1.0 and HTTP/1.1.
    VersionNotSupported,
}

impl Status {
    /// Number and reason, as in a status line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::PartialContent => "206 Partial Content",
            Self::NotModified => "304 Not Modified",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::PreconditionFailed => "412 Precondition Failed",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::InternalServerError => "500 Internal Server Error",
            Self::NotImplemented => "501 Not Implemented",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// The media type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType(&'static str);

impl ContentType {
    /// `application/octet-stream`: the type of every sealed object.
    pub const OCTET_STREAM: Self = Self("application/octet-stream");

    /// The type for the extension of a path; [`Self::OCTET_STREAM`] if it is unknown.
    ///
    /// The table has no type that a browser runs or renders with scripts (HTML, SVG, XML, scripts),
    /// so a peer that may write objects cannot make a page of this origin.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default();
        let extension = match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => extension,
            _ => return Self::OCTET_STREAM,
        };
        BY_EXTENSION
            .iter()
            .find(|(known, _)| extension.eq_ignore_ascii_case(known))
            .map_or(Self::OCTET_STREAM, |(_, name)| Self(name))
    }

    /// As in a `Content-Type` field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

const BY_EXTENSION: [(&str, &str); 15] = [
    ("txt", TEXT),
    ("log", TEXT),
    ("md", TEXT),
    ("json", "application/json"),
    ("toml", "application/toml"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("mp4", "video/mp4"),
    ("gz", "application/gzip"),
    ("zst", "application/zstd"),
    ("tar", "application/x-tar"),
    ("zip", "application/zip"),
];

const TEXT: &str = "text/plain; charset=utf-8";

/// Whether the connection continues after a response, and how the client learns it (RFC 9112, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It continues, as HTTP/1.1 expects.
    KeepAlive,
    /// It continues, as an HTTP/1.0 client has requested.
    KeepAliveHttp10,
    /// It ends: the server closes the connection behind the response.
    Close,
}

/// The validators of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    pub(super) etag: EntityTag<'a>,
    pub(super) last_modified: Option<HttpTime>,
}

/// Writes responses to the end of a buffer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) date: &'a Date,
    pub(super) persistence: Persistence,
    /// 9.3.2: "the server MUST NOT send content in the response" to HEAD.
    pub(super) head_only: bool,
    /// The status of the response, once its head was begun.
    pub(super) status: &'a mut Option<Status>,
}

impl Writer<'_> {
    /// The head of a response with an object of `length` bytes, or a part of it, as content.
    pub(super) fn object(
        mut self,
        content_type: ContentType,
        length: u64,
        part: Option<&Range<u64>>,
        validators: Validators<'_>,
    ) {
        let (status, content_length) = match part {
            None => (Status::Ok, length),
            Some(part) => (Status::PartialContent, part.end - part.start),
        };
        self.begin(status);
        self.field("Content-Type", content_type.0);
        self.field("Content-Length", content_length);
        if let Some(part) = part {
            // 14.4: both positions are included.
            let (first, last) = (part.start, part.end - 1);
            self.field("Content-Range", format_args!("bytes {first}-{last}/{length}"));
        }
        self.etag(validators.etag);
        if let Some(time) = validators.last_modified {
            self.field("Last-Modified", time);
        }
        self.field("Accept-Ranges", "bytes");
        self.field("X-Content-Type-Options", "nosniff");
        self.end();
    }

    /// 15.4.5: the fields that "would have been sent in a 200 (OK) response to the same request",
    /// of those that it names; a 304 never has content.
    pub(super) fn not_modified(mut self, etag: EntityTag<'_>) {
        self.begin(Status::NotModified);
        self.etag(etag);
        self.end();
    }

    /// 15.5.17: "a Content-Range header field specifying the current length".
    pub(super) fn unsatisfiable(mut self, length: u64) {
        self.begin(Status::RangeNotSatisfiable);
        self.field("Content-Range", format_args!("bytes */{length}"));
        self.line(format_args!("the object has {length} bytes"));
    }

    /// A response of one line.
    pub(super) fn error(mut self, status: Status, text: impl fmt::Display) {
        self.begin(status);
        match status {
            // 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
            Status::MethodNotAllowed => self.field("Allow", "GET, HEAD"),
            // 10.2.3, in seconds.
            Status::ServiceUnavailable => self.field("Retry-After", "1"),
            _ => {}
        }
        self.line(format_args!("{text}"));
    }

    /// 6.6.1: "An origin server with a clock … MUST generate a Date header field in all 2xx
    /// (Successful), 3xx (Redirection), and 4xx (Client Error) responses".
    fn begin(&mut self, status: Status) {
        *self.status = Some(status);
        self.put(format_args!("HTTP/1.1 {}\r\nDate: ", status.as_str()));
        self.out.extend_from_slice(self.date.as_bytes());
        self.put(format_args!("\r\n"));
    }

    fn field(&mut self, name: &str, value: impl fmt::Display) {
        self.put(format_args!("{name}: {value}\r\n"));
    }

    fn etag(&mut self, etag: EntityTag<'_>) {
        self.field("ETag", format_args!("\"{}\"", etag.opaque()));
    }

    fn end(&mut self) {
        match self.persistence {
            Persistence::KeepAlive => {}
            Persistence::KeepAliveHttp10 => self.field("Connection", "keep-alive"),
            Persistence::Close => self.field("Connection", "close"),
        }
        self.put(format_args!("\r\n"));
    }

    /// The end of a head and one line of content.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        let mut counted = Counter(1);
        // Counting cannot fail.
        let _infallible = counted.write_fmt(text);
        self.field("Content-Type", TEXT);
        self.field("Content-Length", counted.0);
        self.field("X-Content-Type-Options", "nosniff");
        self.end();
        if !self.head_only {
            self.put(format_args!("{text}\n"));
        }
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        // Neither the buffer nor anything that is written here can fail.
        let _infallible = Appender(self.out).write_fmt(text);
    }
}

/// A buffer as a text to append to.
struct Appender<'a>(&'a mut Vec<u8>);

impl fmt::Write for Appender<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Bytes that a text has.
struct Counter(usize);

impl fmt::Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HTML, SVG, XML, scripts and unknown names get the type application/octet-stream.
    #[test]
    fn content_type_of_active_content_is_octet_stream() {
        for (path, expected) in [
            ("", "application/octet-stream"),
            ("app.img", "application/octet-stream"),
            ("a/notes.txt", "text/plain; charset=utf-8"),
            ("a/NOTES.TXT", "text/plain; charset=utf-8"),
            ("a.txt/b", "application/octet-stream"),
            ("txt", "application/octet-stream"),
            (".txt", "application/octet-stream"),
            ("a/.json", "application/octet-stream"),
            ("a.tar.gz", "application/gzip"),
            ("a.", "application/octet-stream"),
            ("a.html", "application/octet-stream"),
            ("a.svg", "application/octet-stream"),
            ("a.xml", "application/octet-stream"),
            ("a.js", "application/octet-stream"),
            ("a.wasm", "application/octet-stream"),
            ("grüße.png", "image/png"),
        ] {
            assert_eq!(ContentType::of_path(path).as_str(), expected, "{path}");
        }
    }
}
