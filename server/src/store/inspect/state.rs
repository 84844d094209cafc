//! The position of the last scrub: `scrub.toml` in the store's directory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::file_ref::FileRef;
use crate::store::{
    Store,
    error::StoreError,
    layout::{FORMAT, SCRUB_FILE},
    small_file,
};

const COMMENT: &str =
    "# Where the last scrub of this store ended. Without this file the next one begins anew.\n";

/// A completed pass over the whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastScrub {
    /// When the pass ended, in seconds since 1970.
    pub finished: u64,
    /// Number of files that were read.
    pub files: u64,
    /// Bytes of payload that were read.
    pub bytes: u64,
    /// Number of damaged files.
    pub damaged: u64,
}

/// The pass in progress, and the previous one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The last file that was read; `None` at the beginning of a pass.
    pub(super) after: Option<FileRef>,
    /// The counts of the pass in progress.
    pub(super) so_far: PassCounts,
    /// The last completed pass.
    pub(super) last: Option<LastScrub>,
}

/// The counts of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PassCounts {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) damaged: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    format: u64,
    after: Option<String>,
    so_far: PassCounts,
    last: Option<LastScrub>,
}

impl Store {
    /// Loads the position. A file that cannot be read or parsed counts as missing: the next pass
    /// then begins at the first file, and nothing is lost.
    pub(super) fn scrub_state(&self) -> Result<State, StoreError> {
        let text = match small_file::read(self.root(), SCRUB_FILE, SCRUB_FILE) {
            Ok(None) => return Ok(State::default()),
            Ok(Some(text)) => text,
            // The file may belong to another user. The next save replaces it.
            Err(error) if error.is_unreadable_file() => {
                tracing::warn!(%error, "the scrub starts from the beginning");
                return Ok(State::default());
            }
            Err(error) => return Err(error),
        };
        let read: Option<StateFile> =
            toml::from_str(&text).ok().filter(|t: &StateFile| t.format == FORMAT);
        let Some(StateFile { after, so_far, last, .. }) = read else {
            tracing::warn!("cannot parse {SCRUB_FILE}: the scrub starts from the beginning");
            return Ok(State::default());
        };
        Ok(match after.map(|text| text.parse()) {
            Some(Ok(after)) => State { after: Some(after), so_far, last },
            None | Some(Err(())) => State { after: None, so_far: PassCounts::default(), last },
        })
    }

    /// Saves the position, durably; does nothing on a read-only store.
    pub(super) fn save_scrub_state(&self, state: &State) -> Result<(), StoreError> {
        if self.fsync().is_read_only() {
            return Ok(());
        }
        let State { after, so_far, last } = state;
        let after = after.as_ref().map(ToString::to_string);
        let text = StateFile { format: FORMAT, after, so_far: *so_far, last: *last };
        // TOML can represent every value in it.
        let text = toml::to_string(&text).map_err(|_| StoreError::Damaged(SCRUB_FILE))?;
        small_file::write(self.fsync(), self.root(), ".", SCRUB_FILE, &format!("{COMMENT}{text}"))
    }

    /// The last scrub pass that covered the whole store.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn last_scrub(&self) -> Result<Option<LastScrub>, StoreError> {
        Ok(self.scrub_state()?.last)
    }
}

/// Seconds since 1970, by the store's clock.
pub(super) fn now_seconds(store: &Store) -> u64 {
    Duration::from_nanos(store.clock().now_ns()).as_secs()
}

impl LastScrub {
    /// When the pass ended.
    #[must_use]
    pub fn finished_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.finished)
    }
}
