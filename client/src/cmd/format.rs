//! Times, sizes and versions, as people and as scripts read them.

use std::time::{Duration, UNIX_EPOCH};

use zput_common::proto::message::Version;

/// A time in RFC 3339, of whole seconds; one outside 1970 to 9999 as seconds since 1970.
pub(crate) fn time(seconds: i64) -> String {
    match u64::try_from(seconds) {
        Ok(after) if after < YEAR_10000 => {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(after)).to_string()
        }
        _ => format!("{seconds} s since 1970"),
    }
}

/// When a version was committed.
pub(crate) fn version_time(version: Version) -> String {
    time(i64::try_from(version.0 / 1_000_000_000).unwrap_or(i64::MAX))
}

/// Versions and generations do not fit the numbers of every JSON reader.
pub(crate) fn number(value: u64) -> String {
    value.to_string()
}

/// 10000-01-01 in seconds since 1970: the formatter knows four digits of a year.
const YEAR_10000: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable_or_told_as_numbers() {
        assert_eq!(time(1_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(time(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(time(253_402_300_800), "253402300800 s since 1970");
        assert_eq!(time(-1), "-1 s since 1970");
        assert_eq!(time(i64::MIN), "-9223372036854775808 s since 1970");
        assert_eq!(version_time(Version(1_000_000_000_000_000_000)), "2001-09-09T01:46:40Z");
        assert_eq!(version_time(Version(u64::MAX)), "2554-07-21T23:34:33Z");
    }
}
