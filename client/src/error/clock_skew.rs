//! Error texts about clocks that are too far apart.

use zput_proto::{keys::Remote, message::Version};

use crate::calendar::version_time;

/// A difference that is neither clock error nor a wrong time zone: 24 hours in ns.
const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The text for a generation that is too far ahead of the server's clock. `server` and `here` are
/// the times of the server and of this machine in ns since 1970; if they differ by more than a day,
/// one of the two clocks is wrong.
pub(super) fn clock_skew(remote: &Remote, server: u64, here: u64) -> String {
    let says = time(server);
    if here > server.saturating_add(DAY_NS) {
        format!(
            "the clock of {remote} says {says} and that of this machine {}: a blob sealed so far \
             ahead would block later puts (set the clock that is wrong); nothing was stored",
            time(here)
        )
    } else {
        format!(
            "this machine has seen a blob under this name that was sealed far ahead of the clock of \
             {remote}, which says {says}; nothing was stored"
        )
    }
}

/// Formats a time in ns since 1970 in UTC.
fn time(ns: u64) -> String {
    version_time(Version(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error about a generation far ahead tells both clocks, or the cause if they agree.
    #[test]
    fn clock_skew_error_names_the_wrong_clock() {
        let told = |server: u64, now: u64| {
            let remote: Remote = "zput://example.org:7447".parse().unwrap();
            clock_skew(&remote, server, now)
        };
        let (in_2026, in_2099) = (1_796_000_000_000_000_000, 4_070_908_800_000_000_000);
        assert_eq!(
            told(in_2026, in_2099),
            "the clock of zput://example.org:7447 says 2026-11-30T00:53:20Z and that of this machine \
             2099-01-01T00:00:00Z: a blob sealed so far ahead would block later puts (set the \
             clock that is wrong); nothing was stored"
        );
        assert_eq!(
            told(in_2026, in_2026 + 1),
            "this machine has seen a blob under this name that was sealed far ahead of the clock of \
             zput://example.org:7447, which says 2026-11-30T00:53:20Z; nothing was stored"
        );
    }
}
