//! A key file that a command creates: its line of JSON, and `--force`.

use serde::Serialize;
use zput::cli::IfExists;

/// A new key file, as JSON (docs/JSON.md).
#[derive(Serialize)]
pub(super) struct CreatedLine {
    pub(super) file: String,
    pub(super) role: String,
}

/// What `--force` means for an existing file.
pub(super) const fn if_exists(force: bool) -> IfExists {
    if force { IfExists::Replace } else { IfExists::Keep }
}
