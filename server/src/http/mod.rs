//! HTTP/1.1, the server's end: GET and HEAD of objects by path.
//!
//! Bytes and time in, requests out; answers in, bytes and a range of the object out. This module
//! has no sockets, files or clocks, and takes no request content: HTTP only reads.
//!
//! ```text
//!   bytes ──► head ──► request ──► (the caller looks the path up)
//!                                            │ facts
//!   bytes ◄── response ◄── range ◄── conditional
//! ```
//!
//! [`session`] is one connection and ties these together, strictly one request at a time: the bytes
//! behind a head are not looked at before its response has left. What cannot be understood beyond
//! doubt is refused and the connection ends with it, so that no byte is ever read as the beginning
//! of a request unless it is one.
//!
//! Sections without a number's owner in front are of RFC 9110 (semantics); RFC 9112 is HTTP/1.1.

mod bounds;
pub mod conditional;
pub mod date;
mod field;
mod head;
pub mod range;
mod refusal;
pub mod request;
pub mod response;
pub mod session;
mod target;

pub use bounds::{FIELDS_MAX, HEAD_MAX_BYTES, KEPT_BYTES, TARGET_MAX_BYTES};
pub use conditional::EntityTag;
pub use date::{Date, Now};
pub use refusal::Refusal;
pub use request::{Method, Request};
pub use response::{ContentType, Status};
pub use session::{
    Answer, DEFAULT_IDLE_SECONDS, Facts, HEAD_SECONDS, NothingToAnswer, Session, Timeouts, Transmit,
};

#[cfg(test)]
mod tests;
