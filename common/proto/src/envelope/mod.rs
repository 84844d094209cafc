//! The public framing of a blob: what a server without keys may know of it.
//!
//! ```text
//! blob = header || part 0 || part 1 || … || footer
//!
//! footer                              digests, MACs, signature; the slices of an object
//! header                              suite, salt, generation, object key, stanzas
//! framing   layout   wrapped_key      where header and footer end; offsets; shapes of stanzas
//! chunks    suite    stanza   x25519_key   lengths, numbers, texts, X25519 keys as bytes
//! ```
//!
//! The first line is a blob; below it a module imports from the rows below its own.
//!
//! Nothing here needs or touches key material, and nothing here proves anything: only a reader that
//! holds the file key can tell whether the framing is the writer's.
//!
//! ```
//! use zput_proto::envelope::{Layout, PartSize};
//!
//! // 40 MiB after a header of 300 bytes: two full parts and a shorter one.
//! let layout = Layout::new(300, PartSize::MAX, 40 << 20)?;
//! assert_eq!(layout.parts(), 3);
//! assert_eq!(layout.part_offset(1), Some(300 + PartSize::MAX.sealed_bytes()));
//! # Ok::<(), zput_proto::envelope::TooManyParts>(())
//! ```

pub mod chunks;
mod footer;
mod framing;
mod header;
mod layout;
mod stanza;
mod suite;
mod wrapped_key;
mod x25519_key;

pub use footer::{BARE, FooterError, FooterFields, SlicesError, VAULT, VaultSeal};
pub use framing::{
    Envelope, EnvelopeError, FOOTER_MAGIC, HEADER_MAGIC, PREFIX_BYTES, TAIL_BYTES, VERSION,
    footer_length, generation, header_length, longest_footer, object_key,
};
pub use header::{HEADER_LENGTH_FIELD, HeaderError, HeaderFields, MAC_BYTES, SALT_BYTES};
pub use layout::{Layout, PartSize, TooManyParts};
pub use stanza::{Stanza, StanzaError};
pub use suite::Suite;
pub use wrapped_key::{
    ENCAPSULATED_BYTES, FILE_KEY_BYTES, HYBRID, ShapeError, WRAPPED_KEY_BYTES, WrappedKey, X25519,
    check_shapes,
};
pub use x25519_key::{POINT_BYTES, is_canonical, is_low_order};
