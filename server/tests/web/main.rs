//! The HTTP door, over sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod faults;
mod limits;
mod served;
mod tree;
