//! One mount: what it serves, under which name, and to whom.

use std::{
    str,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use thiserror::Error;
use tracing::warn;
use zput_common::{
    limits::{CURSOR_MAX_BYTES, FRAME_MAX_BYTES},
    name::ObjectKey,
    proto::message::{Entry, ErrorCode, Info, Kind, Scopes, Version, VersionInfo, VersionState},
};

use super::{DirMount, Found, Listed, MountError, Page, TarMount};
use crate::{
    opened::{Opened, Origin, look_at},
    permits::Permits,
    store::{Page as Catalogue, Store, StoreError},
};

/// What an entry takes in a frame beyond its path and its header, and a page beyond its entries: as in the pages of
/// `page`, which have no headers yet.
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

/// Who may do what with a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether everybody may get and list, on `plaintext` connections and by HTTP.
    pub public: bool,
    /// What everybody may do on `plaintext` connections, besides.
    pub plaintext: Scopes,
    /// Whether what is not sealed is served, on `plaintext` connections and by HTTP.
    pub unsealed: bool,
    /// How long a name of a tree is believed to stand for the same file, once that was looked at.
    pub stat_validity: Duration,
}

impl Policy {
    /// For devices with an account, sealed objects only.
    pub const PRIVATE: Self = Self {
        public: false,
        plaintext: Scopes::NONE,
        unsealed: false,
        stat_validity: Duration::ZERO,
    };

    /// What a peer without a key may do on a `plaintext` connection.
    #[must_use]
    pub fn anonymous(&self) -> Scopes {
        let public = if self.public { Scopes::GET.and(Scopes::LIST) } else { Scopes::NONE };
        public.and(self.plaintext)
    }
}

/// Tells one mount from all others that this process ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MountId(u64);

/// A mount.
#[derive(Debug)]
pub struct MountPoint {
    id: MountId,
    name: String,
    source: Source,
    policy: Policy,
}

/// Why something of a mount cannot be had.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// The store says why.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree or the archive says why.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Nothing that stands there has this version.
    #[error("no such version")]
    NoVersion,
    /// As many files are open as may be.
    #[error("too many files are open to be served")]
    TooManyOpen,
}

impl OpenError {
    /// What a peer is told.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Mount(error) => error.code(),
            Self::NoVersion => ErrorCode::NotFound,
            Self::TooManyOpen => ErrorCode::Busy,
        }
    }

    /// What a peer is told beside the code, where that says more: words without a name in them.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.reason(),
            Self::TooManyOpen => Some("as many objects are open as there may be"),
            Self::Mount(_) | Self::NoVersion => None,
        }
    }

    /// What the code is about, or 0 (PROTOCOL 7).
    pub(crate) fn number(&self) -> u64 {
        if let Self::Store(error) = self { error.number() } else { 0 }
    }
}

impl MountPoint {
    /// `source` under `name` (of [`super::Mounts::new`]).
    #[must_use]
    pub fn new(name: impl Into<String>, source: Source, policy: Policy) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = MountId(NEXT.fetch_add(1, Ordering::Relaxed));
        Self { id, name: name.into(), source, policy }
    }

    /// Its name: path components, or empty for the one at the root.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it serves.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Who may do what with it.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) const fn id(&self) -> MountId {
        self.id
    }

    /// The store, if it is one's.
    pub(crate) const fn store(&self) -> Option<&Store> {
        if let Source::Store(store) = &self.source { Some(store) } else { None }
    }

    /// Opens an object. Blocks.
    pub(crate) fn open(
        &self,
        key: &ObjectKey,
        version: Option<Version>,
        files: &Permits,
    ) -> Result<Opened, OpenError> {
        let permit = files.permit().ok_or(OpenError::TooManyOpen)?;
        match &self.source {
            Source::Store(store) => {
                let (object, place) = match version {
                    None => store.open_current(key).map(|(object, place)| (object, Some(place)))?,
                    Some(_) => (store.lookup(key, version)?, None),
                };
                Ok(Opened::stored(object, place, permit)?)
            }
            Source::Dir(_) | Source::Tar(_) => {
                let opened = Opened::found(self.find(key)?, permit)
                    .map_err(|source| MountError::Io { doing: "read a file", source })?;
                if version.is_some_and(|version| version != opened.info().version) {
                    return Err(OpenError::NoVersion);
                }
                Ok(opened)
            }
        }
    }

    fn find(&self, key: &ObjectKey) -> Result<Found, MountError> {
        let path = str::from_utf8(key.as_bytes()).map_err(|_| MountError::NotFound)?;
        match &self.source {
            Source::Dir(dir) => dir.find(path),
            Source::Tar(tar) => tar.find(path),
            Source::Store(_) => Err(MountError::NotFound),
        }
    }

    /// Whether `key` stands for `opened` still. Waits for no disk.
    pub(crate) fn is_still(&self, key: &[u8], opened: &Opened) -> bool {
        match (&self.source, opened.origin(), str::from_utf8(key)) {
            (Source::Store(store), Origin::Current(place), _) => store.is_current(place),
            (Source::Dir(dir), Origin::Mounted(identity), Ok(path)) => {
                dir.is_still(path, *identity)
            }
            (Source::Tar(tar), Origin::Mounted(identity), Ok(path)) => {
                tar.is_still(path, *identity)
            }
            _ => false,
        }
    }

    /// How long the answer of [`Self::is_still`] is good for. A store's objects are looked at each time: other processes
    /// may change them, and who was told of a put must not get what was there before. So are an archive's, for that costs
    /// next to nothing.
    pub(crate) const fn stat_validity(&self) -> Duration {
        match &self.source {
            Source::Store(_) | Source::Tar(_) => Duration::ZERO,
            Source::Dir(_) => self.policy.stat_validity,
        }
    }

    /// What is known of an object. Blocks.
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
    ) -> Result<Catalogue, OpenError> {
        match &self.source {
            Source::Store(store) => Ok(store.list(after, limit, headers)?),
            Source::Dir(dir) => Ok(self.entries(dir.list(after, limit)?, headers)?),
            Source::Tar(tar) => Ok(self.entries(tar.list(after, limit)?, headers)?),
        }
    }

    /// The files of a page as entries, as many as fit into a frame with their headers. What has gone or changed since
    /// the page was made is what it is now.
    fn entries(&self, page: Page, headers: bool) -> Result<Catalogue, MountError> {
        let mut entries = Vec::with_capacity(page.entries.len());
        let mut unreadable = page.unreadable;
        let mut bytes = PAGE_OVERHEAD_BYTES;
        let mut last = None;
        for Listed { path, .. } in page.entries {
            // Every path of a listing is a key: both have the same bounds.
            let Ok(key) = ObjectKey::new(path.as_bytes()) else { continue };
            let entry = match self.entry(key, headers) {
                Ok(entry) => entry,
                // It is on the page, and gone by now, or nobody's to read.
                Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::Denied) => {
                    last = Some(path.into_bytes());
                    continue;
                }
                Err(error) if error.is_of_one_file() => {
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
                return Ok(Catalogue { entries, next: last, unreadable });
            }
            last = Some(path.into_bytes());
            entries.push(entry);
        }
        Ok(Catalogue { entries, next: page.next, unreadable })
    }

    fn entry(&self, key: ObjectKey, headers: bool) -> Result<Entry, MountError> {
        let Found { file, offset, length, identity, .. } = self.find(&key)?;
        let (info, header) = look_at(&file, offset, length, identity.version())
            .map_err(|source| MountError::Io { doing: "read a file", source })?;
        let header = header.filter(|_| headers).map(<[u8]>::into_vec);
        Ok(Entry { key, info, header })
    }

    /// A page of an object's versions; see [`Store::versions`]. A file of a tree or an archive has one. Blocks.
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
        // The page after the only one.
        Ok((if after.is_some() { Vec::new() } else { vec![only] }, None, 0))
    }

    /// Whether peers of `plaintext` connections, and of HTTP, may have objects of this kind.
    pub(crate) fn carries(&self, kind: Kind) -> bool {
        kind == Kind::Sealed || self.policy.unsealed
    }
}

#[cfg(test)]
mod tests;
