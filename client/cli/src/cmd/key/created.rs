//! A key file that a command creates, as a line of JSON.

use serde::Serialize;

/// A new key file, as JSON (docs/JSON.md).
#[derive(Serialize)]
pub(super) struct CreatedLine {
    pub(super) file: String,
    pub(super) role: String,
}
