//! A journal of what a store acknowledged, kept outside of it, and the comparison with what the
//! store has.

use std::{
    collections::BTreeMap,
    fmt,
    os::unix::fs::FileExt as _,
    sync::atomic::{AtomicU64, Ordering},
};

use zput_proto::{
    digest::Digest,
    message::{Kind, VersionState},
    name::ObjectKey,
};
use zput_server::store::{Store, StoreError};

/// One version as the journal has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    kind: Kind,
    length: u64,
    content: Digest,
    state: VersionState,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, length, content, state } = self;
        write!(f, "{state:?}: {kind:?}, {length} bytes, {content:?}")
    }
}

impl Kept {
    /// The digest of its bytes.
    #[must_use]
    pub fn content(&self) -> Digest {
        self.content
    }
}

/// What there is of one object.
pub type History = BTreeMap<u64, Kept>;

/// A change that was asked for.
#[derive(Clone, Debug)]
pub enum Wish {
    /// This object becomes the current version.
    Put {
        /// The kind of the object.
        kind: Kind,
        /// The length of the object in bytes.
        length: u64,
        /// The digest of all of them.
        content: Digest,
    },
    /// The current version goes to the trash.
    Delete,
    /// This version becomes the current one, itself or as a copy.
    Restore(u64),
}

impl Wish {
    /// The put of an object whose bytes are these.
    #[must_use]
    pub fn put(kind: Kind, bytes: &[u8]) -> Self {
        Self::Put { kind, length: bytes.len() as u64, content: Digest::of(bytes) }
    }
}

/// One object, as it is by what was answered to its one caller.
#[derive(Debug)]
pub struct Subject {
    key: ObjectKey,
    history: History,
    open: Option<Wish>,
}

impl Subject {
    /// An object that is not there.
    #[must_use]
    pub fn new(key: ObjectKey) -> Self {
        Self { key, history: History::new(), open: None }
    }

    /// The key of the object.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Every version that was acknowledged.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What was asked for and not answered: it may have happened.
    #[must_use]
    pub fn open(&self) -> Option<&Wish> {
        self.open.as_ref()
    }

    /// The number of the current version; `None` without one.
    #[must_use]
    pub fn current(&self) -> Option<u64> {
        let mut current = self.history.iter().filter(|(_, k)| k.state == VersionState::Current);
        current.next().map(|(version, _)| *version)
    }

    /// Writes down what is about to be asked for.
    pub fn wish(&mut self, wish: Wish) {
        self.open = Some(wish);
    }

    /// What was asked for was refused.
    pub fn refused(&mut self) {
        self.open = None;
    }

    /// What was asked for was done, and became `version`.
    pub fn granted(&mut self, version: u64) {
        if let Some(wish) = self.open.take() {
            self.history = self.after(&wish, version);
        }
    }

    /// The history if `wish` was done and became `version`.
    fn after(&self, wish: &Wish, version: u64) -> History {
        let mut history = self.history.clone();
        let current = self.current();
        let mut retire = |state| {
            if let Some(kept) = current.and_then(|current| history.get_mut(&current)) {
                kept.state = state;
            }
        };
        match wish {
            Wish::Put { kind, length, content } => {
                retire(VersionState::History);
                let (kind, length, content) = (*kind, *length, *content);
                let kept = Kept { kind, length, content, state: VersionState::Current };
                history.insert(version, kept);
            }
            Wish::Delete => retire(VersionState::Trash),
            Wish::Restore(old) if *old == version => {
                history.entry(version).and_modify(|kept| kept.state = VersionState::Current);
            }
            Wish::Restore(old) => {
                retire(VersionState::History);
                if let Some(kept) = history.get(old).cloned() {
                    history.insert(version, Kept { state: VersionState::Current, ..kept });
                }
            }
        }
        history
    }

    /// Compares what the store has with what was acknowledged, and continues from what it has. What
    /// is open has happened or has not; where the caller was `hasty`, and took it for granted, it
    /// has to have happened.
    ///
    /// # Errors
    /// Says what of it is wrong.
    pub fn check(&mut self, store: &Store, hasty: bool) -> Result<(), String> {
        let found = look(store, &self.key)?;
        let Some(wish) = self.open.take() else {
            return if found == self.history {
                Ok(())
            } else {
                Err(format!("acknowledged: {:#?}\nfound: {found:#?}", self.history))
            };
        };
        // What was done has the version of its own, or the newest one of all.
        let newest = found.keys().last().copied();
        let own = match wish {
            Wish::Restore(version) => Some(version),
            Wish::Put { .. } | Wish::Delete => None,
        };
        let mut versions = own.into_iter().chain(newest);
        let done = versions.any(|version| {
            let is_new = !self.history.contains_key(&version);
            let may_be = is_new || own == Some(version) || matches!(wish, Wish::Delete);
            may_be && self.after(&wish, version) == found
        });
        if done || (found == self.history && !hasty) {
            self.history = found;
            return Ok(());
        }
        Err(format!("acknowledged: {:#?}\nopen: {wish:?}\nfound: {found:#?}", self.history))
    }
}

/// What the store has of an object, read to the last byte.
///
/// # Errors
/// Says what cannot be read, or is not in order.
pub fn look(store: &Store, key: &ObjectKey) -> Result<History, String> {
    let versions = match store.versions(key, None, 1000) {
        Ok((versions, None, 0)) => versions,
        Ok((_, None, unreadable)) => return Err(format!("{unreadable} versions are unreadable")),
        Ok((_, Some(_), _)) => return Err("more versions than were put".into()),
        Err(StoreError::NotFound) => Vec::new(),
        Err(error) => return Err(format!("versions: {error}")),
    };
    let mut found = History::new();
    for info in &versions {
        let object = store.lookup(key, Some(info.version));
        let object = object.map_err(|error| format!("version {}: {error}", info.version))?;
        let mut bytes = vec![0; info.length as usize];
        let read = object.file().read_exact_at(&mut bytes, 0);
        read.map_err(|error| format!("version {}: {error}", info.version))?;
        let (kind, length, content) = (info.kind, info.length, Digest::of(&bytes));
        found.insert(info.version.0, Kept { kind, length, content, state: info.state });
    }
    let current: Vec<u64> =
        found.iter().filter(|(_, k)| k.state == VersionState::Current).map(|(v, _)| *v).collect();
    let looked_up = match store.lookup(key, None) {
        Ok(object) => vec![object.version().0],
        Err(StoreError::NotFound) => Vec::new(),
        Err(error) => return Err(format!("the current version: {error}")),
    };
    if current != looked_up {
        return Err(format!("current is {looked_up:?}, and {current:?} by the list of versions"));
    }
    Ok(found)
}

/// A generation above all that this process was given before: what has it may replace what has
/// those.
pub fn next_generation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Header, parts and footer that have the framing of a sealed blob (FORMAT 3 to 7): `body` in full
/// parts of 64 KiB and what is left of it, which is lengthened by a little where no part is so
/// long. No two uploads have the same header.
#[must_use]
pub fn framed(key: &ObjectKey, body: &[u8], generation: u64) -> Vec<Vec<u8>> {
    let full = zput_framed::sealed_length(1 << zput_framed::SMALL_PARTS) as usize;
    let mut parts: Vec<Vec<u8>> = body.chunks(full).map(<[u8]>::to_vec).collect();
    if let Some(last) = parts.last_mut() {
        last.resize(zput_framed::next_sealed_length(last.len() as u64) as usize, 9);
    }
    // The last part is never a full one.
    if parts.last().is_none_or(|part| part.len() == full) {
        parts.push(vec![9; zput_framed::sealed_length(0) as usize]);
    }
    // The salt tells uploads apart.
    let salt = *Digest::of(body).as_bytes();
    let header =
        zput_framed::header(key.as_bytes(), 300, zput_framed::SMALL_PARTS, generation, salt);
    let pieces: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let footer = zput_framed::footer(&pieces, zput_framed::SMALL_PARTS);
    [header].into_iter().chain(parts).chain([footer]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full part of 64 KiB is sealed to 65,672 bytes; from 65,656 on what is left is lengthened
    /// to one.
    #[test]
    fn framed_splits_body_of_any_length_into_parts() {
        for (length, parts) in [
            (0, &[72][..]),
            (1, &[72]),
            (65_655, &[65_655]),
            (65_656, &[65_672, 72]),
            (65_671, &[65_672, 72]),
            (65_672, &[65_672, 72]),
            (65_673, &[65_672, 72]),
            (131_343, &[65_672, 65_672, 72]),
        ] {
            let slices = framed(&ObjectKey::new(b"key").unwrap(), &vec![7; length], 1);
            let lengths: Vec<_> = slices[1..slices.len() - 1].iter().map(Vec::len).collect();
            assert_eq!(lengths, parts, "{length}");
        }
    }
}
