//! Where a put takes its bytes from: each source is opened once, and every byte that its writer
//! gave is stored or the command fails.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod failing;
mod opening;
mod setting;
mod signals;
