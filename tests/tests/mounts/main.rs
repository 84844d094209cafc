//! A store, a tree and an archive behind one server, read by the commands and by HTTP, and changed
//! while it runs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod changing;
mod crowded;
mod published;
mod reading;
