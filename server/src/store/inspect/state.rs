//! What a scrub remembers: `scrub.toml` in the store's directory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::walk::Spot;
use crate::store::{FORMAT, Store, error::StoreError, layout::SCRUB_FILE, small_file};

const COMMENT: &str =
    "# Where the last scrub of this store ended. Without this file the next one begins anew.\n";

/// A pass over the whole store that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastScrub {
    /// When, in seconds since 1970.
    pub finished: u64,
    /// Files that were looked at.
    pub files: u64,
    /// Bytes of payload that were read.
    pub bytes: u64,
    /// Files that were damaged.
    pub damaged: u64,
}

/// The pass under way, and the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The last file that was looked at; none at the beginning of a pass.
    pub(super) after: Option<Spot>,
    /// What the pass under way has come to so far.
    pub(super) so_far: Tally,
    /// The last pass that ended.
    pub(super) last: Option<LastScrub>,
}

/// What a pass has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) damaged: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: u64,
    after: Option<String>,
    so_far: Tally,
    last: Option<LastScrub>,
}

impl Store {
    /// What the last scrub left. A file that cannot be understood counts as none: the next pass begins anew, and nothing is lost.
    pub(super) fn scrub_state(&self) -> Result<State, StoreError> {
        let text = match small_file::read(self.root(), SCRUB_FILE, SCRUB_FILE) {
            Ok(None) => return Ok(State::default()),
            Ok(Some(text)) => text,
            // Another user's, perhaps. What is written next takes its place.
            Err(error) if error.is_of_one_file() => {
                tracing::warn!(%error, "the scrub begins anew");
                return Ok(State::default());
            }
            Err(error) => return Err(error),
        };
        let read: Option<Text> = toml::from_str(&text).ok().filter(|t: &Text| t.format == FORMAT);
        let Some(Text { after, so_far, last, .. }) = read else {
            tracing::warn!("{SCRUB_FILE} cannot be understood: the scrub begins anew");
            return Ok(State::default());
        };
        Ok(match after.map(|text| text.parse()) {
            Some(Ok(after)) => State { after: Some(after), so_far, last },
            None | Some(Err(())) => State { after: None, so_far: Tally::default(), last },
        })
    }

    /// Writes it down, durably; not where nothing can be written.
    pub(super) fn keep_scrub_state(&self, state: &State) -> Result<(), StoreError> {
        if self.syncs().is_read_only() {
            return Ok(());
        }
        let State { after, so_far, last } = state;
        let after = after.as_ref().map(ToString::to_string);
        let text = Text { format: FORMAT, after, so_far: *so_far, last: *last };
        // Nothing in it is more than TOML can say.
        let text = toml::to_string(&text).map_err(|_| StoreError::Damaged(SCRUB_FILE))?;
        small_file::write(self.syncs(), self.root(), ".", SCRUB_FILE, &format!("{COMMENT}{text}"))
    }

    /// The last scrub that saw all of the store.
    ///
    /// # Errors
    /// When the file that says so cannot be read.
    pub fn last_scrub(&self) -> Result<Option<LastScrub>, StoreError> {
        Ok(self.scrub_state()?.last)
    }
}

/// Seconds since 1970 by the store's clock.
pub(super) fn seconds(store: &Store) -> u64 {
    Duration::from_nanos(store.clock().now_ns()).as_secs()
}

impl LastScrub {
    /// When it ended.
    #[must_use]
    pub fn finished_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.finished)
    }
}
