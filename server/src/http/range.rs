//! The `Range` field: one range of bytes (14).

use std::ops::Range;

use super::field::decimal;

/// The part of an object that a `Range` field selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// All of it: the field is invalid, or has a form that this server ignores.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// No byte: the range begins behind the object's end.
    Unsatisfiable,
}

/// What of an object of `length` bytes the value of a `Range` field selects.
///
/// - 14.2: "An origin server MUST ignore a Range header field that contains a range unit it does
///   not understand." Units are case-insensitive (14.1).
/// - 14.2: it "MAY ignore … a Range header field that contains an invalid ranges-specifier";
///   14.1.1: one with its last position before its first is invalid.
/// - 14.2: it may ignore one with several ranges, which are the cheapest way to ask for the most
///   work. Everything with a comma is one of these.
/// - 14.1.1: positions are numbers of any length. One beyond 2^64 is beyond the end of every
///   object: as a first position unsatisfiable, as a last one the end.
/// - 14.1.2: the last n bytes of an object of none are satisfiable for n > 0, being all of it; no
///   `Content-Range` can say so, so all of it is sent, the field ignored.
#[must_use]
pub fn select(value: &[u8], length: u64) -> Selected {
    match parse(value) {
        Some(RangeSpec::From { first, last }) if first < length => {
            Selected::Part(first..last.map_or(length, |last| last.saturating_add(1).min(length)))
        }
        Some(RangeSpec::From { .. } | RangeSpec::Last(0)) => Selected::Unsatisfiable,
        Some(RangeSpec::Last(_)) if length == 0 => Selected::Whole,
        Some(RangeSpec::Last(count)) => Selected::Part(length.saturating_sub(count)..length),
        None => Selected::Whole,
    }
}

/// One range; numbers over 2^64 - 1 are that.
enum RangeSpec {
    /// `first-pos "-" [ last-pos ]`.
    From { first: u64, last: Option<u64> },
    /// `"-" suffix-length`: this many bytes at the end.
    Last(u64),
}

/// One valid range in bytes, or nothing.
fn parse(value: &[u8]) -> Option<RangeSpec> {
    let (unit, spec) = split(value, b'=')?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let (first, last) = split(spec, b'-')?;
    if first.is_empty() {
        return decimal(last).map(RangeSpec::Last);
    }
    let first = decimal(first)?;
    let last = if last.is_empty() { None } else { Some(decimal(last)?) };
    match last {
        Some(last) if last < first => None,
        _ => Some(RangeSpec::From { first, last }),
    }
}

/// What is in front of and behind the first `separator`.
fn split(value: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = value.iter().position(|byte| *byte == separator)?;
    Some((value.get(..at)?, value.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::{
        Selected::{Part, Unsatisfiable, Whole},
        *,
    };

    fn check(cases: &[(&str, u64, Selected)]) {
        for (value, length, expected) in cases {
            assert_eq!(select(value.as_bytes(), *length), *expected, "{value} of {length}");
        }
    }

    /// The first and the last position of a range are both included.
    #[test]
    fn range_first_and_last_byte_are_inclusive() {
        check(&[
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=0-0", 1, Part(0..1)),
            ("bytes=0-4", 10, Part(0..5)),
            ("bytes=9-9", 10, Part(9..10)),
            ("bytes=0-9", 10, Part(0..10)),
            ("bytes=007-008", 10, Part(7..9)),
            ("BYTES=1-2", 10, Part(1..3)),
        ]);
    }

    /// A range's last position beyond the object, of any size, is the object's last byte.
    #[test]
    fn range_end_beyond_object_is_clamped() {
        check(&[
            ("bytes=0-10", 10, Part(0..10)),
            ("bytes=5-1000", 10, Part(5..10)),
            ("bytes=5-18446744073709551614", 10, Part(5..10)),
            ("bytes=5-18446744073709551615", 10, Part(5..10)),
            ("bytes=5-18446744073709551616", 10, Part(5..10)),
            ("bytes=5-99999999999999999999999999", 10, Part(5..10)),
            ("bytes=0-18446744073709551615", u64::MAX, Part(0..u64::MAX)),
            ("bytes=18446744073709551614-", u64::MAX, Part(u64::MAX - 1..u64::MAX)),
        ]);
    }

    /// A range without a last position reaches to the object's end.
    #[test]
    fn range_open_end_reaches_object_end() {
        check(&[
            ("bytes=0-", 10, Part(0..10)),
            ("bytes=9-", 10, Part(9..10)),
            ("bytes=4294967296-", 4_294_967_300, Part(4_294_967_296..4_294_967_300)),
        ]);
    }

    /// A suffix range selects the last bytes, and a longer one the whole object as a part.
    #[test]
    fn range_suffix_counts_from_object_end() {
        check(&[
            ("bytes=-1", 10, Part(9..10)),
            ("bytes=-10", 10, Part(0..10)),
            ("bytes=-11", 10, Part(0..10)),
            ("bytes=-18446744073709551615", 10, Part(0..10)),
            ("bytes=-18446744073709551616", 10, Part(0..10)),
        ]);
    }

    /// A range that begins at or beyond the object's end, or -0, is unsatisfiable.
    #[test]
    fn range_beyond_object_is_unsatisfiable() {
        check(&[
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-10", 10, Unsatisfiable),
            ("bytes=11-20", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=18446744073709551615-", 10, Unsatisfiable),
            ("bytes=18446744073709551615-", u64::MAX, Unsatisfiable),
            ("bytes=18446744073709551616-", 10, Unsatisfiable),
            ("bytes=18446744073709551616-", u64::MAX, Unsatisfiable),
            ("bytes=99999999999999999999-99999999999999999999", 10, Unsatisfiable),
            // 10^64, a multiple of 2^64.
            (
                "bytes=10000000000000000000000000000000000000000000000000000000000000000-",
                10,
                Unsatisfiable,
            ),
        ]);
    }

    /// A range of an empty object is unsatisfiable, except a suffix, which is the whole object.
    #[test]
    fn range_of_empty_object_is_unsatisfiable_or_whole() {
        check(&[
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=0-0", 0, Unsatisfiable),
            ("bytes=-0", 0, Unsatisfiable),
            ("bytes=-1", 0, Whole),
        ]);
    }

    /// A Range field with more than one range is ignored.
    #[test]
    fn range_field_with_several_ranges_is_ignored() {
        check(&[
            ("bytes=0-0,2-2", 10, Whole),
            ("bytes=0-0, -1", 10, Whole),
            ("bytes=0-0,", 10, Whole),
            ("bytes=,0-0", 10, Whole),
            ("bytes=0-,0-,0-,0-,0-,0-,0-,0-", 10, Whole),
            ("bytes=20-,30-", 10, Whole),
            ("bytes=0-0, bytes=1-1", 10, Whole),
        ]);
    }

    /// A Range field that is malformed or has another unit than bytes is ignored.
    #[test]
    fn range_field_malformed_or_other_unit_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=--1",
            "bytes=1",
            "bytes=1-0",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=0-b",
            "bytes=a-",
            "bytes=-a",
            "bytes=+0-1",
            "bytes=0-+1",
            "bytes=0x0-1",
            "bytes= 0-1",
            "bytes=0 -1",
            "bytes=0- 1",
            "bytes=0-1 ",
            "bytes =0-1",
            "bytes=0-1-2",
            "bytes==0-1",
            "bytes:0-1",
            "byte=0-1",
            "items=0-1",
            "=0-1",
            "0-1",
            "bytes=1.0-2",
            "bytes=0-1;",
            "bytes=*",
            "bytes=0-*",
        ] {
            assert_eq!(select(value.as_bytes(), 10), Whole, "{value}");
        }
        assert_eq!(select(b"bytes=\xff-", 10), Whole);
        assert_eq!(select(b"bytes=0-\xd9\xa1", 10), Whole, "a digit, but none of ASCII's");
    }
}
