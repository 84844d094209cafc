//! The blobs of a vault.

use std::vec;

use zput_proto::{message::Version, name::BlobName};
use zput_seal::blob::metadata::Metadata;

use crate::{error::Error, objects::list};

/// A blob of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blob {
    /// The name under which it was put.
    pub name: BlobName,
    /// Length of the plaintext in bytes.
    pub length: u64,
    /// Length of the stored object in bytes.
    pub stored: u64,
    /// The current version: its commit time in ns since 1970.
    pub version: Version,
    /// Name, time and mode as the writer stated them.
    pub metadata: Metadata,
}

/// The blobs of a vault, sorted by name, and how many objects are not among them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listing {
    /// The blobs, sorted by name.
    pub blobs: Vec<Blob>,
    /// Number of objects that are sealed to other recipients.
    pub foreign: usize,
    /// Number of objects that are not sealed.
    pub unsealed: usize,
    /// Number of objects that the server could not read.
    pub unreadable: u64,
    /// Why objects that are sealed to this vault are not among the blobs.
    pub damaged: Vec<Error>,
}

impl From<list::Listing> for Listing {
    fn from(listing: list::Listing) -> Self {
        let blob = |blob: list::Listed| Blob {
            name: blob.metadata.name.clone(),
            length: blob.length,
            stored: blob.stored,
            version: blob.version,
            metadata: blob.metadata,
        };
        Self {
            blobs: listing.blobs.into_iter().map(blob).collect(),
            foreign: listing.foreign,
            unsealed: listing.unsealed,
            unreadable: listing.unreadable,
            damaged: listing.damaged.into_iter().map(|unlisted| unlisted.error).collect(),
        }
    }
}

impl IntoIterator for Listing {
    type Item = Blob;
    type IntoIter = vec::IntoIter<Blob>;

    fn into_iter(self) -> Self::IntoIter {
        self.blobs.into_iter()
    }
}
