//! The zput client: seals files before they leave the machine, verifies and opens them when they
//! come back.
//!
//! ```text
//!              cmd            what the commands do; bin/ calls it
//!               ↓
//!             client          a key file, a connection when one is needed
//!    ↙     ↙    ↓    ↘    ↘
//!  put   get  verify list stat remove versions   offline
//!   ↓     ↓                                ↓
//! source sink                         source, sink
//! seal   receive, partial
//! journal
//! send
//!    ↘    ↓    ↙
//!     connection              the socket; the session of zput-common says what its bytes mean
//!         ↓
//!      embedded               a server in this process, where the key file names a store
//!
//! destination  standing                                 what a path leads to, and what is there
//! keystore  passphrase  first_use  seen  unfinished     files of this user
//! directories  atomic  naming  owner  secret_file  throwaway  how and where those are made
//! retry                                                 what is tried again, and when
//! random                                                the operating system's, for keys and salts
//! progress  notice  calendar  sizes  terminal  cleanup  the person in front, and what must not stay behind
//! core_dump                                             and what must not be written to a disk
//! standard_streams                                      stdin, stdout and stderr as they were given
//! ```
//!
//! The library reports and never prints; it draws its randomness from the operating system and its
//! times from the clock.

pub mod atomic;
pub mod calendar;
pub mod cleanup;
pub mod client;
pub mod cmd;
pub mod connection;
pub mod core_dump;
pub mod directories;
pub mod embedded;
pub mod error;
pub mod get;
#[path = "state/journal.rs"]
pub mod journal;
pub mod keystore;
pub mod list;
pub mod migrate;
pub mod notice;
pub mod offline;
#[path = "state/partial.rs"]
pub mod partial;
pub mod passphrase;
pub mod progress;
pub mod put;
pub mod remove;
pub mod restore;
pub mod retry;
#[path = "state/rollback.rs"]
pub mod seen;
pub mod sink;
pub mod sizes;
pub mod source;
pub mod standard_streams;
pub mod stat;
pub mod terminal;
#[path = "ephemeral_state.rs"]
pub mod throwaway;
pub mod verify;
pub mod versions;

mod destination;
#[path = "key_file_lock.rs"]
mod first_use;
mod memory;
#[path = "name_check.rs"]
mod named;
#[path = "install.rs"]
mod naming;
mod owner;
mod random;
#[path = "get/receive.rs"]
mod receive;
#[path = "put/pipeline.rs"]
mod seal;
mod secret_file;
#[path = "put/upload.rs"]
mod send;
#[path = "existing_target.rs"]
mod standing;
#[path = "state/locked_file.rs"]
mod unfinished;

pub use client::Client;
pub use error::{ClientError, ExitCode};
