//! What is asked of a store while the power goes: puts, deletes and restores by several callers,
//! each with keys of its own, and a journal of what was answered, which is not on the disk.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use zput_proto::{
    digest::Digest,
    envelope,
    keys::DevicePublicKey,
    message::{ClaimedSlice, Condition, HeaderSlice, Kind, Version},
    name::ObjectKey,
};
use zput_server::store::{Clock, Store, StoreError, Upload};
use zput_tests::{
    Pattern,
    journal::{Subject, Wish, framed, next_generation},
};

use super::mounted::Mounted;

/// Objects of each caller.
const KEYS_EACH: usize = 3;
/// How many calls a caller makes at most before the power goes.
const CALLS_MAX: u32 = 200;
/// Of which each is written in one or in several pieces.
const SLICE_BYTES: usize = 30_000;
/// Longer than the least that is kept when it is cut off (STORE, "Kept uploads").
const LONG: u64 = 1_200_000;
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

/// A client that puts, deletes and restores, and records the answers.
#[derive(Debug)]
pub(crate) struct Caller {
    subjects: Vec<Subject>,
    /// A long upload that was begun and not committed.
    cut_off: Option<CutOff>,
    /// How many of those were found again, and how many slices of them.
    resumed: (u32, u32),
    /// Writes an answer down before it came: the test's own sabotage.
    hasty: bool,
    dice: StdRng,
}

/// An upload in a client's journal: its object, its slices, and its writer.
#[derive(Debug)]
struct CutOff {
    number: usize,
    header: HeaderSlice,
    slices: Vec<Vec<u8>>,
    client: Option<DevicePublicKey>,
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
            let subject = |key| Subject::new(ObjectKey::new(key).unwrap());
            let subjects = subjects.into_iter().map(subject).collect();
            let dice = StdRng::seed_from_u64(dice.random());
            Caller { subjects, cut_off: None, resumed: (0, 0), hasty, dice }
        })
        .collect()
}

/// A clock that returns a later time with each call, from the same time on, in a boot of its own.
pub(crate) fn clock() -> Clock {
    static BOOTS: AtomicU64 = AtomicU64::new(0);
    let time = Arc::new(AtomicU64::new(1_000));
    let boot = u128::from(BOOTS.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    Clock::new(move || time.fetch_add(1, Ordering::Relaxed)).with_boot_id(boot)
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
            if let Some(open) = self.subjects.iter().find_map(Subject::open) {
                return Err(Broken::Answer(format!("{open:?} failed with the power on")));
            }
        }
        Ok(())
    }

    /// One call; what is left open has failed.
    fn call(&mut self, store: &Store) -> Result<(), String> {
        if self.dice.random_bool(0.5)
            && let Some(cut_off) = self.cut_off.take()
        {
            return self.resume(store, cut_off);
        }
        let number = self.dice.random_range(0..self.subjects.len());
        let versions: Vec<u64> = self.subjects[number].history().keys().copied().collect();
        let choice = if versions.is_empty() { 0 } else { self.dice.random_range(0..10) };
        match choice {
            0..6 => self.put(store, number),
            6..8 => {
                self.subjects[number].wish(Wish::Delete);
                let subject = &mut self.subjects[number];
                let current = subject.current();
                match store.delete(subject.key(), Condition::Any) {
                    Ok(version) if Some(version.0) == current => subject.granted(version.0),
                    Err(StoreError::NotFound) if current.is_none() => subject.refused(),
                    other => return Err(format!("a delete of {current:?}: {other:?}")),
                }
                Ok(())
            }
            _ => {
                let version = versions[self.dice.random_range(0..versions.len())];
                let subject = &mut self.subjects[number];
                subject.wish(Wish::Restore(version));
                match store.restore(subject.key(), Version(version)) {
                    Ok(version) => subject.granted(version.0),
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
        let length = match dice.random_bool(0.1) {
            true => LONG,
            false => LENGTHS[dice.random_range(0..LENGTHS.len())],
        };
        let body = Pattern::bytes(dice.random(), length);
        // A sealed object has a part at least.
        let (kind, slices) = match length >= 511 && dice.random_bool(0.5) || length == LONG {
            true => (Kind::Sealed, framed(subject.key(), &body, next_generation())),
            false => (Kind::Plain, body.chunks(SLICE_BYTES).map(<[u8]>::to_vec).collect()),
        };
        let wish = Wish::put(kind, &slices.concat());
        let client = dice.random_bool(0.5).then(|| DevicePublicKey::from_bytes([7; 32]));
        let mut upload = match store.begin(subject.key(), kind, condition, client) {
            Ok(upload) => upload,
            Err(StoreError::Exists(found)) if !holds => {
                return if found.map(|version| version.0) == current {
                    Ok(())
                } else {
                    Err(format!("the current version is {current:?}, and it says {found:?}"))
                };
            }
            Err(other) => return Err(format!("a begin: {other:?}")),
        };
        let rest = match kind {
            Kind::Plain => &slices[..],
            Kind::Sealed => {
                let header = HeaderSlice::of(slices[0].clone());
                let written = upload.write_header(&header.bytes, header.digest);
                written.map_err(|error| format!("a header: {error:?}"))?;
                if length == LONG {
                    let slices = slices[1..].to_vec();
                    self.cut_off = Some(CutOff { number, header, slices, client });
                }
                &slices[1..]
            }
        };
        // Some give up, here or there.
        let gives_up = dice.random_bool(if length == LONG { 0.6 } else { 0.1 });
        let least = if length == LONG { rest.len() - 3 } else { 0 };
        let sent = if gives_up { dice.random_range(least..=rest.len()) } else { rest.len() };
        send(&mut upload, &rest[..sent])?;
        if gives_up {
            return Ok(());
        }
        subject.wish(wish);
        match upload.commit() {
            Ok(version) if holds => subject.granted(version.0),
            Err(StoreError::Exists(found))
                if !holds && found.map(|version| version.0) == current =>
            {
                subject.refused();
            }
            // If it was the power, the upload may be there still, or its object.
            other => {
                return Err(format!("a commit on {condition:?} where {current:?} is: {other:?}"));
            }
        }
        if length == LONG {
            self.cut_off = None;
        }
        Ok(())
    }

    /// Goes on with an upload that was cut off, by its caller or by the power, if anything of it
    /// was kept.
    fn resume(&mut self, store: &Store, cut_off: CutOff) -> Result<(), String> {
        let CutOff { number, header, slices, client } = cut_off;
        let subject = &mut self.subjects[number];
        let generation = envelope::generation(&header.bytes).unwrap();
        let mut upload = match store.resume(subject.key(), Condition::Any, client, &header) {
            Ok(upload) => upload,
            Err(StoreError::NotFound) => return Ok(()),
            // A later one has been put since: this one cannot replace it.
            Err(StoreError::Older { there }) if there > generation => return Ok(()),
            Err(other) => return Err(format!("a resume: {other:?}")),
        };
        let claimed = |slice: &Vec<u8>| ClaimedSlice {
            length: slice.len() as u32,
            digest: Digest::of(slice),
        };
        let claimed: Vec<_> = slices.iter().map(claimed).collect();
        let held = upload.claim(&claimed).map_err(|error| format!("a claim: {error:?}"))?;
        self.resumed.0 += 1;
        self.resumed.1 += held;
        send(&mut upload, &slices[held as usize..])?;
        let whole: Vec<u8> = [header.bytes].into_iter().chain(slices).flatten().collect();
        subject.wish(Wish::put(Kind::Sealed, &whole));
        match upload.commit() {
            Ok(version) => subject.granted(version.0),
            Err(StoreError::Older { there }) if there > generation => subject.refused(),
            Err(other) => return Err(format!("a resumed commit: {other:?}")),
        }
        Ok(())
    }

    /// Compares the store with the answers, and continues from the store's state.
    ///
    /// # Errors
    /// [`Broken::Kept`].
    pub(crate) fn check(&mut self, store: &Store) -> Result<(), Broken> {
        let hasty = self.hasty;
        self.subjects.iter_mut().try_for_each(|s| s.check(store, hasty)).map_err(Broken::Kept)
    }

    /// The keys of the objects that are there now.
    pub(crate) fn current_keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.subjects.iter().filter(|s| s.current().is_some()).map(Subject::key)
    }

    /// How many uploads were resumed, and how many slices of them were there.
    pub(crate) fn resumed(&self) -> (u32, u32) {
        self.resumed
    }

    /// How many versions the journal has.
    pub(crate) fn versions(&self) -> usize {
        self.subjects.iter().map(|subject| subject.history().len()).sum()
    }
}

fn send(upload: &mut Upload, slices: &[Vec<u8>]) -> Result<(), String> {
    let mut send = || {
        slices.iter().try_for_each(|slice| {
            upload.start_slice(slice.len() as u32, Digest::of(slice))?;
            upload.write(slice)?;
            upload.end_slice()
        })
    };
    send().map_err(|error: StoreError| format!("a slice: {error:?}"))
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
    for slice in body.chunks(SLICE_BYTES) {
        upload.start_slice(slice.len() as u32, Digest::of(slice))?;
        upload.write(slice)?;
        upload.end_slice()?;
    }
    upload.commit()
}
