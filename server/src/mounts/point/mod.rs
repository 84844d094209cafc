//! One mount: its source, its name, and the policy that says which peers may do what.

use std::{
    str,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use thiserror::Error;
use tracing::warn;
use zput_proto::{
    limits::{CURSOR_MAX_BYTES, FRAME_MAX_BYTES},
    message::{Entry, ErrorCode, Info, Kind, Scopes, Version, VersionInfo, VersionState},
    name::ObjectKey,
};

use super::{DirMount, FoundFile, ListedFile, MountError, Page, TarMount};
use crate::{
    limits::Semaphore,
    mounts::{
        OpenObject,
        object::{Origin, sniff},
    },
    store::{Page as StorePage, Store, StoreError},
};

/// Bytes that an entry takes in a frame beyond its path and its header, and a page beyond its
/// entries, as in `page`, whose entries have no headers yet.
const ENTRY_OVERHEAD_BYTES: usize = 38;
const PAGE_OVERHEAD_BYTES: usize = 12 + CURSOR_MAX_BYTES;

/// What a mount serves.
#[derive(Debug)]
pub enum Source {
    /// Objects that are put and got.
    Store(Store),
    /// The files of a tree.
    Dir(DirMount),
    /// The members of an archive.
    Tar(TarMount),
}

/// The operations that a mount allows to which peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether every peer may get and list, on `plaintext` connections and by HTTP.
    pub public: bool,
    /// The operations that every peer may use on `plaintext` connections, in addition.
    pub anonymous: Scopes,
    /// Whether unsealed objects are served on `plaintext` connections and by HTTP.
    pub allow_unsealed: bool,
    /// How long a tree's name is assumed to stand for the same file after it was checked. Zero: it
    /// is checked each time.
    pub revalidate_after: Duration,
}

impl Policy {
    /// For devices with an account, sealed objects only.
    pub const PRIVATE: Self = Self {
        public: false,
        anonymous: Scopes::NONE,
        allow_unsealed: false,
        revalidate_after: Duration::ZERO,
    };

    /// The operations of a peer without a key on a `plaintext` connection.
    #[must_use]
    pub fn anonymous_scopes(&self) -> Scopes {
        let public = if self.public { Scopes::GET.and(Scopes::LIST) } else { Scopes::NONE };
        public.and(self.anonymous)
    }
}

/// Identifies a mount among all that this process ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MountId(u64);

/// A mount: an id, a name, a source of objects, and a policy.
#[derive(Debug)]
pub struct MountPoint {
    id: MountId,
    name: String,
    source: Source,
    policy: Policy,
}

/// Why an object of a mount cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An error of the tree or the archive.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The file with this key has another version.
    #[error("no such version")]
    NoVersion,
    /// The limit of open files is reached.
    #[error("too many files are open to be served")]
    TooManyOpen,
}

impl OpenError {
    /// The error code that a peer is sent.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Mount(error) => error.code(),
            Self::NoVersion => ErrorCode::NotFound,
            Self::TooManyOpen => ErrorCode::Busy,
        }
    }

    /// The reason that a peer is sent with the code, where it says more. It contains no names.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.reason(),
            Self::TooManyOpen => Some("the limit of open files is reached"),
            Self::Mount(_) | Self::NoVersion => None,
        }
    }

    /// The number that goes with the code, or 0 (PROTOCOL 7).
    pub(crate) fn number(&self) -> u64 {
        if let Self::Store(error) = self { error.number() } else { 0 }
    }
}

impl MountPoint {
    /// A mount of `source` under `name` (see [`super::Mounts::new`]).
    #[must_use]
    pub fn new(name: impl Into<String>, source: Source, policy: Policy) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = MountId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        Self { id, name: name.into(), source, policy }
    }

    /// The mount's name: path components, or empty for the mount at the root.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the mount serves.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The operations that the mount allows.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) const fn id(&self) -> MountId {
        self.id
    }

    /// The mount's store; `None` for a tree or an archive.
    pub(crate) const fn store(&self) -> Option<&Store> {
        if let Source::Store(store) = &self.source { Some(store) } else { None }
    }

    /// Opens an object. Blocks.
    pub(crate) fn open(
        &self,
        key: &ObjectKey,
        version: Option<Version>,
        files: &Semaphore,
    ) -> Result<OpenObject, OpenError> {
        let permit = files.try_acquire().ok_or(OpenError::TooManyOpen)?;
        match &self.source {
            Source::Store(store) => {
                let (object, current_file) = match version {
                    None => store
                        .open_current(key)
                        .map(|(object, current_file)| (object, Some(current_file)))?,
                    Some(_) => (store.lookup(key, version)?, None),
                };
                Ok(OpenObject::stored(object, current_file, permit)?)
            }
            Source::Dir(_) | Source::Tar(_) => {
                let opened = OpenObject::found(self.find(key)?, permit)
                    .map_err(|source| MountError::Io { doing: "read a file", source })?;
                if version.is_some_and(|version| version != opened.info().version) {
                    return Err(OpenError::NoVersion);
                }
                Ok(opened)
            }
        }
    }

    fn find(&self, key: &ObjectKey) -> Result<FoundFile, MountError> {
        let path = str::from_utf8(key.as_bytes()).map_err(|_| MountError::NotFound)?;
        match &self.source {
            Source::Dir(dir) => dir.find(path),
            Source::Tar(tar) => tar.find(path),
            Source::Store(_) => Err(MountError::NotFound),
        }
    }

    /// Whether `key` still stands for `opened`. Does not wait for a disk.
    pub(crate) fn is_unchanged(&self, key: &[u8], opened: &OpenObject) -> bool {
        match (&self.source, opened.origin(), str::from_utf8(key)) {
            (Source::Store(store), Origin::Current(current_file), _) => {
                store.is_current(current_file)
            }
            (Source::Dir(dir), Origin::Mounted(fingerprint), Ok(path)) => {
                dir.is_unchanged(path, *fingerprint)
            }
            (Source::Tar(tar), Origin::Mounted(fingerprint), Ok(path)) => {
                tar.is_unchanged(path, *fingerprint)
            }
            _ => false,
        }
    }

    /// How long an answer of [`Self::is_unchanged`] may be reused. A store's objects are checked
    /// each time, because other processes may change them and a client that was told of a put must
    /// not get the version before. So are an archive's, because that costs next to nothing.
    pub(crate) const fn revalidate_after(&self) -> Duration {
        match &self.source {
            Source::Store(_) | Source::Tar(_) => Duration::ZERO,
            Source::Dir(_) => self.policy.revalidate_after,
        }
    }

    /// The metadata of an object. Blocks.
    pub(crate) fn stat(
        &self,
        key: &ObjectKey,
        version: Option<Version>,
    ) -> Result<Info, OpenError> {
        if let Source::Store(store) = &self.source {
            return Ok(store.lookup(key, version)?.info());
        }
        let Entry { info, .. } = self.entry(key.clone(), false)?;
        match version {
            Some(version) if version != info.version => Err(OpenError::NoVersion),
            _ => Ok(info),
        }
    }

    /// A page of the catalogue; see [`Store::list`]. Blocks.
    pub(crate) fn list(
        &self,
        after: Option<&[u8]>,
        limit: u32,
        headers: bool,
    ) -> Result<StorePage, OpenError> {
        match &self.source {
            Source::Store(store) => Ok(store.list(after, limit, headers)?),
            Source::Dir(dir) => Ok(self.entries(dir.list(after, limit)?, headers)?),
            Source::Tar(tar) => Ok(self.entries(tar.list(after, limit)?, headers)?),
        }
    }

    /// The files of a page as entries, as many as fit into a frame with their headers. A file that
    /// was removed or changed since the page was made is listed as it is now.
    fn entries(&self, page: Page, headers: bool) -> Result<StorePage, MountError> {
        let mut entries = Vec::with_capacity(page.entries.len());
        let mut unreadable = page.unreadable;
        let mut bytes = PAGE_OVERHEAD_BYTES;
        let mut last = None;
        for ListedFile { path, .. } in page.entries {
            // Every path of a listing is a key: both have the same bounds.
            let Ok(key) = ObjectKey::new(path.as_bytes()) else { continue };
            let entry = match self.entry(key, headers) {
                Ok(entry) => entry,
                // It was on the page, and has been removed since or may not be read.
                Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::Denied) => {
                    last = Some(path.into_bytes());
                    continue;
                }
                Err(error) if error.is_unreadable_file() => {
                    warn!(file = path, %error, "a file cannot be read and is not listed");
                    unreadable += 1;
                    last = Some(path.into_bytes());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let header = entry.header.as_ref().map_or(0, Vec::len);
            bytes += ENTRY_OVERHEAD_BYTES + path.len() + header;
            if bytes > FRAME_MAX_BYTES {
                return Ok(StorePage { entries, next: last, unreadable });
            }
            last = Some(path.into_bytes());
            entries.push(entry);
        }
        Ok(StorePage { entries, next: page.next, unreadable })
    }

    fn entry(&self, key: ObjectKey, headers: bool) -> Result<Entry, MountError> {
        let FoundFile { file, offset, length, fingerprint, .. } = self.find(&key)?;
        let (info, header) = sniff(&file, offset, length, fingerprint.version())
            .map_err(|source| MountError::Io { doing: "read a file", source })?;
        let header = header.filter(|_| headers).map(<[u8]>::into_vec);
        Ok(Entry { key, info, header })
    }

    /// A page of an object's versions; see [`Store::versions`]. A file of a tree or an archive has
    /// one version. Blocks.
    pub(crate) fn versions(
        &self,
        key: &ObjectKey,
        after: Option<Version>,
        limit: u32,
    ) -> Result<(Vec<VersionInfo>, Option<Version>, u32), OpenError> {
        if let Source::Store(store) = &self.source {
            return Ok(store.versions(key, after, limit)?);
        }
        let Info { version, kind, length, .. } = self.stat(key, None)?;
        let state = VersionState::Current;
        let only = VersionInfo { version, kind, length, state };
        // After the only version the page is empty.
        Ok((if after.is_some() { Vec::new() } else { vec![only] }, None, 0))
    }

    /// Whether objects of this kind are served on `plaintext` connections and by HTTP.
    pub(crate) fn carries(&self, kind: Kind) -> bool {
        kind == Kind::Sealed || self.policy.allow_unsealed
    }
}

#[cfg(test)]
mod tests;
