//! All mounts of a server, and the mount that a name or a path selects.

use std::sync::Arc;

use thiserror::Error;

use super::{
    MountPoint, Policy, Source,
    path::{PathError, RelativePath},
};
use crate::store::Store;

/// The mounts of a server. Clones share them.
#[derive(Clone, Debug)]
pub struct Mounts(Arc<[Arc<MountPoint>]>);

/// Why mounts cannot be served together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MountsError {
    /// A mount's name is not a path.
    #[error("\"{0}\" cannot be the name of a mount: {1}")]
    Name(String, PathError),
    /// Two mounts have this name.
    #[error("two mounts have the name \"{0}\"")]
    Twice(String),
    /// There is no mount.
    #[error("there is nothing to serve: give a store, a directory or an archive")]
    None,
}

impl Mounts {
    /// A server's mounts. A name is a path as in [`super::DirMount::find`], or empty. One mount's
    /// name may lie below another's: a path belongs to the mount with the longest name that fits.
    ///
    /// # Errors
    /// When there are no mounts, two have the same name, or a name is not a path.
    pub fn new(
        points: impl IntoIterator<Item = impl Into<Arc<MountPoint>>>,
    ) -> Result<Self, MountsError> {
        let points: Arc<[_]> = points.into_iter().map(Into::into).collect();
        if points.is_empty() {
            return Err(MountsError::None);
        }
        for (n, point) in points.iter().enumerate() {
            let name = point.name();
            if !name.is_empty()
                && let Err(kind) = RelativePath::parse(name)
            {
                return Err(MountsError::Name(name.to_owned(), kind));
            }
            if points.iter().skip(n + 1).any(|other| other.name() == name) {
                return Err(MountsError::Twice(name.to_owned()));
            }
        }
        Ok(Self(points))
    }

    /// One store, mounted at the root.
    #[must_use]
    pub fn of_store(store: Store, policy: Policy) -> Self {
        Self([Arc::new(MountPoint::new("", Source::Store(store), policy))].into())
    }

    /// The mount with this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<MountPoint>> {
        self.0.iter().find(|point| point.name() == name)
    }

    /// The mount that a path leads into, and the rest of the path in that mount. The mount at the
    /// root gets paths that no longer name fits.
    pub(crate) fn resolve<'a>(&self, path: &'a str) -> Option<(&Arc<MountPoint>, &'a str)> {
        let inside = |point: &'_ &Arc<MountPoint>| strip_mount_name(point.name(), path).is_some();
        let point = self.0.iter().filter(inside).max_by_key(|point| point.name().len())?;
        Some((point, strip_mount_name(point.name(), path)?))
    }

    /// All mounts, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<MountPoint>> {
        self.0.iter()
    }

    /// The stores among the mounts.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &Store> {
        self.0.iter().filter_map(|point| match point.source() {
            Source::Store(store) => Some(store),
            Source::Dir(_) | Source::Tar(_) => None,
        })
    }

    /// The first store, which has the server's key and the accounts.
    pub(crate) fn first_store(&self) -> Option<&Store> {
        self.stores().next()
    }
}

/// The part of `path` after `name` and a slash.
fn strip_mount_name<'a>(name: &str, path: &'a str) -> Option<&'a str> {
    if name.is_empty() { Some(path) } else { path.strip_prefix(name)?.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mounts::DirMount, store::Clock};

    fn mounts(names: &[&str]) -> Result<Mounts, MountsError> {
        let dir = tempfile::tempdir().unwrap();
        Mounts::new(names.iter().map(|name| {
            let source = Source::Dir(DirMount::open(dir.path(), Clock::system()).unwrap());
            MountPoint::new(*name, source, Policy::PRIVATE)
        }))
    }

    /// Mounts resolves a path to the mount with the longest prefix in whole components.
    #[test]
    fn mounts_resolve_path_to_longest_prefix() {
        let mounts = mounts(&["a", "a/b", "", "abc"]).unwrap();
        for (path, name, rest) in [
            ("x", "", "x"),
            ("a", "", "a"),
            ("a/x", "a", "x"),
            ("ab/x", "", "ab/x"),
            ("a/b", "a", "b"),
            ("a/b/c/d", "a/b", "c/d"),
            ("a/bc", "a", "bc"),
            ("abc/x", "abc", "x"),
        ] {
            let (point, left) = mounts.resolve(path).unwrap();
            assert_eq!((point.name(), left), (name, rest), "{path}");
        }
    }

    /// Without a root mount, a path outside every prefix resolves to nothing.
    #[test]
    fn mounts_without_root_leave_paths_unresolved() {
        let mounts = mounts(&["a"]).unwrap();
        assert!(mounts.resolve("b/x").is_none());
        assert!(mounts.resolve("a").is_none());
        assert!(mounts.named("").is_none());
        assert_eq!(mounts.named("a").unwrap().name(), "a");
    }

    /// Mounts rejects an empty table, a repeated name and a bad name.
    #[test]
    fn mounts_reject_none_duplicate_and_bad_names() {
        assert_eq!(mounts(&[]).unwrap_err(), MountsError::None);
        assert_eq!(mounts(&["a", "b", "a"]).unwrap_err(), MountsError::Twice("a".into()));
        for (name, kind) in [
            ("/a", PathError::EmptyComponent),
            ("a/", PathError::EmptyComponent),
            ("../a", PathError::Dots),
        ] {
            assert_eq!(mounts(&[name]).unwrap_err(), MountsError::Name(name.into(), kind));
        }
    }
}
