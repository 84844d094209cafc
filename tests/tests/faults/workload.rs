//! What is asked of a store while the power goes: puts, deletes and restores by several callers, each with keys of its
//! own, and a journal of what was answered, which is not on the disk.

use std::{
    collections::BTreeMap,
    fmt,
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use zput_common::{
    digest::Digest,
    keys::public::DevicePublicKey,
    name::ObjectKey,
    proto::message::{Condition, Kind, Version, VersionState},
};
use zput_server::store::{Clock, Store, StoreError};
use zput_tests::Pattern;

use super::mounted::Mounted;

/// Objects of each caller.
const KEYS_EACH: usize = 3;
/// How many calls a caller makes at most before the power goes.
const CALLS_MAX: u32 = 200;
/// Lengths about the borders of sectors, pages and slices, and some of several writes.
const LENGTHS: [u64; 12] =
    [0, 1, 511, 512, 4_000, 4_096, 4_097, 9_000, 20_000, 40_000, 70_000, 150_000];

/// What a store did that it must not do.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It answered what it must not, or not at all, while the disk worked.
    Answer(String),
    /// What is there behind a cut is not what was acknowledged.
    Kept(String),
}

impl Broken {
    /// The same, with more to read.
    pub(crate) fn and(self, more: &str) -> Self {
        match self {
            Self::Answer(text) => Self::Answer(text + more),
            Self::Kept(text) => Self::Kept(text + more),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(text) => write!(f, "answered wrongly: {text}"),
            Self::Kept(text) => write!(f, "not kept: {text}"),
        }
    }
}

/// One version as the journal has it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Kept {
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

/// What there is of one object.
pub(crate) type History = BTreeMap<u64, Kept>;

/// A change that was asked for.
#[derive(Clone, Debug)]
enum Wish {
    Put { kind: Kind, length: u64, content: Digest },
    Delete,
    Restore(u64),
}

/// One object, as it is by what was answered.
#[derive(Debug)]
struct Subject {
    key: ObjectKey,
    history: History,
    /// Asked for and not answered: it may have happened.
    open: Option<Wish>,
}

/// Somebody who puts, deletes and restores, and writes down what was answered.
#[derive(Debug)]
pub(crate) struct Caller {
    subjects: Vec<Subject>,
    /// Writes an answer down before it came: the test's own sabotage.
    hasty: bool,
    dice: StdRng,
}

/// Callers whose objects are in one shard, so that they wait for one lock and share directories.
pub(crate) fn callers(count: usize, hasty: bool, dice: &mut StdRng) -> Vec<Caller> {
    let mut keys = (0u32..).map(|n| format!("object {n}")).filter(|key| {
        // STORE: "`H` is the lower-case hex of SHA-256(key) …; `ab` its first two".
        Sha256::digest(key.as_bytes())[0] == 0x5a
    });
    (0..count)
        .map(|_| {
            let mut subjects: Vec<_> = keys.by_ref().take(KEYS_EACH - 1).collect();
            // And one that is elsewhere.
            subjects.push(format!("elsewhere {}", dice.random::<u64>()));
            let subject = |key| Subject {
                key: ObjectKey::new(key).unwrap(),
                history: History::new(),
                open: None,
            };
            let subjects = subjects.into_iter().map(subject).collect();
            Caller { subjects, hasty, dice: StdRng::seed_from_u64(dice.random()) }
        })
        .collect()
}

/// A clock that never stands still.
pub(crate) fn clock() -> Clock {
    let time = Arc::new(AtomicU64::new(1_000));
    Clock::new(move || time.fetch_add(1, Ordering::Relaxed))
}

/// Lets all callers work at once until the power goes, or they have had enough.
///
/// # Errors
/// [`Broken::Answer`].
pub(crate) fn work(store: &Store, mounted: &Mounted, callers: &mut [Caller]) -> Result<(), Broken> {
    if let [one] = callers {
        return one.work(store, mounted);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = callers
            .iter_mut()
            .map(|caller| scope.spawn(move || caller.work(store, mounted)))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })
}

impl Caller {
    fn work(&mut self, store: &Store, mounted: &Mounted) -> Result<(), Broken> {
        for _ in 0..CALLS_MAX {
            let result = self.call(store);
            if mounted.disk().is_dead() {
                // What was answered before stands; what was not is left open.
                return Ok(());
            }
            result.map_err(Broken::Answer)?;
            if let Some(open) = self.subjects.iter().find_map(|subject| subject.open.as_ref()) {
                return Err(Broken::Answer(format!("{open:?} failed with the power on")));
            }
        }
        Ok(())
    }

    /// One call; what is left open has failed.
    fn call(&mut self, store: &Store) -> Result<(), String> {
        let number = self.dice.random_range(0..self.subjects.len());
        let versions: Vec<u64> = self.subjects[number].history.keys().copied().collect();
        let choice = if versions.is_empty() { 0 } else { self.dice.random_range(0..10) };
        match choice {
            0..6 => self.put(store, number),
            6..8 => {
                self.subjects[number].wish(Wish::Delete);
                let subject = &mut self.subjects[number];
                let current = subject.current();
                match store.delete(&subject.key, Condition::Any) {
                    Ok(version) if Some(version.0) == current => subject.granted(version.0),
                    Err(StoreError::NotFound) if current.is_none() => subject.open = None,
                    Err(StoreError::Io { .. }) => {}
                    other => return Err(format!("a delete of {current:?}: {other:?}")),
                }
                Ok(())
            }
            _ => {
                let version = versions[self.dice.random_range(0..versions.len())];
                let subject = &mut self.subjects[number];
                subject.wish(Wish::Restore(version));
                match store.restore(&subject.key, Version(version)) {
                    Ok(version) => subject.granted(version.0),
                    Err(StoreError::Io { .. }) => {}
                    other => return Err(format!("a restore of {version}: {other:?}")),
                }
                Ok(())
            }
        }
    }

    fn put(&mut self, store: &Store, number: usize) -> Result<(), String> {
        let dice = &mut self.dice;
        let subject = &mut self.subjects[number];
        let current = subject.current();
        let condition = match (dice.random_range(0..4), current) {
            (0, _) => Condition::Absent,
            (1, Some(current)) => Condition::Version(Version(current)),
            (2, Some(current)) => Condition::Version(Version(current + 1)),
            _ => Condition::Any,
        };
        let holds = match condition {
            Condition::Any => true,
            Condition::Absent => current.is_none(),
            Condition::Version(version) => current == Some(version.0),
        };
        let length = LENGTHS[dice.random_range(0..LENGTHS.len())];
        let body = Pattern::bytes(dice.random(), length);
        // A sealed object has a part at least.
        let (kind, slices) = match length >= 511 && dice.random_bool(0.5) {
            true => (Kind::Sealed, sealed(&subject.key, &body)),
            false => (Kind::Plain, body.chunks(30_000).map(<[u8]>::to_vec).collect()),
        };
        let whole: Vec<u8> = slices.concat();
        let wish = Wish::Put { kind, length: whole.len() as u64, content: Digest::of(&whole) };
        let client = dice.random_bool(0.5).then(|| DevicePublicKey::from_bytes([7; 32]));
        let mut upload = match store.begin(&subject.key, kind, condition, client) {
            Ok(upload) => upload,
            Err(StoreError::Exists(found)) if !holds => {
                return if found.map(|version| version.0) == current {
                    Ok(())
                } else {
                    Err(format!("the current version is {current:?}, and it says {found:?}"))
                };
            }
            // Nothing was asked for yet.
            Err(StoreError::Io { .. }) => return Ok(()),
            Err(other) => return Err(format!("a begin: {other:?}")),
        };
        for (number, slice) in slices.iter().enumerate() {
            let sent = if kind == Kind::Sealed && number == 0 {
                upload.write_header(slice, Digest::of(slice))
            } else {
                upload
                    .start_slice(slice.len() as u32, Digest::of(slice))
                    .and_then(|()| upload.write(slice))
                    .and_then(|()| upload.end_slice())
            };
            match sent {
                Ok(()) => {}
                Err(StoreError::Io { .. }) => return Ok(()),
                Err(other) => return Err(format!("a slice: {other:?}")),
            }
        }
        // Some give up.
        if dice.random_bool(0.1) {
            return Ok(());
        }
        subject.wish(wish);
        match upload.commit() {
            Ok(version) if holds => {
                subject.granted(version.0);
                Ok(())
            }
            Err(StoreError::Exists(found))
                if !holds && found.map(|version| version.0) == current =>
            {
                subject.open = None;
                Ok(())
            }
            Err(StoreError::Io { .. }) => Ok(()),
            other => Err(format!("a commit on {condition:?} where {current:?} is: {other:?}")),
        }
    }

    /// Compares what is there with what was answered, and goes on from what is there.
    ///
    /// # Errors
    /// [`Broken::Kept`].
    pub(crate) fn check(&mut self, store: &Store) -> Result<(), Broken> {
        let hasty = self.hasty;
        self.subjects.iter_mut().try_for_each(|s| s.check(store, hasty)).map_err(Broken::Kept)
    }

    /// The keys of the objects that are there now.
    pub(crate) fn current_keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.subjects.iter().filter(|s| s.current().is_some()).map(|s| &s.key)
    }

    /// How many versions the journal has.
    pub(crate) fn versions(&self) -> usize {
        self.subjects.iter().map(|subject| subject.history.len()).sum()
    }
}

impl Subject {
    fn current(&self) -> Option<u64> {
        let mut current = self.history.iter().filter(|(_, k)| k.state == VersionState::Current);
        current.next().map(|(version, _)| *version)
    }

    fn wish(&mut self, wish: Wish) {
        self.open = Some(wish);
    }

    /// What was asked for was done, and became `version`.
    fn granted(&mut self, version: u64) {
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

    fn check(&mut self, store: &Store, hasty: bool) -> Result<(), String> {
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

/// Puts a plain object, in slices of which some take several writes.
///
/// # Errors
/// Those of the store.
pub(crate) fn put(
    store: &Store,
    key: &ObjectKey,
    condition: Condition,
    body: &[u8],
) -> Result<Version, StoreError> {
    let mut upload = store.begin(key, Kind::Plain, condition, None)?;
    for slice in body.chunks(30_000) {
        upload.start_slice(slice.len() as u32, Digest::of(slice))?;
        upload.write(slice)?;
        upload.end_slice()?;
    }
    upload.commit()
}

/// What the store has of an object, read to the last byte.
///
/// # Errors
/// Says what cannot be read, or is not in order.
pub(crate) fn look(store: &Store, key: &ObjectKey) -> Result<History, String> {
    let versions = match store.versions(key, None, 1000) {
        Ok((versions, None)) => versions,
        Ok((_, Some(_))) => return Err("more versions than anybody put".into()),
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

/// Header, body and footer that have the framing of a sealed blob (FORMAT 3 and 7) and nothing in them.
fn sealed(key: &ObjectKey, body: &[u8]) -> Vec<Vec<u8>> {
    let mut header = b"\x8azput\r\n\x1a".to_vec();
    header.extend_from_slice(&[0, 1]);
    header.extend_from_slice(&200u32.to_be_bytes());
    header.extend_from_slice(&[1, 24]);
    // The salt and the generation: no two uploads have the same header.
    header.extend_from_slice(&Digest::of(body).as_bytes()[..]);
    header.extend_from_slice(&(body.len() as u64).to_be_bytes());
    header.extend_from_slice(&(key.as_bytes().len() as u16).to_be_bytes());
    header.extend_from_slice(key.as_bytes());
    header.resize(200, 9);
    let mut footer = vec![5; 150];
    footer[138..142].copy_from_slice(&150u32.to_be_bytes());
    footer[142..].copy_from_slice(b"\x8azputend");
    let parts = body.chunks(30_000).map(<[u8]>::to_vec);
    [header].into_iter().chain(parts).chain([footer]).collect()
}
