//! Points in time as HTTP has them: whole seconds, 1970 to 9999 (5.6.7).

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use httpdate::HttpDate;

/// A point in time: by the monotonic clock for deadlines, and by the wall clock for peers.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time of the monotonic clock.
    pub instant: Instant,
    /// The second of the wall clock.
    pub date: Date,
}

/// The wall clock's second, and its text for the `Date` field of all responses of that second.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Date {
    time: HttpTime,
    text: [u8; IMF_FIXDATE_BYTES],
}

impl Date {
    /// The second of `time`. A clock that is before 1970 or after 9999 counts as at that end.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        let end = if time < UNIX_EPOCH { HttpTime(0) } else { HttpTime(SECONDS_END - 1) };
        let time = HttpTime::of(time).unwrap_or(end);
        let mut text = [0; IMF_FIXDATE_BYTES];
        for (to, from) in text.iter_mut().zip(time.to_string().bytes()) {
            *to = from;
        }
        Self { time, text }
    }

    /// Whether `time` lies in this second, so that the text is still right.
    #[must_use]
    pub fn is_of(&self, time: SystemTime) -> bool {
        HttpTime::of(time) == Some(self.time)
    }

    /// The second as an IMF-fixdate, for example `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    pub(super) const fn time(&self) -> HttpTime {
        self.time
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Date({})", self.time)
    }
}

/// Seconds since 1970, before the year 10000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HttpTime(u64);

impl HttpTime {
    /// The second of `time`; `None` before 1970 and after 9999.
    pub(super) fn of(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        (seconds < SECONDS_END).then_some(Self(seconds))
    }

    /// 5.6.7: "A recipient that parses a timestamp value in an HTTP field MUST accept all three
    /// HTTP-date formats."
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let date = httpdate::parse_http_date(str::from_utf8(value).ok()?).ok()?;
        Self::of(date)
    }
}

/// As an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
impl fmt::Display for HttpTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HttpDate::from(UNIX_EPOCH + Duration::from_secs(self.0)).fmt(f)
    }
}

/// Seconds from 1970 to the year 10000, which has five digits.
const SECONDS_END: u64 = 253_402_300_800;

const IMF_FIXDATE_BYTES: usize = 29;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64) -> String {
        let date = Date::at(UNIX_EPOCH + Duration::from_secs(seconds));
        String::from_utf8(date.as_bytes().to_vec()).unwrap()
    }

    /// The example of 5.6.7, and the ends.
    #[test]
    fn http_date_is_imf_fixdate() {
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(text(253_402_300_799), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    /// A clock that is off is no reason to fall over.
    #[test]
    fn http_date_clamps_clock_outside_calendar() {
        assert_eq!(text(253_402_300_800), "Fri, 31 Dec 9999 23:59:59 GMT");
        let before = Date::at(UNIX_EPOCH - Duration::from_nanos(1));
        assert_eq!(before.as_bytes(), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }

    /// Date::is_of holds for every time within the date's second and for no other.
    #[test]
    fn http_date_is_valid_for_its_second() {
        let date = Date::at(UNIX_EPOCH + Duration::from_millis(5_200));
        assert!(date.is_of(UNIX_EPOCH + Duration::from_millis(5_999)));
        assert!(!date.is_of(UNIX_EPOCH + Duration::from_millis(6_000)));
        assert!(!date.is_of(UNIX_EPOCH + Duration::from_millis(4_999)));
    }

    /// HttpTime has no value for a time before 1970 or after 9999.
    #[test]
    fn http_time_outside_calendar_is_none() {
        assert_eq!(HttpTime::of(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(HttpTime::of(UNIX_EPOCH + Duration::from_secs(253_402_300_800)), None);
    }

    /// HttpTime parses the three date forms of RFC 9110 and rejects all other text.
    #[test]
    fn http_time_parses_all_three_date_forms() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(HttpTime::parse(text.as_bytes()), Some(HttpTime(784_111_777)), "{text}");
        }
        for text in [
            "",
            "784111777",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(HttpTime::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(HttpTime::parse(b"Sun, 06 Nov 1994 08:49:37 GM\xff"), None);
    }
}
