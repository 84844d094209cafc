//! One request, parsed from its head.

use httparse::Status as Parsed;

use super::{
    bounds::{FIELDS_MAX, KEPT_BYTES, TARGET_MAX_BYTES},
    conditional::Conditions,
    field::{FieldValue, decimal},
    refusal::Refusal,
    target::{decode, is_host},
};

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Send the object (9.3.1).
    #[default]
    Get,
    /// Describe the object: 9.3.2, "identical to GET except that the server MUST NOT send content".
    Head,
}

/// The parsed head of a request. Its buffers are reused for the next one.
#[derive(Debug, Default)]
pub struct Request {
    method: Method,
    /// Whether the version is HTTP/1.0.
    is_http_1_0: bool,
    path: String,
    fields: Fields,
}

/// The values of the field lines.
#[derive(Debug, Default)]
struct Fields {
    has_host: bool,
    content_length: Option<u64>,
    has_coding: bool,
    close: bool,
    keep_alive: bool,
    range: FieldValue,
    conditions: Conditions,
}

impl Request {
    /// GET or HEAD: other methods are refused while the head is read.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The object's path: decoded, relative, of segments that are neither empty nor `.` nor `..`,
    /// without NUL and backslash; control characters may be in it. Empty for `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the client means to send more requests (RFC 9112, 9.3).
    #[must_use]
    pub const fn keeps_alive(&self) -> bool {
        !self.fields.close && (!self.is_http_1_0 || self.fields.keep_alive)
    }

    /// Whether the response must say that the connection stays open: HTTP/1.0 does not expect it.
    pub(super) const fn is_http_1_0(&self) -> bool {
        self.is_http_1_0
    }

    pub(super) const fn conditions(&self) -> &Conditions {
        &self.fields.conditions
    }

    /// What part of an object is asked for. 14.2: "A server MUST ignore a Range header field
    /// received with a request method that is unrecognized or for which range handling is not
    /// defined. For this specification, GET is the only method for which range handling is
    /// defined."
    pub(super) fn range(&self) -> Option<&[u8]> {
        match self.method {
            Method::Get => self.fields.range.get(),
            Method::Head => None,
        }
    }

    pub(super) fn reset(&mut self) {
        self.method = Method::Get;
        self.is_http_1_0 = false;
        self.path.clear();
        self.path.shrink_to(KEPT_BYTES);
        self.fields.reset();
    }

    /// Reads the request line, its CR LF included.
    pub(super) fn read_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse(line) {
            // The field lines are what it lacks.
            Ok(Parsed::Partial) => {}
            Err(httparse::Error::Version) if has_version(line) => return Err(Refusal::Version),
            Ok(Parsed::Complete(_)) | Err(_) => return Err(Refusal::RequestLine),
        }
        let (Some(method), Some(target), Some(minor)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(Refusal::RequestLine);
        };
        self.is_http_1_0 = minor == 0;
        self.method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => {
                return Err(Refusal::MethodNotAllowed);
            }
            _ => return Err(Refusal::MethodUnknown),
        };
        if target.len() > TARGET_MAX_BYTES {
            return Err(Refusal::TargetTooLong);
        }
        Ok(decode(target, &mut self.path)?)
    }

    /// Reads the field lines and the empty line behind them.
    pub(super) fn read_fields(&mut self, lines: &[u8]) -> Result<(), Refusal> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let parsed = match httparse::parse_headers(lines, &mut fields) {
            Ok(Parsed::Complete((length, fields))) if length == lines.len() => fields,
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
            Ok(_) | Err(_) => return Err(Refusal::Field),
        };
        for field in parsed {
            self.fields.read(field.name, field.value)?;
        }
        self.fields.frame(self.is_http_1_0)
    }
}

impl Fields {
    /// Reads one field line. Unknown fields are ignored (5.1), and `Expect` and `Upgrade` may be
    /// ignored (10.1.1, 7.8).
    fn read(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            if self.has_host {
                return Err(Refusal::HostRepeated);
            }
            if !is_host(value) {
                return Err(Refusal::HostInvalid);
            }
            self.has_host = true;
        } else if is("content-length") {
            if self.content_length.is_some() {
                return Err(Refusal::LengthRepeated);
            }
            self.content_length = Some(decimal(value).ok_or(Refusal::LengthInvalid)?);
        } else if is("transfer-encoding") {
            self.has_coding = true;
        } else if is("connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("range") {
            self.range.add(value);
        } else if is("if-match") {
            self.conditions.if_match.add(value);
        } else if is("if-none-match") {
            self.conditions.if_none_match.add(value);
        } else if is("if-modified-since") {
            self.conditions.if_modified_since.add(value);
        } else if is("if-unmodified-since") {
            self.conditions.if_unmodified_since.add(value);
        } else if is("if-range") {
            self.conditions.if_range.add(value);
        }
        Ok(())
    }

    /// Makes sure that the next request begins where this head ends.
    fn frame(&self, is_http_1_0: bool) -> Result<(), Refusal> {
        if self.has_coding {
            return Err(Refusal::TransferCoding);
        }
        if self.content_length.is_some_and(|length| length > 0) {
            return Err(Refusal::Content);
        }
        if !self.has_host && !is_http_1_0 {
            return Err(Refusal::HostMissing);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.has_host = false;
        self.content_length = None;
        self.has_coding = false;
        self.close = false;
        self.keep_alive = false;
        self.range.reset();
        self.conditions.reset();
    }
}

/// Whether a request line, but for its numbers, has a version where it should:
/// `HTTP-name "/" DIGIT "." DIGIT` (RFC 9112, 2.3).
fn has_version(line: &[u8]) -> bool {
    let mut words = line.trim_ascii_end().split(|byte| *byte == b' ').skip(2);
    match (words.next(), words.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None) => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}
