//! zput is an encrypted blob store. This crate seals blobs before they leave the machine, and
//! verifies and opens them when they come back; the server stores ciphertext.
//!
//! ```rust,standalone_crate
//! use zput::{Client, Condition};
//!
//! # fn main() -> zput::Result<()> {
//! # let home = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(home.path()).unwrap();
//! # // SAFETY: this program has no other thread yet.
//! # unsafe { std::env::set_var("XDG_STATE_HOME", home.path().join("state")) };
//! # Client::create_store("backup.zkey", "store")?;
//! let mut client = Client::open("backup.zkey")?; // never prompts: an error that is_locked()
//! let put = client.put("pg/main", &b"dump"[..])?; // &[u8], a Path, or source::reader(...)
//! println!("{} bytes, version {}", put.length, put.version);
//! client.put_with("lock", &b"me"[..]).condition(Condition::Absent).sha256(true).send()?;
//! client.get("pg/main")?.save_to("restored.sql")?; // atomic, mode and time kept
//! let head: Vec<u8> = client.get("pg/main")?.range(0..16).read_to_vec()?;
//! for blob in client.list("pg/")? {
//!     println!("{} {}", blob.name, blob.length);
//! }
//! # assert_eq!((put.length, &head[..]), (4, &b"dump"[..]));
//! # assert_eq!(std::fs::read("restored.sql").unwrap(), b"dump");
//! # let again = client.put_with("lock", &b"you"[..]).condition(Condition::Absent).send();
//! # assert!(again.unwrap_err().already_exists());
//! # assert!(client.get("gone").unwrap_err().is_not_found());
//! match client.get("gone") {
//!     Err(e) if e.is_not_found() => Ok(()),
//!     other => other.map(drop),
//! }
//! # }
//! ```
//!
//! The entry point is [`Client`]. It needs a key file, which holds a device's whole capability: the
//! command `zput` makes one with a store, and an invite of a server's operator makes one for that
//! server. A key file that names a store in the file system needs the feature `embedded`.
//!
//! | you want to | see |
//! |---|---|
//! | put bytes, a file, a reader, a command's output | [`Client::put`], [`Client::put_with`], [`source`] |
//! | get to a file, a writer, memory, or only a range | [`Client::get`], [`Get`] |
//! | know about retries, and resumed transfers | [`ClientBuilder::on_event`], [`Notice`] |
//! | give a passphrase | [`ClientBuilder::passphrase`] |
//! | decide by an error | [`Error::kind`], [`Error::is_not_found`], [`error`] |
//! | handle a signal that ends the program | [`cleanup`] |
//!
//! The library prints nothing, does not prompt, and handles no signal. Randomness comes from the
//! operating system.
//!
//! # Floors
//!
//! ```text
//! cli client  what the programs need beside the façade, and the façade
//! objects offline source  list, stat, restore, …; files without a server; what a put can read
//! get put     head → parts → sink, and source → seal → upload → commit
//! retry       which errors are retried, how often, after which pause
//! session     a key file, and a connection that is made on first use
//! event       what a caller is told while an operation runs
//! error       what went wrong, and what a caller can do about it
//! embedded io  a server in this process; sources, sinks, progress
//! key state   key files; journals, partial downloads, rollback guard
//! connection files  the socket; how files of this user are written
//! calendar cleanup escape limits memory random  times as text; what must not outlive the process
//! ```
//!
//! Imports go down only.

pub mod cleanup;
#[doc(hidden)]
pub mod cli;
pub mod error;
pub mod source;

mod calendar;
mod client;
mod connection;
mod embedded;
mod escape;
mod event;
mod files;
mod get;
mod io;
mod key;
mod limits;
mod memory;
mod objects;
mod offline;
mod put;
mod random;
mod retry;
mod session;
mod state;

pub use client::{Blob, Client, ClientBuilder, Get, Listing, Put};
pub use error::{Error, ErrorKind, RestartReason, Result};
pub use event::{Event, Notice};
pub use get::GetReceipt;
pub use io::progress::{Progress, Silent};
pub use objects::stat::Stat;
pub use put::{PutReceipt, Resume};
pub use zput_proto::{
    keys::{Invite, Remote},
    message::{Condition, Scopes, Version, VersionInfo, VersionState},
    name::BlobName,
};
pub use zput_seal::{aead::Suite, blob::metadata::Metadata, keys::KeyFile};
