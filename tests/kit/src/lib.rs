//! One of each harness, for the tests of all crates.
//!
//! It does not depend on `zput-seal`, so the server's tests may use it. What opens or forges blobs
//! is in `zput-tests`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod commands;
mod files;
mod machine;
mod patience;
mod ran;
mod raw_client;
mod store_server;
mod web;
mod wire;
mod zserve;

pub use commands::{command_path, command_words, example_path, workspace};
pub use files::names;
pub use machine::Machine;
pub use patience::{PATIENCE, until};
pub use ran::Ran;
pub use raw_client::RawClient;
pub use store_server::StoreServer;
pub use web::{Head, WebClient, WebResponse, narrow};
pub use wire::{Session, Wire, set_up};
pub use zserve::Zserve;
