//! Requests (PROTOCOL 5). The order of the variants is the wire format.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    address::{Address, UploadId, Which},
    bounds::{check_begin, check_claim, check_page_limit, check_slice},
    head::NewHead,
    object::Section,
    zeros,
};
use crate::{
    digest::Digest,
    hello_v2::{CLIENT_HELLO_MAX_BYTES, SERVER_HELLO_MAX_BYTES},
    label::Label,
    limits::{
        CERTIFICATE_MAX_BYTES, CHARTER_MAX_BYTES, CLAIM_MAX_SLICES, CURSOR_MAX_BYTES,
        HEADER_MAX_BYTES, SECTIONS_MAX,
    },
    message::{
        ClaimedSlice, Condition, Kind, Message, OutOfBounds, Version,
        bounded::{Bytes, List, OptionBytes},
    },
    mount::MountName,
    vault::{Order, VaultId},
};

/// A client's request (PROTOCOL 5). Exhaustive: a server has to answer each. Numbers 18 to 25 are
/// reserved (PROTOCOL 8), and refused.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Both hellos, as the client sent and received them.
    Echo {
        /// The client's hello.
        #[serde(with = "Bytes::<CLIENT_HELLO_MAX_BYTES>")]
        client: Vec<u8>,
        /// The server's hello.
        #[serde(with = "Bytes::<SERVER_HELLO_MAX_BYTES>")]
        server: Vec<u8>,
    },
    /// Asks for a [`Pong`](super::Response::Pong).
    Ping,
    /// Redeems an invite for this connection's device.
    Join {
        /// The secret of the invite.
        secret: [u8; 32],
        /// The label by which the operator will see this device.
        label: Label,
    },
    /// Selects the mount that the requests after this one are about, and enters a vault there.
    Enter {
        /// The name of the mount. The empty name is that of the root mount.
        mount: MountName,
        /// The vault, and by what right; `None` to reach objects of no vault.
        member: Option<Member>,
    },
    /// Hands over the charter of a vault that is not there yet.
    Found {
        /// The name of the mount.
        mount: MountName,
        /// The bytes of the charter.
        #[serde(with = "Bytes::<CHARTER_MAX_BYTES>")]
        charter: Vec<u8>,
    },
    /// Hands over a later charter of a vault.
    Charter {
        /// The name of the mount.
        mount: MountName,
        /// The bytes of the charter.
        #[serde(with = "Bytes::<CHARTER_MAX_BYTES>")]
        charter: Vec<u8>,
    },
    /// Asks for header, tail and sections of an object.
    Get {
        /// The object.
        address: Address,
        /// The version that is meant.
        which: Which,
        /// Whether the answer brings header and tail.
        head: bool,
        /// The sections that are asked for, in this order.
        #[serde(with = "List::<SECTIONS_MAX>")]
        sections: Vec<Section>,
        /// The kind that the reader accepts.
        kind: Kind,
        /// The highest order that the client has seen of the object.
        at_least: Option<Order>,
    },
    /// Asks what the server knows of an object.
    Stat {
        /// The object.
        address: Address,
        /// The version that is meant.
        which: Which,
        /// The highest order that the client has seen of the object.
        at_least: Option<Order>,
    },
    /// A page of the catalogue.
    List {
        /// The vault; `None`, on the wire 32 zeros, for objects of no vault.
        #[serde(with = "zeros")]
        vault: Option<VaultId>,
        /// Where the page before ended.
        #[serde(with = "OptionBytes::<CURSOR_MAX_BYTES>")]
        after: Option<Vec<u8>>,
        /// Most entries that the page may have, at least 1.
        limit: u32,
        /// Whether the entries bring header and tail.
        heads: bool,
    },
    /// A page of an object's versions, newest first.
    Versions {
        /// The object.
        address: Address,
        /// The last version of the page before.
        after: Option<Version>,
        /// Most versions that the page may have, at least 1.
        limit: u32,
        /// Whether the versions bring header and tail.
        heads: bool,
    },
    /// Opens the connection's one upload.
    Begin {
        /// The object that the upload will be.
        address: Address,
        /// By which the upload is found again.
        upload: UploadId,
        /// What it will be.
        kind: Kind,
        /// The condition under which the commit takes place.
        condition: Condition,
        /// How many bytes of slices will follow, if the client knows.
        size: Option<u64>,
        /// The header that the client means to commit, where the object is sealed.
        #[serde(with = "OptionBytes::<HEADER_MAX_BYTES>")]
        header: Option<Vec<u8>>,
    },
    /// Opens the connection's one upload with what an interrupted upload has left.
    Resume {
        /// The object that the upload will be.
        address: Address,
        /// The upload.
        upload: UploadId,
        /// The condition under which the commit takes place.
        condition: Condition,
        /// The header that the client means to commit; empty for a plain object.
        #[serde(with = "Bytes::<HEADER_MAX_BYTES>")]
        header: Vec<u8>,
    },
    /// States the next slices of the resumed upload, as the client knows them.
    Claim {
        /// The next slices of the upload, in order.
        #[serde(with = "List::<CLAIM_MAX_SLICES>")]
        slices: Vec<ClaimedSlice>,
    },
    /// The next slice of the upload; `length` raw bytes follow.
    Slice {
        /// Number of raw bytes that follow.
        length: u32,
        /// Digest of the raw bytes.
        digest: Digest,
    },
    /// Makes the upload the current version, durably.
    Commit {
        /// Header and tail, where the object is sealed.
        head: Option<NewHead>,
    },
    /// Discards the upload.
    Abort,
    /// Ends the current version.
    Delete {
        /// The object.
        address: Address,
        /// The condition under which the change takes place.
        condition: Condition,
    },
    /// Makes a version out of the body and the front of another one.
    Reseal {
        /// The object whose body and front it takes.
        base: Address,
        /// The version of that object.
        version: Version,
        /// The object of which it makes a version.
        address: Address,
        /// By which the change is found again.
        upload: UploadId,
        /// The condition under which the change takes place.
        condition: Condition,
        /// Header and tail, where the object is sealed.
        head: Option<NewHead>,
    },
}

/// A device's right to enter a vault. Exhaustive, as a message is.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The vault.
    pub vault: VaultId,
    /// The device's certificate; empty of a peer without a key.
    #[serde(with = "Bytes::<CERTIFICATE_MAX_BYTES>")]
    pub certificate: Vec<u8>,
    /// The epoch of the newest charter that the device knows.
    pub epoch: u32,
    /// The serial of that charter; 0 where it knows none.
    pub serial: u64,
    /// What operators see.
    pub label: Label,
}

impl Message for Request {
    fn check(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::List { limit, .. } | Self::Versions { limit, .. } => check_page_limit(*limit),
            Self::Begin { kind, header, .. } => check_begin(*kind, header.as_deref()),
            Self::Claim { slices } => check_claim(slices),
            Self::Slice { length, .. } => check_slice(*length),
            Self::Echo { .. }
            | Self::Ping
            | Self::Join { .. }
            | Self::Enter { .. }
            | Self::Found { .. }
            | Self::Charter { .. }
            | Self::Get { .. }
            | Self::Stat { .. }
            | Self::Resume { .. }
            | Self::Commit { .. }
            | Self::Abort
            | Self::Delete { .. }
            | Self::Reseal { .. } => Ok(()),
        }
    }

    fn announces(&self) -> u64 {
        match self {
            Self::Slice { length, .. } => u64::from(*length),
            _ => 0,
        }
    }
}

/// Omits secrets and contents, so that they do not reach a log.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo { .. } => f.write_str("Echo"),
            Self::Ping => f.write_str("Ping"),
            Self::Join { label, .. } => write!(f, "Join({:?}, [secret])", label.as_str()),
            Self::Enter { mount, member } => write!(f, "Enter({mount}, {member:?})"),
            Self::Found { mount, charter } => {
                write!(f, "Found({mount}, {} bytes)", charter.len())
            }
            Self::Charter { mount, charter } => {
                write!(f, "Charter({mount}, {} bytes)", charter.len())
            }
            Self::Get { address, which, head, sections, kind, at_least } => {
                write!(f, "Get({address}, {which:?}, head: {head}, {sections:?}, {kind:?}, ")?;
                write!(f, "{at_least:?})")
            }
            Self::Stat { address, which, at_least } => {
                write!(f, "Stat({address}, {which:?}, {at_least:?})")
            }
            Self::List { vault, limit, heads, .. } => {
                write!(f, "List({vault:?}, {limit}, heads: {heads})")
            }
            Self::Versions { address, after, limit, heads } => {
                write!(f, "Versions({address}, {after:?}, {limit}, heads: {heads})")
            }
            Self::Begin { address, upload, kind, condition, size, .. } => {
                write!(f, "Begin({address}, {upload}, {kind:?}, {condition:?}, {size:?})")
            }
            Self::Resume { address, upload, condition, .. } => {
                write!(f, "Resume({address}, {upload}, {condition:?})")
            }
            Self::Claim { slices } => write!(f, "Claim({} slices)", slices.len()),
            Self::Slice { length, .. } => write!(f, "Slice({length})"),
            Self::Commit { head } => write!(f, "Commit({head:?})"),
            Self::Abort => f.write_str("Abort"),
            Self::Delete { address, condition } => write!(f, "Delete({address}, {condition:?})"),
            Self::Reseal { base, version, address, upload, condition, head } => {
                write!(f, "Reseal({base}, {version}, {address}, {upload}, {condition:?}, ")?;
                write!(f, "{head:?})")
            }
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vault, certificate, epoch, serial, label } = self;
        let (length, label) = (certificate.len(), label.as_str());
        write!(f, "Member({vault}, {length} bytes, {epoch}, {serial}, {label:?})")
    }
}
