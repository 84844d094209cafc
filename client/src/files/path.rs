//! Paths: the directory of a name, and links that lead nowhere.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Most links that are followed, as many as the kernel follows: path_resolution(7).
pub(crate) const LINKS_MAX: usize = 40;

/// A symbolic link to a target that is missing: the name is taken, and nothing is there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{} is a link to {}, which is missing (make that, mount what holds it, or remove the link)",
    link.display(), target.display()
)]
pub(crate) struct DanglingLink {
    link: PathBuf,
    target: PathBuf,
}

impl From<DanglingLink> for io::Error {
    fn from(link: DanglingLink) -> Self {
        Self::new(io::ErrorKind::NotFound, link)
    }
}

/// The dangling link on the way to `path` or at its end, if there is one.
pub(crate) fn dangling_link(path: &Path) -> Option<DanglingLink> {
    // Nothing exists behind a dangling link, so the deepest ancestor that exists is the only
    // candidate.
    let mut link = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok())?.to_owned();
    if fs::metadata(&link).is_ok() {
        return None;
    }
    for _ in 0..LINKS_MAX {
        let target = directory_of(&link).join(fs::read_link(&link).ok()?);
        match fs::symlink_metadata(&target) {
            Ok(_) => link = target,
            Err(_) => return Some(DanglingLink { link, target }),
        }
    }
    None
}

/// The directory that contains `target`.
pub(crate) fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether the name exists, as a dangling link too.
pub(crate) fn is_taken(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::create::create_directory;

    /// A dangling link on the path is found and named with its missing target.
    #[test]
    fn dangling_link_error_names_the_missing_target() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let found = |name: &str| dangling_link(&at(name)).map(|d| (d.link, d.target));
        symlink("nowhere/else", at("first")).unwrap();
        symlink(at("first"), at("second")).unwrap();
        symlink("round", at("round")).unwrap();
        symlink(".", at("here")).unwrap();
        let nowhere = Some((at("first"), at("nowhere/else")));
        assert_eq!(found("first"), nowhere);
        assert_eq!(found("first/below/it"), nowhere);
        assert_eq!(found("here/second"), nowhere.map(|(_, target)| (at("first"), target)));
        for sound in ["", "missing", "here", "here/missing", "round"] {
            assert_eq!(found(sound), None, "{sound}");
        }
        let error = create_directory(&at("second/new")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("nowhere/else, which is missing"), "{error}");
    }
}
