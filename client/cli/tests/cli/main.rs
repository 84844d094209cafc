//! The commands as people and scripts run them: a home with nothing in it, command lines, what they
//! print, how they exit, and what they leave behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod blobs;
mod embedded;
mod endings;
mod environment;
mod first_use;
mod json;
mod keys;
mod lacking;
mod offline;
mod outputs;
mod programs;
mod server;
mod signals;
mod support;
mod words;
