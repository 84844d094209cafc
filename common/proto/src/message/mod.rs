//! Requests and answers (PROTOCOL 4 to 7): typed, bounded, in postcard.
//!
//! ```text
//! frame    request   response   a length and one message; the variants, numbered by their order
//! object   scopes    bounds     what the variants hold, and the bounds of their values
//! bounded                       bounds that hold before anything is allocated
//! ```
//!
//! The messages and what they hold are exhaustive on purpose: postcard has neither names of fields
//! nor a default for a missing one, so another field or variant is another version of the protocol,
//! and both ends have to decide about it before they compile.
//!
//! ```
//! use zput_proto::message::{Request, frame};
//!
//! let bytes = frame::encode(&Request::Ping, 1024)?;
//! assert_eq!(bytes, [0, 0, 0, 1, 1]); // a body of one byte: variant 1
//! assert_eq!(frame::decode::<Request>(&bytes[4..])?, Request::Ping);
//! # Ok::<(), frame::FrameError>(())
//! ```

pub(crate) mod bounded;
mod bounds;
pub mod frame;
mod object;
mod request;
mod response;
mod scopes;
#[cfg(test)]
mod tests;

pub use crate::error_code::{ErrorCode, RemoteError};

pub use bounds::{Message, OutOfBounds};
pub use object::{
    ClaimedSlice, Condition, Entry, HeaderSlice, Info, Kind, Section, Version, VersionInfo,
    VersionState,
};
pub use request::Request;
pub use response::Response;
pub use scopes::Scopes;
