//! Promise 3: operations on one key are linearizable, over several connections of a server and over
//! several processes on one store.
//!
//! Callers work on one key at once and write down what they asked, what they were told, and when.
//! Then it is looked for an order in which one caller after the other would have been told the
//! same.
//!
//! ```text
//!   concurrent      callers on two servers and in this process, on one store
//!     ↓     ↓
//!   object  port    what an object does, one call at a time; how it is asked
//!     ↓
//!   checker         whether a history has such an order
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod checker;
mod concurrent;
mod object;
mod port;
