//! The HTTP door, over sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client;
mod faults;
mod limits;
mod served;
