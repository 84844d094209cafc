//! Header, front and tail of a blob of format 2, and what a server checks of them without a key.
//!
//! ```text
//! blob = header || part 0 || part 1 || … || front || tail
//!
//! check                           what a server checks; verdicts
//! slices   transcript             the body's slices; what MACs and signature are over
//! header   tail                   who, where, when, for whom; who vouches for what
//! body_digest                     what the front says of the parts, in 32 bytes
//! front                           digests, facts, references
//! references   shape              packs that a folder needs; suite, part size, content
//! ```
//!
//! The first line is a blob; below it a module imports from the rows below its own.
//!
//! This is format 2, which nothing reads or writes yet: numbers of FORMAT in this folder are those
//! of `docs/next/FORMAT.md`. What format 2 shares with the format of today (the text of stanzas,
//! suites, the lengths of messages and parts) is in [`envelope`](crate::envelope).
//!
//! Each parser takes only the one encoding of what it gives, and nothing that a parser gives is
//! authenticated. MACs and what is sealed are for readers.
//!
//! ```
//! use zput_proto::blob::{Needed, Reference, References};
//!
//! // A folder needs all of one pack, and the first and the last of 9 parts of another.
//! let packs = [
//!     Reference { id: [1; 16], parts: 3, needed: Needed::All },
//!     Reference { id: [2; 16], parts: 9, needed: Needed::Bits(&[0b0000_0001, 0b0000_0001]) },
//! ];
//! let bytes = References::encode(&packs)?;
//! assert_eq!(bytes.len(), 4 + 21 + 23);
//! let parsed: Vec<_> = References::parse(&bytes)?.iter().collect();
//! assert_eq!(parsed, packs);
//! assert!(parsed[1].needs(8) && !parsed[1].needs(7));
//! # Ok::<(), zput_proto::blob::ReferencesError>(())
//! ```

mod body_digest;
pub mod check;
mod front;
mod header;
mod references;
mod shape;
mod slices;
mod tail;
mod transcript;

#[cfg(test)]
mod tests;

pub use body_digest::BodyDigest;
pub use front::{Front, FrontError};
pub use header::{
    CONTENT_KEY_BYTES, Core, HEADER_MAC_BYTES, HEADER_SALT_BYTES, Header, HeaderError,
    HeaderFields, OfVault, VERSION, header_length,
};
pub use references::{Needed, PACK_ID_BYTES, Reference, References, ReferencesError};
pub use shape::{BodyShape, Content};
pub use slices::SlicesError;
pub use tail::{Tail, TailEnd, TailError, TailFields, VaultSeal};
pub use transcript::Transcript;
