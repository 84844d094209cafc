//! A get: receive → open → sink.
//!
//! ```text
//! server ──header, footer, parts──▶ calling thread ──blocks of 1 MiB──▶ open ──verified parts──▶ sink
//! ```
//!
//! One request asks for header, footer and parts, in this order. So the whole blob is authenticated
//! before its first part arrives, and a get costs one round trip. Lengths that the server states
//! are checked against the format's bounds before anything is allocated by them.
//!
//! After a temporary failure the missing parts of the same version are requested; the footer that
//! was verified first authenticates them. A file that an interrupted get left behind is completed
//! in the same way, if its blob has the same footer.

mod download;
mod head;
mod lengths;
mod name_check;
mod options;
mod plain;
mod receive;
mod request;

pub use self::options::{ByteRange, GetOptions, GetReceipt};
pub(crate) use self::request::{BlobHead, HeadRequest};
