//! Random bytes of the operating system, for names and secrets.

use std::io;

use rand::{TryRng, rngs::SysRng};

use super::error::{Context, StoreError};

/// `N` random bytes.
///
/// # Errors
/// When the operating system has none.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other).context("get random bytes")?;
    Ok(bytes)
}
