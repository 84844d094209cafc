//! The sealed blob, the key files and the protocol of zput.
//!
//! This crate has no sockets, no files and no clock: bytes, time and randomness are arguments.
//!
//! # Floors
//!
//! An import goes down only, and no files import one another in a circle; a test reads this block
//! (`tests/tests/floors.rs`).
//!
//! ```text
//! proto         the protocol, without sockets
//! blob          sealed blobs: the states of sealing and opening one
//! keys          key files, public keys, invites
//! age chunked   wrapped file keys; chunks encrypted one by one
//! aead          the two engines of the ciphers
//! cursor digest fallible label long_bech32 mount name  names and encodings
//! limits        bounds of the format and the protocol
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
