//! The zput client: seals files before they leave the machine, verifies and opens them when they
//! come back.
//!
//! ```text
//!              cmd                   the commands; bin/ calls it
//!               ↓
//!             client                 a key file, and a connection that is made on first use
//!    ↙     ↙    ↓    ↘    ↘
//!  put   get  verify list stat remove versions   offline
//!   ↓     ↓
//! source sink
//!   ↓     ↓
//!  state                             journals, partial downloads, rollback guard
//!    ↘    ↓    ↙
//!   embedded → connection            the socket; the session of zput-common parses its bytes
//!
//! destination  existing_target              where a path leads, and what has that name
//! keystore  passphrase  key_file_lock       key files
//! directories  atomic  install  owner       where this user's files are, and how they are written
//! secret_file  random  core_dump  ephemeral_state
//! retry  notice  progress                   retries, and events for the caller
//! calendar  sizes  terminal  standard_streams  text for people
//! cleanup                                   what must not outlive the process
//! ```
//!
//! A put reads from its source, seals (`put::pipeline`), uploads (`put::upload`) and commits. With
//! a key file that names a store in the file system, [`embedded`] starts a server in this process
//! and connects to it over a socket pair.
//!
//! The library reports through [`notice`] and [`progress`] and prints nothing. Randomness comes
//! from the operating system, time from the system clock unless the caller passes another one.

pub mod atomic;
pub mod calendar;
pub mod cleanup;
pub mod client;
pub mod cmd;
pub mod connection;
pub mod core_dump;
pub mod directories;
pub mod embedded;
pub mod ephemeral_state;
pub mod error;
pub mod get;
pub mod keystore;
pub mod list;
pub mod migrate;
pub mod notice;
pub mod offline;
pub mod passphrase;
pub mod progress;
pub mod put;
pub mod remove;
pub mod restore;
pub mod retry;
pub mod sink;
pub mod sizes;
pub mod source;
pub mod standard_streams;
pub mod stat;
pub mod state;
pub mod terminal;
pub mod verify;
pub mod versions;

mod destination;
mod existing_target;
mod install;
mod key_file_lock;
mod memory;
mod name_check;
mod owner;
mod random;
mod secret_file;

pub use client::Client;
pub use error::{ClientError, ExitCode};
