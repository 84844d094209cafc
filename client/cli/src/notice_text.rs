//! Texts of the library's notices.

use std::fmt;

use zput::{
    Event, Notice,
    cli::{printable, version_time},
};
use zput_proto::message::Version;

use crate::{
    advice::{describe, with_causes},
    sizes::size,
};

/// A notice, as a line for the user.
pub(crate) struct NoticeText<'a>(pub(crate) &'a Notice<'a>);

impl fmt::Display for NoticeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(thing) = self.0.thing {
            write!(f, "{}: ", printable(thing))?;
        }
        match self.0.event {
            Event::Retry { error, pause, number, max_retries } => {
                let seconds = pause.as_secs_f64();
                let error = describe(error);
                write!(
                    f,
                    "{}; retrying in {seconds:.1} s (retry {number} of {max_retries})",
                    printable(&error)
                )
            }
            Event::Resumed { held, length } => {
                let (held, length) = (size(held), size(length));
                write!(f, "resuming: {held} of {length} are done")
            }
            Event::Restarted(why) => write!(f, "{why}: starting over"),
            Event::AlreadyStored(version) => {
                write!(f, "was already stored, as version {version}: only the response was lost")
            }
            Event::NotRecorded { version, error } => write!(
                f,
                "warning: this machine will not detect a rollback to a version before {}: {}",
                version.0,
                printable(&describe(error))
            ),
            Event::JournalUnavailable { error } => write!(
                f,
                "warning: if this put is interrupted it starts over: {}",
                printable(&describe(error))
            ),
            Event::Unreadable(1) => f.write_str("1 version could not be read by the server"),
            Event::Unreadable(count) => {
                write!(f, "{count} versions could not be read by the server")
            }
            Event::GenerationAhead { generation } => {
                let at = version_time(Version(generation));
                write!(
                    f,
                    "the current version was sealed at {at} by its writer's clock, too far ahead \
                     of this machine's: it is not recorded as the newest"
                )
            }
            Event::AttributeNotSet { warning } => {
                write!(f, "warning: {}", printable(&with_causes(warning)))
            }
            Event::JournalNotRemoved { error } => {
                write!(f, "is stored; but {}", printable(&describe(error)))
            }
            // The library may tell of more than this program knows.
            event => write!(f, "{event:?}"),
        }
    }
}
