//! Network failures and clocks that differ, tested through the library with time, names and
//! timeouts as arguments.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod generations;
mod routes;
mod setting;
