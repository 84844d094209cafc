//! Request targets: the path that a target names beyond doubt.
//!
//! A path is decoded once, as a whole, and then looked at: there is no second reading by which
//! `%2e` could become a dot or `%2f` a slash. What comes out is relative and stays below where it
//! starts.

use thiserror::Error;

/// Why a target names no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Neither `/path` nor `http://host/path`: RFC 9112, 3.2 has authority and asterisk form for
    /// other methods than GET and HEAD.
    #[error("the request target is no path")]
    Form,
    /// An absolute form without a host, or with user information (4.2.1, 4.2.4).
    #[error("the request target names no host")]
    Host,
    /// 7.1: "the target URI excludes the reference's fragment component".
    #[error("a fragment in the request target")]
    Fragment,
    /// `%` without two hexadecimal digits, or bytes that should have been encoded.
    #[error("a wrong percent-encoding in the request target")]
    Encoding,
    /// `%2f`: a slash that does not separate cannot be in a name.
    #[error("an encoded slash in the request target")]
    EncodedSlash,
    /// `%00`: no name on a Unix file system contains a NUL.
    #[error("a NUL in the request target")]
    Nul,
    /// The decoded path is not UTF-8.
    #[error("the request target is not UTF-8")]
    NotUtf8,
    /// A doubled slash, or one at the end.
    #[error("an empty segment in the request target")]
    EmptySegment,
    /// `.` or `..`, encoded or not, also where some file systems take a backslash for a slash.
    #[error("a dot segment in the request target")]
    DotSegment,
}

/// Writes the path that `target` names into `path`: decoded, without its first slash; empty for
/// `/`.
pub(super) fn decode(target: &str, path: &mut String) -> Result<(), TargetError> {
    path.clear();
    let reference = if target.starts_with('/') { target } else { strip_authority(target)? };
    if reference.contains('#') {
        return Err(TargetError::Fragment);
    }
    let raw = reference.split('?').next().unwrap_or_default();
    let raw = raw.strip_prefix('/').unwrap_or_default();
    let mut bytes = std::mem::take(path).into_bytes();
    decode_percents(raw, &mut bytes)?;
    *path = String::from_utf8(bytes).map_err(|_| TargetError::NotUtf8)?;
    if path.is_empty() {
        return Ok(());
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err(TargetError::EmptySegment),
            // A backslash is a character of a name like any other here
            // (`dev-disk-by\x2duuid.mount`).
            _ if segment.split('\\').any(|part| matches!(part, "." | "..")) => {
                return Err(TargetError::DotSegment);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Path and query of an absolute form: what follows scheme and authority. RFC 9112, 3.2.2: "a
/// server MUST accept the absolute-form in requests".
fn strip_authority(target: &str) -> Result<&str, TargetError> {
    let (scheme, rest) = target.split_once("://").ok_or(TargetError::Form)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(TargetError::Form);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, reference) = rest.split_at(end);
    if authority.is_empty() || authority.starts_with(':') || !is_host(authority.as_bytes()) {
        return Err(TargetError::Host);
    }
    Ok(reference)
}

/// RFC 3986, 2.1. Visible ASCII that should have been encoded and is not ambiguous passes:
/// browsers send some of it.
fn decode_percents(raw: &str, decoded: &mut Vec<u8>) -> Result<(), TargetError> {
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let high = bytes.next().and_then(hexadecimal).ok_or(TargetError::Encoding)?;
                let low = bytes.next().and_then(hexadecimal).ok_or(TargetError::Encoding)?;
                match high << 4 | low {
                    b'/' => return Err(TargetError::EncodedSlash),
                    0 => return Err(TargetError::Nul),
                    byte => byte,
                }
            }
            b'!'..=b'~' => byte,
            _ => return Err(TargetError::Encoding),
        };
        decoded.push(byte);
    }
    Ok(())
}

const fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Whether `value` is `uri-host [ ":" port ]` (7.2). An empty host is one: RFC 3986, 3.2.2.
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host_is_valid, behind) = if let Some(rest) = value.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
        let (literal, behind) = rest.split_at(end);
        (is_ip_literal(literal), behind.get(1..).unwrap_or_default())
    } else {
        let end = value.iter().position(|b| *b == b':').unwrap_or(value.len());
        let (name, behind) = value.split_at(end);
        (name.iter().all(|b| is_registered_name(*b)), behind)
    };
    let port_is_valid = match behind.split_first() {
        None => true,
        Some((b':', port)) => port.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    host_is_valid && port_is_valid
}

fn is_ip_literal(literal: &[u8]) -> bool {
    !literal.is_empty() && literal.iter().all(|b| *b == b':' || is_registered_name(*b))
}

/// RFC 3986, 3.2.2: `reg-name = *( unreserved / pct-encoded / sub-delims )`.
const fn is_registered_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Result<String, TargetError> {
        let mut path = "what was there before".to_owned();
        decode(target, &mut path).map(|()| path)
    }

    /// A request target is percent-decoded exactly once, and its query is dropped.
    #[test]
    fn request_target_is_percent_decoded_once() {
        for (target, expected) in [
            ("/", ""),
            ("/?", ""),
            ("/?a/../b", ""),
            ("/a", "a"),
            ("/images/app.img", "images/app.img"),
            ("/a%20b", "a b"),
            ("/a+b", "a+b"),
            ("/%61%62", "ab"),
            ("/%252e%252e/x", "%2e%2e/x"),
            ("/%252f", "%2f"),
            ("/a?b", "a"),
            ("/a?b=/../%2f%00\\%zz", "a"),
            ("/a?b?c", "a"),
            ("/a%3fb", "a?b"),
            ("/a%23b", "a#b"),
            ("/gr%C3%BC%c3%9fe", "grüße"),
            ("/...", "..."),
            ("/.a/..b/c.", ".a/..b/c."),
            ("/a;b=c/d:e@f", "a;b=c/d:e@f"),
            ("/a|b[c]{d}\"<>^`", "a|b[c]{d}\"<>^`"),
            ("/%0a", "\n"),
            ("/a\\b", "a\\b"),
            ("/dev-disk-by%5Cx2duuid.mount", "dev-disk-by\\x2duuid.mount"),
            ("/%5c", "\\"),
            ("http://host", ""),
            ("http://host/", ""),
            ("http://host/a/b?c", "a/b"),
            ("http://host?c/d", ""),
            ("HTTPS://[::1]:8080/a", "a"),
            ("http://host:80/http://other/a", "?"),
        ] {
            let expected = if expected == "?" {
                Err(TargetError::EmptySegment)
            } else {
                Ok(expected.to_owned())
            };
            assert_eq!(path(target), expected, "{target}");
        }
    }

    /// A target with dot or empty segments, encoded slashes, NUL or bad encoding is rejected.
    #[test]
    fn request_target_rejects_ambiguous_path() {
        use TargetError::{
            DotSegment, EmptySegment, EncodedSlash, Encoding, Form, Fragment, Host, NotUtf8, Nul,
        };
        for (target, expected) in [
            ("*", Form),
            ("host:80", Form),
            ("a/b", Form),
            ("ftp://host/a", Form),
            ("file:///etc/passwd", Form),
            ("http:/a", Form),
            ("?a", Form),
            ("%2fa", Form),
            ("http:///a", Host),
            ("http://", Host),
            ("http://:80/a", Host),
            ("http://user@host/a", Host),
            ("http://user:pw@host/a", Host),
            ("http://host:8a/a", Host),
            ("http://[::1/a", Host),
            ("http://host\\@other/a", Host),
            ("/a#b", Fragment),
            ("/a?b#c", Fragment),
            ("http://host#c", Fragment),
            ("/%", Encoding),
            ("/%2", Encoding),
            ("/%2/", Encoding),
            ("/%zz", Encoding),
            ("/%+1", Encoding),
            ("/%%34%31", Encoding),
            ("/grüße", Encoding),
            ("/a\x7f", Encoding),
            ("/a\tb", Encoding),
            ("/a%2fb", EncodedSlash),
            ("/a%2Fb", EncodedSlash),
            ("/%2e%2e%2fetc%2fpasswd", EncodedSlash),
            ("/..%2f", EncodedSlash),
            ("/..\\", DotSegment),
            ("/..%5C..%5C", DotSegment),
            ("/a%5c..%5cb", DotSegment),
            ("/a\\.", DotSegment),
            ("/%00", Nul),
            ("/a%00.img", Nul),
            ("/%ff", NotUtf8),
            ("/%c0%ae%c0%ae/", NotUtf8),
            ("/%c0%af", NotUtf8),
            ("/%ed%a0%80", NotUtf8),
            ("//", EmptySegment),
            ("//a", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a/", EmptySegment),
            ("http://host//a", EmptySegment),
            ("/.", DotSegment),
            ("/..", DotSegment),
            ("/../etc/passwd", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/./b", DotSegment),
            ("/a/..", DotSegment),
            ("/%2e%2e/etc/passwd", DotSegment),
            ("/.%2E/a", DotSegment),
            ("/%2e/a", DotSegment),
            ("/a/%2e%2e", DotSegment),
            ("http://host/../a", DotSegment),
        ] {
            assert_eq!(path(target), Err(expected), "{target}");
        }
    }

    /// The check is_host accepts a host with an optional port, and nothing else.
    #[test]
    fn is_host_accepts_only_host_and_port() {
        for host in [
            "",
            "host",
            "host:",
            "host:80",
            ":80",
            "a.b-c_d~e",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "[v1.x:y]",
            "a%20b",
            "a,b",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a/b", "a@b", "a?b", "a#b", "a:b", "a:80:81", "a:-1", "::1", "[]", "[::1",
            "[::1]80", "[::1]:a", "[a/b]", "a\\b", "a\"b", "a<b", "grüße",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
