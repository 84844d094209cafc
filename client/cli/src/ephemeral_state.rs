//! State that ends with the process, for containers that are discarded after one command
//! (`--no-state`).
//!
//! State files go into a directory of their own below the system's temporary directory, which is
//! removed when the command ends, also by a signal. So a later command detects no rollback, and an
//! interrupted transfer starts over.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

/// The directory, if it was created.
static DIRECTORY: Mutex<Option<TempDir>> = Mutex::new(None);

/// Creates the directory with mode 0700 and a random name.
///
/// # Errors
/// Those of the file system.
pub fn create() -> io::Result<()> {
    // Without this the umask decides who can read it.
    let mode = Permissions::from_mode(0o700);
    let made =
        tempfile::Builder::new().permissions(mode).prefix(".zput-").suffix(".state").tempdir()?;
    *DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    Ok(())
}

/// The directory, if state is ephemeral.
#[must_use]
pub fn directory() -> Option<PathBuf> {
    let state = DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
    state.as_ref().map(TempDir::path).map(Path::to_owned)
}

/// Removes the directory with its contents.
pub fn remove() {
    // A directory that cannot be removed is left to the cleaning of temporary files.
    drop(DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner).take());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ephemeral state directory has mode 0700 and is removed with its files.
    #[test]
    fn ephemeral_state_directory_is_private_and_removed() {
        assert_eq!(directory(), None);
        create().unwrap();
        let path = directory().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("seen"), "1").unwrap();
        remove();
        assert!(!path.exists());
        assert_eq!(directory(), None);
    }
}
