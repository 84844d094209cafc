//! State that ends with the process: for containers that are thrown away after one command.
//!
//! What a command notes goes into a directory of its own below the system's temporary ones, and the
//! directory goes when the command ends, by a signal too. So no later command knows what this one has
//! seen: a server that gives something older is not found out, and what is interrupted starts over.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

/// The directory, once there is one.
static STATE: Mutex<Option<TempDir>> = Mutex::new(None);

/// Makes the directory: mode 0700, of a name that nobody can guess.
///
/// # Errors
/// Those of the file system.
pub fn begin() -> io::Result<()> {
    // Without this it would be for others to read wherever the umask lets them.
    let mode = Permissions::from_mode(0o700);
    let made =
        tempfile::Builder::new().permissions(mode).prefix(".zput-").suffix(".state").tempdir()?;
    *STATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    Ok(())
}

/// The directory, if state is to be thrown away.
#[must_use]
pub fn state() -> Option<PathBuf> {
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.as_ref().map(TempDir::path).map(Path::to_owned)
}

/// Removes the directory, and what is in it.
pub fn end() {
    // What cannot be removed is left to whoever cleans the temporary directories.
    drop(STATE.lock().unwrap_or_else(PoisonError::into_inner).take());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_goes_with_its_end() {
        assert_eq!(state(), None);
        begin().unwrap();
        let path = state().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("seen"), "1").unwrap();
        end();
        assert!(!path.exists());
        assert_eq!(state(), None);
    }
}
