//! A put of many files: small ones concurrently on a few connections, then larger ones one by one.
//!
//! A put of a small file is one round trip (Begin, two slices, Commit) whose time goes to the
//! network and the server's disk. A server processes the requests of one connection in order and
//! shares fsyncs among connections, so there are several workers, each with its own connection and
//! one put in flight.
//!
//! ```text
//! small files ──queue──▶ worker: read, seal, send, record ──▶ server
//!                        worker: read, seal, send, record ──▶
//!                          ⋮    ──events──▶ calling thread ──in order──▶ `done`
//! ```
//!
//! The calling thread goes through the files in order and waits for the workers' results. Files
//! that the workers cannot handle (large, journaled, or in flight when a connection broke) are put
//! here one by one; for the last kind the server is first asked whether they were committed. Large
//! files wait until the workers have finished, so that memory use does not grow with the number of
//! files.

mod files;
mod run;
mod worker;

pub use self::files::{JOBS, JOBS_MAX, NamedFile};
