//! The work of requests on the disk, as jobs for the pool.
//!
//! A job owns all it needs, blocks as long as it has to, and returns a value. Jobs know nothing of
//! sockets.

use std::{fmt, io, sync::Arc};

use tracing::{info, warn};
use zput_proto::{
    digest::Digest,
    keys::{DevicePublicKey, InviteSecret},
    message::{ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Response, Scopes, Version},
    name::ObjectKey,
};

use super::{buffers::Buffer, error::JobError, window::Window};
use crate::{
    limits::Semaphore,
    mounts::{MountPoint, OpenError, OpenObject},
    store::{InFlightGuard, Page, Store, StoreError, Upload, Writer},
};

/// Work for a pool thread.
pub(crate) enum Job {
    /// Look up the scopes of a device.
    Account(Store, DevicePublicKey),
    /// Redeem an invite: give a device its scopes.
    Join { home: Store, device: DevicePublicKey, secret: InviteSecret, label: String },
    /// Open an object to be sent.
    Open { mount: Arc<MountPoint>, key: ObjectKey, version: Option<Version>, files: Semaphore },
    /// Load bytes of an open object into memory.
    Load(Window),
    /// Read the metadata of an object.
    Stat { mount: Arc<MountPoint>, key: ObjectKey, version: Option<Version> },
    /// One page of a listing.
    List { mount: Arc<MountPoint>, after: Option<Vec<u8>>, limit: u32, headers: bool },
    /// One page of an object's versions.
    Versions { mount: Arc<MountPoint>, key: ObjectKey, after: Option<Version>, limit: u32 },
    /// Move the current version to the trash.
    Delete { store: Store, key: ObjectKey, condition: Condition },
    /// Make a version from the trash or the history current.
    Restore { store: Store, key: ObjectKey, version: Version },
    /// Begin an upload: check its condition and create its staging file.
    Begin {
        store: Store,
        key: ObjectKey,
        kind: Kind,
        condition: Condition,
        header: Option<HeaderSlice>,
        writer: Writer,
        /// Registers the upload by its header, if it has one, until the upload itself is
        /// registered.
        expected: Option<InFlightGuard>,
    },
    /// Resume an interrupted upload, or take over one that an older connection still has.
    Resume {
        store: Store,
        key: ObjectKey,
        condition: Condition,
        header: HeaderSlice,
        writer: Writer,
    },
    /// Check which of these slices a resumed upload has.
    Claim(Box<Upload>, Vec<ClaimedSlice>),
    /// Hash and write received bytes.
    Append(Append),
    /// Make an upload durable and current.
    Commit(Box<Upload>),
    /// Remove an upload and its staging file.
    Abort(Box<Upload>),
    /// Release an upload whose connection has ended. It is kept if it can be resumed.
    Release(Box<Upload>),
    /// Remove the interrupted uploads of a store that were not resumed in time.
    Expire(Store),
}

/// Received bytes of one slice, in order.
pub(crate) struct Append {
    /// The upload that they belong to.
    pub(crate) upload: Box<Upload>,
    /// Length and digest of the slice, with its first bytes only.
    pub(crate) start: Option<(u32, Digest)>,
    /// The received bytes; the last buffer may be partly filled.
    pub(crate) buffers: Vec<Buffer>,
    /// Whether the slice ends with these bytes, so that its digest has to be compared.
    pub(crate) end: bool,
}

/// The result of a job.
pub(crate) enum Done {
    /// The response to the request.
    Answer(Response),
    /// The request failed with this error.
    Refused(JobError),
    /// The scopes of a device; `None` for a device without an account.
    Account(Result<Option<Scopes>, JobError>),
    /// The scopes that an invite gave to a device.
    Joined(Result<Scopes, JobError>),
    /// An object to be sent.
    Opened(Result<OpenObject, JobError>),
    /// The window that was to be loaded, and whether it is in memory.
    Loaded(Window, io::Result<()>),
    /// An upload has begun.
    Begun(Box<Upload>),
    /// The number of claimed slices that the upload has, from the first one on.
    Claimed(Box<Upload>, u32),
    /// Bytes were written. The buffers are free again.
    Appended {
        /// The upload, unless writing failed.
        upload: Result<Box<Upload>, JobError>,
        /// Whether the slice has ended.
        end: bool,
        /// The buffers that held the bytes.
        buffers: Vec<Buffer>,
    },
    /// The job has ended, and nothing waits for it.
    Finished,
    /// The job panicked, and what it held was dropped.
    Panicked {
        /// Number of buffers that were lost with it.
        buffers: usize,
    },
}

impl Job {
    /// Number of buffers that the job holds.
    pub(crate) fn buffers(&self) -> usize {
        if let Self::Append(append) = self { append.buffers.len() } else { 0 }
    }

    /// Runs the job. Blocks.
    pub(crate) fn run(self) -> Done {
        match self {
            Self::Account(home, device) => {
                Done::Account(home.scopes_of(&device).map_err(|e| JobError::of(e.into())))
            }
            Self::Join { home, device, secret, label } => {
                let joined = home.redeem_invite(&secret, &device, &label);
                Done::Joined(joined.map_err(|e| JobError::of(e.into())))
            }
            Self::Open { mount, key, version, files } => {
                Done::Opened(mount.open(&key, version, &files).map_err(JobError::about(&key)))
            }
            Self::Load(window) => {
                let loaded = window.load();
                Done::Loaded(window, loaded)
            }
            Self::Stat { mount, key, version } => {
                answer_of(&key, mount.stat(&key, version).map(|info| Response::Stat { info }))
            }
            Self::List { mount, after, limit, headers } => {
                answer(mount.list(after.as_deref(), limit, headers).map(
                    |Page { entries, next, unreadable }| Response::Page {
                        entries,
                        next,
                        unreadable,
                    },
                ))
            }
            Self::Versions { mount, key, after, limit } => answer_of(
                &key,
                mount.versions(&key, after, limit).map(|(versions, next, unreadable)| {
                    Response::Versions { versions, next, unreadable }
                }),
            ),
            Self::Delete { store, key, condition } => {
                let deleted = store.delete(&key, condition);
                answer_of(&key, deleted.map(|version| Response::Deleted { version }))
            }
            Self::Restore { store, key, version } => {
                let restored = store.restore(&key, version);
                answer_of(&key, restored.map(|version| Response::Committed { version }))
            }
            Self::Begin { store, key, kind, condition, header, writer, expected } => {
                let begun = store.begin(&key, kind, condition, writer).and_then(|mut upload| {
                    if let Some(HeaderSlice { bytes, digest }) = header {
                        upload.write_header(&bytes, digest)?;
                    }
                    Ok(upload)
                });
                drop(expected);
                opened(&key, begun)
            }
            Self::Resume { store, key, condition, header, writer } => {
                let resumed = store.resume(&key, condition, writer, &header);
                if !matches!(
                    resumed,
                    Err(StoreError::NotFound | StoreError::Exists(_) | StoreError::Older { .. })
                ) {
                    return opened(&key, resumed);
                }
                // If the upload was committed there is no staging file any more, and `Exists` or
                // `Older` is caused by the upload's own version.
                match store.committed(&key, writer.device, &header) {
                    Ok(Some(version)) => Done::Answer(Response::Committed { version }),
                    Ok(None) => opened(&key, resumed),
                    Err(e) => Done::Refused(JobError::about(&key)(e.into())),
                }
            }
            Self::Claim(mut upload, slices) => match upload.claim(&slices) {
                Ok(held) => Done::Claimed(upload, held),
                Err(e) => Done::Refused(JobError::of(e.into())),
            },
            Self::Append(append) => append.run(),
            Self::Commit(upload) => {
                let key = upload.key().clone();
                answer_of(&key, upload.commit().map(|version| Response::Committed { version }))
            }
            Self::Abort(upload) => {
                upload.abort();
                Done::Answer(Response::Aborted)
            }
            Self::Release(upload) => {
                drop(upload);
                Done::Finished
            }
            Self::Expire(store) => {
                match store.expire_uploads() {
                    Ok(0) => {}
                    Ok(removed) => info!(removed, "removed expired uploads"),
                    Err(failure) => warn!(error = %failure, "cannot remove expired uploads"),
                }
                Done::Finished
            }
        }
    }

    /// Does not do the job, because it has waited too long for a thread or cannot be queued.
    /// Returns its result, and what has to be done all the same.
    pub(crate) fn refuse(self) -> (Done, Option<Self>) {
        let busy = || JobError::from(ErrorCode::Busy);
        match self {
            Self::Account(..) => (Done::Account(Err(busy())), None),
            Self::Join { .. } => (Done::Joined(Err(busy())), None),
            Self::Open { .. } => (Done::Opened(Err(busy())), None),
            Self::Load(window) => {
                let refused = io::Error::new(io::ErrorKind::ResourceBusy, "no thread is free");
                (Done::Loaded(window, Err(refused)), None)
            }
            Self::Stat { .. }
            | Self::List { .. }
            | Self::Versions { .. }
            | Self::Delete { .. }
            | Self::Restore { .. }
            | Self::Begin { .. }
            | Self::Resume { .. } => (Done::Refused(busy()), None),
            // As if the connection had ended: the upload is kept if it can be resumed.
            Self::Claim(upload, _) | Self::Commit(upload) => {
                (Done::Refused(busy()), Some(Self::Release(upload)))
            }
            Self::Append(Append { upload, end, buffers, .. }) => {
                (Done::Appended { upload: Err(busy()), end, buffers }, Some(Self::Release(upload)))
            }
            Self::Abort(_) => (Done::Refused(busy()), Some(self)),
            Self::Release(_) | Self::Expire(_) => (Done::Finished, Some(self)),
        }
    }
}

impl Append {
    fn run(self) -> Done {
        let Self { mut upload, start, buffers, end } = self;
        let written = (|| {
            if let Some((length, digest)) = start {
                upload.start_slice(length, digest)?;
            }
            for buffer in &buffers {
                upload.write(buffer.filled())?;
            }
            if end { upload.end_slice() } else { Ok(()) }
        })();
        let upload = match written {
            Ok(()) => Ok(upload),
            // Dropping the upload removes its staging file, which is work for the disk and so done
            // here.
            Err(e) => Err(JobError::of(e.into())),
        };
        Done::Appended { upload, end, buffers }
    }
}

fn opened(key: &ObjectKey, upload: Result<Upload, StoreError>) -> Done {
    match upload {
        Ok(upload) => Done::Begun(Box::new(upload)),
        Err(e) => Done::Refused(JobError::about(key)(e.into())),
    }
}

fn answer_of<E: Into<OpenError>>(key: &ObjectKey, result: Result<Response, E>) -> Done {
    result.map_or_else(|e| Done::Refused(JobError::about(key)(e.into())), Done::Answer)
}

fn answer<E: Into<OpenError>>(result: Result<Response, E>) -> Done {
    result.map_or_else(|e| Done::Refused(JobError::of(e.into())), Done::Answer)
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account(..) => "Account",
            Self::Join { .. } => "Join",
            Self::Open { .. } => "Open",
            Self::Load(_) => "Load",
            Self::Stat { .. } => "Stat",
            Self::List { .. } => "List",
            Self::Versions { .. } => "Versions",
            Self::Delete { .. } => "Delete",
            Self::Restore { .. } => "Restore",
            Self::Begin { .. } => "Begin",
            Self::Resume { .. } => "Resume",
            Self::Claim(..) => "Claim",
            Self::Append(_) => "Append",
            Self::Commit(_) => "Commit",
            Self::Abort(_) => "Abort",
            Self::Release(_) => "Release",
            Self::Expire(_) => "Expire",
        })
    }
}
