//! The server over sockets: in this process, embedded, and as the program.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod flow;
mod inspection;
mod limits;
mod mount;
mod operations;
mod outlives;
mod peer;
mod resume;
mod serve;
mod zserve;
