//! The requests that need the disk, as jobs for the pool.
//!
//! A job holds all it needs and blocks as long as it likes; what comes of it is a value. Nothing here
//! knows a socket.

use std::{fmt, io, sync::Arc};

use tracing::error;
use zput_common::{
    digest::Digest,
    keys::{DevicePublicKey, InviteSecret},
    name::ObjectKey,
    proto::message::{
        ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, RemoteError, Response, Scopes,
        Version,
    },
};

use crate::{
    mounts::{MountPoint, OpenError},
    opened::Opened,
    permits::Permits,
    store::{Entered, Page, Store, StoreError, Upload, Writer},
    transfer::Window,
    worker::Buffer,
};

/// Something to do on the disk.
pub(crate) enum Job {
    /// What may this device do?
    Account(Store, DevicePublicKey),
    /// Spend an invite.
    Join { home: Store, device: DevicePublicKey, secret: InviteSecret, label: String },
    /// Open an object to be sent.
    Open { mount: Arc<MountPoint>, key: ObjectKey, version: Option<Version>, files: Permits },
    /// Load bytes of an open object into memory.
    Load(Window),
    /// What is known of an object.
    Stat { mount: Arc<MountPoint>, key: ObjectKey, version: Option<Version> },
    /// A page of the catalogue.
    List { mount: Arc<MountPoint>, after: Option<Vec<u8>>, limit: u32, headers: bool },
    /// A page of an object's versions.
    Versions { mount: Arc<MountPoint>, key: ObjectKey, after: Option<Version>, limit: u32 },
    /// Into the trash.
    Delete { store: Store, key: ObjectKey, condition: Condition },
    /// Out of it, or out of history.
    Restore { store: Store, key: ObjectKey, version: Version },
    /// Open an upload.
    Begin {
        store: Store,
        key: ObjectKey,
        kind: Kind,
        condition: Condition,
        header: Option<HeaderSlice>,
        writer: Writer,
        /// Of the header, if there is one: until the upload itself is under way.
        expected: Option<Entered>,
    },
    /// Go on with an upload that was cut off, or that an older connection has still.
    Resume {
        store: Store,
        key: ObjectKey,
        condition: Condition,
        header: HeaderSlice,
        writer: Writer,
    },
    /// See which of these slices such an upload has.
    Claim(Box<Upload>, Vec<ClaimedSlice>),
    /// Hash and write received bytes.
    Append(Append),
    /// Make an upload durable and current.
    Commit(Box<Upload>),
    /// Remove what an upload staged.
    Abort(Box<Upload>),
    /// Let go of an upload whose connection has ended: it stays if it is worth it.
    Leave(Box<Upload>),
}

/// Received bytes of one slice, in order.
pub(crate) struct Append {
    /// Where they go.
    pub(crate) upload: Box<Upload>,
    /// The slice's length and digest, with its first bytes.
    pub(crate) start: Option<(u32, Digest)>,
    /// The bytes.
    pub(crate) buffers: Vec<Buffer>,
    /// Whether they end the slice, so that its digest is to be compared.
    pub(crate) end: bool,
}

/// What came of a job.
pub(crate) enum Done {
    /// This is the answer.
    Answer(Response),
    /// The answer is this error.
    Refused(Refusal),
    /// What a device may do; nothing known of it when absent.
    Account(Result<Option<Scopes>, Refusal>),
    /// The device has an account, or not.
    Joined(Result<Scopes, Refusal>),
    /// An object to be sent.
    Opened(Result<Opened, Refusal>),
    /// A window is in memory, or cannot be had.
    Loaded(Window, io::Result<()>),
    /// An upload is open.
    Begun(Box<Upload>),
    /// So many of the slices that were claimed are there.
    Held(Box<Upload>, u32),
    /// Bytes were written, or the upload is gone; the buffers are free again.
    Appended {
        /// The upload, if it lives.
        upload: Result<Box<Upload>, Refusal>,
        /// Whether the slice was ended.
        end: bool,
        /// The buffers that held the bytes.
        buffers: Vec<Buffer>,
    },
    /// The job panicked, and so many buffers with it.
    Panicked {
        /// How many.
        buffers: usize,
    },
}

impl Job {
    /// How many buffers it holds.
    pub(crate) fn buffers(&self) -> usize {
        if let Self::Append(append) = self { append.buffers.len() } else { 0 }
    }

    /// Does it. Blocks.
    pub(crate) fn run(self) -> Done {
        match self {
            Self::Account(home, device) => {
                Done::Account(home.scopes_of(&device).map_err(|e| told(e.into())))
            }
            Self::Join { home, device, secret, label } => {
                let joined = home.redeem_invite(&secret, &device, &label);
                Done::Joined(joined.map_err(|e| told(e.into())))
            }
            Self::Open { mount, key, version, files } => {
                Done::Opened(mount.open(&key, version, &files).map_err(told_of(&key)))
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
                // Nothing is left of it where it was committed, and it is what is in its own way.
                match store.committed(&key, writer.device, &header) {
                    Ok(Some(version)) => Done::Answer(Response::Committed { version }),
                    Ok(None) => opened(&key, resumed),
                    Err(e) => Done::Refused(told_of(&key)(e.into())),
                }
            }
            Self::Claim(mut upload, slices) => match upload.claim(&slices) {
                Ok(held) => Done::Held(upload, held),
                Err(e) => Done::Refused(told(e.into())),
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
            Self::Leave(upload) => {
                drop(upload);
                Done::Answer(Response::Aborted)
            }
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
            // Dropping it removes what was staged: work for the disk, so here.
            Err(e) => Err(told(e.into())),
        };
        Done::Appended { upload, end, buffers }
    }
}

fn opened(key: &ObjectKey, upload: Result<Upload, StoreError>) -> Done {
    match upload {
        Ok(upload) => Done::Begun(Box::new(upload)),
        Err(e) => Done::Refused(told_of(key)(e.into())),
    }
}

fn answer_of<E: Into<OpenError>>(key: &ObjectKey, result: Result<Response, E>) -> Done {
    result.map_or_else(|e| Done::Refused(told_of(key)(e.into())), Done::Answer)
}

fn answer<E: Into<OpenError>>(result: Result<Response, E>) -> Done {
    result.map_or_else(|e| Done::Refused(told(e.into())), Done::Answer)
}

/// A failure, as somebody is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What every peer is told.
    pub(crate) code: ErrorCode,
    /// What went wrong, with the name of a file in it, where that is more than the code says. For whoever holds the store's
    /// directory: for the log, and for the program that an embedded server is in.
    why: Option<String>,
    /// What every peer is told beside the code, where that is more than the code says.
    reason: Option<&'static str>,
    /// What the code is about, or 0 (PROTOCOL 7).
    number: u64,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, why: None, reason: None, number: 0 }
    }
}

impl Refusal {
    /// The answer that says no: to `insiders` in its own words.
    pub(crate) fn answer(&self, insiders: bool) -> Response {
        match &self.why {
            Some(why) if insiders => Response::Error(RemoteError::new(self.code, why)),
            _ if let Some(reason) = self.reason => {
                Response::Error(RemoteError::new(self.code, reason).about(self.number))
            }
            _ => match refused(self.code) {
                Response::Error(error) => Response::Error(error.about(self.number)),
                other => other,
            },
        }
    }
}

/// What the peer is told of a failure. What the operator must know of it goes to the log.
fn told(failure: OpenError) -> Refusal {
    let refusal = refusal(&failure);
    if !is_the_servers(refusal.code) {
        return refusal;
    }
    error!(%failure, "a request failed");
    Refusal { why: Some(failure.to_string()), ..refusal }
}

/// As [`told`], of a request for the object `key`, whose file the log names.
fn told_of(key: &ObjectKey) -> impl Fn(OpenError) -> Refusal {
    let key = key.clone();
    move |failure| {
        let refusal = refusal(&failure);
        if !is_the_servers(refusal.code) {
            return refusal;
        }
        let file = crate::store::file_of(&key);
        error!(%failure, file, "a request failed");
        Refusal { why: Some(format!("{failure} ({file})")), ..refusal }
    }
}

fn refusal(failure: &OpenError) -> Refusal {
    Refusal { code: failure.code(), why: None, reason: failure.reason(), number: failure.number() }
}

/// Whether the server, and not its peer, has to do something about it.
const fn is_the_servers(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Internal
            | ErrorCode::Suspect
            | ErrorCode::Full
            | ErrorCode::ReadOnly
            | ErrorCode::Unreadable
    )
}

/// The answer to a request that its sender may not make.
pub(crate) fn denial(why: &'static str) -> Response {
    Response::Error(RemoteError { code: ErrorCode::Denied as u8, text: why.to_owned(), number: 0 })
}

/// The answer that says no. Its text depends on the code alone: it echoes no secret and no path. Of what
/// the store does, only an invite is ever denied.
pub(crate) fn refused(code: ErrorCode) -> Response {
    let text = match code {
        ErrorCode::Malformed => "malformed request or object",
        ErrorCode::Denied => "the invite is unknown, spent or expired",
        ErrorCode::NotFound => "no such object, version or mount",
        ErrorCode::Exists => "the condition does not hold",
        ErrorCode::Full => "disk full or quota reached",
        ErrorCode::Busy => "it has too much to do",
        ErrorCode::Digest => "the slice does not match its digest",
        ErrorCode::Range => "a section lies outside the object",
        ErrorCode::Kind => "an object of the other kind, or one not carried here",
        ErrorCode::State => "no upload is open, or one is open already",
        ErrorCode::Internal => "the server failed",
        ErrorCode::Version => "no common protocol version",
        ErrorCode::Mode => "no common mode",
        ErrorCode::Suspect => "the volume takes no writes until it has been verified",
        ErrorCode::Older => "what is there is of a later generation",
        ErrorCode::ReadOnly => "the store is read-only, or the server may not write there",
        ErrorCode::Unreadable => {
            "something is stored and cannot be read: it is damaged, or its disk or its permissions fail"
        }
        ErrorCode::Ahead => "the generation is more than a day ahead of the server's clock",
    };
    Response::Error(RemoteError { code: code as u8, text: text.to_owned(), number: 0 })
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
            Self::Leave(_) => "Leave",
        })
    }
}
