//! Times as text, written and parsed.
//!
//! Every number of seconds in a blob is a valid time: the calendar repeats after 400 years, so
//! times outside the range of the calendar crate are shifted by whole cycles.

use std::str::FromStr;

use jiff::{
    SignedDuration, Span, Timestamp, ZonedDateTime,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};
use zput_proto::message::Version;

/// Seconds in 400 years of the Gregorian calendar: 146,097 days.
const CYCLE_SECONDS: i64 = 146_097 * 86_400;
const CYCLE_YEARS: i64 = 400;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// A time in UTC, in whole seconds since 1970: RFC 3339 in the years 0 to 9999; beyond them with a
/// sign and at least six digits of the year (ISO 8601, ECMA-262).
#[must_use]
pub fn time(seconds: i64) -> String {
    spelled(seconds, 0)
}

/// The same with nanoseconds, if they are not zero.
#[must_use]
pub fn precise_time(seconds: i64, nanoseconds: u32) -> String {
    spelled(seconds, nanoseconds)
}

/// The commit time of a version, in UTC.
#[must_use]
pub fn version_time(version: Version) -> String {
    // A u64 of nanoseconds ends in the year 2554.
    time((version.0 / NS_PER_SECOND).cast_signed())
}

/// The commit time of a version in the local time zone, with its offset from UTC.
#[must_use]
pub fn local_version_time(version: Version) -> String {
    match Timestamp::from_second((version.0 / NS_PER_SECOND).cast_signed()) {
        Ok(time) => {
            time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
        }
        Err(_) => version_time(version),
    }
}

fn spelled(seconds: i64, nanoseconds: u32) -> String {
    let (cycles, within) = (seconds.div_euclid(CYCLE_SECONDS), seconds.rem_euclid(CYCLE_SECONDS));
    // The years 1970 to 2369, which the crate supports.
    let time = Timestamp::from_second(within).unwrap_or_default();
    let civil = TimeZone::UTC.to_datetime(time);
    let year = i64::from(civil.year()) + cycles * CYCLE_YEARS;
    let year =
        if (0..=9_999).contains(&year) { format!("{year:04}") } else { format!("{year:+07}") };
    let fraction = match nanoseconds {
        1..1_000_000_000 => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
        _ => String::new(),
    };
    format!("{year}-{}{fraction}Z", civil.strftime("%m-%dT%H:%M:%S"))
}

/// A version, or the time at which it was current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The version with this number.
    Version(Version),
    /// The version that was current at this time.
    Moment(Moment),
}

/// A point in time that a user typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970; 0 for an earlier time, which precedes every version.
    pub ns: u64,
    /// The text as it was typed, with the time that it was understood as.
    pub text: String,
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let version = text.parse().map_err(|_| "a version has at most 20 digits".to_owned())?;
            return Ok(Self::Version(Version(version)));
        }
        let now = ZonedDateTime::now();
        let moment = moment(text, &now).ok_or_else(|| wrong(text))?;
        let ns = moment.timestamp().as_nanosecond().clamp(0, i128::from(u64::MAX));
        let ns = u64::try_from(ns).unwrap_or(0);
        let text = format!("{text} ({})", moment.strftime("%Y-%m-%d %H:%M:%S %:z"));
        Ok(Self::Moment(Moment { ns, text }))
    }
}

fn wrong(text: &str) -> String {
    format!(
        "{text:?} is neither a version nor a time: \"2026-11-29\", \"2026-11-29 18:00\", \"yesterday\", \
         \"2 days ago\", \"3h ago\", or RFC 3339"
    )
}

/// What `text` means at `now`, in the time zone of `now` unless the text names another. A day means
/// its end.
fn moment(text: &str, now: &ZonedDateTime) -> Option<ZonedDateTime> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().filter(|word| *word != "at").collect();
    match words.as_slice() {
        ["now"] => return Some(now.clone()),
        [day] => {
            if let Some(date) = day_of(day, now) {
                return end_of(date, now);
            }
            if let Some(time) = clock(day) {
                return now
                    .date()
                    .to_datetime(time)
                    .to_zoned_datetime(now.time_zone().clone())
                    .ok();
            }
        }
        [day, time] => {
            if let (Some(date), Some(time)) = (day_of(day, now), clock(time)) {
                return date.to_datetime(time).to_zoned_datetime(now.time_zone().clone()).ok();
            }
        }
        _ => {}
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.to_zoned_datetime(now.time_zone().clone()));
    }
    if let Ok(zoned) = text.parse::<ZonedDateTime>() {
        return Some(zoned);
    }
    // "2026-11-29T18:00", in local time.
    if text.contains(['T', 't', ' '])
        && text.contains(':')
        && let Ok(civil) = text.parse::<DateTime>()
    {
        return civil.to_zoned_datetime(now.time_zone().clone()).ok();
    }
    if lower.ends_with("ago") {
        // A span with "ago" is negative.
        return now.checked_add(lower.parse::<Span>().ok()?).ok();
    }
    None
}

fn day_of(word: &str, now: &ZonedDateTime) -> Option<Date> {
    match word {
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        _ => {
            let digits = word.bytes().filter(u8::is_ascii_digit).count();
            let is_date = digits == 8 && word.len() == 10;
            is_date.then(|| word.parse::<Date>().ok()).flatten()
        }
    }
}

/// Parses `18:00` or `18:00:30`.
fn clock(word: &str) -> Option<Time> {
    let is_clock = word.contains(':') && word.bytes().all(|b| b.is_ascii_digit() || b == b':');
    let padded = if word.find(':') == Some(1) { format!("0{word}") } else { word.to_owned() };
    is_clock.then(|| padded.parse::<Time>().ok()).flatten()
}

/// The last nanosecond of a day, which may not have 24 hours.
fn end_of(date: Date, now: &ZonedDateTime) -> Option<ZonedDateTime> {
    let next = date.tomorrow().ok()?.to_zoned_datetime(now.time_zone().clone()).ok()?;
    next.checked_sub(SignedDuration::from_nanos(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of seconds since 1970 is written as a time, also beyond the year 9999.
    #[test]
    fn calendar_formats_every_number_of_seconds() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (-2_208_988_800, "1900-01-01T00:00:00Z"),
            (-12_219_292_800, "1582-10-15T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "+010000-01-01T00:00:00Z"),
            // ECMA-262, "Expanded Years".
            (8_640_000_000_000, "+275760-09-13T00:00:00Z"),
            (-8_640_000_000_000, "-271821-04-20T00:00:00Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
            (-62_167_219_201, "-000001-12-31T23:59:59Z"),
            (i64::MAX, "+292277026596-12-04T15:30:07Z"),
            (i64::MIN, "-292277022657-01-27T08:29:52Z"),
        ] {
            assert_eq!(time(seconds), expected, "{seconds}");
        }
        assert_eq!(precise_time(1, 500_000_000), "1970-01-01T00:00:01.5Z");
        assert_eq!(precise_time(-1, 1), "1969-12-31T23:59:59.000000001Z");
        assert_eq!(precise_time(1, u32::MAX), "1970-01-01T00:00:01Z");
        assert_eq!(version_time(Version(1_000_000_000_000_000_000)), "2001-09-09T01:46:40Z");
        assert_eq!(version_time(Version(u64::MAX)), "2554-07-21T23:34:33Z");
    }

    #[track_caller]
    fn understood(text: &str) -> String {
        // Central European Time, with a day of 25 hours in October.
        let now: ZonedDateTime = "2026-11-30T09:15:00+01:00[Europe/Berlin]".parse().unwrap();
        moment(text, &now).map_or("not".to_owned(), |zoned| zoned.timestamp().to_string())
    }

    /// Dates, times of day and spans like "2 days ago" parse in the local time zone.
    #[test]
    fn calendar_parses_dates_times_and_spans() {
        if TimeZone::get("Europe/Berlin").is_err() {
            return zput_skip::because("this machine has no time zone database");
        }
        for (text, expected) in [
            ("now", "2026-11-30T08:15:00Z"),
            ("today", "2026-11-30T22:59:59.999999999Z"),
            ("yesterday", "2026-11-29T22:59:59.999999999Z"),
            ("Yesterday", "2026-11-29T22:59:59.999999999Z"),
            ("yesterday 18:00", "2026-11-29T17:00:00Z"),
            ("yesterday at 18:00", "2026-11-29T17:00:00Z"),
            ("8:00", "2026-11-30T07:00:00Z"),
            ("2026-11-29", "2026-11-29T22:59:59.999999999Z"),
            ("2026-10-25", "2026-10-25T22:59:59.999999999Z"),
            ("2026-07-01", "2026-07-01T21:59:59.999999999Z"),
            ("2026-11-29 18:00", "2026-11-29T17:00:00Z"),
            ("2026-11-29 18:00:30", "2026-11-29T17:00:30Z"),
            ("2026-11-29T18:00", "2026-11-29T17:00:00Z"),
            ("2026-11-29T18:00:00Z", "2026-11-29T18:00:00Z"),
            ("2026-11-29T18:00:00+05:30", "2026-11-29T12:30:00Z"),
            ("2 days ago", "2026-11-28T08:15:00Z"),
            ("1 day ago", "2026-11-29T08:15:00Z"),
            ("3h ago", "2026-11-30T05:15:00Z"),
            ("3 hours ago", "2026-11-30T05:15:00Z"),
            ("90 min ago", "2026-11-30T06:45:00Z"),
            ("1 week ago", "2026-11-23T08:15:00Z"),
            ("2 months ago", "2026-09-30T07:15:00Z"),
        ] {
            assert_eq!(understood(text), expected, "{text}");
        }
        for text in
            ["", "WRONG", "tomorrow", "2 days", "in 2 days", "2026", "2026-13-01", "25:00", "ago"]
        {
            assert_eq!(understood(text), "not", "{text}");
        }
    }

    /// A number where a time is asked for is a version of up to 2^64 - 1.
    #[test]
    fn when_parses_a_number_as_a_version() {
        assert_eq!("17".parse(), Ok(When::Version(Version(17))));
        assert_eq!(
            "18446744073709551615".parse(),
            Ok(When::Version(Version(18_446_744_073_709_551_615)))
        );
        assert!("18446744073709551616".parse::<When>().is_err());
        assert!("-1".parse::<When>().is_err());
    }
}
