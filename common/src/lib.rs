//! The sealed blob, the key files and the protocol of zput.
//!
//! This crate has no sockets, no files and no clock: bytes, time and randomness are arguments.
//!
//! ```text
//!     name  mount  label  digest  limits  cursor  fallible
//!                 ↑
//!        aead → chunked            age
//!                 ↑                 ↑
//!                blob  ←──────────  keys
//!                                   ↑
//!                                 proto
//! ```
//!
//! A server imports `proto`, `name`, `mount`, `label`, `digest`, `limits`, `cursor`,
//! `fallible` and [`blob::envelope`]; what opens a blob is none of its business.

pub mod aead;
pub mod age;
pub mod blob;
pub mod chunked;
pub mod cursor;
pub mod digest;
pub mod fallible;
pub mod keys;
pub mod label;
pub mod limits;
mod long_bech32;
pub mod mount;
pub mod name;
pub mod proto;
