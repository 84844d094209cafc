//! Sizes in bytes as text for people.

/// `512 B`, `1.5 KiB`, `16 MiB`: at least two significant digits, rounded down.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scale = 1_024_u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1_024 {
        (unit, scale) = (unit + 1, scale * 1_024);
    }
    let (whole, rest) = (bytes / scale, bytes % scale);
    let tenth = u128::from(rest) * 10 / u128::from(scale);
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if whole < 10 && tenth > 0 {
        format!("{whole}.{tenth} {name}")
    } else {
        format!("{whole} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes are written in binary units, rounded down.
    #[test]
    fn size_is_written_short_in_binary_units() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (10_240, "10 KiB"),
            (1_048_575, "1023 KiB"),
            (16_777_216, "16 MiB"),
            (4_398_046_511_104, "4 TiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
