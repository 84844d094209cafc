//! From an upload to the current version, durably (STORE, "Put" 3 to 8).

use std::os::unix::fs::FileExt;

use zput_common::{
    blob::envelope::{Envelope, FooterFields, HEADER_MAGIC, PREFIX_BYTES, TAIL_BYTES},
    proto::message::{Condition, Kind, Version},
};

use super::{
    Store,
    error::{Doing, Flaw, StoreError},
    generation,
    layout::{ObjectName, Shelf},
    object::Object,
    record::Trailer,
    shard::LockedShard,
    upload::{Received, Target, Upload, check_header},
};

/// Bytes of an object up to which it is synced together with its record, while the shard is locked.
const SYNCED_WITH_RECORD: u64 = 1024 * 1024;

impl Upload {
    /// Makes the object the current version. When this returns its version, it is durable.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the condition does not hold, [`StoreError::Older`] and [`StoreError::Ahead`] for its
    /// generation, [`StoreError::Malformed`] when a sealed object's header, key or
    /// footer length do not fit; [`StoreError::Suspect`]. After [`StoreError::Io`] the object may or may not be there; never in part.
    pub fn commit(self) -> Result<Version, StoreError> {
        self.commit_if(generation::check)
    }

    /// The same for a copy of an earlier version, whose generation may be as low as somebody wants it.
    pub(super) fn commit_copy(self) -> Result<Version, StoreError> {
        self.commit_if(|_, _, _| Ok(()))
    }

    fn commit_if(
        self,
        may_follow: impl FnOnce(u64, &[u8], &[&Object]) -> Result<(), StoreError>,
    ) -> Result<Version, StoreError> {
        let (store, target, received) = self.into_received()?;
        let (envelope, header) = check_payload(&target, &received)?;
        let is_small = received.length <= SYNCED_WITH_RECORD;
        if !is_small {
            // The expensive one, before anybody waits for the lock.
            store.syncs().data(received.staged.file(), "sync an upload")?;
        }

        let name = ObjectName::of(&target.key);
        let shard = LockedShard::to_change(store.syncs(), name.shard())?;
        let current = shard.current(&target.key)?;
        check_condition(target.condition, &shard, current.as_ref())?;
        let now_ns = store.clock().now_ns();
        let shelved = shard.newest_shelved(name)?;
        if let Some(header) = header {
            // One that has rotted says nothing.
            let replaced = shelved.and_then(|(version, shelf)| {
                shard.shelved(shelf, &target.key, version).ok().flatten()
            });
            let before: Vec<&Object> = current.iter().chain(&replaced).collect();
            may_follow(now_ns, &header, &before)?;
        }
        let newest = shelved.map(|(version, _)| version).max(current.as_ref().map(Object::version));
        let version = next_version(now_ns, newest)?;

        let Received { staged, table, length, .. } = received;
        let trailer = Trailer {
            key: target.key,
            kind: target.kind,
            version,
            payload_length: length,
            header_length: envelope.header_length,
            footer_length: envelope.footer_length,
            client: target.client,
            slice_count: table.count(),
            slices_digest: table.digest(),
        };
        let mut record = table.into_bytes();
        record.extend_from_slice(&trailer.encode());
        staged.file().write_all_at(&record, length).doing("write a record")?;
        store
            .syncs()
            .data(staged.file(), if is_small { "sync an upload" } else { "sync a record" })?;

        if let Some(current) = &current {
            shard.link_current_to(Shelf::History, current)?;
            // Before the rename takes its old name away: no file system promises an order between two directories, and
            // after a power cut an acknowledged version must have one name at least.
            shard.sync(Shelf::History)?;
            shard.withdraw_from_trash(current)?;
        }
        staged.place(shard.dir_to_change(Shelf::Objects)?, &name.to_string())?;
        // Who puts here next need not wait, and shares the sync. Whoever else acts on this version makes its name durable first.
        store.syncs().trusted_dir(shard.unlock(Shelf::Objects)?)?;
        Ok(version)
    }
}

/// Spares a client the sending of an object whose condition does not hold already.
pub(super) fn refuse_hopeless(store: &Store, target: &Target) -> Result<(), StoreError> {
    if target.condition == Condition::Any {
        return Ok(());
    }
    let shard = LockedShard::shared(store.syncs(), ObjectName::of(&target.key).shard())?;
    check_condition(target.condition, &shard, shard.current(&target.key)?.as_ref())
}

/// Whether `condition` holds of the current version.
///
/// "Already there" is an acknowledgement as good as "committed": whoever renamed the current version into place may have
/// been killed before it made the name durable, so that is done here first.
pub(super) fn check_condition(
    condition: Condition,
    shard: &LockedShard,
    current: Option<&Object>,
) -> Result<(), StoreError> {
    let current = current.map(Object::version);
    if holds(condition, current) {
        return Ok(());
    }
    shard.sync(Shelf::Objects)?;
    Err(StoreError::Exists(current))
}

/// Whether `condition` holds where `current` is the current version.
pub(super) fn holds(condition: Condition, current: Option<Version>) -> bool {
    match condition {
        Condition::Any => true,
        Condition::Absent => current.is_none(),
        Condition::Version(wanted) => current == Some(wanted),
    }
}

/// STORE: "max(clock, newest version of this key in objects, history and trash + 1)". The current one need not be
/// the newest: it may have come back from the trash.
fn next_version(now_ns: u64, newest: Option<Version>) -> Result<Version, StoreError> {
    match newest {
        None => Ok(Version(now_ns)),
        Some(newest) => match newest.0.checked_add(1) {
            Some(above) => Ok(Version(now_ns.max(above))),
            None => Err(StoreError::VersionsExhausted(newest)),
        },
    }
}

/// Checks the payload as far as a server can (PROTOCOL 5, "What a server checks"); gives its header
/// as well. A plain object has an envelope of zeros, and no header.
fn check_payload(
    target: &Target,
    received: &Received,
) -> Result<(Envelope, Option<Vec<u8>>), StoreError> {
    let prefix = read(received, 0, PREFIX_BYTES as u64)?;
    if target.kind == Kind::Plain {
        return if prefix.starts_with(&HEADER_MAGIC) {
            Err(Flaw::PlainLooksSealed.into())
        } else {
            Ok((Envelope { header_length: 0, footer_length: 0 }, None))
        };
    }
    let tail_begin = received.length.saturating_sub(TAIL_BYTES as u64);
    let tail = read(received, tail_begin, received.length)?;
    let envelope = Envelope::new(&prefix, &tail, received.length).map_err(Flaw::from)?;
    let header = read(received, 0, envelope.header_length.into())?;
    check_blob(&header, target, &envelope, received)?;
    Ok((envelope, Some(header)))
}

/// Checks that the slices are the parts of a blob with this header, and its footer: nothing becomes current that no
/// reader could open for a reason that shows without a key. The payload is not read again: the digests of the slices
/// are compared with those of the footer.
fn check_blob(
    header: &[u8],
    target: &Target,
    envelope: &Envelope,
    received: &Received,
) -> Result<(), StoreError> {
    let header = check_header(header, &target.key)?;
    let footer_begin = received.length - u64::from(envelope.footer_length);
    let footer = read(received, footer_begin, received.length)?;
    let footer = FooterFields::parse(&footer, &header).map_err(Flaw::from)?;
    Ok(footer.check_slices(received.table.rows()).map_err(Flaw::from)?)
}

/// The bytes from `begin` to `end`, as far as the upload has them: at most a footer, 8 MiB of digests and a little.
fn read(received: &Received, begin: u64, end: u64) -> Result<Vec<u8>, StoreError> {
    let end = end.min(received.length);
    let mut bytes = vec![0; (end - begin) as usize];
    received.staged.file().read_exact_at(&mut bytes, begin).doing("read an upload")?;
    Ok(bytes)
}
