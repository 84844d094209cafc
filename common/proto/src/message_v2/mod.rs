//! Requests and answers of protocol 2 (PROTOCOL 4 to 7): typed, bounded, in postcard.
//!
//! ```text
//! request   response    the variants, numbered by their order
//! error     bounds      what an error is about; bounds of values that no type keeps
//! object                what the variants say of objects
//! head      address     header and tail; which object, which version, which upload
//! zeros                 32 zeros that mean nothing is there
//! ```
//!
//! A module imports from the rows below its own.
//!
//! This is protocol 2, which nothing speaks yet: numbers of PROTOCOL in this folder are those of
//! `docs/next/PROTOCOL.md`. Frames, and what both versions say alike (versions, kinds, conditions,
//! claimed slices), are those of [`message`](crate::message); scopes, orders and ids of vaults
//! those of [`vault`](crate::vault).
//!
//! The messages and what they hold are exhaustive on purpose: postcard has neither names of fields
//! nor a default for a missing one. What PROTOCOL 8 reserves has no variant, so that it is refused
//! as unknown; it comes behind the others, with a feature of the hello.
//!
//! Fields whose length the peer states are bounded as they are read, before anything is allocated,
//! and by the same rule as they are written, so no bound is left out on one side.
//!
//! ```
//! use zput_proto::{
//!     message::{Condition, frame},
//!     message_v2::{Address, Request},
//!     name::ObjectKey,
//! };
//!
//! let address = Address::of_key(None, ObjectKey::new("a")?);
//! let delete = Request::Delete { address, condition: Condition::Any };
//! let bytes = frame::encode(&delete, 1024)?;
//! // A body of 37 bytes: variant 16, no vault, a key of one byte, no condition.
//! assert_eq!(bytes[..5], [0, 0, 0, 37, 16]);
//! assert_eq!(bytes[37..], [0, 1, b'a', 0]);
//! assert_eq!(frame::decode::<Request>(&bytes[4..])?, delete);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod bounds;
mod error;
mod head;
mod object;
mod request;
mod response;
mod zeros;

#[cfg(test)]
mod tests;

pub use crate::error_code_v2::ErrorCode;
pub use crate::message::{ClaimedSlice, Condition, Kind, Message, OutOfBounds, Version, frame};
pub use crate::vault::{Order, Scopes};

pub use address::{Address, Object, UploadId, Which};
pub use error::{About, RemoteError};
pub use head::{Head, NewHead};
pub use object::{End, Entry, How, Info, Section, VersionInfo};
pub use request::{Member, Request};
pub use response::Response;
