//! Every attack of SECURITY.md, played against the real client and the real server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authors;
mod clients;
mod garbage;
mod guarded;
mod harness;
mod lies;
mod line;
mod mount;
mod puts;
mod served;
mod tls;
mod victim;
mod vouched;
