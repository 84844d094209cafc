//! PAX extended headers (POSIX.1-2017, pax, "pax Extended Header"):
//! `"%d %s=%s\n", length, keyword, value`.

use super::error::ArchiveErrorKind;
use crate::sys::tree::Time;

/// The keywords of an extended header that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Time>,
    /// Whether it is one of GNU's sparse formats 0.0, 0.1 and 1.0.
    pub(super) sparse: bool,
    /// The real name of a sparse member.
    pub(super) sparse_name: Option<Vec<u8>>,
}

impl Pax {
    /// POSIX: where a keyword comes twice, "the value … shall be the last one".
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, ArchiveErrorKind> {
        let mut pax = Self::default();
        while !body.is_empty() {
            let (record, rest) = split_record(body).ok_or(ArchiveErrorKind::PaxRecord)?;
            let equals = record.iter().position(|byte| *byte == b'=');
            let (key, value) =
                record.split_at(equals.filter(|at| *at > 0).ok_or(ArchiveErrorKind::PaxRecord)?);
            pax.set(key, &value[1..])?;
            body = rest;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveErrorKind> {
        match key {
            b"path" => self.path = Some(name(value, "path")?),
            b"linkpath" => self.link_path = Some(name(value, "linkpath")?),
            b"size" => self.size = Some(size(value).ok_or(ArchiveErrorKind::PaxValue("size"))?),
            b"mtime" => {
                self.modified = Some(time(value).ok_or(ArchiveErrorKind::PaxValue("mtime"))?)
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                self.sparse = true;
                if key == b"GNU.sparse.name" {
                    self.sparse_name = Some(name(value, "GNU.sparse.name")?);
                }
            }
            // Owners, comments, attributes: they do not change where bytes are.
            _ => {}
        }
        Ok(())
    }

    /// Checks a header for all members that follow: it may contain the modification time and
    /// keywords that are ignored.
    pub(super) fn check_global(&self) -> Result<(), ArchiveErrorKind> {
        for (set, key) in [
            (self.path.is_some(), "path"),
            (self.link_path.is_some(), "linkpath"),
            (self.size.is_some(), "size"),
            (self.sparse, "GNU.sparse"),
        ] {
            if set {
                return Err(ArchiveErrorKind::PaxGlobal(key));
            }
        }
        Ok(())
    }
}

/// The first record without its length and its newline, and the bytes after it.
fn split_record(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = body.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&body[..space])?).ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

/// A name. An empty value would delete that of other headers, which readers interpret differently.
fn name(value: &[u8], key: &'static str) -> Result<Vec<u8>, ArchiveErrorKind> {
    if value.contains(&0) {
        return Err(ArchiveErrorKind::NulInName);
    }
    if value.is_empty() {
        return Err(ArchiveErrorKind::PaxValue(key));
    }
    Ok(value.to_vec())
}

fn size(value: &[u8]) -> Option<u64> {
    decimal(value).filter(|size| i64::try_from(*size).is_ok())
}

/// Seconds with a fraction; negative before 1970. Digits below a nanosecond are dropped.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let point = value.iter().position(|byte| *byte == b'.').unwrap_or(value.len());
    let seconds = i64::try_from(decimal(&value[..point])?).ok()?;
    let fraction = value.get(point + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = fraction
        .iter()
        .map(|digit| u32::from(digit - b'0'))
        .chain(std::iter::repeat(0))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + digit);
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// A number of digits only.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pax parses path, linkpath, size and mtime, and the last record of a keyword counts.
    #[test]
    fn pax_records_are_parsed() {
        let pax = Pax::parse(
            b"12 path=a/b\n16 linkpath=c/d\n11 size=42\n20 mtime=1234567.25\n13 comment=x\n",
        )
        .unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(pax.link_path.as_deref(), Some(&b"c/d"[..]));
        assert_eq!(pax.size, Some(42));
        assert_eq!(pax.modified, Some((1_234_567, 250_000_000)));
        assert!(!pax.sparse);
        assert_eq!(Pax::parse(b"").unwrap(), Pax::default());
        // A value may contain what looks like the end of a record; the last record of a keyword
        // counts.
        let twice = Pax::parse(b"15 path=a\nb=c\n\n10 path=x\n").unwrap();
        assert_eq!(twice.path.as_deref(), Some(&b"x"[..]));
        let newline = Pax::parse(b"15 path=a\nb=c\n\n").unwrap();
        assert_eq!(newline.path.as_deref(), Some(&b"a\nb=c\n"[..]));
    }

    /// Pax refuses records whose length or form is wrong.
    #[test]
    fn pax_malformed_record_is_refused() {
        for body in [
            &b"12 path=a/b"[..],
            b"11 path=a/b\n",
            b"13 path=a/b\n",
            b"99 path=a/b\n",
            b"path=a/b\n",
            b" path=a/b\n",
            b"x2 path=a/b\n",
            b"+12 path=a/b\n",
            b"-12 path=a/b\n",
            b"7 path\n",
            b"5 =x\n",
            b"0 \n",
            b"1 \n",
            b"2 \n",
            b"18446744073709551616 path=a\n",
            b"18446744073709551615 path=a\n",
            b"12 path=a/b\n\0\0\0",
            b"\n",
        ] {
            assert_eq!(
                Pax::parse(body),
                Err(ArchiveErrorKind::PaxRecord),
                "{}",
                body.escape_ascii()
            );
        }
    }

    /// Pax refuses empty names, sizes and times that are no numbers, and NUL in names.
    #[test]
    fn pax_impossible_value_is_refused() {
        for (body, key) in [
            (&b"8 path=\n"[..], "path"),
            (b"13 linkpath=\n", "linkpath"),
            (b"8 size=\n", "size"),
            (b"11 size=-1\n", "size"),
            (b"13 size=0x10\n", "size"),
            (b"28 size=9223372036854775808\n", "size"),
            (b"29 size=18446744073709551616\n", "size"),
            (b"9 mtime=\n", "mtime"),
            (b"13 mtime=1e9\n", "mtime"),
            (b"13 mtime=1.x\n", "mtime"),
            (b"13 mtime=--1\n", "mtime"),
            (b"20 GNU.sparse.name=\n", "GNU.sparse.name"),
        ] {
            let kind = Err(ArchiveErrorKind::PaxValue(key));
            assert_eq!(Pax::parse(body), kind, "{}", body.escape_ascii());
        }
        assert_eq!(Pax::parse(b"12 path=a\0b\n"), Err(ArchiveErrorKind::NulInName));
    }

    /// A PAX time before 1970 with a fraction rounds down to its second.
    #[test]
    fn pax_time_before_1970_rounds_down() {
        assert_eq!(time(b"0"), Some((0, 0)));
        assert_eq!(time(b"1."), Some((1, 0)));
        assert_eq!(time(b"-1"), Some((-1, 0)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(time(b"9223372036854775807.5"), Some((i64::MAX, 500_000_000)));
        assert_eq!(time(b"9223372036854775808"), None);
    }
}
