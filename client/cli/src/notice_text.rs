//! Texts of the library's notices.

use std::fmt;

use zput::cli::{Event, Notice, printable, version_time};
use zput_proto::message::Version;

use crate::{advice::describe, sizes::size};

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
                    "{}; again in {seconds:.1} s (try {number} of {max_retries})",
                    printable(&error)
                )
            }
            Event::Resumed { held, length } => {
                let (held, length) = (size(held), size(length));
                write!(f, "going on where it was interrupted: {held} of {length} are there")
            }
            Event::Restarted(why) => write!(f, "{why}: starting over"),
            Event::AlreadyStored(version) => {
                write!(f, "had been stored already, as version {version}: only the answer was lost")
            }
            Event::NotRecorded { version, error } => write!(
                f,
                "warning: this machine will not notice if the server goes back behind version {}: \
                 {}",
                version.0,
                printable(&describe(error))
            ),
            Event::JournalUnavailable { error } => write!(
                f,
                "warning: if this put is interrupted it starts over: {}",
                printable(&describe(error))
            ),
            Event::Unreadable(1) => {
                f.write_str("1 version is there and could not be read by the server")
            }
            Event::Unreadable(count) => {
                write!(f, "{count} versions are there and could not be read by the server")
            }
            Event::GenerationAhead { generation } => {
                let at = version_time(Version(generation));
                write!(
                    f,
                    "what is there was sealed at {at} by its writer's clock, far ahead of this \
                     machine's: that it is the newest is not remembered"
                )
            }
            Event::JournalNotRemoved { error } => {
                write!(f, "is stored; but {}", printable(&describe(error)))
            }
            // The library may tell of more than this program knows.
            event => write!(f, "{event:?}"),
        }
    }
}
