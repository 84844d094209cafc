//! The sealed blob, the key files and the protocol of zput.
//!
//! This crate has no sockets, no files and no clock: bytes, time and randomness are arguments.
//!
//! ```text
//!            name  digest  limits
//!                 ↑
//!        aead → chunked            age
//!                 ↑                 ↑
//!                blob  ←──────────  keys
//!                                   ↑
//!                                 proto
//! ```
//!
//! A server imports `proto`, `name`, `digest`, `limits` and [`blob::envelope`]; what opens a blob is
//! none of its business.

pub mod aead;
pub mod chunked;
pub mod digest;
pub mod limits;
pub mod name;
pub mod proto;
