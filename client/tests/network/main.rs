//! The network as it is, and clocks that differ: through the library, with time, names and patience as arguments.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod generations;
mod routes;
mod setting;
