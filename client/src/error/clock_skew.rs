//! What a user is told of times that are further apart than clocks are.

use zput_common::{keys::Remote, proto::message::Version};

use crate::calendar::version_time;

/// More than two clocks differ that are right, or in a wrong time zone.
const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Of a generation that is too far ahead of the server's clock: which clock is the wrong one, as far as that can be told.
pub(super) fn ahead(remote: &Remote, server: u64, here: u64) -> String {
    let says = time(server);
    if here > server.saturating_add(DAY_NS) {
        format!(
            "the clock of {remote} says {says} and that of this machine {}: what is sealed so far ahead would be in \
             everybody's way (set the clock that is wrong); nothing was stored",
            time(here)
        )
    } else {
        format!(
            "this machine has seen a blob under this name that was sealed far ahead of the clock of {remote}, which \
             says {says} (zget --allow-rollback takes what is there for the newest); nothing was stored"
        )
    }
}

/// A time in ns since 1970, in UTC.
pub(super) fn time(ns: u64) -> String {
    version_time(Version(ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ClientError;

    #[test]
    fn a_clock_that_is_wrong_is_named() {
        let told = |server: u64, now: u64| {
            let remote: Remote = "zput://example.org:7447".parse().unwrap();
            ahead(&remote, server, now)
        };
        let (in_2026, in_2099) = (1_796_000_000_000_000_000, 4_070_908_800_000_000_000);
        assert_eq!(
            told(in_2026, in_2099),
            "the clock of zput://example.org:7447 says 2026-11-30T00:53:20Z and that of this machine \
             2099-01-01T00:00:00Z: what is sealed so far ahead would be in everybody's way (set the clock that is \
             wrong); nothing was stored"
        );
        assert_eq!(
            told(in_2026, in_2026 + 1),
            "this machine has seen a blob under this name that was sealed far ahead of the clock of \
             zput://example.org:7447, which says 2026-11-30T00:53:20Z (zget --allow-rollback takes what is there for \
             the newest); nothing was stored"
        );
        let overtaken = ClientError::Overtaken { there: in_2099 };
        assert_eq!(
            overtaken.to_string(),
            "what is there under this name is of 2099-01-01T00:00:00Z, and this put was not sealed later; nothing was \
             stored (try again)"
        );
    }
}
